package fsm

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tkcoord/tkcoord/concurrency"
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/policy"
	"github.com/tkcoord/tkcoord/strategy"
	"pgregory.net/rapid"
)

// rated returns a policy with a rate strategy.
func rated(name string, rate strategy.Params) policy.Policy {
	return policy.Policy{Name: name, Strategy: rate.Name, Rate: rate, MaxKeys: policy.MaxMaxKeys}
}

// drawRated draws a policy of any strategy, in windows or not.
func drawRated(t *rapid.T, name string) policy.Policy {
	limit := escrow.Credits(rapid.Int64Range(1, 12).Draw(t, "limit"))
	p := fixed(name, limit, clock.Millis(rapid.SampledFrom([]int64{1, 10, 100, 700, 1000}).Draw(t, "period")))
	switch rapid.IntRange(0, 8).Draw(t, "strategy") {
	case 0:
		p.Strategy, p.Cadence = policy.Quota, escrow.Cadence{Kind: escrow.CalendarMonth, OffsetMinutes: 60}
	case 1:
		p.Strategy, p.Cadence = policy.Quota, escrow.Cadence{Kind: escrow.CalendarWeek, WeekStart: 1}
	case 2:
		p.Strategy, p.Cadence.Period, p.Cadence.Anchor = policy.Quota, 700, 33
	case 3:
		return rated(name, strategy.Params{Name: strategy.GCRA, Limit: float64(limit) + 0.5, Period: 1000, Burst: float64(limit)})
	case 4:
		return rated(name, strategy.Params{Name: strategy.TokenBucket, Capacity: float64(limit), RefillPerSec: 3.7})
	case 5:
		return rated(name, strategy.Params{Name: strategy.SlidingWindow, Limit: float64(limit), Period: 1000, Buckets: 7})
	case 6:
		return rated(name, strategy.Params{Name: strategy.SlidingWindowLog, Limit: float64(limit), Period: 500})
	case 7:
		return rated(name, strategy.Params{Name: strategy.Quota, Rolling: true, Limit: float64(limit), Period: 300, Buckets: 10})
	}
	return p
}

// TestChecksAreTheStrategy: without leases and steps, checks, peeks and forecasts
// answer bit for bit what the strategy does on its own, whatever is swept,
// restored, or given other limits.
func TestChecksAreTheStrategy(outer *testing.T) {
	rapid.Check(outer, func(t *rapid.T) {
		m := New()
		p := drawRated(t, "p")
		now := clock.Millis(rapid.SampledFrom([]int64{0, 1_700_000_000_000}).Draw(t, "start"))
		one(t, m, now, Genesis{ClusterID: "c", Settings: DefaultSettings()})
		one(t, m, now, Policies{Put: []policy.Policy{p}})
		twin, err := strategy.New(p.Params())
		if err != nil {
			t.Fatal(err)
		}
		states := map[string]*strategy.State{"": {}, "a": {}, "b": {}}
		draw := rapid.SampledFrom([]string{"", "a", "b"})
		t.Repeat(map[string]func(*rapid.T){
			"check": func(t *rapid.T) {
				c := &Check{Policy: "p", Keys: rapid.SliceOfN(draw, 0, 3).Draw(t, "keys"), Cost: rapid.Int64Range(1, 5).Draw(t, "cost")}
				now += clock.Millis(rapid.SampledFrom([]int64{0, 0, 1, 30, 100, 333, 2000, 40 * 86_400_000}).Draw(t, "pause"))
				r := one(t, m, now, c)
				for i, k := range c.Keys {
					if want := twin.Check(states[k], int64(now), float64(c.Cost)); r.Decisions[i] != want || r.KeyErrs != nil {
						t.Fatalf("%+v at %d: %q got %+v, want %+v", c, now, k, r.Decisions[i], want)
					}
				}
			},
			"almost": func(t *rapid.T) { // as good as cold, or a little before
				end := states[draw.Draw(t, "key")].Expires() - rapid.Int64Range(0, 3).Draw(t, "before")
				now = max(now, clock.Millis(end))
				one(t, m, now, nil)
			},
			"limit": func(t *rapid.T) {
				if p.Limit > 0 {
					p.Limit = escrow.Credits(rapid.Int64Range(1, 12).Draw(t, "limit"))
				} else if p.Rate.Limit > 0 {
					p.Rate.Limit = rapid.Float64Range(1, 12).Draw(t, "limit")
				}
				one(t, m, now, Policies{Put: []policy.Policy{p}})
				twin, err = strategy.New(p.Params())
				if err != nil {
					t.Fatal(err)
				}
			},
			"sweep": func(*rapid.T) {
				for range 64 {
					one(t, m, now, nil)
				}
			},
			"restore": func(t *rapid.T) { m = thaw(outer, m.Freeze()) },
			"": func(t *rapid.T) {
				k, cost := draw.Draw(t, "key"), rapid.Int64Range(1, 5).Draw(t, "cost")
				at := now + clock.Millis(rapid.SampledFrom([]int64{-5, 0, 7, 1500}).Draw(t, "later"))
				seen := int64(max(now, at))
				if got, err := m.Peek("p", k, at); err != nil || got != twin.Peek(states[k], seen) {
					t.Fatalf("Peek of %q at %d: %+v, %v; want %+v", k, at, got, err, twin.Peek(states[k], seen))
				}
				want := twin.Forecast(states[k], seen, float64(cost))
				if got, err := m.Forecast("p", k, cost, at); err != nil || got != want {
					t.Fatalf("Forecast of %q for %d at %d: %+v, %v; want %+v", k, cost, at, got, err, want)
				}
				if err := m.Check(); err != nil {
					t.Fatal(err)
				}
			},
		})
	})
}

// TestLimitHoldsForAll: what edges were granted and did not return, what checks
// took and what was reserved is in each window at most its largest limit, by the
// answers alone.
func TestLimitHoldsForAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := New()
		p := fixed("p", 20, 100)
		p.Kind, p.Batch = policy.Federated, 1
		now := clock.Millis(0)
		one(t, m, now, Genesis{ClusterID: "c", Settings: tight()})
		one(t, m, now, Policies{Put: []policy.Policy{p}})
		type lease struct{ granted, returned escrow.Credits }
		var w escrow.Window // the newest that was seen
		var taken, largest escrow.Credits
		leases := map[int]*lease{}
		total := func() escrow.Credits {
			sum := taken
			for _, l := range leases {
				sum += l.granted - l.returned
			}
			return sum
		}
		// in begins another window if it is one. Its start is known from exchanges
		// and reservations, its end from checks.
		in := func(end clock.Millis) {
			if end > w.End && now >= w.End {
				w, taken, largest = escrow.Window{End: end}, 0, p.Limit
				clear(leases)
			}
			w.End = max(w.End, end)
			largest = max(largest, p.Limit)
		}
		t.Repeat(map[string]func(*rapid.T){
			"edge": func(t *rapid.T) {
				i := rapid.IntRange(0, 2).Draw(t, "edge")
				want := escrow.Credits(rapid.Int64Range(0, 30).Draw(t, "want"))
				a := Ask{Policy: "p", Key: "k", Need: want / 2, Want: want}
				if l := leases[i]; l != nil && now < w.End {
					a.Window = w.Start
					a.Returned = l.returned + escrow.Credits(rapid.Int64Range(0, int64(l.granted-l.returned)).Draw(t, "returned"))
				}
				r := one(t, m, now, &Exchange{EdgeID: fmt.Sprint("e", i), Incarnation: 1, Seq: uint64(m.index), Asks: []Ask{a}})
				if r.Err != nil || r.Answers[0].Err != nil {
					return
				}
				ans := r.Answers[0]
				in(ans.Window.End)
				w.Start = ans.Window.Start
				if leases[i] == nil {
					leases[i] = &lease{}
				}
				leases[i].granted = max(leases[i].granted, ans.Granted)
				if a.Window == ans.Window.Start {
					leases[i].returned = max(leases[i].returned, a.Returned)
				}
			},
			"check": func(t *rapid.T) {
				cost := rapid.Int64Range(1, 12).Draw(t, "cost")
				d := one(t, m, now, &Check{Policy: "p", Keys: []string{"k"}, Cost: cost}).Decisions[0]
				in(clock.Millis(d.ResetAt))
				if d.Allowed {
					taken += escrow.Credits(cost)
				}
			},
			"reserve": func(t *rapid.T) {
				r := one(t, m, now, &Reserve{Policy: "p", Key: "k", Wants: rapid.Int64Range(1, 12).Draw(t, "wants")}).Reserved
				in(r.Window.End)
				taken += r.Granted
			},
			"limit": func(t *rapid.T) {
				p.Limit = escrow.Credits(rapid.Int64Range(1, 40).Draw(t, "limit"))
				one(t, m, now, Policies{Put: []policy.Policy{p}})
			},
			"pass": func(t *rapid.T) { now += clock.Millis(rapid.Int64Range(0, 60).Draw(t, "ms")) },
			"step": func(t *rapid.T) {
				to := now + clock.Millis(rapid.Int64Range(1, 500).Draw(t, "ms"))
				one(t, m, now, Step{To: to})
				if w.End > now && total() > 0 {
					// It may be stretched: what is out counts in the same window.
					for b := range m.Freeze().Budgets {
						w.End = max(w.End, b.Window.End)
					}
				}
				now = to
			},
			"": func(t *rapid.T) {
				if sum := total(); sum > largest {
					t.Fatalf("%d of %d are out in the window to %d: %d taken, leases %v", sum, largest, w.End, taken, leases)
				}
				if err := m.Check(); err != nil {
					t.Fatal(err)
				}
			},
		})
	})
}

// TestMeters: the machine's meters are those of the contract, and no window is
// overshot by more than its largest debit less one.
func TestMeters(outer *testing.T) {
	rapid.Check(outer, func(t *rapid.T) {
		m := New()
		p := policy.Policy{Name: "p", Kind: policy.Meter, Meter: policy.FleetBudget, Limit: 10, MaxKeys: 100, Cadence: escrow.Cadence{Kind: escrow.Fixed, Period: 100}}
		p.Limit = escrow.Credits(rapid.Int64Range(1, 20).Draw(t, "budget"))
		one(t, m, 0, Genesis{ClusterID: "c", Settings: DefaultSettings()})
		one(t, m, 0, Policies{Put: []policy.Policy{p}})
		type dumb struct{ start, served, largest int64 }
		meters := map[string]*dumb{"a": {start: -100}, "b": {start: -100}}
		now := int64(0)
		for range rapid.IntRange(1, 60).Draw(t, "debits") {
			now += rapid.SampledFrom([]int64{0, 0, 1, 30, 99, 500}).Draw(t, "pause")
			if rapid.IntRange(0, 9).Draw(t, "restore") == 9 {
				m = thaw(outer, m.Freeze())
			}
			k, n := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "key"), rapid.Int64Range(1, 15).Draw(t, "tokens")
			got := one(t, m, clock.Millis(now), &Debit{Policy: "p", Key: k, Tokens: n}).Decisions[0]
			d := meters[k]
			if now >= d.start+100 {
				*d = dumb{start: now / 100 * 100}
			}
			want := strategy.Decision{Limit: int64(p.Limit), ResetAt: d.start + 100}
			if d.served < int64(p.Limit) {
				d.served += n
				d.largest = max(d.largest, n)
				want.Allowed, want.Remaining = true, max(0, int64(p.Limit)-d.served)
			} else {
				want.RetryAfter = want.ResetAt - now
			}
			if got != want {
				t.Fatalf("debit of %d from %s at %d: %+v, want %+v", n, k, now, got, want)
			}
			if d.served-int64(p.Limit) > d.largest-1 {
				t.Fatalf("%d of %d were served with debits of at most %d", d.served, p.Limit, d.largest)
			}
			if err := m.Check(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// A dumbGuard is a guard as one would write it without a thought about speed.
type dumbGuard struct {
	limiter concurrency.Limiter
	slots   []dumbSlot // in the order of their fences
}

type dumbSlot struct {
	id         string
	fence      uint64
	at         int64
	start, end clock.Millis
}

func (g *dumbGuard) free(i int, now clock.Millis, dropped bool) {
	g.limiter.Observe(now-g.slots[i].start, g.slots[i].at, dropped)
	g.slots = slices.Delete(g.slots, i, i+1)
}

// reclaim ends the slots that are over, the one that ended first first.
func (g *dumbGuard) reclaim(now clock.Millis) {
	for {
		first := -1
		for i, s := range g.slots {
			if s.end <= now && (first < 0 || s.end < g.slots[first].end) {
				first = i
			}
		}
		if first < 0 {
			return
		}
		g.free(first, now, true)
	}
}

// TestSlots: slots are given out, kept, given back and reclaimed like those of the
// dumb guard; fences grow; a step keeps what was left.
func TestSlots(outer *testing.T) {
	rapid.Check(outer, func(t *rapid.T) {
		m := New()
		p := policy.Policy{Name: "p", Kind: policy.Guarded, MaxKeys: 10, Guard: concurrency.DefaultConfig()}
		p.Guard.MinLimit, p.Guard.InitialLimit, p.Guard.MaxLimit = 1, 3, 8
		p.Guard.RTTWindow = rapid.SampledFrom([]int{2, 100}).Draw(t, "rttWindow")
		p.Guard.Algorithm = rapid.SampledFrom([]concurrency.Algorithm{concurrency.Gradient2, concurrency.AIMD}).Draw(t, "algorithm")
		now := clock.Millis(5)
		one(t, m, now, Genesis{ClusterID: "c", Settings: DefaultSettings()})
		one(t, m, now, Policies{Put: []policy.Policy{p}})
		g := &dumbGuard{limiter: concurrency.New(p.Guard)}
		var ids []string // ever given out
		var last uint64
		apply := func(c Command) Result {
			g.reclaim(now)
			return one(t, m, now, c)
		}
		draw := func(t *rapid.T) string {
			if n := len(ids); n > 0 {
				return ids[n-1-rapid.IntRange(0, min(n, 12)-1).Draw(t, "lease")]
			}
			return "1-00000000000000000000000000000000"
		}
		t.Repeat(map[string]func(*rapid.T){
			"admit": func(t *rapid.T) {
				a := apply(&Admit{Policy: "p", Key: "ignored", Nonce: [16]byte{rapid.Byte().Draw(t, "nonce")}}).Admission
				ceiling, held := g.limiter.Ceiling(), int64(len(g.slots))
				if held >= ceiling {
					want := strategy.Decision{Limit: ceiling, ResetAt: int64(now), RetryAfter: max(1, int64(g.limiter.LastRTT()))}
					if *a != (Admission{Decision: want, Axis: AxisConcurrency}) {
						t.Fatalf("at %d: %+v with %d of %d slots held, want %+v", now, a, held, ceiling, want)
					}
					return
				}
				want := strategy.Decision{Allowed: true, Limit: ceiling, Remaining: ceiling - held - 1, ResetAt: int64(now)}
				if *a != (Admission{want, a.LeaseID, a.Fence, now + SlotTTL, ""}) || a.Fence <= last || a.LeaseID == "" {
					t.Fatalf("at %d: %+v with %d of %d slots held, want %+v; the fence before was %d", now, a, held, ceiling, want, last)
				}
				last = a.Fence
				ids = append(ids, a.LeaseID)
				g.slots = append(g.slots, dumbSlot{a.LeaseID, a.Fence, held + 1, now, now + SlotTTL})
			},
			"release": func(t *rapid.T) {
				c := &Release{LeaseID: draw(t), Dropped: rapid.Bool().Draw(t, "dropped")}
				if r := apply(c); r.Err != nil {
					t.Fatal(r.Err)
				}
				if i := slices.IndexFunc(g.slots, func(s dumbSlot) bool { return s.id == c.LeaseID }); i >= 0 {
					g.free(i, now, c.Dropped)
				}
			},
			"heartbeat": func(t *rapid.T) {
				c := &Heartbeat{}
				for range rapid.IntRange(0, 4).Draw(t, "leases") {
					c.LeaseIDs = append(c.LeaseIDs, draw(t))
				}
				beat := apply(c).Beat
				var live, gone []string
				for _, id := range c.LeaseIDs {
					if i := slices.IndexFunc(g.slots, func(s dumbSlot) bool { return s.id == id }); i >= 0 {
						g.slots[i].end = now + SlotTTL
						live = append(live, id)
					} else {
						gone = append(gone, id)
					}
				}
				if !slices.Equal(beat.Live, live) || !slices.Equal(beat.Reclaimed, gone) || beat.NextDeadline != now+SlotTTL {
					t.Fatalf("%+v at %d: %+v, want %v live, %v reclaimed", c, now, beat, live, gone)
				}
			},
			"pass": func(t *rapid.T) {
				now += clock.Millis(rapid.SampledFrom([]int64{1, 10, 300, 999, 1000, 2000}).Draw(t, "ms"))
			},
			"nothing": func(*rapid.T) { apply(nil) },
			"step": func(t *rapid.T) {
				d := clock.Millis(rapid.Int64Range(1, 10_000).Draw(t, "ms"))
				apply(Step{To: now + d})
				now += d
				for i := range g.slots {
					g.slots[i].start += d
					g.slots[i].end += d
				}
			},
			"parameters": func(t *rapid.T) {
				p.Guard.MaxLimit = rapid.IntRange(3, 8).Draw(t, "max")
				p.Guard.MinLimit = rapid.IntRange(1, 3).Draw(t, "min")
				r := apply(Policies{Put: []policy.Policy{p}})
				if r.Err != nil {
					t.Fatal(r.Err)
				}
				g.limiter.Reconfigure(p.Guard)
			},
			"restore": func(t *rapid.T) { m = thaw(outer, m.Freeze()) },
			"": func(t *rapid.T) {
				if err := m.Check(); err != nil {
					t.Fatal(err)
				}
				_, all := m.Policies()
				s := all[0].Guard
				if m.now == now && (s.Limit != g.limiter.Ceiling() || s.InFlight != int64(len(g.slots)) || s.LastRTT != g.limiter.LastRTT()) {
					t.Fatalf("at %d: %+v, want %d of %d slots held", now, s, len(g.slots), g.limiter.Ceiling())
				}
			},
		})
	})
}

// TestLeaseIDs: a slot has one lease id.
func TestLeaseIDs(t *testing.T) {
	p := policy.Policy{Name: "p", Kind: policy.Guarded, MaxKeys: 10, Guard: concurrency.DefaultConfig()}
	j := newJournal(t, DefaultSettings(), p)
	a := j.apply(Digest{}, &Admit{Policy: "p", Nonce: [16]byte{0xab, 15: 0xcd}}).Results[1].Admission
	const id = "3001-ab0000000000000000000000000000cd"
	if a.LeaseID != id || a.Fence != 0x3001 {
		t.Fatalf("%+v, want lease %s", a, id)
	}
	bad := []string{
		"", "-", "3001", "3001-", id[1:], id + "0", id[:len(id)-1], "0" + id, "3002" + id[4:], "3001_" + id[5:],
		strings.ToUpper(id), "+3001" + id[4:], "1000000000003001" + id[4:], "10000000000003001" + id[4:],
		"3001-ab0000000000000000000000000000ce", "3001-bb0000000000000000000000000000cd", "3001-ab000000000000000000000000000gcd",
	}
	if beat := j.apply(&Heartbeat{LeaseIDs: bad}).Results[0].Beat; len(beat.Live) > 0 || !slices.Equal(beat.Reclaimed, bad) {
		t.Errorf("%q are live, %q are not", beat.Live, beat.Reclaimed)
	}
	if beat := j.apply(&Heartbeat{LeaseIDs: []string{id}}).Results[0].Beat; len(beat.Live) != 1 {
		t.Errorf("%+v, want it live", beat)
	}
}

// TestEndingsStayShort: the queue of slots does not grow with heartbeats.
func TestEndingsStayShort(t *testing.T) {
	p := policy.Policy{Name: "p", Kind: policy.Guarded, MaxKeys: 10, Guard: concurrency.DefaultConfig()}
	p.Guard.MinLimit, p.Guard.InitialLimit = 20, 20
	j := newJournal(t, DefaultSettings(), p)
	var ids []string
	for range 20 {
		ids = append(ids, j.apply(&Admit{Policy: "p"}).Results[0].Admission.LeaseID)
	}
	for range 5000 {
		j.now++
		if live := j.apply(&Heartbeat{LeaseIDs: ids}).Results[0].Beat.Live; len(live) != 20 {
			t.Fatalf("at %d only %d slots live", j.now, len(live))
		}
	}
	if n := cap(j.m.endings.list); n > 1000 {
		t.Errorf("the queue of 20 slots has room for %d", n)
	}
	j.now += SlotTTL
	j.apply()
	if j.m.slots.len != 0 {
		t.Errorf("%d slots are left", j.m.slots.len)
	}
}

// TestRequestBounds: at each bound a key or a slot is refused, and what is there
// goes on.
func TestRequestBounds(t *testing.T) {
	s := DefaultSettings()
	s.MaxBudgets = 5
	gcra := rated("gcra", strategy.Params{Name: strategy.GCRA, Limit: 1, Period: 1000, Burst: 9})
	gcra.MaxKeys = 2
	both := gcra
	both.Name, both.Kind, both.Guard = "both", policy.Guarded, concurrency.DefaultConfig()
	j := newJournal(t, s, gcra, both, fixed("window", 9, 1000))
	check := func(name string, keys ...string) Result {
		t.Helper()
		return j.apply(&Check{Policy: name, Keys: keys, Cost: 1}).Results[0]
	}
	r := check("gcra", "a", "b", "c", "a")
	if !r.Decisions[0].Allowed || !r.Decisions[1].Allowed || !r.Decisions[3].Allowed || r.Decisions[2] != (strategy.Decision{}) {
		t.Errorf("two keys of two are %+v", r)
	}
	if len(r.KeyErrs) != 4 || !errors.Is(r.KeyErrs[2], ErrExhausted) || r.KeyErrs[0] != nil || r.KeyErrs[1] != nil || r.KeyErrs[3] != nil {
		t.Errorf("a third key: %v, want ErrExhausted for it alone", r.KeyErrs)
	}
	if r := check("window", "a", "b", "c", "d"); r.KeyErrs == nil || r.KeyErrs[2] != nil || !errors.Is(r.KeyErrs[3], ErrExhausted) {
		t.Errorf("a sixth record: %+v, want ErrExhausted", r)
	}
	// No slot is taken if the rate cannot be charged.
	r = j.apply(&Admit{Policy: "both", Key: "k"}).Results[0]
	if !errors.Is(r.Err, ErrExhausted) || r.Admission != nil || j.m.slots.len != 0 {
		t.Errorf("admitted without a record: %+v, %d slots", r, j.m.slots.len)
	}
	j.now = 2000
	for range 64 {
		j.apply()
	}
	j.m.slots.len += maxSlots // as if
	r = j.apply(&Admit{Policy: "both", Key: "k"}).Results[0]
	j.m.slots.len -= maxSlots
	if !errors.Is(r.Err, ErrExhausted) || j.m.records() != 0 {
		t.Errorf("one slot above the bound: %+v, %d records", r, j.m.records())
	}
}

// TestStatesGoWithTheirPolicy: cells and meters of a policy that is gone, or counts
// in another way, are neither found nor counted, and swept.
func TestStatesGoWithTheirPolicy(t *testing.T) {
	gcra := strategy.Params{Name: strategy.GCRA, Limit: 1, Period: 1e9, Burst: 3}
	slower := gcra
	slower.Limit, slower.Burst = 0.5, 2
	bucket := strategy.Params{Name: strategy.TokenBucket, Capacity: 1, RefillPerSec: 1}
	cells, window, meter := rated("p", gcra), fixed("p", 3, 1e9), fixed("p", 3, 1e9)
	meter.Strategy, meter.Kind, meter.Meter = "", policy.Meter, policy.TokenBudget
	less := meter
	less.Limit = 2
	put := func(p policy.Policy) Policies { return Policies{Put: []policy.Policy{p}} }
	gone := Policies{Delete: []string{"p"}}
	for _, tc := range []struct {
		name    string
		first   policy.Policy
		changes []Policies
		kept    bool
	}{
		{"other parameters", cells, []Policies{put(rated("p", slower))}, true},
		{"deleted and made again", cells, []Policies{gone, put(cells)}, false},
		{"another strategy and back", cells, []Policies{put(rated("p", bucket)), put(cells)}, false},
		{"windows and back", cells, []Policies{put(window), put(cells)}, false},
		{"a meter and back", cells, []Policies{put(meter), put(cells)}, false},
		{"a meter with another budget", meter, []Policies{put(less)}, true},
		{"a meter deleted and made again", meter, []Policies{gone, put(meter)}, false},
		{"a strategy and a meter again", meter, []Policies{put(cells), put(meter)}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			j := newJournal(t, DefaultSettings(), tc.first)
			j.now = 1
			// use charges a key and returns what it has left then.
			use := func(key string) int64 {
				if tc.first.Kind == policy.Meter {
					return j.apply(&Debit{Policy: "p", Key: key, Tokens: 1}).Results[0].Decisions[0].Remaining
				}
				return j.apply(&Check{Policy: "p", Keys: []string{key}, Cost: 1}).Results[0].Decisions[0].Remaining
			}
			sweep := func() {
				for range 70 {
					j.apply()
				}
			}
			for i := range 500 {
				use(fmt.Sprint(i))
			}
			sweep() // it has looked at every shard
			for _, c := range tc.changes {
				if r := j.apply(c).Results[0]; r.Err != nil {
					t.Fatal(r.Err)
				}
			}
			if err := j.m.Check(); err != nil {
				t.Fatal(err)
			}
			if left := use("7"); (left == 0) != tc.kept {
				t.Errorf("%d are left; want the state kept: %v", left, tc.kept)
			}
			for _, m := range []*Machine{thaw(t, j.m.Freeze()), j.m} { // the first has to find the orphans again
				j.m, j.index = m, m.Index()
				sweep()
				if n, _ := j.m.Sizes(); n != map[bool]int{false: 1, true: 500}[tc.kept] || len(j.m.orphans) > 0 {
					t.Errorf("%d records are left, orphans %v", n, j.m.orphans)
				}
			}
		})
	}
}

// TestSweepsAgree: a state that ends sooner than it did, since its policy changed,
// is swept by all replicas at the same entry, also by one that was restored after
// the change and has not looked at any shard before.
func TestSweepsAgree(t *testing.T) {
	bucket := strategy.Params{Name: strategy.TokenBucket, Capacity: 10, RefillPerSec: 0.01}
	j := newJournal(t, DefaultSettings(), rated("p", bucket))
	j.now = 1
	c := &Check{Policy: "p", Keys: []string{"a", "b", "c"}, Cost: 1}
	sweep := func() {
		for range 70 {
			j.apply()
		}
	}
	j.apply(c)
	sweep()
	bucket.RefillPerSec = 1
	j.apply(Policies{Put: []policy.Policy{rated("p", bucket)}})
	j.apply(c)
	other := thaw(t, j.m.Freeze())
	j.now = 100_000 // later than the new end, earlier than the first one
	sweep()
	if n, _ := j.m.Sizes(); n != 0 {
		t.Errorf("%d states that have ended are left", n)
	}
	want := j.m.Freeze().Digest()
	j.m, j.index = other, other.Index()
	sweep()
	if got := j.m.Freeze().Digest(); got != want {
		t.Errorf("the restored replica has digest %s, the other %s", got, want)
	}
}
