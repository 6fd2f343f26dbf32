package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/policy"
)

// A proposing node is a raft node without disk or network, with the real state
// machine and a proposer before it.
type proposing struct {
	*memNode
	*Proposer
	replica *Replica
	now     atomic.Int64 // stamps: one more for each that was read
	stop    func()       // ends the proposer's leadership
}

// newProposing starts n connected nodes of which the first leads and has applied
// a Genesis. Each proposer believes that it leads.
func newProposing(t testing.TB, n int, setup func(*memNode, *ProposerConfig)) []*proposing {
	t.Helper()
	var nodes []*proposing
	var mem memCluster
	var members raft.Configuration
	for i := range n {
		p := &proposing{memNode: &memNode{config: memConfig(i), snaps: raft.NewInmemSnapshotStore()}}
		store := raft.NewInmemStore()
		p.logs, p.stable = store, store
		p.newTransport()
		cfg := DefaultProposerConfig()
		if setup != nil {
			setup(p.memNode, &cfg)
		}
		id := uint64(i + 1)
		quiet := slog.New(slog.DiscardHandler)
		p.replica = NewReplica(quiet, NewClusterClock(SystemClocks(), clock.DefaultRates()), id, func(err error) { t.Error(err) })
		apply := func(b []byte, d time.Duration) raft.ApplyFuture { return p.Raft.Apply(b, d) }
		p.Proposer = NewProposer(cfg, id, apply, func() clock.Millis { return clock.Millis(p.now.Add(1)) })
		nodes, mem = append(nodes, p), append(mem, p.memNode)
		members.Servers = append(members.Servers, raft.Server{ID: p.config.LocalID, Address: p.address})
	}
	for i, p := range nodes {
		mem.connect(i)
		var err error
		if p.Raft, err = raft.NewRaft(&p.config, p.replica, p.logs, p.stable, p.snaps, p.trans); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		p.accept(true)
		go func() {
			defer close(ended)
			p.Proposer.lead(ctx, time.Hour)
		}()
		p.stop = func() { cancel(); <-ended }
		t.Cleanup(func() {
			p.Shutdown().Error()
			p.stop()
			p.trans.Close()
		})
	}
	if err := nodes[0].BootstrapCluster(members).Error(); err != nil {
		t.Fatal(err)
	}
	mem.elect(t, 0)
	nodes[0].must(t, fsm.Genesis{ClusterID: "c", Settings: fsm.DefaultSettings()})
	return nodes
}

func cutOff(nodes []*proposing, i int) {
	var mem memCluster
	for _, p := range nodes {
		mem = append(mem, p.memNode)
	}
	mem.cut(i)
}

// must puts a command through that nobody may refuse.
func (p *proposing) must(t testing.TB, c fsm.Command) Applied {
	t.Helper()
	a, err := p.Propose(t.Context(), c)
	if err = errors.Join(err, a.Err); err != nil {
		t.Fatal(err)
	}
	return a
}

// session is a command whose result tells it from others: each edge gets a
// session of its own.
func session(edge string) *fsm.Exchange {
	return &fsm.Exchange{EdgeID: edge, Incarnation: 1, Seq: 1}
}

func (p *proposing) edges() (n int) {
	p.replica.Query(func(m *fsm.Machine) { _, n = m.Sizes() })
	return n
}

func namesField(err error, field string) bool {
	f, ok := errors.AsType[*fsm.FieldError](err)
	return ok && f.Field == field
}

// A command that is refused before it is proposed left no trace: the log is as
// long as before, and the error says that nothing was proposed.
func TestProposeRefuses(t *testing.T) {
	big := func(bytes int) *fsm.Exchange {
		x := session("e")
		for len(fsm.Encode(x)) <= bytes {
			x.Asks = append(x.Asks, fsm.Ask{Policy: "p", Key: strings.Repeat("k", fsm.MaxKeyLen)})
		}
		return x
	}
	n := newProposing(t, 3, func(_ *memNode, c *ProposerConfig) { c.MaxBytes = 4096 })
	lead, follower := n[0], n[1]
	before := lead.LastIndex()
	refused := func(name string, p *proposing, c fsm.Command, want error, text string) {
		t.Helper()
		_, err := p.Propose(t.Context(), c)
		if !errors.Is(err, want) || errors.Is(err, ErrOutcomeUnknown) || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: Propose = %v, want %v with %q", name, err, want, text)
		}
	}
	refused("raft does not lead", follower, session("e"), ErrNotLeader, "node is not the leader")
	if _, err := lead.Propose(t.Context(), fsm.Policies{Delete: []string{strings.Repeat("x", 1000)}}); !namesField(err, "delete[0]") {
		t.Errorf("out of range: Propose = %v, want a FieldError about delete[0]", err)
	}
	refused("too large", lead, big(4096), ErrTooLarge, "at most 4096 fit into an entry")
	lead.stop()
	refused("leadership ended", lead, session("e"), ErrNotLeader, "")
	fresh := NewProposer(DefaultProposerConfig(), 9, lead.Raft.Apply, func() clock.Millis { return 0 })
	if _, err := fresh.Propose(t.Context(), session("e")); !errors.Is(err, ErrNotLeader) {
		t.Errorf("never led: Propose = %v, want ErrNotLeader", err)
	}
	if last := lead.LastIndex(); last != before || lead.edges() != 0 {
		t.Errorf("the log went from %d to %d and there are %d edges, want none of it", before, last, lead.edges())
	}
}

// A heldRaft takes entries and answers when the test says so.
type heldRaft struct {
	mu      sync.Mutex // guards the rest
	entries []fsm.Entry
	sizes   []int
	held    []chan struct{}
	machine *fsm.Machine
}

func newHeldRaft(t testing.TB) *heldRaft {
	h := &heldRaft{machine: fsm.New()}
	var b fsm.Batch
	b.Add(fsm.Genesis{ClusterID: "c", Settings: fsm.DefaultSettings()})
	if _, err := h.machine.Apply(1, b.Seal(0, 1), false); err != nil {
		t.Fatal(err)
	}
	return h
}

// An entryFuture is one entry on its way through a heldRaft.
type entryFuture struct {
	raft  *heldRaft
	index uint64
	entry []byte
	held  chan struct{}
	out   fsm.Outcome
}

func (h *heldRaft) apply(entry []byte, _ time.Duration) raft.ApplyFuture {
	e, err := fsm.Decode(entry)
	if err != nil {
		panic(err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	f := &entryFuture{raft: h, index: uint64(len(h.entries) + 2), entry: entry, held: make(chan struct{})}
	h.entries, h.sizes, h.held = append(h.entries, e), append(h.sizes, len(entry)), append(h.held, f.held)
	return f
}

func (f *entryFuture) Error() error {
	<-f.held
	f.raft.mu.Lock()
	defer f.raft.mu.Unlock()
	var err error
	f.out, err = f.raft.machine.Apply(f.index, f.entry, true)
	return err
}

func (f *entryFuture) Index() uint64 { return f.index }
func (f *entryFuture) Response() any { return f.out }

// seen returns the entries so far.
func (h *heldRaft) seen() []fsm.Entry {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.entries)
}

// release answers one entry.
func (h *heldRaft) release(i int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.held[i])
}

// queueing runs a proposer over a heldRaft in a bubble, with its one entry in
// flight: a command of edge "first".
func queueing(t *testing.T, cfg ProposerConfig, stamp func() clock.Millis, f func(*testing.T, *Proposer, *heldRaft)) {
	synctest.Test(t, func(t *testing.T) {
		h := newHeldRaft(t)
		cfg.InFlight = 1
		p := NewProposer(cfg, 1, h.apply, stamp)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		p.accept(true)
		go func() {
			defer close(ended)
			p.lead(ctx, time.Hour)
		}()
		first := make(chan error, 1)
		go func() {
			_, err := p.Propose(ctx, session("first"))
			first <- err
		}()
		synctest.Wait()
		if n := len(h.seen()); n != 1 {
			t.Fatalf("%d entries, want the first", n)
		}
		f(t, p, h)
		h.mu.Lock()
		for _, held := range h.held {
			select {
			case <-held:
			default:
				close(held)
			}
		}
		h.mu.Unlock()
		if err := <-first; err != nil {
			t.Errorf("the first: %v", err)
		}
		cancel()
		<-ended
	})
}

func fixedStamp() clock.Millis { return 1 }

// While entries are in flight commands wait, within bounds of their own, and who
// gives up waiting knows that nothing was proposed.
func TestProposeQueue(t *testing.T) {
	size := len(fsm.Encode(session("e0")))
	byCount, byBytes := DefaultProposerConfig(), DefaultProposerConfig()
	byCount.MaxQueue, byBytes.MaxQueueBytes = 2, 2*size
	for name, cfg := range map[string]ProposerConfig{"commands": byCount, "bytes": byBytes} {
		t.Run(name, func(t *testing.T) {
			queueing(t, cfg, fixedStamp, func(t *testing.T, p *Proposer, h *heldRaft) {
				ctx, cancel := context.WithCancelCause(t.Context())
				why := errors.New("the caller hung up")
				var gone, stays error
				var wait sync.WaitGroup
				wait.Go(func() { _, gone = p.Propose(ctx, session("e0")) })
				synctest.Wait()
				wait.Go(func() { _, stays = p.Propose(t.Context(), session("e1")) })
				synctest.Wait()
				if _, err := p.Propose(t.Context(), session("e2")); !errors.Is(err, ErrOverloaded) {
					t.Errorf("Propose = %v, want ErrOverloaded", err)
				}
				cancel(why)
				synctest.Wait()
				if !errors.Is(gone, ErrNotProposed) || !errors.Is(gone, why) || errors.Is(gone, ErrOutcomeUnknown) {
					t.Errorf("the caller that gave up: %v, want ErrNotProposed and its cause", gone)
				}
				h.release(0)
				synctest.Wait()
				if e := h.seen(); len(e) != 2 || len(e[1].Commands) != 1 || e[1].Commands[0].(*fsm.Exchange).EdgeID != "e1" {
					t.Errorf("entries %+v, want the first and one with e1 alone", e)
				}
				h.release(1)
				wait.Wait()
				if stays != nil {
					t.Errorf("the caller that waited: %v", stays)
				}
			})
		})
	}
}

// Who stops waiting after the batch was sealed does not know what becomes of it.
func TestProposeGivenUpAfterSealing(t *testing.T) {
	queueing(t, DefaultProposerConfig(), fixedStamp, func(t *testing.T, p *Proposer, h *heldRaft) {
		h.release(0)
		ctx, cancel := context.WithCancel(t.Context())
		got := make(chan error, 1)
		go func() {
			_, err := p.Propose(ctx, session("e"))
			got <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-got; !errors.Is(err, ErrOutcomeUnknown) || !errors.Is(err, context.Canceled) || errors.Is(err, ErrNotProposed) {
			t.Errorf("Propose = %v, want ErrOutcomeUnknown and the cause", err)
		}
		h.release(1)
		synctest.Wait()
		if _, edges := h.machine.Sizes(); edges != 2 {
			t.Errorf("%d edges: the command took effect all the same, want 2", edges)
		}
	})
}

// A leader that lost its followers steps down. What it had proposed may be in
// the next leader's log or not, and its callers are told so.
func TestProposeLeadershipLost(t *testing.T) {
	n := newProposing(t, 3, func(m *memNode, _ *ProposerConfig) { m.shortTimeouts() })
	pollUntil(t, "a leader with a proposal that nobody hears", func() bool {
		for i, p := range n {
			if p.State() != raft.Leader {
				continue
			}
			cutOff(n, i)
			_, err := p.Propose(t.Context(), session("e"))
			if errors.Is(err, ErrNotLeader) {
				continue // it had stepped down just before
			}
			if !errors.Is(err, ErrOutcomeUnknown) || !errors.Is(err, raft.ErrLeadershipLost) {
				t.Fatalf("Propose = %v, want ErrOutcomeUnknown", err)
			}
			return true
		}
		return false
	})
}

// A command that was applied and refused is an answer, with its place in the log.
func TestProposeAppliedAndRefused(t *testing.T) {
	lead := newProposing(t, 1, nil)[0]
	a, err := lead.Propose(t.Context(), fsm.Policies{Delete: []string{"none"}})
	if err != nil || !errors.Is(a.Err, fsm.ErrUnknownPolicy) || a.Index == 0 || a.Now == 0 {
		t.Errorf("Propose = %+v, %v; want ErrUnknownPolicy in a result with index and clock", a, err)
	}
}

// However raft ends, everybody who waits is told something, and those who are
// told of success are right.
func TestProposeShutdownUnderLoad(t *testing.T) {
	lead := newProposing(t, 1, func(_ *memNode, c *ProposerConfig) { c.MaxCommands = 7 })[0]
	const callers = 200
	var ok, unknown, refused, edges atomic.Int64
	var wait sync.WaitGroup
	for range callers {
		wait.Go(func() {
			for {
				_, err := lead.Propose(t.Context(), session(fmt.Sprint(edges.Add(1))))
				switch {
				case err == nil:
					ok.Add(1)
					continue
				case errors.Is(err, ErrOutcomeUnknown):
					unknown.Add(1)
				case errors.Is(err, ErrNotLeader):
					refused.Add(1)
				default:
					t.Errorf("Propose = %v", err)
				}
				return
			}
		})
	}
	pollUntil(t, "commands flow", func() bool { return ok.Load() > callers })
	if err := lead.Shutdown().Error(); err != nil {
		t.Fatal(err)
	}
	lead.stop() // as the node does once raft has ended
	all := make(chan struct{})
	go func() { wait.Wait(); close(all) }()
	select {
	case <-all:
	case <-time.After(10*time.Second + futureGrace):
		t.Fatalf("%d callers wait for ever", callers-unknown.Load()-refused.Load())
	}
	if got := int64(lead.edges()); got < ok.Load() || got > ok.Load()+unknown.Load() {
		t.Errorf("%d commands took effect: %d succeeded, %d are unknown", got, ok.Load(), unknown.Load())
	}
	t.Logf("%d applied, then %d unknown and %d refused", ok.Load(), unknown.Load(), refused.Load())
}

// Commands that arrive while an entry is in flight go into the next ones, in
// order, within the bounds, and each caller gets the result of its own.
func TestBatches(t *testing.T) {
	size := len(fsm.Encode(session("e000")))
	byCount, byBytes := DefaultProposerConfig(), DefaultProposerConfig()
	byCount.MaxCommands, byBytes.MaxBytes = 8, 8*size+size/2
	for name, cfg := range map[string]ProposerConfig{"commands": byCount, "bytes": byBytes} {
		t.Run(name, func(t *testing.T) {
			queueing(t, cfg, fixedStamp, func(t *testing.T, p *Proposer, h *heldRaft) {
				const callers = 100
				var wait sync.WaitGroup
				got := make([]Applied, callers)
				for i := range callers {
					wait.Go(func() {
						var err error
						if got[i], err = p.Propose(t.Context(), session(fmt.Sprintf("e%03d", i))); err != nil {
							t.Error(err)
						}
					})
					synctest.Wait() // so that they come in order
				}
				for i := 0; i < len(h.seen()); i++ {
					h.release(i)
					synctest.Wait()
				}
				wait.Wait()
				for i, e := range h.seen() {
					full := i > 0 && i < len(h.seen())-1
					if n := len(e.Commands); n > 8 || full && n != 8 {
						t.Errorf("entry %d has %d commands, want 8", i, n)
					}
				}
				for i, a := range got {
					// Sessions are numbered in the order of the log, after "first".
					if want := uint64(i + 2); uint64(a.Session) != want || a.Index != 3+uint64(i/8) {
						t.Errorf("caller %d got session %d of entry %d, want %d of %d", i, a.Session, a.Index, want, 3+i/8)
					}
				}
			})
		})
	}
}

// The clock is read after the batch is closed: a command that arrives while it
// is being read belongs to the next entry. If it could still join this one, its
// stamp would be from before its sending, and its edge would spend credits for
// longer than their window lasts.
func TestStampIsReadAfterSealing(t *testing.T) {
	var late func() // runs while the clock is read for the second entry
	stamps := clock.Millis(0)
	stamp := func() clock.Millis {
		if stamps++; stamps == 2 {
			late()
		}
		return stamps
	}
	queueing(t, DefaultProposerConfig(), stamp, func(t *testing.T, p *Proposer, h *heldRaft) {
		var wait sync.WaitGroup
		propose := func(edge string) {
			wait.Go(func() {
				if _, err := p.Propose(t.Context(), session(edge)); err != nil {
					t.Error(err)
				}
			})
		}
		late = func() {
			propose("late")
			time.Sleep(time.Second) // in the bubble: until it has been queued
		}
		propose("early")
		synctest.Wait()
		for i := 0; i < len(h.seen()); i++ {
			h.release(i)
			time.Sleep(2 * time.Second)
		}
		wait.Wait()
		e := h.seen()
		if len(e) != 3 || len(e[1].Commands) != 1 || e[1].Stamp != 2 || len(e[2].Commands) != 1 || e[2].Stamp != 3 {
			t.Fatalf("entries %+v, want early alone under stamp 2, late under 3", e)
		}
		if id := e[2].Commands[0].(*fsm.Exchange).EdgeID; id != "late" {
			t.Errorf("the third entry is of edge %s, want late", id)
		}
	})
}

// A silent log still carries the clock: one empty entry for each tick, and none
// while commands flow.
func TestTicks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHeldRaft(t)
		begin := time.Now()
		p := NewProposer(DefaultProposerConfig(), 1, func(e []byte, d time.Duration) raft.ApplyFuture {
			f := h.apply(e, d)
			h.release(len(h.seen()) - 1)
			return f
		}, func() clock.Millis { return clock.Millis(time.Since(begin).Milliseconds()) })
		ctx, cancel := context.WithCancel(t.Context())
		var lead sync.WaitGroup
		p.accept(true)
		lead.Go(func() { p.lead(ctx, 500*time.Millisecond) })
		time.Sleep(time.Minute + time.Millisecond)
		e := h.seen()
		if len(e) != 120 {
			t.Errorf("%d entries in a silent minute, want 120", len(e))
		}
		for i := range e {
			if len(e[i].Commands) != 0 || e[i].Stamp != clock.Millis(500*(i+1)) {
				t.Fatalf("entry %d: %+v, want an empty one under %d", i, e[i], 500*(i+1))
			}
		}
		for i := range 1000 {
			if _, err := p.Propose(ctx, session(fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if n := len(h.seen()) - len(e); n != 1000 {
			t.Errorf("%d entries for 1000 commands, want no ticks between them", n)
		}
		cancel()
		lead.Wait()
	})
}

// The largest command that fits into an entry can be applied.
func TestProposeLargest(t *testing.T) {
	lead := newProposing(t, 1, nil)[0]
	var c fsm.Policies
	for n := 1; ; n++ {
		c.Put = append(c.Put, policy.Policy{
			Name: fmt.Sprintf("%0200d", n), Strategy: policy.FixedWindow, Limit: 1, MaxKeys: 1, Cadence: testCadence,
		})
		if n%100 == 0 && len(fsm.Encode(c)) > fsm.MaxEntryBytes {
			break
		}
	}
	if _, err := lead.Propose(t.Context(), c); !errors.Is(err, ErrTooLarge) {
		t.Errorf("Propose = %v, want ErrTooLarge", err)
	}
	for len(fsm.Encode(c)) > fsm.MaxEntryBytes {
		c.Put = c.Put[1:]
	}
	lead.must(t, c)
}

// Of several commands each gets the reply that Propose would have given it, at its
// place; those that are refused keep none of the others back.
func TestProposeAll(t *testing.T) {
	n := newProposing(t, 1, func(_ *memNode, c *ProposerConfig) { c.MaxBytes = 4096 })[0]
	big := session("big")
	for len(fsm.Encode(big)) <= 4096 {
		big.Asks = append(big.Asks, fsm.Ask{Policy: "p", Key: strings.Repeat("k", fsm.MaxKeyLen)})
	}
	all := n.ProposeAll(t.Context(), []fsm.Command{session("a"), session(""), big, fsm.Policies{Delete: []string{"none"}}, session("b")})
	switch {
	case len(all) != 5:
		t.Fatalf("%d replies to 5 commands", len(all))
	case all[0].Err != nil || all[4].Err != nil || all[0].Applied.Session == all[4].Applied.Session:
		t.Errorf("the good ones: %+v and %+v, want two sessions", all[0], all[4])
	case !namesField(all[1].Err, "edge_id"):
		t.Errorf("out of range: %v", all[1].Err)
	case !errors.Is(all[2].Err, ErrTooLarge):
		t.Errorf("too large: %v", all[2].Err)
	case all[3].Err != nil || !errors.Is(all[3].Applied.Err, fsm.ErrUnknownPolicy):
		t.Errorf("applied and refused: %+v", all[3])
	case n.edges() != 2:
		t.Errorf("%d sessions, want 2", n.edges())
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	for i, r := range n.ProposeAll(done, []fsm.Command{session("c"), session("d")}) {
		if r.Err != nil && !errors.Is(r.Err, ErrNotProposed) && !errors.Is(r.Err, ErrOutcomeUnknown) {
			t.Errorf("command %d of a caller that has gone: %v", i, r.Err)
		}
	}
	n.stop()
	for i, r := range n.ProposeAll(t.Context(), []fsm.Command{session("e"), session("f")}) {
		if !errors.Is(r.Err, ErrNotLeader) {
			t.Errorf("command %d after leadership: %v, want ErrNotLeader", i, r.Err)
		}
	}
}
