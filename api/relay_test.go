package api

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/tkcoord/tkcoord/api/throttlekitv1"
	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/transport"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// A fakeLeader serves Relay. It gives each request to the test and answers when it
// is told to.
type fakeLeader struct {
	tkcoordv1.UnimplementedRelayServer
	requests chan *asked
	hangUp   chan error // ends the stream
}

type asked struct {
	*tkcoordv1.RunRequest
	stream tkcoordv1.Relay_RunServer
}

// answer answers every operation with the length of its key.
func (a *asked) answer(t testing.TB) {
	res := &tkcoordv1.RunResponse{Id: a.Id}
	for _, op := range a.Operations {
		res.Outcomes = append(res.Outcomes, &tkcoordv1.Outcome{Granted: int64(len(op.Keys[0]))})
	}
	if err := a.stream.Send(res); err != nil {
		t.Errorf("answer: %v", err)
	}
}

func (f *fakeLeader) Run(stream tkcoordv1.Relay_RunServer) error {
	go func() {
		for {
			req, err := stream.Recv()
			if err != nil {
				return
			}
			f.requests <- &asked{req, stream}
		}
	}()
	select {
	case err := <-f.hangUp:
		return err
	case <-stream.Context().Done():
		return nil
	}
}

// relayTo starts a fake leader and a relay.
func relayTo(t *testing.T) (f *fakeLeader, r *relay, address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f = &fakeLeader{requests: make(chan *asked, 1024), hangUp: make(chan error)}
	s := grpc.NewServer()
	tkcoordv1.RegisterRelayServer(s, f)
	go s.Serve(l)
	forward := NewForwarder(nil, insecure.NewCredentials(), nil)
	r = newRelay(forward, slog.New(slog.DiscardHandler))
	t.Cleanup(func() {
		r.close()
		forward.Close()
		s.Stop()
	})
	return f, r, l.Addr().String()
}

// sent starts an operation and returns where its verdict will be.
func (r *relay) sent(ctx context.Context, address string, kind tkcoordv1.OperationKind, key string, moved <-chan struct{}) <-chan verdict {
	done := make(chan verdict, 1)
	go func() {
		out, err := r.do(ctx, address, &tkcoordv1.Operation{Kind: kind, Keys: []string{key}}, moved)
		done <- verdict{out, err}
	}()
	return done
}

const (
	aCheck = tkcoordv1.OperationKind_OPERATION_KIND_CHECK
	aPeek  = tkcoordv1.OperationKind_OPERATION_KIND_PEEK
)

func (v verdict) wants(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(v.err, err) {
		t.Errorf("%s: %v, want %v", what, v.err, err)
	}
}

// look waits for a state of a line.
func (r *relay) look(t *testing.T, address, what string, cond func(*line) bool) {
	t.Helper()
	within(t, what, func() bool {
		r.mu.Lock()
		l := r.lines[address]
		r.mu.Unlock()
		if l == nil {
			return false
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		return cond(l)
	})
}

// full sends operations until no more requests may be under way. One may be left
// waiting.
func (r *relay) full(t *testing.T, address string) {
	t.Helper()
	for full := false; !full; {
		r.sent(t.Context(), address, aCheck, "k", nil)
		r.look(t, address, "it is sent or waits", func(l *line) bool {
			full = len(l.sent) == requestsAhead
			return full || len(l.waiting) == 0
		})
	}
}

// fill has as many requests under way as may be.
func fill(t *testing.T, f *fakeLeader, r *relay, address string) (under []*asked, done []<-chan verdict) {
	t.Helper()
	for range requestsAhead {
		done = append(done, r.sent(t.Context(), address, aCheck, "k", nil))
		under = append(under, <-f.requests)
	}
	return under, done
}

// While requests are under way what arrives collects for the next one, and every
// answer reaches the one who asked.
func TestRelayCollects(t *testing.T) {
	f, r, at := relayTo(t)
	under, first := fill(t, f, r, at)
	var later []<-chan verdict
	keys := []string{"", "a", "bb", "ccc"}
	for _, k := range keys {
		later = append(later, r.sent(t.Context(), at, aCheck, k, nil))
	}
	r.look(t, at, "all wait", func(l *line) bool { return len(l.waiting) == len(keys) })
	for _, a := range under {
		a.answer(t)
	}
	next := <-f.requests
	if len(next.Operations) != len(keys) {
		t.Fatalf("%d operations in the next request, want %d", len(next.Operations), len(keys))
	}
	next.answer(t)
	for _, d := range first {
		(<-d).wants(t, "the first", nil)
	}
	for i, d := range later {
		if v := <-d; v.err != nil || v.out.Granted != int64(len(keys[i])) {
			t.Errorf("operation with key %q: %v, %v", keys[i], v.out, v.err)
		}
	}
}

// A stream that breaks leaves open what became of what was sent. What was not, was
// certainly not carried out.
func TestRelayBreaks(t *testing.T) {
	f, r, at := relayTo(t)
	_, sent := fill(t, f, r, at)
	waits := r.sent(t.Context(), at, aCheck, "w", nil)
	r.look(t, at, "one waits", func(l *line) bool { return len(l.waiting) == 1 })
	f.hangUp <- status.Error(codes.Unavailable, "crashed")
	for _, d := range sent {
		(<-d).wants(t, "sent", transport.ErrOutcomeUnknown)
	}
	(<-waits).wants(t, "waiting", transport.ErrNotLeader)
	again := r.sent(t.Context(), at, aCheck, "x", nil) // over a new stream
	(<-f.requests).answer(t)
	(<-again).wants(t, "after that", nil)
}

// A leader that shuts down answers what it has begun and then ends the stream in
// good order. What it did not answer may be asked of another.
func TestRelayEndsInGoodOrder(t *testing.T) {
	f, r, at := relayTo(t)
	under, sent := fill(t, f, r, at)
	under[0].answer(t)
	(<-sent[0]).wants(t, "answered", nil)
	f.hangUp <- nil
	for _, d := range sent[1:] {
		(<-d).wants(t, "not answered", transport.ErrNotLeader)
	}
}

// Who stops waiting, or hears that somebody else leads, gets to know whether the
// operation may have been sent.
func TestRelayWithdraws(t *testing.T) {
	f, r, at := relayTo(t)
	moved := make(chan struct{})
	short, cancel := context.WithCancel(t.Context())
	var under []<-chan verdict
	under = append(under, r.sent(t.Context(), at, aCheck, "k", moved), r.sent(t.Context(), at, aPeek, "k", moved), r.sent(short, at, aCheck, "k", nil))
	for n := 0; n < len(under); {
		n += len((<-f.requests).Operations)
	}
	r.full(t, at)
	waitMoved, waitShort := r.sent(t.Context(), at, aCheck, "w", moved), r.sent(short, at, aCheck, "w", nil)
	r.look(t, at, "both wait", func(l *line) bool {
		n := 0
		for _, e := range l.waiting {
			n += strings.Count(e.op.Keys[0], "w")
		}
		return n == 2
	})
	cancel()
	(<-waitShort).wants(t, "gave up before it was sent", transport.ErrNotProposed)
	(<-under[2]).wants(t, "gave up after it was sent", transport.ErrOutcomeUnknown)
	close(moved)
	(<-waitMoved).wants(t, "leadership moved before it was sent", transport.ErrNotLeader)
	(<-under[1]).wants(t, "a read, and leadership moved", transport.ErrOutcomeUnknown)
	select {
	case v := <-under[0]:
		t.Errorf("a check that was sent has a verdict when leadership moves: %v", v.err)
	default:
	}
}

// Failures keep what they say about whether the operation was carried out.
func TestVerdictOf(t *testing.T) {
	for _, c := range []struct {
		f    *tkcoordv1.Failure
		want error
		code codes.Code
	}{
		{&tkcoordv1.Failure{Code: uint32(codes.Unavailable), Reason: ReasonNotLeader, Message: "m"}, transport.ErrNotLeader, codes.Unavailable},
		{&tkcoordv1.Failure{Code: uint32(codes.Unknown), Reason: ReasonUnknown, Message: "m"}, transport.ErrOutcomeUnknown, codes.Unavailable},
		{&tkcoordv1.Failure{Code: uint32(codes.ResourceExhausted), Reason: ReasonOverloaded, Message: "m"}, transport.ErrOverloaded, codes.Unavailable},
		{&tkcoordv1.Failure{Code: uint32(codes.NotFound), Reason: ReasonUnknownPolicy, Message: "m"}, nil, codes.NotFound},
		{&tkcoordv1.Failure{Code: uint32(codes.ResourceExhausted), Reason: ReasonExhausted, Message: "m"}, nil, codes.ResourceExhausted},
		{&tkcoordv1.Failure{Code: uint32(codes.Internal), Message: "m"}, nil, codes.Internal},
	} {
		v := verdictOf(&tkcoordv1.Outcome{Failure: c.f})
		if c.want != nil && !errors.Is(v.err, c.want) {
			t.Errorf("%v: %v, want %v", c.f, v.err, c.want)
		}
		public := publicStatus(v.err, slog.New(slog.DiscardHandler))
		if reason, _ := Reason(public); status.Code(public) != c.code || reason != c.f.Reason {
			t.Errorf("%v: clients see %v with reason %q", c.f, public, reason)
		}
	}
}

// A request is bounded in each of three ways, so that neither it nor its answer is
// too large for a message.
func TestRelaySealsRequests(t *testing.T) {
	op := func(keys, bytes int) *errand {
		o := &tkcoordv1.Operation{Kind: tkcoordv1.OperationKind_OPERATION_KIND_CHECK_MANY}
		for range keys {
			o.Keys = append(o.Keys, strings.Repeat("k", bytes))
		}
		return &errand{op: o}
	}
	for _, c := range []struct {
		name               string
		many, keys, bytes  int
		wantFirst, wantAll int // operations in the first request, requests
	}{
		{"few", 3, 1, 1, 3, 1},
		{"operations", maxRelayed + 1, 1, 1, maxRelayed, 2},
		{"keys", 9, fsm.MaxCheckKeys, 1, 4, 3},
		{"bytes", 5, 400, 1000, 2, 3},
		{"larger than a request", 2, 2000, 1000, 1, 2},
	} {
		l := &line{wake: make(chan struct{}, 1), sent: make(map[uint64][]*errand)}
		for range c.many {
			l.add(op(c.keys, c.bytes))
		}
		all, requests := 0, 0
		for req := l.take(); req != nil; req = l.take() {
			if requests == 0 && len(req.Operations) != c.wantFirst {
				t.Errorf("%s: %d operations in the first request, want %d", c.name, len(req.Operations), c.wantFirst)
			}
			all, requests = all+len(req.Operations), requests+1
		}
		if all != c.many || requests != c.wantAll {
			t.Errorf("%s: %d operations in %d requests, want %d in %d", c.name, all, requests, c.many, c.wantAll)
		}
	}
	// An answer to the most keys, with the longest numbers, is far below the 4 MiB that
	// clients of gRPC take.
	res := &tkcoordv1.RunResponse{Outcomes: []*tkcoordv1.Outcome{{Decisions: repeated(maxRelayedKeys, &throttlekitv1.Decision{
		Allowed: true, Limit: -1, Remaining: -1, ResetAt: -1, RetryAfterMs: -1,
	})}}}
	if size := proto.Size(res); size > 1<<20 {
		t.Errorf("the largest answer has %d bytes", size)
	}
}
