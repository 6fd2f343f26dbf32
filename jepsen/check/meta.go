package check

import (
	"time"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/jepsen/history"
)

// Meta describes a run: how it was started, when its phases were, and what its
// end was found to be. It is the file run.json.
type Meta struct {
	Name     string    `json:"name"` // of the scenario
	Seed     uint64    `json:"seed"`
	Version  string    `json:"version"` // of the source
	Bug      string    `json:"bug,omitempty"`
	Command  string    `json:"command"` // does the same again
	Started  time.Time `json:"started"`
	Workload string    `json:"workload"`
	Nemeses  []string  `json:"nemeses"`
	Nodes    []string  `json:"nodes"`
	// Setup is how the cluster was configured, for people.
	Setup map[string]string `json:"setup,omitempty"`

	Heartbeat time.Duration     `json:"heartbeat"`
	Phases    Phases            `json:"phases"`
	Wall      history.WallClock `json:"wall"`
	Committed uint64            `json:"committed"` // index up to which the log is known to be committed
	Digests   *Digests          `json:"digests,omitempty"`
	Last      *LastWrite        `json:"last_write,omitempty"`
	Need      Needs             `json:"need"`
	// Linear names the policies whose budgets porcupine checks: few operations,
	// one ask each.
	Linear []string `json:"linear"`
	// Excused are parts of log lines that the faults of this run explain.
	Excused []string `json:"excused,omitempty"`
	// Died tells of processes that ended without having been told to, or did not
	// when they were.
	Died []string `json:"died,omitempty"`
}

// Phases are the instants at which the phases of a run began.
type Phases struct {
	Boot   history.Time `json:"boot"`
	Warm   history.Time `json:"warm"`   // traffic begins
	Faults history.Time `json:"faults"` // faults begin
	Healed history.Time `json:"healed"` // the last fault was taken back
	Quiet  history.Time `json:"quiet"`  // traffic ends
	End    history.Time `json:"end"`
}

// Digests is the comparison of all replicas at the end of a run.
type Digests struct {
	Index uint64            `json:"index"`
	Nodes map[string]string `json:"nodes"` // digest, or "error: ..."
	Took  time.Duration     `json:"took"`  // from the first attempt to the answer of all nodes
}

// LastWrite is the exchange that ends a run.
type LastWrite struct {
	At    history.Time  `json:"at"`
	Took  time.Duration `json:"took"`
	Index uint64        `json:"index"`
	Error string        `json:"error,omitempty"`
}

// Needs are what a run must have seen and done to count.
type Needs struct {
	Exchanges  int            `json:"exchanges"`  // acknowledged, all clients together
	WarmRate   float64        `json:"warm_rate"`  // acknowledged exchanges per second before the first fault
	Admissions escrow.Credits `json:"admissions"` // units admitted by edges
	Denials    int64          `json:"denials"`    // requests denied by edges: limits were reached
	Windows    int            `json:"windows"`    // windows that ended
	Full       int            `json:"full"`       // windows that were spent to at least half
	Repeats    int            `json:"repeats"`    // repeated requests that took effect
	Changes    int            `json:"changes"`    // changes of policies that took effect
	Linear     int            `json:"linear"`     // operations that porcupine saw
	// Of calls of the public contract:
	Public       int           `json:"public,omitempty"`        // decided
	PublicDenied int           `json:"public_denied,omitempty"` // decided, and denied
	PublicLinear int           `json:"public_linear,omitempty"` // operations that porcupine saw
	Local        int           `json:"local,omitempty"`         // checks that nodes decided from credits of their own
	Slots        int           `json:"slots,omitempty"`         // slots that were held
	Shared       int           `json:"shared,omitempty"`        // windows in which edges and public calls both were admitted
	InFlight     int           `json:"in_flight"`               // operations under way in each fault
	Covered      float64       `json:"covered"`                 // share of the log that was replayed
	FirstReply   time.Duration `json:"first_reply"`             // after the faults
	CatchUp      time.Duration `json:"catch_up"`                // of all nodes, after the faults
	SlowFactor   float64       `json:"slow_factor"`             // p99 after the faults over p99 before
	SlowFloor    time.Duration `json:"slow_floor"`              // a p99 below this is never too slow
}

// DefaultNeeds suits a run of half a minute on a small machine.
func DefaultNeeds() Needs {
	return Needs{
		Exchanges: 300, WarmRate: 10, Admissions: 1000, Denials: 1, Windows: 5, Full: 1, Linear: 50, InFlight: 1,
		Covered: 0.9, FirstReply: 5 * time.Second, CatchUp: 30 * time.Second, SlowFactor: 2, SlowFloor: 750 * time.Millisecond,
	}
}
