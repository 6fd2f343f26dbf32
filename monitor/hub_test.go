package monitor

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tkcoord/tkcoord/strategy"
)

var (
	allow = strategy.Decision{Allowed: true, Limit: 10, Remaining: 4}
	deny  = strategy.Decision{Limit: 10, ResetAt: 99, RetryAfter: 7}
)

// newHub returns a hub whose clock is at *now.
func newHub(now *int64) *Hub { return New(Config{Now: func() int64 { return *now }}) }

func seen(t *testing.T, h *Hub, policy string) Observed {
	t.Helper()
	for _, o := range h.Report("n").Policies {
		if o.Name == policy {
			return o
		}
	}
	t.Fatalf("nothing was seen of %s", policy)
	return Observed{}
}

// Counts are of one window, which begins at a multiple of its length; latencies,
// the limit and the totals outlive it.
func TestWindow(t *testing.T) {
	now := int64(10*Window + 59_999)
	h := newHub(&now)
	h.Decision("p", "gcra", "k", 3, allow, time.Millisecond)
	h.Decision("p", "gcra", "k", 1, deny, 3*time.Millisecond)
	if o := seen(t, h, "p"); o.Window != 10*Window || o.Allowed != 1 || o.Denied != 1 || o.TopDenied[0] != (Count{"k", 1}) || o.TopRequested[0] != (Count{"k", 2}) {
		t.Errorf("before the boundary: %+v", o)
	}
	now++
	h.Decision("p", "gcra", "l", 5, allow, 0)
	o := seen(t, h, "p")
	if o.Window != 11*Window || o.Allowed != 1 || o.Denied != 0 || len(o.TopDenied) != 0 || len(o.TopRequested) != 1 {
		t.Errorf("after it: %+v", o)
	}
	if len(o.Latency) != 3 || o.Limit != 10 {
		t.Errorf("latencies %v, limit %d: they do not end with a window", o.Latency, o.Limit)
	}
	now -= 5 // another node's clock lags
	h.Decision("p", "gcra", "l", 1, allow, 0)
	if o := seen(t, h, "p"); o.Window != 11*Window || o.Allowed != 2 {
		t.Errorf("a clock that lags: %+v", o)
	}
	if got := h.counted([]Configured{{Name: "p"}})[0].totals; got.Allowed != 3 || got.Denied != 1 || got.Units != 9 {
		t.Errorf("totals %+v", got)
	}
}

func TestAdmissions(t *testing.T) {
	now := int64(1)
	h := newHub(&now)
	for _, l := range []Lane{Rate, Concurrency, Concurrency, Policy, Lane(77)} {
		h.Admission(Admission{Policy: "a", Key: "k", Decision: deny, Lane: l})
	}
	h.Admission(Admission{Policy: "a", Key: "k", Decision: allow, Lane: Cost}) // an admission has no lane
	o := seen(t, h, "a")
	if o.Kind != Admitter || o.ByLane != [lanes]int64{1, 2, 0, 2} || o.Denied != 5 || o.Allowed != 1 {
		t.Errorf("%+v", o)
	}
	if o.TopByLane[1][0] != (Count{"k", 2}) || o.TopByLane[2] != nil {
		t.Errorf("keys by lane: %v", o.TopByLane)
	}
	if d := h.Report("").Denials; d[0].Lane != Rate || d[4].Lane != Policy {
		t.Errorf("denials %+v", d)
	}
}

// The newest denials are kept, oldest first, whatever their number.
func TestRecent(t *testing.T) {
	for _, n := range []int{0, 1, Recent - 1, Recent, Recent + 1, 2*Recent - 1, 2 * Recent, 3*Recent + 7} {
		now := int64(0)
		h := newHub(&now)
		for i := range n {
			now = int64(i)
			h.Decision("p", "gcra", "k", 1, deny, 0)
			h.Decision("p", "gcra", "k", 1, allow, 0)
		}
		all := h.Report("").Denials
		if len(all) != min(n, Recent) {
			t.Fatalf("%d of %d denials", len(all), n)
		}
		for i, d := range all {
			if want := int64(n - len(all) + i); d.At != want {
				t.Fatalf("of %d: denial %d is of %d, want %d", n, i, d.At, want)
			}
		}
	}
}

// Beyond the bound, policies are summed up under one name; those that are no longer
// configured make room, at most once in a window.
func TestManyPolicies(t *testing.T) {
	name := func(i int) string { return fmt.Sprintf("p%03d", i) }
	now, first := int64(Window), 0
	h := New(Config{Now: func() int64 { return now }, Configured: func() (all []string) {
		for i := 999; i >= first; i-- {
			all = append(all, name(i))
		}
		return all
	}})
	for i := range MaxPolicies + 20 {
		h.Decision(name(i), "gcra", "k", 1, allow, 0)
	}
	if n := len(*h.taps.Load()); n > MaxPolicies+1 {
		t.Errorf("%d taps", n)
	}
	if o := seen(t, h, Other); o.Allowed != 20 {
		t.Errorf("%d summed up, want 20", o.Allowed)
	}
	first = 100 // the ones before it are deleted
	now += Window
	h.Decision("p900", "gcra", "k", 1, allow, 0)
	if o := seen(t, h, "p900"); o.Allowed != 1 {
		t.Errorf("%+v", o)
	}
	if n := len(*h.taps.Load()); n != MaxPolicies+1-100+1 {
		t.Errorf("%d taps after room was made", n)
	}
}

// Keys are cut where they are long, never within a character.
func TestShown(t *testing.T) {
	long := strings.Repeat("a", MaxKey-1)
	for _, c := range []struct{ key, want string }{
		{"", ""}, {"k", "k"}, {long + "b", long + "b"}, {long + "bc", long + "b"}, {long + "ü", long}, {long[1:] + "ü" + "x", long[1:] + "ü"},
		{strings.Repeat("\x80", 300), strings.Repeat("\x80", MaxKey-4)}, // no text at all
	} {
		if got := shown(c.key); got != c.want {
			t.Errorf("shown(%d bytes) has %d, want %d", len(c.key), len(got), len(c.want))
		}
	}
}

// A hub takes what many goroutines record, while others read and watch, and loses
// nothing. No hub at all takes it, too.
func TestConcurrent(t *testing.T) {
	h := New(Config{Now: func() int64 { return 5 }})
	w, err := h.Watch("")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close() // nobody reads it: that must not keep anything up
	var wg sync.WaitGroup
	const each = 500
	for g := range 4 {
		wg.Go(func() {
			for i := range each {
				h.Decision(fmt.Sprintf("p%d", i%3), "gcra", fmt.Sprintf("k%d", i%20), 1, deny, time.Microsecond)
				if i%100 == g {
					h.Report("")
				}
			}
		})
	}
	wg.Wait()
	var denied int64
	for _, o := range h.Report("").Policies {
		denied += o.Denied
	}
	if denied != 4*each {
		t.Errorf("%d denials were counted, want %d", denied, 4*each)
	}
	var none *Hub
	none.Decision("p", "gcra", "k", 1, deny, 0)
	none.Admission(Admission{})
	if r := none.Report("n"); r.Node != "n" || r.Policies != nil {
		t.Errorf("no hub has seen %+v", r)
	}
	if w, err := none.Watch(""); err != nil || drain(w) != "" {
		t.Errorf("watching no hub: %v", err)
	} else {
		w.Close()
	}
}

func TestWatch(t *testing.T) {
	now := int64(1)
	h := newHub(&now)
	h.Decision("p", "gcra", "before", 1, deny, 0)
	all, err := h.Watch("")
	if err != nil {
		t.Fatal(err)
	}
	one, err := h.Watch("p")
	if err != nil {
		t.Fatal(err)
	}
	h.Decision("p", "gcra", "a", 1, deny, 0)
	h.Decision("pp", "gcra", "b", 1, deny, 0)
	h.Decision("p", "gcra", "c", 1, allow, 0)
	if got := drain(all); got != "a b" {
		t.Errorf("all: %q", got)
	}
	if got := drain(one); got != "a" {
		t.Errorf("one: %q", got)
	}
	one.Close()
	one.Close()
	for range unread + 10 {
		h.Decision("p", "gcra", "d", 1, deny, 0)
	}
	if n := len(strings.Fields(drain(all))); n != unread {
		t.Errorf("%d wait for one that does not read, want %d", n, unread)
	}
	if got := drain(one); got != "" {
		t.Errorf("closed: %q", got)
	}
	for range MaxWatchers - 1 {
		if _, err := h.Watch(""); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.Watch(""); err != ErrTooManyWatchers {
		t.Errorf("one too many: %v", err)
	}
}

func drain(w *Watcher) string {
	var keys []string
	for {
		select {
		case d := <-w.C:
			keys = append(keys, d.Key)
		default:
			return strings.Join(keys, " ")
		}
	}
}

// 500 events pass in each second since the opening.
func TestGate(t *testing.T) {
	g := NewGate(300)
	pass := func(at int64, n int) (passed int) {
		for range n {
			if g.Pass(at) {
				passed++
			}
		}
		return passed
	}
	for _, c := range []struct {
		at   int64
		n    int
		want int
	}{{300, 400, 400}, {1299, 400, 100}, {1300, 600, 500}, {1300, 1, 0}, {9000, 501, 500}} {
		if got := pass(c.at, c.n); got != c.want {
			t.Errorf("at %d %d of %d passed, want %d", c.at, got, c.n, c.want)
		}
	}
}

// What is known costs no memory.
func TestRecordAllocates(t *testing.T) {
	h := New(Config{Now: func() int64 { return 5 }})
	w, err := h.Watch("q")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	record := func() {
		h.Decision("p", "gcra", "k", 1, allow, time.Microsecond)
		h.Decision("p", "gcra", "k", 1, deny, time.Microsecond)
		h.Admission(Admission{Policy: "a", Key: "k", Decision: deny, Lane: Rate})
	}
	record()
	if n := testing.AllocsPerRun(100, record); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// One iteration records one decision.
func BenchmarkDecision(b *testing.B) {
	keys := make([]string, 1000)
	for i := range keys {
		keys[i] = fmt.Sprintf("customer-%06d", i)
	}
	start := time.Now()
	wall := Config{Now: func() int64 { return int64(time.Since(start) / time.Millisecond) }}
	for _, c := range []struct {
		name string
		d    strategy.Decision
		keys int
	}{{"allowed/keys=1", allow, 1}, {"allowed/keys=10", allow, 10}, {"allowed/keys=1000", allow, 1000}, {"denied/keys=10", deny, 10}, {"denied/keys=1000", deny, 1000}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			h := New(wall)
			i := 0
			for b.Loop() {
				h.Decision("policy", "gcra", keys[i%c.keys], 1, c.d, 80*time.Microsecond)
				i++
			}
		})
	}
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		h := New(wall)
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				h.Decision("policy", "gcra", keys[i%10], 1, allow, 80*time.Microsecond)
			}
		})
	})
}
