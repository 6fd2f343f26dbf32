package sim

import (
	"bytes"
	"runtime"
	"testing"
	"time"
)

// report fails a test with everything that a run says about its violation.
func report(t *testing.T, r Result) {
	t.Helper()
	v := r.Violation
	if v == nil {
		return
	}
	for _, line := range v.Tail {
		t.Log(line)
	}
	t.Fatalf("seed %d at %v: %s", r.Seed, v.At, v.What)
}

func TestPromisesHold(t *testing.T) {
	var sum Result
	for seed := range uint64(12) {
		r := Run(Options{Seed: seed, Edges: 40, Span: 4 * time.Minute})
		report(t, r)
		sum.Admissions += r.Admissions
		sum.Restores += r.Restores
		sum.Steps += r.Steps
		sum.Digests += r.Digests
		sum.Calms += r.Calms
		sum.Leaders += r.Leaders
	}
	if sum.Admissions == 0 || sum.Restores == 0 || sum.Steps == 0 || sum.Digests == 0 || sum.Calms == 0 || sum.Leaders < 24 {
		t.Errorf("too little happened for the checks to mean anything: %+v", sum)
	}
}

func TestSameSeedSameTrace(t *testing.T) {
	run := func(processors int) (Result, []byte) {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(processors))
		var text bytes.Buffer
		r := Run(Options{Seed: 7, Edges: 30, Span: 3 * time.Minute, Trace: &text})
		report(t, r)
		return r, text.Bytes()
	}
	first, text := run(1)
	if len(text) == 0 {
		t.Fatal("the trace is empty")
	}
	for _, processors := range []int{1, 2, 4} {
		again, same := run(processors)
		if again != first || !bytes.Equal(same, text) {
			t.Errorf("with GOMAXPROCS=%d: %+v and %d bytes of trace, the first run had %+v and %d", processors, again, len(same), first, len(text))
		}
	}
	if other := Run(Options{Seed: 8, Edges: 30, Span: 3 * time.Minute}); other.Hash == first.Hash {
		t.Error("seeds 7 and 8 have the same trace")
	}
}

// TestSpanOnlyCuts: a longer run begins with the shorter one, so that a violation
// is found again whatever the span.
func TestSpanOnlyCuts(t *testing.T) {
	var short, long bytes.Buffer
	Run(Options{Seed: 3, Edges: 10, Span: 30 * time.Second, Trace: &short})
	Run(Options{Seed: 3, Edges: 10, Span: 60 * time.Second, Trace: &long})
	if !bytes.HasPrefix(long.Bytes(), short.Bytes()) {
		t.Error("the trace of a longer run does not begin with that of the shorter one")
	}
}

// TestBrokenRulesAreFound switches off one detail of the proofs at a time. Each
// must show within a few seeds.
func TestBrokenRulesAreFound(t *testing.T) {
	for name, rules := range map[string]Rules{
		"NoGuard":         {NoGuard: true},
		"ReadAfterReply":  {ReadAfterReply: true},
		"StampBeforeSeal": {StampBeforeSeal: true},
		"WallClockLeader": {WallClockLeader: true},
		"NoStretch":       {NoStretch: true},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(12) {
				r := Run(Options{Seed: seed, Edges: 40, Span: 4 * time.Minute, Broken: rules})
				if r.Violation != nil {
					t.Logf("seed %d at %v: %s", seed, r.Violation.At, r.Violation.What)
					return
				}
			}
			t.Error("no violation in 12 seeds")
		})
	}
}
