package transport

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/tkcoord/tkcoord/fsm"
)

// Answers tell when what happened, in order and of their own entry, if the node was
// told to time; else they tell nothing.
func TestTiming(t *testing.T) {
	p := newProposing(t, 1, nil)[0]
	if a := p.must(t, session("untimed")); a.Timing != nil {
		t.Errorf("timed without being told: %+v", a.Timing)
	}
	timed := newProposing(t, 1, nil)[0]
	timed.stop() // nothing reads what is set now
	timed.replica.timed = true
	timed.times = timed.replica.timesOf
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	timed.accept(true)
	go func() {
		defer close(ended)
		timed.Proposer.lead(ctx, 1<<40)
	}()
	defer func() { cancel(); <-ended }()
	for i := range 2*keptTimes + 3 {
		a := timed.must(t, session(fmt.Sprint("e", i)))
		x := a.Timing
		if x == nil || x.Commands != 1 || x.Bytes == 0 {
			t.Fatalf("entry %d: %+v", a.Index, x)
		}
		if x.Queued.After(x.Sealed) || x.Sealed.After(x.Committed) || x.Committed.After(x.Applied) || x.Applied.IsZero() {
			t.Fatalf("entry %d: not in order: %+v", a.Index, x)
		}
	}
}

// One iteration is one exchange that went through the log of a single node in
// memory, by many callers at once.
func BenchmarkPropose(b *testing.B) {
	p := newProposing(b, 1, nil)[0]
	b.ReportAllocs()
	b.SetParallelism(32)
	var edges atomic.Int64
	b.RunParallel(func(pb *testing.PB) {
		x := fsm.Exchange{EdgeID: fmt.Sprint("e", edges.Add(1)), Incarnation: 1}
		for pb.Next() {
			x.Seq++
			a, err := p.Propose(b.Context(), &x)
			if err != nil || a.Err != nil {
				b.Error(err, a.Err)
				return
			}
			x.Session = a.Session
		}
	})
}
