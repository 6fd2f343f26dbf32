package transport

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"github.com/klauspost/compress/zstd"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/fsm/clock"
)

// A Replica is the state machine of this node as raft sees it: a thin adapter
// that applies entries, notes the cluster clock, and tells others what changed.
type Replica struct {
	log   *slog.Logger
	clock *ClusterClock
	own   uint64      // proposer number of this process
	fatal func(error) // the node must stop
	timed bool        // the entries of this process; set before anything is applied

	mu      sync.RWMutex // Apply, Restore and Freeze write; queries read
	machine *fsm.Machine
	halted  error
	born    bool          // the cluster has its identity
	changed chan struct{} // closed at the next change that subscribers care about
	changes []policyChange
	digests []StateDigest // newest last
	times   [keptTimes]applyTimes

	applied appliedIndex
	hashing sync.WaitGroup
}

// A policyChange names what one version of the policies changed.
type policyChange struct {
	version uint64
	names   []string
}

// A StateDigest is the digest of this replica's state after an entry.
type StateDigest struct {
	Index  uint64
	Digest string
}

// Kept for those who ask a little late.
const (
	keptChanges = 64
	keptDigests = 8
)

// NewReplica returns an empty replica. fatal is called once if the log holds an
// entry that this version cannot apply; the process must then end.
func NewReplica(log *slog.Logger, c *ClusterClock, own uint64, fatal func(error)) *Replica {
	return &Replica{log: log, clock: c, own: own, fatal: fatal, machine: fsm.New(), changed: make(chan struct{})}
}

// Apply implements raft.FSM. Its answer is an fsm.Outcome, or an error when the
// replica has halted.
func (r *Replica) Apply(l *raft.Log) any {
	own := fsm.Proposer(l.Data) == r.own
	t := applyTimes{index: l.Index}
	if own && r.timed {
		t.begun = time.Now()
	}
	r.mu.Lock()
	if r.halted != nil {
		r.mu.Unlock()
		return r.halted
	}
	out, err := r.machine.Apply(l.Index, l.Data, own)
	if err != nil {
		r.halted = err
		r.mu.Unlock()
		r.fatal(fmt.Errorf("apply: %w", err))
		return err
	}
	r.announce(out)
	if own && r.timed {
		t.ended = time.Now()
		r.times[l.Index%keptTimes] = t
	}
	r.mu.Unlock()
	r.clock.Note(out.Now)
	r.applied.advance(l.Index)
	return out
}

// announce wakes subscribers and starts a digest that is due. mu is held.
func (r *Replica) announce(out fsm.Outcome) {
	born := r.machine.ClusterID() != "" && !r.born
	r.born = r.born || born
	if len(out.ChangedPolicies) > 0 {
		r.changes = append(r.changes, policyChange{r.machine.PolicyVersion(), out.ChangedPolicies})
		if len(r.changes) > keptChanges {
			r.changes = slices.Delete(r.changes, 0, 1)
		}
	}
	if out.DigestDue {
		r.startDigest()
	}
	if born || len(out.ChangedPolicies) > 0 || out.AlarmsChanged {
		r.wake()
	}
}

func (r *Replica) wake() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// startDigest hashes the state as it is now, beside later entries. mu is held.
func (r *Replica) startDigest() {
	view := r.machine.Freeze()
	r.hashing.Go(func() {
		d := StateDigest{view.Index(), view.Digest()}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.digests = append(r.digests, d)
		if len(r.digests) > keptDigests {
			r.digests = slices.Delete(r.digests, 0, 1)
		}
		r.wake()
	})
}

// DigestAt returns the digest computed at an index.
func (r *Replica) DigestAt(index uint64) (string, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, d := range r.digests {
		if d.Index == index {
			return d.Digest, true
		}
	}
	return "", false
}

// Changed returns a channel that is closed when policies, alarms, digests or the
// cluster's identity change after this call.
func (r *Replica) Changed() <-chan struct{} {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.changed
}

// ChangedSince names the policies that changed after a version. known is false
// when that is too long ago to tell.
func (r *Replica) ChangedSince(version uint64) (now uint64, names []string, known bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	now = r.machine.PolicyVersion()
	if version == now {
		return now, nil, true
	}
	known = len(r.changes) > 0 && r.changes[0].version <= version+1
	if !known {
		return now, nil, false
	}
	for _, c := range r.changes {
		if c.version > version {
			names = append(names, c.names...)
		}
	}
	slices.Sort(names)
	return now, slices.Compact(names), true
}

// Query calls f with the machine, for reading only, while nothing is applied. f
// must be quick and keep nothing.
func (r *Replica) Query(f func(*fsm.Machine)) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	f(r.machine)
}

// Freeze returns a view of the state, in constant time.
func (r *Replica) Freeze() *fsm.View {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.machine.Freeze()
}

// Snapshot implements raft.FSM. Raft calls it between two entries; Persist then
// runs beside Apply.
func (r *Replica) Snapshot() (raft.FSMSnapshot, error) {
	return &persister{view: r.Freeze(), log: r.log}, nil
}

// Restore implements raft.FSM. The state is replaced only once the whole
// snapshot was read and its checksum agreed.
func (r *Replica) Restore(in io.ReadCloser) (err error) {
	defer func() { err = errors.Join(err, in.Close()) }()
	z, err := zstd.NewReader(in)
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	defer z.Close()
	m, err := fsm.Restore(z)
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	r.mu.Lock()
	r.machine = m
	r.born = m.ClusterID() != ""
	r.changes = nil
	r.wake()
	r.mu.Unlock()
	r.clock.Note(m.Now())
	r.applied.advance(m.Index())
	r.log.Info("restored from snapshot", "index", m.Index(), "clock", int64(m.Now()))
	return nil
}

// Close waits for digests under way.
func (r *Replica) Close() { r.hashing.Wait() }

// Halted returns why the replica stopped applying, or nil.
func (r *Replica) Halted() error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.halted
}

// Clock returns the state machine's clock: the newest applied stamp.
func (r *Replica) Clock() (now clock.Millis) {
	r.Query(func(m *fsm.Machine) { now = m.Now() })
	return now
}

// A persister streams one frozen view into a snapshot file.
type persister struct {
	view *fsm.View
	log  *slog.Logger
}

// Persist implements raft.FSMSnapshot.
func (p *persister) Persist(sink raft.SnapshotSink) error {
	n, err := p.stream(sink)
	if err != nil {
		return errors.Join(fmt.Errorf("persist snapshot %s: %w", sink.ID(), err), sink.Cancel())
	}
	if err := sink.Close(); err != nil {
		return fmt.Errorf("persist snapshot %s: %w", sink.ID(), err)
	}
	p.log.Info("snapshot written", "index", p.view.Index(), "bytes", n)
	return nil
}

// stream returns the size before compression.
func (p *persister) stream(w io.Writer) (int64, error) {
	z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return 0, err
	}
	n, err := p.view.WriteTo(z)
	return n, errors.Join(err, z.Close())
}

// Release implements raft.FSMSnapshot.
func (p *persister) Release() {}
