package edge

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/policy"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"pgregory.net/rapid"
)

// A world runs the real state machine and the loops of a few edges by hand, on
// one real time. Every clock runs at a rate of its own within the drift; entries
// are stamped by leaders that fail over and lag; messages are lost, repeated and
// overtaken; sessions end and identities are taken.
//
// What must hold: in each window of each budget, no more is admitted than the
// highest limit in force, and nothing after the owner's clock has left it.
type world struct {
	t     *rapid.T
	real  clock.Nanos
	rates clock.Rates
	lead  leader
	way   time.Duration // that messages take
	entry clock.Nanos   // when the newest entry was stamped
	c     *cluster
	edges []*simEdge
	late  []*tkcoordv1.ExchangeRequest // may be delivered again
	spent map[string]escrow.Credits    // admitted, by budget and window
	peak  map[string]escrow.Credits    // highest limit seen, by the same
	limit escrow.Credits

	budgets map[string]fsm.BudgetState // as of this index
	asOf    uint64
}

// A leader makes stamps from the pair it took over.
type leader struct {
	now clock.Millis
	at  clock.Nanos
	ppm int64
}

// A simEdge is an edge whose loop the test takes each step of.
type simEdge struct {
	*Edge
	ppm    int64
	checks []simCheck
	flight *batch
	sent   clock.Nanos
}

// A simCheck is a Check whose goroutine waits.
type simCheck struct {
	k *Key
	w *waiter
}

const simPolicy = "p"

// A fatal lets a helper that wants a testing.TB fail a rapid.T.
type fatal struct {
	testing.TB
	t *rapid.T
}

func (f fatal) Helper()                           {}
func (f fatal) Fatalf(format string, args ...any) { f.t.Fatalf(format, args...) }

func (w *world) stamp() clock.Millis {
	d := w.real - w.lead.at
	return w.lead.now + clock.Millis(atRate(d, w.lead.ppm)/clock.NanosPerMilli)
}

// atRate is what a clock that is ppm off shows after d.
func atRate(d clock.Nanos, ppm int64) clock.Nanos { return d + d*clock.Nanos(ppm)/1_000_000 }

func newWorld(t *rapid.T) *world {
	w := &world{t: t, rates: clock.Rates{Drift: 50_000, Slew: 20_000}, spent: map[string]escrow.Credits{}, peak: map[string]escrow.Credits{}, budgets: map[string]fsm.BudgetState{}}
	w.lead = leader{now: 1_000_000, ppm: w.ownerRate()}
	settings := fsm.DefaultSettings()
	settings.Rates = w.rates // edges learn them
	settings.LongestLease = 700
	settings.SessionIdle = 3000
	w.limit = 30
	w.c = newCluster(fatal{t: t}, func() clock.Millis {
		w.entry = w.real
		return w.stamp()
	}, settings, perWindow(simPolicy, w.limit, time.Second))
	for i := range 2 {
		w.edges = append(w.edges, w.newEdge(fmt.Sprint("edge-", i)))
	}
	return w
}

// rate draws how far off a clock runs, in ppm: as far as the bound allows, the
// worst cases being there, or right.
func (w *world) rate(what string, bound clock.PPM) int64 {
	return rapid.SampledFrom([]int64{-1, 1, 0}).Draw(w.t, what) * int64(bound)
}

// ownerRate draws how fast the cluster clock runs under a leader that slews it.
func (w *world) ownerRate() int64 {
	slew, r := w.rate("slew", w.rates.Slew), w.rate("leader", w.rates.Drift)
	return r + slew + r*slew/1_000_000
}

func (w *world) newEdge(id string) *simEdge {
	s := &simEdge{ppm: w.rate("edge", w.rates.Drift)}
	cfg := quietConfig()
	cfg.EdgeID = id
	cfg.IdleAfter = 150 * time.Millisecond
	cfg.Horizon = 100 * time.Millisecond
	cfg.MaxKeys = 2
	cfg.Monotonic = func() clock.Nanos { return atRate(w.real, s.ppm) }
	cfg.OnAdmit = w.admitted
	s.Edge = newEdge(cfg)
	if rapid.Bool().Draw(w.t, "batches") {
		b := Batch{Size: rapid.Int64Range(1, 12).Draw(w.t, "size"), LowWater: rapid.Int64Range(0, 6).Draw(w.t, "low")}
		if rapid.Bool().Draw(w.t, "returns") {
			b.ReturnIdle = 100 * time.Millisecond
		}
		if err := s.Limiter(simPolicy).SetBatch(b); err != nil {
			w.t.Fatal(err)
		}
	}
	s.exchange = func(context.Context, *tkcoordv1.ExchangeRequest) (*tkcoordv1.ExchangeResponse, error) {
		return nil, errDown
	}
	return s
}

// admitted checks one admission against the owner.
func (w *world) admitted(_, key string, n int64, win escrow.Window, _ clock.Nanos) {
	b := w.budget(key)
	if b.Window.Start > win.Start || b.Window.Start == win.Start && w.c.m.Now() >= b.Window.End {
		w.t.Fatalf("%d of %q admitted in window %v, the owner's clock is %d and its window %v", n, key, win, w.c.m.Now(), b.Window)
	}
	id := fmt.Sprint(key, win.Start)
	w.spent[id] += escrow.Credits(n)
	w.peak[id] = max(w.peak[id], b.Peak)
	if w.spent[id] > w.peak[id] {
		w.t.Fatalf("%d of %q admitted in window %v, the limit is %d", w.spent[id], key, win, w.peak[id])
	}
}

// budget returns a budget as it stands in the machine.
func (w *world) budget(key string) fsm.BudgetState {
	if w.asOf != w.c.index {
		w.asOf = w.c.index
		clear(w.budgets)
		w.c.m.Freeze().Budgets(func(b fsm.BudgetState) bool {
			w.budgets[b.Key] = b
			return true
		})
	}
	return w.budgets[key]
}

func (w *world) pick(what string) *simEdge {
	return w.edges[rapid.IntRange(0, len(w.edges)-1).Draw(w.t, what)]
}

var simKeys = []string{"a", "b", "c"}

// sweep has the machine forget all that has ended, as it does over many entries.
func (w *world) sweep() {
	for range 64 {
		w.c.apply(fatal{t: w.t}, fsm.Digest{})
	}
}

func (w *world) pass(d time.Duration) { w.real += clock.Nanos(d) }

// send builds the next exchange of an edge that has none under way.
func (w *world) send(s *simEdge) {
	if s.flight != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flight = s.build(s.now()); s.flight != nil {
		s.sent = s.now()
	}
}

// deliver brings the exchange under way to the cluster. The reply may get lost.
func (w *world) deliver(s *simEdge, lost bool) {
	if s.flight == nil {
		return
	}
	w.late = append(w.late, s.flight.req)
	if len(w.late) > 20 {
		w.late = w.late[1:]
	}
	res, err := w.c.exchange(context.Background(), s.flight.req)
	if lost {
		w.lose(s)
		return
	}
	w.pass(w.way)
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.flight
	s.flight = nil
	if err == nil {
		err = s.settle(b, res, s.sent, s.now())
	}
	if err != nil {
		s.putBack(b)
		s.failed(err, s.sent, s.now())
		return
	}
	s.recovered(s.now() - s.sent)
}

// lose has the edge give up on the exchange under way.
func (w *world) lose(s *simEdge) {
	if s.flight == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.putBack(s.flight)
	s.failed(status.Error(codes.Unknown, "connection lost"), s.sent, s.now())
	s.flight = nil
}

// join does what Check does until it waits.
func (w *world) join(s *simEdge, key string, n int64) {
	k, err := s.Limiter(simPolicy).Key(key)
	if err != nil {
		return
	}
	at := s.now()
	if _, ok := k.spend(at, n); ok {
		return
	}
	if _, known, _ := k.remembered(at, n, FromCredits); known {
		return
	}
	if wt := k.join(escrow.Credits(n)); wt != nil {
		s.checks = append(s.checks, simCheck{k, wt})
	}
}

// wake does what Check does when its answer is there.
func (w *world) wake(s *simEdge) {
	s.checks = slices.DeleteFunc(s.checks, func(c simCheck) bool {
		select {
		case <-c.w.done:
			c.k.spend(s.now(), int64(c.w.n))
			return true
		default:
			return false
		}
	})
}

func (w *world) check() {
	for _, s := range w.edges {
		w.wake(s)
	}
	for _, s := range w.edges {
		s.mu.Lock()
		if err := s.check(); err != nil {
			w.t.Fatal(err)
		}
		s.mu.Unlock()
	}
}

func TestEdgesNeverExceedTheLimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		t.Repeat(map[string]func(*rapid.T){
			"allow": func(t *rapid.T) {
				s, key := w.pick("edge"), rapid.SampledFrom(simKeys).Draw(t, "key")
				for range rapid.IntRange(1, 12).Draw(t, "times") {
					s.Limiter(simPolicy).Allow(key, rapid.SampledFrom([]int64{1, 1, 1, 2, 5, 50}).Draw(t, "n"))
				}
			},
			"work": func(t *rapid.T) { // requests, and the exchanges that they call for
				s, key := w.pick("edge"), rapid.SampledFrom(simKeys).Draw(t, "key")
				for range rapid.IntRange(1, 40).Draw(t, "times") {
					if !s.Limiter(simPolicy).Allow(key, 1) {
						w.send(s)
						w.deliver(s, false)
					}
				}
			},
			"brink": func(t *rapid.T) { // the last moment of a lease, while the owner's clock goes on
				s := w.pick("edge")
				k, err := s.Limiter(simPolicy).Key(rapid.SampledFrom(simKeys).Draw(t, "key"))
				if err != nil || k.lease.Load() == nil || k.lease.Load().Expired(s.now()) {
					return
				}
				for until := k.lease.Load().Deadline(); s.now() < until-1; {
					w.pass(time.Duration(max(1, (until-s.now())*9/10)))
				}
				w.c.apply(fatal{t: t}, fsm.Digest{})
				k.Allow(1)
			},
			"check": func(t *rapid.T) {
				w.join(w.pick("edge"), rapid.SampledFrom(simKeys).Draw(t, "key"), rapid.Int64Range(1, 8).Draw(t, "n"))
			},
			"giveUp": func(t *rapid.T) { // the caller of a Check goes away
				if s := w.pick("edge"); len(s.checks) > 0 {
					c := s.checks[0]
					c.k.leave(c.w)
					s.checks = s.checks[1:]
				}
			},
			"exchange": func(t *rapid.T) { // the ordinary course
				s := w.pick("edge")
				w.send(s)
				w.way = time.Duration(rapid.Int64Range(0, int64(150*time.Millisecond)).Draw(t, "way"))
				w.pass(w.way)
				w.deliver(s, false)
			},
			"send":      func(*rapid.T) { w.send(w.pick("edge")) },
			"deliver":   func(*rapid.T) { w.deliver(w.pick("edge"), false) },
			"loseReply": func(*rapid.T) { w.deliver(w.pick("edge"), true) },
			"lose":      func(*rapid.T) { w.lose(w.pick("edge")) },
			"repeat": func(t *rapid.T) { // an old request arrives (again)
				if len(w.late) > 0 {
					_, _ = w.c.exchange(context.Background(), rapid.SampledFrom(w.late).Draw(t, "late"))
				}
			},
			"pass": func(t *rapid.T) {
				w.pass(time.Duration(rapid.Int64Range(0, int64(300*time.Millisecond)).Draw(t, "span")))
			},
			"silence": func(t *rapid.T) { // long enough for sessions to end
				w.pass(time.Duration(rapid.Int64Range(0, int64(4*time.Second)).Draw(t, "span")))
				w.sweep()
			},
			"minute": func(*rapid.T) { // an edge without its name takes it back
				w.pass(takeOverPause)
			},
			"failover": func(t *rapid.T) { // the new leader applied the newest entry some time after it was stamped
				at := clock.Nanos(rapid.Int64Range(int64(w.entry), int64(w.real)).Draw(t, "applied"))
				w.lead = leader{now: w.c.m.Now(), at: at, ppm: w.ownerRate()}
			},
			"step": func(t *rapid.T) {
				to := w.stamp() + clock.Millis(rapid.Int64Range(1, 5000).Draw(t, "by"))
				w.c.apply(fatal{t: t}, fsm.Step{To: to})
				w.lead = leader{now: to, at: w.real, ppm: w.lead.ppm}
			},
			"limit": func(t *rapid.T) {
				w.limit = escrow.Credits(rapid.Int64Range(1, 60).Draw(t, "limit"))
				p := perWindow(simPolicy, w.limit, time.Second)
				w.c.apply(fatal{t: t}, fsm.Policies{Put: []policy.Policy{p}})
			},
			"restart": func(t *rapid.T) { // a new process, sometimes beside the old one
				i := rapid.IntRange(0, len(w.edges)-1).Draw(t, "edge")
				s := w.newEdge(w.edges[i].cfg.EdgeID)
				if len(w.edges) < 4 && rapid.Bool().Draw(t, "beside") {
					w.edges = append(w.edges, s)
				} else {
					w.edges[i] = s
				}
			},
			"": func(*rapid.T) { w.check() },
		})
	})
}
