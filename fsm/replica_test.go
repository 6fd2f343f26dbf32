package fsm

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"

	"github.com/tkcoord/tkcoord/escrow"
	"pgregory.net/rapid"
)

// drawLog draws a log of n entries with a few commands each, the first of which
// is the birth of a cluster. It returns the machine that applied it.
func drawLog(t *rapid.T, n int, settings Settings) (log [][]byte, m *Machine) {
	m = New()
	s := newStory(t, m)
	s.wide = rapid.Bool().Draw(t, "wide")
	entry := func(cmds ...Command) {
		var b Batch
		for _, c := range cmds {
			b.Add(c)
		}
		log = append(log, b.Seal(s.stamp(), 7))
		out, err := m.Apply(uint64(2*len(log)), log[len(log)-1], true)
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range out.Results {
			s.heard(cmds[i], r)
		}
	}
	entry(Genesis{ClusterID: "c", Settings: settings}, s.founding())
	for len(log) < n {
		var cmds []Command
		for range s.one("commands", 4) {
			switch c := s.command(); {
			case c != nil:
				cmds = append(cmds, c)
			case s.one("alarm", 2) == 1:
				cmds = append(cmds, Alarm{Kind: "clock", Node: fmt.Sprint(s.one("node", 3)), Clear: s.one("clear", 2) == 1})
			default:
				cmds = append(cmds, Digest{})
			}
		}
		entry(cmds...)
	}
	return log, m
}

// replay applies the entries from one to the other.
func replay(t testing.TB, m *Machine, log [][]byte, from, to int, results bool) {
	t.Helper()
	for i := from; i < to; i++ {
		if _, err := m.Apply(uint64(2*(i+1)), log[i], results); err != nil {
			t.Fatal(err)
		}
	}
}

// bytesOf returns the snapshot of a view.
func bytesOf(t testing.TB, v *View) []byte {
	t.Helper()
	var buf bytes.Buffer
	if n, err := v.WriteTo(&buf); err != nil || n != int64(buf.Len()) {
		t.Fatalf("WriteTo() = %d, %v; wrote %d bytes", n, err, buf.Len())
	}
	return buf.Bytes()
}

// TestReplicasAreByteEqual: equal logs make equal bytes, with results and
// without, and from a snapshot taken anywhere.
func TestReplicasAreByteEqual(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		log, m := drawLog(rt, 25, tight())
		want := bytesOf(t, m.Freeze())

		silent := New()
		replay(t, silent, log, 0, len(log), false)
		if !bytes.Equal(bytesOf(t, silent.Freeze()), want) {
			rt.Fatal("a replica that builds no results differs")
		}

		cut := rapid.IntRange(1, len(log)).Draw(rt, "cut")
		half := New()
		replay(t, half, log, 0, cut, true)
		at := bytesOf(t, half.Freeze())
		restored, err := Restore(bytes.NewReader(at))
		if err != nil {
			rt.Fatal(err)
		}
		if !bytes.Equal(bytesOf(t, restored.Freeze()), at) {
			rt.Fatalf("after %d entries the restored machine differs", cut)
		}
		replay(t, restored, log, cut, len(log), false)
		if !bytes.Equal(bytesOf(t, restored.Freeze()), want) {
			rt.Fatalf("a replica restored after %d of %d entries differs at the end", cut, len(log))
		}
		if err := restored.Check(); err != nil {
			rt.Fatal(err)
		}
		if restored.Freeze().Digest() != m.Freeze().Digest() {
			rt.Fatal("equal bytes have other digests")
		}
	})
}

// TestViewsStandStill: views are written by other goroutines while the log goes
// on. Each is the state as it was frozen.
func TestViewsStandStill(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		log, _ := drawLog(rt, 40, tight())
		m := New()
		var writers sync.WaitGroup
		var views []*View
		var during []*bytes.Buffer // what was written while the log went on
		for i := range log {
			replay(t, m, log, i, i+1, i%2 == 0)
			if i%5 != 0 {
				continue
			}
			v, buf := m.Freeze(), new(bytes.Buffer)
			views, during = append(views, v), append(during, buf)
			writers.Go(func() {
				_, _ = v.WriteTo(buf) // a buffer takes everything
				for range v.Budgets {
					break
				}
			})
			if i%10 == 0 {
				writers.Wait() // some are done before the log goes on
			}
		}
		writers.Wait()
		again := New()
		for i, n := 0, 0; i < len(log); i++ {
			if replay(t, again, log, i, i+1, false); i%5 != 0 {
				continue
			}
			want := bytesOf(t, again.Freeze())
			if !bytes.Equal(during[n].Bytes(), want) {
				rt.Fatalf("the view of entry %d, written while the log went on, differs", i)
			}
			if !bytes.Equal(bytesOf(t, views[n]), want) {
				rt.Fatalf("the view of entry %d changed later", i)
			}
			n++
		}
	})
}

// TestRepeatsChangeNothing: an exchange that arrives again, and all exchanges of
// a while in any order, grant nothing beyond what they did at first.
func TestRepeatsChangeNothing(t *testing.T) {
	// grew names the budgets that have more credits out than before. A sweep may
	// have forgotten some.
	grew := func(before map[string]escrow.Credits, m *Machine) string {
		for name, n := range outOf(m) {
			if n != before[name] {
				return fmt.Sprintf("%s has %d out after %d", name, n, before[name])
			}
		}
		return ""
	}
	rapid.Check(t, func(rt *rapid.T) {
		wide := tight() // a key that is refused at a bound may have room a little later
		wide.MaxBudgets, wide.MaxEdges, wide.MaxHolders = 1000, 1000, 1000
		_, m := drawLog(rt, 10, wide)
		for _, p := range m.policies.sorted() {
			p.MaxKeys = 1000
		}
		s := newStory(rt, m)
		s.now = m.now
		var sent []*Exchange
		for range rapid.IntRange(1, 12).Draw(rt, "exchanges") {
			x := s.exchange()
			x.Asks = once(x.Asks)
			onlyAsks := s.one("onlyAsks", 3) > 0
			for i := range x.Asks {
				if onlyAsks {
					x.Asks[i].Used, x.Asks[i].Returned = 0, 0
				}
			}
			r := one(rt, m, m.now, x)
			s.heard(x, r)
			before := outOf(m)
			one(rt, m, m.now, x)
			if what := grew(before, m); what != "" {
				rt.Fatalf("%+v again: %s", x, what)
			}
			if onlyAsks {
				sent = append(sent, x)
			}
		}
		// What was only asked for, in another order. Totals that were reported in
		// between may make room: then a repeated wish is a wish.
		m2 := thaw(t, m.Freeze())
		for _, x := range sent {
			one(rt, m2, m2.now, x)
		}
		before := outOf(m2)
		for _, x := range rapid.Permutation(sent).Draw(rt, "order") {
			one(rt, m2, m2.now, x)
		}
		if what := grew(before, m2); what != "" {
			rt.Fatalf("repeated in another order: %s", what)
		}
	})
}

// TestSecondAskIsHarmless: an edge asks once for each budget in an exchange. If it
// asks again, that counts as an exchange of its own that comes right after, to
// the byte: so what is proved of exchanges that are repeated and overtaken holds.
func TestSecondAskIsHarmless(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		_, m := drawLog(rt, 10, tight())
		s := newStory(rt, m)
		s.now = m.now
		x := s.exchange()
		for range rapid.IntRange(1, 4).Draw(rt, "more") {
			a := s.ask(x.Session)
			if again := x.Asks[s.one("again", len(x.Asks))]; s.one("same", 4) > 0 {
				a.Policy, a.Key = again.Policy, again.Key
			}
			x.Asks = append(x.Asks, a)
		}
		var single []Command
		for _, a := range x.Asks {
			y := *x
			y.Asks = []Ask{a}
			single = append(single, &y)
		}
		other := thaw(t, m.Freeze())
		got := one(rt, m, m.now, x)
		out := apply(rt, other, other.now, single...)
		for i, r := range out.Results {
			if fmt.Sprint(got.Err) != fmt.Sprint(r.Err) || got.Session != r.Session {
				rt.Fatalf("%+v: %v, session %d; want %v, %d", x, got.Err, got.Session, r.Err, r.Session)
			}
			if r.Err == nil && fmt.Sprint(got.Answers[i]) != fmt.Sprint(r.Answers[0]) {
				rt.Fatalf("%+v: ask %d is answered %+v, alone %+v", x, i, got.Answers[i], r.Answers[0])
			}
		}
		if m.Freeze().Digest() != other.Freeze().Digest() {
			rt.Fatalf("%+v leaves another state than its asks one by one", x)
		}
	})
}

// once keeps one ask for each budget, which is what an edge may send.
func once(asks []Ask) []Ask {
	slices.SortStableFunc(asks, func(a, b Ask) int { return cmp.Compare(a.Policy+"/"+a.Key, b.Policy+"/"+b.Key) })
	return slices.CompactFunc(asks, func(a, b Ask) bool { return a.Policy == b.Policy && a.Key == b.Key })
}

func outOf(m *Machine) map[string]escrow.Credits {
	sums := map[string]escrow.Credits{}
	for b := range m.Freeze().Budgets {
		sums[b.Policy+"/"+b.Key] = b.Out
	}
	return sums
}

// failAfter takes n bytes.
type failAfter struct{ n int }

func (f *failAfter) Write(b []byte) (int, error) {
	if f.n -= len(b); f.n < 0 {
		return 0, io.ErrShortWrite
	}
	return len(b), nil
}

func TestWriteToReportsErrors(t *testing.T) {
	j := newJournal(t, DefaultSettings(), fixed("api", 100, 1000))
	size := len(bytesOf(t, j.m.Freeze()))
	for n := range size {
		if _, err := j.m.Freeze().WriteTo(&failAfter{n}); err == nil {
			t.Fatalf("no error although only %d of %d bytes were taken", n, size)
		}
	}
}
