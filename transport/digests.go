package transport

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tkcoord/tkcoord/fsm"
)

// A DigestReport compares the replicas at one index.
type DigestReport struct {
	Index uint64
	Equal bool // all nodes that answered agree
	Nodes []NodeDigest
}

// A NodeDigest is one node's digest, or why there is none.
type NodeDigest struct {
	ID     string
	Digest string
	Err    error
}

// errNoDigest: a node did not compute the digest in time.
var errNoDigest = errors.New("no digest in time")

const (
	// digestWait is how long nodes may take to hash their state.
	digestWait = 30 * time.Second
	// digestErrors is for how long a node may answer with errors: one that has
	// just restarted is not reached at once.
	digestErrors = 3 * time.Second
)

// CompareDigests makes all replicas compute the digest of their state at one
// index and compares them. If a majority agrees, an alarm is raised against each
// node that differs, which then stops serving; if the nodes agree, alarms are
// cleared. Fails with ErrNotLeader elsewhere than on the leader.
func (n *Node) CompareDigests(ctx context.Context) (DigestReport, error) {
	applied, err := n.Propose(ctx, fsm.Digest{})
	if err != nil {
		return DigestReport{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, digestWait)
	defer cancel()
	r := DigestReport{Index: applied.Index}
	members := n.Members()
	r.Nodes = make([]NodeDigest, len(members))
	done := make(chan struct{})
	for i, m := range members {
		go func() {
			d, err := n.digestOf(ctx, m, applied.Index)
			r.Nodes[i] = NodeDigest{ID: m.ID, Digest: d, Err: err}
			done <- struct{}{}
		}()
	}
	for range members {
		<-done
	}
	return r, n.judge(context.WithoutCancel(ctx), &r)
}

// digestOf waits for one node's digest.
func (n *Node) digestOf(ctx context.Context, m MemberStatus, index uint64) (string, error) {
	for begin := time.Now(); ; {
		var d string
		var err error
		if m.ID == n.cfg.ID {
			d, _ = n.replica.DigestAt(index)
		} else {
			d, err = n.peers.Digest(ctx, m.GRPCAddress, index)
		}
		if d != "" || err != nil && time.Since(begin) > digestErrors {
			return d, err
		}
		select {
		case <-ctx.Done():
			return "", errNoDigest
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// judge raises or clears alarms by the majority's digest. Without a majority
// nobody can be blamed: the report says so and an operator must decide.
func (n *Node) judge(ctx context.Context, r *DigestReport) error {
	votes := map[string]int{}
	for _, d := range r.Nodes {
		if d.Digest != "" {
			votes[d.Digest]++
		}
	}
	r.Equal = len(votes) == 1
	var errs []error
	for _, d := range r.Nodes {
		odd := false
		for digest, count := range votes {
			odd = odd || digest != d.Digest && count > len(r.Nodes)/2
		}
		if d.Digest == "" || !odd && !r.Equal || odd == n.alarmed(AlarmDigest, d.ID) {
			continue
		}
		alarm := fsm.Alarm{Kind: AlarmDigest, Node: d.ID, Clear: !odd}
		if odd {
			alarm.Detail = fmt.Sprintf("state differs from the majority's at index %d: digest %.16s", r.Index, d.Digest)
			n.log.Error("replica differs", "replica", d.ID, "index", r.Index, "digest", d.Digest)
		}
		if _, err := n.Propose(ctx, alarm); err != nil {
			errs = append(errs, fmt.Errorf("alarm about %s: %w", d.ID, err))
		}
	}
	return errors.Join(errs...)
}

// Kinds of alarms.
const (
	AlarmDigest = "digest" // a replica's state differs
	AlarmClock  = "clock"  // the cluster clock is ahead of the voters' median
)

// alarmed reports whether an alarm is in force.
func (n *Node) alarmed(kind, node string) bool {
	found := false
	n.replica.Query(func(m *fsm.Machine) {
		for _, a := range m.Alarms() {
			found = found || a.Kind == kind && a.Node == node
		}
	})
	return found
}
