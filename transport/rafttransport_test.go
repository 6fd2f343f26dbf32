package transport

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/raft"
	"go.uber.org/goleak"
)

// An addressBook is a raft.ServerAddressProvider.
type addressBook struct {
	mu   sync.Mutex
	book map[raft.ServerID]raft.ServerAddress
}

func (b *addressBook) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if a, ok := b.book[id]; ok {
		return a, nil
	}
	return "", errors.New("unknown")
}

func (b *addressBook) set(id raft.ServerID, a raft.ServerAddress) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.book[id] = a
}

// newTestTransport is the transport of node id, and its log.
func newTestTransport(t testing.TB, id raft.ServerID, files TLSFiles, book raft.ServerAddressProvider) (*RaftTransport, *lockedText) {
	t.Helper()
	log := &lockedText{}
	layer, err := NewStreamLayer(testStreamConfig(t, id, files, log))
	if err != nil {
		t.Fatal(err)
	}
	tr := NewRaftTransport(layer, book, slog.New(slog.NewTextHandler(log, nil)))
	t.Cleanup(func() { tr.Close() })
	return tr, log
}

// Three nodes form a cluster over mutually authenticated TLS, at addresses that
// raft's configuration does not know, commit, lose all their connections,
// replace their leader, and leave nothing behind.
func TestRaftTransportCluster(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("", func(t *testing.T) {
		dir := t.TempDir()
		book := &addressBook{book: map[raft.ServerID]raft.ServerAddress{}}
		var members raft.Configuration
		var c memCluster
		var transports []*RaftTransport
		for i := range 3 {
			n := &memNode{config: memConfig(i), fsm: &listFSM{}, snaps: raft.NewInmemSnapshotStore()}
			s := raft.NewInmemStore()
			n.logs, n.stable = s, s
			id := n.config.LocalID
			tr, _ := newTestTransport(t, id, issueNode(t, dir, string(id)), book)
			book.set(id, tr.LocalAddr())
			members.Servers = append(members.Servers, raft.Server{ID: id, Address: raft.ServerAddress(fmt.Sprintf("192.0.2.%d:7701", i))}) // nobody
			r, err := raft.NewRaft(&n.config, n.fsm, n.logs, n.stable, n.snaps, tr)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { r.Shutdown().Error() })
			n.Raft = r
			c, transports = append(c, n), append(transports, tr)
		}
		if err := c[0].BootstrapCluster(members).Error(); err != nil {
			t.Fatal(err)
		}
		elect := func(i int) {
			from, id := transports[(i+1)%3], c[i].config.LocalID
			req := &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: 3}}
			if err := from.TimeoutNow(id, "", req, &raft.TimeoutNowResponse{}); err != nil {
				t.Fatal(err)
			}
			pollUntil(t, "the node leads", func() bool { return c[i].State() == raft.Leader })
		}
		elect(0)
		c.apply(t, 0, 20, "a")
		for _, tr := range transports {
			tr.stream.SetClusterID("7f") // closes what was opened without one
			tr.CloseStreams()
		}
		c.apply(t, 0, 20, "b")
		c.settle(t)
		const next = 2
		elect(next)
		c.apply(t, next, 20, "c")
		for i := range c {
			pollUntil(t, fmt.Sprintf("node %d has everything", i), func() bool {
				return slices.Equal(c[i].fsm.contents(), c[next].fsm.contents())
			})
		}
		if n := len(c[next].fsm.contents()); n != 60 {
			t.Errorf("%d commands were applied, want 60", n)
		}
		for i, n := range c {
			if a, id := n.LeaderWithID(); i != next && a != transports[next].LocalAddr() {
				t.Errorf("node %d believes %s to be at %q, want %q", i, id, a, transports[next].LocalAddr())
			}
		}
	})
}

// Whoever is at the address, only the server that is meant is talked to.
func TestRaftTransportWrongServer(t *testing.T) {
	dir := t.TempDir()
	book := &addressBook{book: map[raft.ServerID]raft.ServerAddress{}}
	n1, _ := newTestTransport(t, "n1", issueNode(t, dir, "n1"), book)
	n3, n3log := newTestTransport(t, "n3", issueNode(t, dir, "n3"), nil)
	book.set("n2", n3.LocalAddr()) // out of date
	var resp raft.RequestVoteResponse
	req := &raft.RequestVoteRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: 3}}
	if err := n1.RequestVote("n2", "192.0.2.1:7701", req, &resp); err == nil || !strings.Contains(err.Error(), "n3.test.tkcoord") {
		t.Errorf("RequestVote = %v, want the certificate of n3 to be refused", err)
	}
	pollUntil(t, "n3 logs it", func() bool { return strings.Contains(n3log.String(), "raft connection refused") })

	n2, _ := newTestTransport(t, "n2", issueNode(t, dir, "n2"), nil)
	book.set("n2", n2.LocalAddr())
	go func() {
		rpc := <-n2.Consumer()
		rpc.Respond(&raft.RequestVoteResponse{Granted: true}, nil)
	}()
	if err := n1.RequestVote("n2", "192.0.2.1:7701", req, &resp); err != nil || !resp.Granted {
		t.Errorf("RequestVote at the right address = %v, granted %v", err, resp.Granted)
	}
}

// With pipelining, a follower that refuses an entry once gets nothing any more
// (hashicorp/raft#612).
func TestRaftTransportDoesNotPipeline(t *testing.T) {
	tr, _ := newTestTransport(t, "n1", TLSFiles{}, nil)
	if _, err := tr.AppendEntriesPipeline("n2", tr.LocalAddr()); err != raft.ErrPipelineReplicationNotSupported {
		t.Errorf("AppendEntriesPipeline = %v, want raft.ErrPipelineReplicationNotSupported", err)
	}
}

// The entry that stands for a snapshot has no content. A compaction may overtake
// the leader while it reads entries for a follower; sending the stand-in would
// put nothing in the place of a command.
func TestRaftTransportKeepsStandIn(t *testing.T) {
	n1, _ := newTestTransport(t, "n1", TLSFiles{}, nil)
	n2, _ := newTestTransport(t, "n2", TLSFiles{}, nil)
	go func() {
		for {
			select {
			case rpc := <-n2.Consumer():
				rpc.Respond(&raft.AppendEntriesResponse{Term: 3, Success: true}, nil)
			case <-t.Context().Done():
				return
			}
		}
	}()
	round := n1.begin()
	send := func(types ...raft.LogType) error {
		req := &raft.AppendEntriesRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: 3}, Term: 3}
		for i, kind := range types {
			req.Entries = append(req.Entries, &raft.Log{Index: uint64(i + 1), Type: kind})
		}
		return n1.AppendEntries("n2", n2.LocalAddr(), req, &raft.AppendEntriesResponse{})
	}
	if err := send(raft.LogCommand, boundaryEntry, raft.LogCommand); err != errStandIn || n1.acknowledged("n2", 3, round) {
		t.Errorf("AppendEntries with the stand-in = %v, want errStandIn and no acknowledgement", err)
	}
	if err := send(raft.LogCommand, raft.LogNoop); err != nil || !n1.acknowledged("n2", 3, round) {
		t.Errorf("AppendEntries = %v, want it sent and acknowledged", err)
	}
}
