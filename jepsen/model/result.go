package model

import (
	"fmt"
	"time"
)

// A Stop says why an exploration ended.
type Stop string

const (
	StopExhausted Stop = "exhausted" // every reachable state was visited
	StopViolation Stop = "violation" // Options.Continue was off
	StopStates    Stop = "states"    // Options.MaxStates
	StopDepth     Stop = "depth"     // Options.MaxDepth
	StopContext   Stop = "context"   // cancelled, or out of time
)

// A Result is what an exploration found. Distinct, Generated, Depth and Max
// mean what they mean in TLC, so that numbers can be compared.
type Result struct {
	Distinct  uint64 `json:"distinct"`  // states visited
	Generated uint64 `json:"generated"` // initial states and successors, repetitions included
	Depth     int    `json:"depth"`     // states on the longest of the shortest paths; edges + 1
	Terminal  uint64 `json:"terminal"`  // expanded states without an enabled action

	Max   []Count `json:"max,omitempty"` // of each observable, in the model's order
	Taken []Count `json:"taken"`         // how often a step of each kind was generated

	Violations uint64 `json:"violations"`          // states that break an invariant, and steps that must not happen
	Violation  *Trace `json:"violation,omitempty"` // the first of them, by a shortest path

	Stop    Stop          `json:"stop"`
	Elapsed time.Duration `json:"elapsed_ns"`
	Memory  uint64        `json:"memory_bytes"` // of visited states at the end, without the frontier
}

// A Count is a named number.
type Count struct {
	Name  string `json:"name"`
	Value int64  `json:"value"`
}

// Complete reports whether every reachable state was visited.
func (r *Result) Complete() bool { return r.Stop == StopExhausted }

// Rate returns the distinct states visited per second.
func (r *Result) Rate() float64 { return rate(r.Distinct, r.Elapsed) }

// Maximum returns the largest value of an observable, and whether there is one
// by that name.
func (r *Result) Maximum(name string) (int64, bool) {
	for _, c := range r.Max {
		if c.Name == name {
			return c.Value, true
		}
	}
	return 0, false
}

func (r *Result) String() string {
	s := fmt.Sprintf("%d distinct, %d generated, depth %d, %s", r.Distinct, r.Generated, r.Depth, r.Stop)
	for _, c := range r.Max {
		s += fmt.Sprintf(", max %s %d", c.Name, c.Value)
	}
	if r.Violations > 0 {
		s += fmt.Sprintf(", %d violations", r.Violations)
	}
	return s
}

func rate(n uint64, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}
