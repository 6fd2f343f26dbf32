package transport

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// MembershipConfig tells how servers come and go. DefaultMembershipConfig lacks
// ID, BootstrapExpect and Stats.
type MembershipConfig struct {
	ID raft.ServerID // this node
	// BootstrapExpect equal nodes form a new cluster, see founder; 0 waits to be
	// added to one.
	BootstrapExpect int

	// MaxVoters, an odd number, bounds the servers that vote. Each more makes
	// every commit wait for more disks; with 5, two may fail. A server beyond it
	// stays a non-voter: it has the data, and takes the place of a voter that is
	// removed.
	MaxVoters int
	// MinServers is how few servers the removal of dead ones may leave, so that
	// the last copies of the data are never given up unattended.
	MinServers int
	// DeadAfter is how long a server must be both absent from gossip and not
	// answering raft before it is removed. A shorter outage than this, a restart
	// or a paused machine, must not cost it its membership.
	DeadAfter time.Duration

	// A non-voter may vote after it was healthy for StableFor: it gossips, it
	// answered within MaxSilence, and it lacks at most MaxLag entries.
	StableFor  time.Duration
	MaxSilence time.Duration
	MaxLag     uint64

	// RemovedAfter is how long a server that its configuration does not contain
	// must hear from no leader before it calls itself removed.
	RemovedAfter time.Duration
	// Every is how often a node looks at what gossip shows when gossip does not
	// announce a change, and how often the leader asks servers for Stats.
	Every time.Duration

	// Stats asks another server for its newest log entry.
	Stats func(ctx context.Context, p Peer) (lastIndex, lastTerm uint64, err error)
}

// DefaultMembershipConfig suits a local network.
func DefaultMembershipConfig() MembershipConfig {
	return MembershipConfig{
		MaxVoters:    5,
		MinServers:   3,
		DeadAfter:    5 * time.Minute,
		StableFor:    10 * time.Second,
		MaxSilence:   2 * time.Second,
		MaxLag:       1000,
		RemovedAfter: 5 * time.Second,
		Every:        2 * time.Second,
	}
}

// Validate reports all problems at once.
func (c MembershipConfig) Validate() error {
	var errs []error
	need := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	need(c.ID != "", "no server id")
	need(c.MaxVoters > 0 && c.MaxVoters%2 == 1, "max voters %d, want an odd number", c.MaxVoters)
	need(c.BootstrapExpect >= 0 && c.BootstrapExpect <= c.MaxVoters, "bootstrap-expect %d, want 0 to %d", c.BootstrapExpect, c.MaxVoters)
	need(c.MinServers >= 0, "min servers %d is negative", c.MinServers)
	need(c.DeadAfter > 0 && c.StableFor > 0 && c.MaxSilence > 0 && c.RemovedAfter > 0 && c.Every > 0, "durations must be positive")
	need(c.Stats != nil, "no way to ask servers for stats")
	return errors.Join(errs...)
}
