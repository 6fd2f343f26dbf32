// Package nemesis holds the ways in which the suite hurts a cluster. Each one
// has a start and a stop; a Session runs them, keeps the record of what was done
// when, and takes back everything in the end.
//
// A nemesis that cannot run on a cluster is skipped and recorded as such. It is
// never counted as withstood.
package nemesis

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/tkcoord/tkcoord/jepsen/host"
)

// ErrSkipped means that a nemesis cannot run on a cluster; nothing was done.
var ErrSkipped = errors.New("skipped")

// A Nemesis is one way to hurt a cluster.
type Nemesis struct {
	// Name is FAMILY-VARIANT. Nemeses of one family are not combined: they would
	// undo each other's work, or do the same twice.
	Name  string
	About string // what it does, for people
	// Needs are what the cluster must be able to take.
	Needs []host.Capability
	// Excuses are parts of log lines of level error that the fault explains.
	Excuses []string
	// Breaks says that the cluster has no leader while it lasts, or may have none.
	// In what Draw combines it starts last, as others may look for a leader.
	Breaks bool
	// Alone says that it leaves nothing for others to hit. Draw does not combine
	// it.
	Alone bool
	// Start injects the fault and returns once it is in effect. What it draws
	// from rng decides everything that is up to it. An error wrapping ErrSkipped
	// says that this cluster offers no target.
	Start func(ctx context.Context, c *host.Cluster, rng *rand.Rand) (Fault, error)
}

// Family is the part of the name that says what kind of fault it is.
func (n Nemesis) Family() string {
	family, _, _ := strings.Cut(n.Name, "-")
	return family
}

// A Fault is a nemesis at work.
type Fault struct {
	Targets []string // names of hosts
	Detail  string   // what was drawn, for people
	// Hold is how long it should last to show what it is meant to, measured by
	// the cluster's own times. 0 is a fault that is over when Stop returns.
	Hold time.Duration
	// Stop takes it back and returns once that was done. It does not wait until
	// the cluster has recovered, which may take the end of other faults.
	Stop func(ctx context.Context) error
}

// All returns every nemesis. A new one is added to the list of its family, a new
// family here.
func All() []Nemesis {
	return slices.Concat(
		kills(), pauses(), restarts(), partitions(), links(), clocks(), stores(), processors(), leaders(), snapshots(), edges(),
	)
}

// Find returns the nemesis of a name. A name with plus signs is a combination.
func Find(name string) (Nemesis, bool) {
	var parts []Nemesis
	for part := range strings.SplitSeq(name, "+") {
		i := slices.IndexFunc(All(), func(n Nemesis) bool { return n.Name == part })
		if i < 0 {
			return Nemesis{}, false
		}
		parts = append(parts, All()[i])
	}
	return Combine(parts...), true
}

// Lacks returns why a nemesis cannot run on a cluster, "" if nothing is known to
// be missing.
func (n Nemesis) Lacks(c *host.Cluster) string {
	var lacks []string
	for _, need := range n.Needs {
		if why := c.Lacks(need); why != "" {
			lacks = append(lacks, why)
		}
	}
	return strings.Join(lacks, "; ")
}

// between draws a span from [least, most).
func between(rng *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(rng.Int64N(int64(most-least)))
}

// elections is a span in units of what it takes to elect a leader.
func elections(c *host.Cluster, n int) time.Duration {
	return time.Duration(n) * 2 * c.Config().Heartbeat
}
