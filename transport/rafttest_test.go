package transport

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// pollUntil waits for cond to hold. It is for tests with real raft nodes; where
// time can be virtual, testing/synctest is better.
func pollUntil(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

// A listFSM is the list of the commands it applied.
type listFSM struct {
	mu      sync.Mutex // guards the rest
	list    []string
	applied appliedIndex
	gate    chan struct{} // if not nil, each Apply takes one token
}

func (f *listFSM) Apply(l *raft.Log) any {
	if f.gate != nil {
		<-f.gate
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = append(f.list, string(l.Data))
	f.applied.advance(l.Index)
	return len(f.list)
}

func (f *listFSM) Snapshot() (raft.FSMSnapshot, error) { return listSnapshot(f.contents()), nil }

func (f *listFSM) Restore(r io.ReadCloser) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = nil
	return json.NewDecoder(r).Decode(&f.list)
}

func (f *listFSM) contents() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.list)
}

type listSnapshot []string

func (s listSnapshot) Persist(sink raft.SnapshotSink) error {
	if err := json.NewEncoder(sink).Encode([]string(s)); err != nil {
		return err
	}
	return sink.Close()
}

func (s listSnapshot) Release() {}

// A memTransport is raft's in-memory transport with what RaftTransport has:
// no pipelining, and acknowledgements noted. The answers of one peer can be held
// back on their way.
type memTransport struct {
	*raft.InmemTransport
	acks acks

	mu      sync.Mutex                      // guards held
	held    map[raft.ServerID]chan struct{} // closed to let answers through
	waiting atomic.Int64                    // good answers that are held back
}

// hold keeps back the answers of a peer until release is called.
func (m *memTransport) hold(t testing.TB, peer raft.ServerID) (release func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	gate := make(chan struct{})
	m.held[peer] = gate
	release = sync.OnceFunc(func() { close(gate) })
	t.Cleanup(release) // or raft does not shut down
	return release
}

func (m *memTransport) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported
}

func (m *memTransport) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	return m.acks.note(id, args, resp, func() error {
		err := m.InmemTransport.AppendEntries(id, target, args, resp)
		m.mu.Lock()
		hold := m.held[id]
		m.mu.Unlock()
		if hold != nil {
			if err == nil {
				m.waiting.Add(1)
			}
			<-hold
		}
		return err
	})
}

// A memNode is a raft node without disk or network.
type memNode struct {
	*raft.Raft
	config  raft.Config
	fsm     *listFSM
	logs    raft.LogStore
	stable  raft.StableStore
	snaps   raft.SnapshotStore
	trans   *memTransport
	address raft.ServerAddress
}

type memCluster []*memNode

// newMemCluster starts n connected nodes that form a cluster, which node 0
// leads. Timeouts are so long that leadership does not change by itself, however
// busy the machine is; see memNode.shortTimeouts. setup, if not nil, may change a
// node before it starts.
func newMemCluster(t testing.TB, n int, setup func(i int, n *memNode)) memCluster {
	t.Helper()
	var c memCluster
	var members raft.Configuration
	for i := range n {
		node := &memNode{config: memConfig(i), fsm: &listFSM{}, snaps: raft.NewInmemSnapshotStore()}
		s := raft.NewInmemStore()
		node.logs, node.stable = s, s
		node.newTransport()
		if setup != nil {
			setup(i, node)
		}
		c = append(c, node)
		members.Servers = append(members.Servers, raft.Server{ID: node.config.LocalID, Address: node.address})
	}
	for i := range c {
		c.connect(i)
		c[i].start(t)
	}
	t.Cleanup(func() {
		for _, n := range c {
			n.Shutdown().Error()
			n.trans.Close()
		}
	})
	if err := c[0].BootstrapCluster(members).Error(); err != nil {
		t.Fatal(err)
	}
	c.elect(t, 0)
	c.settle(t)
	return c
}

func memConfig(i int) raft.Config {
	c := *raft.DefaultConfig()
	c.LocalID = raft.ServerID(fmt.Sprintf("n%d", i))
	c.Logger = hclogTo(slog.New(slog.DiscardHandler))
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = time.Minute, time.Minute, time.Minute
	c.CommitTimeout = 5 * time.Millisecond
	c.SnapshotThreshold = 1 << 40 // only when asked
	return c
}

// shortTimeouts are for tests in which nodes must notice by themselves that
// another one is gone.
func (n *memNode) shortTimeouts() {
	n.config.HeartbeatTimeout, n.config.ElectionTimeout, n.config.LeaderLeaseTimeout = 300*time.Millisecond, 300*time.Millisecond, 200*time.Millisecond
}

func (n *memNode) newTransport() {
	address, in := raft.NewInmemTransportWithTimeout(raft.ServerAddress(n.config.LocalID), 3*time.Second)
	n.address, n.trans = address, &memTransport{InmemTransport: in, held: map[raft.ServerID]chan struct{}{}}
}

func (n *memNode) start(t testing.TB) {
	t.Helper()
	r, err := raft.NewRaft(&n.config, n.fsm, n.logs, n.stable, n.snaps, n.trans)
	if err != nil {
		t.Fatal(err)
	}
	n.Raft = r
}

// connect gives node i links in both directions; cut takes them away.
func (c memCluster) connect(i int) {
	for j, other := range c {
		if i != j {
			c[i].trans.Connect(other.address, other.trans.InmemTransport)
			other.trans.Connect(c[i].address, c[i].trans.InmemTransport)
		}
	}
}

func (c memCluster) cut(i int) {
	for j, other := range c {
		if i != j {
			c[i].trans.Disconnect(other.address)
			other.trans.Disconnect(c[i].address)
		}
	}
}

// elect makes node i the leader now. It must have all entries that were committed.
func (c memCluster) elect(t testing.TB, i int) {
	t.Helper()
	_, from := raft.NewInmemTransport("")
	from.Connect(c[i].address, c[i].trans.InmemTransport)
	req := &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: 3}}
	if err := from.TimeoutNow(c[i].config.LocalID, c[i].address, req, &raft.TimeoutNowResponse{}); err != nil {
		t.Fatal(err)
	}
	pollUntil(t, "the node leads", func() bool { return c[i].State() == raft.Leader })
	if err := c[i].Barrier(0).Error(); err != nil {
		t.Fatal(err)
	}
}

// settle waits until all nodes have all entries, so that any of them can be
// elected.
func (c memCluster) settle(t testing.TB) {
	t.Helper()
	pollUntil(t, "all nodes have all entries", func() bool {
		for _, n := range c {
			if n.LastIndex() != c[0].LastIndex() {
				return false
			}
		}
		return true
	})
}

// leader waits for a leader among the nodes that are not in except.
func (c memCluster) leader(t testing.TB, except ...int) int {
	t.Helper()
	found := -1
	pollUntil(t, "a leader", func() bool {
		for i, n := range c {
			if !slices.Contains(except, i) && n.State() == raft.Leader {
				found = i
				return true
			}
		}
		return false
	})
	return found
}

// apply has node i propose n commands and waits for them.
func (c memCluster) apply(t testing.TB, i, n int, name string) {
	t.Helper()
	for k := range n {
		if err := c[i].Apply(fmt.Append(nil, name, k), time.Second).Error(); err != nil {
			t.Fatalf("apply %s%d: %v", name, k, err)
		}
	}
}
