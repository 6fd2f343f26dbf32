package api

import (
	"strconv"
	"testing"

	"github.com/tkcoord/tkcoord/api/throttlekitv1"
	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// Whoever asks for it is told which entry decided, by every node, and nobody else.
// A read that comes after is told of no earlier entry.
func TestIndexIsTold(t *testing.T) {
	nodes := startNodes(t, 3, "version: 1\nlimiters:\n  p: { strategy: gcra, limit: 10, period: 1s }\n", nil)
	var last uint64
	for _, n := range nodes.nodes {
		c := throttlekitv1.NewRateLimiterClient(n.conn)
		var none, of, after metadata.MD
		ctx := metadata.AppendToOutgoingContext(t.Context(), IndexHeader, "1")
		if _, err := c.Check(t.Context(), &throttlekitv1.CheckRequest{Policy: "p", Key: "k"}, grpc.Header(&none)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Check(ctx, &throttlekitv1.CheckRequest{Policy: "p", Key: "k"}, grpc.Header(&of)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Peek(ctx, &throttlekitv1.PeekRequest{Policy: "p", Key: "k"}, grpc.Header(&after)); err != nil {
			t.Fatal(err)
		}
		decided, read := indexIn(t, of), indexIn(t, after)
		if len(none.Get(IndexHeader)) > 0 || decided <= last || read < decided {
			t.Errorf("%s: entry %d after %d decided, entry %d was read, and %v was told to one who did not ask", n.cfg.ID, decided, last, read, none)
		}
		if len(of.Get(ClockHeader)) != 1 || of.Get(ClockHeader)[0] != strconv.FormatInt(int64(noon), 10) {
			t.Errorf("%s: the clock is told as %v, want %d", n.cfg.ID, of.Get(ClockHeader), noon)
		}
		last = decided
	}
}

// An ordinary call pays for the header that it does not want with a look at its
// metadata.
func BenchmarkIndexNotWanted(b *testing.B) {
	md := metadata.Pairs(":authority", "127.0.0.1:7400", "content-type", "application/grpc", "user-agent", "grpc-go/1.80.0", "grpc-accept-encoding", "gzip")
	ctx := metadata.NewIncomingContext(b.Context(), md)
	out := &tkcoordv1.Outcome{Index: 7}
	b.ReportAllocs()
	for b.Loop() {
		tell(ctx, out)
	}
}

func indexIn(t *testing.T, md metadata.MD) uint64 {
	t.Helper()
	all := md.Get(IndexHeader)
	if len(all) != 1 {
		t.Fatalf("the header is %v, want an index", md)
	}
	n, err := strconv.ParseUint(all[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
