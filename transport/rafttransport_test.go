package transport

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

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

// newNetCluster starts three nodes that talk over mutually authenticated TLS, at
// addresses that raft's configuration does not know. Node 0 leads.
func newNetCluster(t testing.TB, setup func(i int, n *memNode)) (c memCluster, transports []*RaftTransport) {
	t.Helper()
	dir := t.TempDir()
	book := &addressBook{book: map[raft.ServerID]raft.ServerAddress{}}
	var members raft.Configuration
	for i := range 3 {
		n := &memNode{config: memConfig(i), fsm: &listFSM{}, snaps: raft.NewInmemSnapshotStore()}
		s := raft.NewInmemStore()
		n.logs, n.stable = s, s
		if setup != nil {
			setup(i, n)
		}
		id := n.config.LocalID
		tr, _ := newTestTransport(t, id, issueNode(t, dir, string(id)), book)
		book.set(id, tr.LocalAddr())
		nobody := raft.ServerAddress(fmt.Sprintf("192.0.2.%d:7701", i))
		members.Servers = append(members.Servers, raft.Server{ID: id, Address: nobody})
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
	electOver(t, c, transports, 0)
	return c, transports
}

// electOver makes node i the leader now.
func electOver(t testing.TB, c memCluster, transports []*RaftTransport, i int) {
	t.Helper()
	from, id := transports[(i+1)%3], c[i].config.LocalID
	req := &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: 3}}
	if err := from.TimeoutNow(id, "", req, &raft.TimeoutNowResponse{}); err != nil {
		t.Fatal(err)
	}
	pollUntil(t, "the node leads", func() bool { return c[i].State() == raft.Leader })
}

// Three nodes form a cluster, commit, lose all their connections, replace their
// leader, and leave nothing behind.
func TestRaftTransportCluster(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("", func(t *testing.T) {
		c, transports := newNetCluster(t, nil)
		c.apply(t, 0, 20, "a")
		for _, tr := range transports {
			tr.stream.SetClusterID("7f") // closes what was opened without one
			tr.CloseStreams()
		}
		c.apply(t, 0, 20, "b")
		c.settle(t)
		const next = 2
		electOver(t, c, transports, next)
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

// Raft's follower believes the leader's commit index as far as its own log goes,
// which may be further than the two agree.
func TestRaftTransportTrimsCommitIndex(t *testing.T) {
	for _, tt := range []struct {
		name                  string
		prev, entries, commit uint64
		want                  uint64
	}{
		{"heartbeat", 0, 0, 0, 0},
		{"first entries", 0, 3, 20, 3},
		{"a part", 5, 3, 20, 8},
		{"all", 5, 15, 20, 20},
		{"more than was committed", 5, 15, 12, 12},
		{"no entries", 7, 0, 20, 7},
	} {
		req := &raft.AppendEntriesRequest{PrevLogEntry: tt.prev, LeaderCommitIndex: tt.commit}
		for range tt.entries {
			req.Entries = append(req.Entries, &raft.Log{})
		}
		if trim(req); req.LeaderCommitIndex != tt.want || uint64(len(req.Entries)) != tt.entries {
			t.Errorf("%s: commit index %d with %d entries, want %d with %d", tt.name, req.LeaderCommitIndex, len(req.Entries), tt.want, tt.entries)
		}
	}
}

// A follower that was away while large entries were written gets them in
// requests that it can store in time, and gets them all.
func TestRaftTransportTrimsRequests(t *testing.T) {
	one := &raft.AppendEntriesRequest{Entries: []*raft.Log{{Data: make([]byte, 2*maxAppendBytes)}, {}}}
	if trim(one); len(one.Entries) != 1 {
		t.Errorf("%d entries left, want the first one, however large", len(one.Entries))
	}

	var largest atomic.Int64
	away := make(chan struct{})
	c, _ := newNetCluster(t, func(i int, n *memNode) {
		if i == 2 {
			n.logs = awayLog{n.logs, away, &largest}
		}
	})
	data := make([]byte, maxAppendBytes/16)
	for range 40 {
		if err := c[0].Apply(data, time.Second).Error(); err != nil {
			t.Fatal(err)
		}
	}
	close(away)
	pollUntil(t, "the follower has everything", func() bool { return len(c[2].fsm.contents()) == 40 })
	if n := largest.Load(); n > maxAppendBytes {
		t.Errorf("%d bytes were to be stored at once, want at most %d", n, maxAppendBytes)
	} else if n < maxAppendBytes/2 {
		t.Errorf("at most %d bytes were stored at once: the test shows nothing", n)
	}
}

// An awayLog takes no entries until its node is back, and remembers how much it
// had to store at once.
type awayLog struct {
	raft.LogStore
	back    chan struct{} // closed when it is
	largest *atomic.Int64
}

func (l awayLog) StoreLogs(logs []*raft.Log) error {
	<-l.back
	var n int64
	for _, e := range logs {
		n += int64(len(e.Data))
	}
	l.largest.Store(max(l.largest.Load(), n))
	return l.LogStore.StoreLogs(logs)
}
