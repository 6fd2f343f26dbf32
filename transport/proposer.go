package transport

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/internal/bug"
)

// Refusals of Propose beside ErrNotLeader. Nothing was proposed.
var (
	// ErrNotProposed: the caller's context ended while the command waited.
	ErrNotProposed = errors.New("not proposed")
	// ErrOverloaded: too many commands wait. Try again later.
	ErrOverloaded = errors.New("overloaded")
	// ErrTooLarge: the command does not fit into one log entry.
	ErrTooLarge = errors.New("command too large")
)

// ProposerConfig bounds what a proposer holds.
type ProposerConfig struct {
	// MaxCommands and MaxBytes seal a batch. More commands in one entry make
	// fewer writes to the disk, and a longer wait for the first of them.
	MaxCommands int
	MaxBytes    int
	// InFlight is how many entries may be on their way through raft at once.
	// While that many are, arriving commands collect for the next one. With one,
	// entries are as large and as few as they can be; more helps only where
	// batches are full and processors idle.
	InFlight int
	// MaxQueue and MaxQueueBytes bound the commands that wait. Beyond them
	// Propose refuses with ErrOverloaded.
	MaxQueue      int
	MaxQueueBytes int
	// EnqueueTimeout is how long raft may take to accept an entry.
	EnqueueTimeout time.Duration
}

// DefaultProposerConfig suits a disk that syncs in about a millisecond.
func DefaultProposerConfig() ProposerConfig {
	return ProposerConfig{
		MaxCommands:    1024,
		MaxBytes:       fsm.MaxEntryBytes,
		InFlight:       1,
		MaxQueue:       16_384,
		MaxQueueBytes:  32 << 20,
		EnqueueTimeout: 2 * time.Second,
	}
}

// A Proposer puts commands through the log in batches. While one entry is being
// written it collects what arrives and proposes that as the next one, so the
// busier the cluster is, the larger its entries are: nobody waits for a batch to
// fill, and the disk is never the price of a single command.
//
// Propose may be called by any number of goroutines. Commands are accepted from
// accept(true) until lead returns.
type Proposer struct {
	cfg   ProposerConfig
	apply func(entry []byte, timeout time.Duration) raft.ApplyFuture
	stamp func() clock.Millis
	id    uint64                                  // in every entry, so that the replica builds results for it
	guess func(entry []byte) (fsm.Outcome, error) // for a planted bug, see ackEarly
	times func(index uint64) applyTimes           // makes answers carry a Timing; nil does not

	mu     sync.Mutex // guards the rest
	leads  bool
	queue  []*call
	bytes  int
	arrive chan struct{} // holds one token while the queue may be non-empty
	paused bool          // nothing is taken off the queue
	flying int           // batches that were taken and are not settled
	landed chan struct{} // closed when none is any more; nil while nobody waits for it
}

// A call is one command on its way.
type call struct {
	encoded []byte
	queued  int64        // Unix ns, if calls are timed
	state   atomic.Int32 // queued, then taken or given up
	done    chan reply   // buffered: the answer never waits for its reader
}

const (
	callQueued int32 = iota
	callTaken
	callGivenUp
)

type reply struct {
	applied Applied
	err     error
}

// Applied is the answer to one command, and where in the log it took effect.
type Applied struct {
	fsm.Result
	Index  uint64
	Now    clock.Millis
	Timing *Timing // nil unless the node was told to time
}

// NewProposer returns a proposer that accepts nothing yet. id must
// not be 0 and differ from those of all other processes.
func NewProposer(cfg ProposerConfig, id uint64, apply func([]byte, time.Duration) raft.ApplyFuture, stamp func() clock.Millis) *Proposer {
	return &Proposer{cfg: cfg, id: id, apply: apply, stamp: stamp, arrive: make(chan struct{}, 1)}
}

// Propose puts a command through the log and returns its result. The asks of an
// Exchange must have been validated. Errors:
//
//   - ErrNotLeader, ErrOverloaded, ErrTooLarge, and what the command's Validate
//     finds: nothing was proposed.
//   - ErrOutcomeUnknown: the command may still take effect.
//   - ctx's error, wrapped with one of ErrNotProposed and ErrOutcomeUnknown.
//
// A command that was applied and refused has its reason in Applied.Err.
func (p *Proposer) Propose(ctx context.Context, cmd fsm.Command) (Applied, error) {
	if err := cmd.Validate(); err != nil {
		return Applied{}, err
	}
	c := &call{encoded: fsm.Encode(cmd), done: make(chan reply, 1)}
	if err := p.enqueue(c); err != nil {
		return Applied{}, err
	}
	r := c.wait(ctx)
	return r.applied, r.err
}

func (p *Proposer) enqueue(c *call) error {
	if len(c.encoded) > p.cfg.MaxBytes {
		return fmt.Errorf("command of %d bytes, at most %d fit into an entry: %w", len(c.encoded), p.cfg.MaxBytes, ErrTooLarge)
	}
	if p.times != nil {
		c.queued = time.Now().UnixNano()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case !p.leads:
		return ErrNotLeader
	case len(p.queue) >= p.cfg.MaxQueue || p.bytes+len(c.encoded) > p.cfg.MaxQueueBytes:
		return fmt.Errorf("%d commands of %d bytes wait: %w", len(p.queue), p.bytes, ErrOverloaded)
	}
	p.queue = append(p.queue, c)
	p.bytes += len(c.encoded)
	p.signal()
	return nil
}

func (p *Proposer) signal() {
	select {
	case p.arrive <- struct{}{}:
	default:
	}
}

// lead proposes what arrives until ctx ends, which is when leadership does.
// tick is how long the log may stay silent: the clock of the state machine, and
// with it the end of windows, only moves with entries.
//
// It returns when no entry of its own is in flight any more. Commands that were
// not proposed by then are refused.
func (p *Proposer) lead(ctx context.Context, tick time.Duration) {
	slots := make(chan struct{}, p.cfg.InFlight)
	var flying sync.WaitGroup
	defer func() {
		p.accept(false)
		flying.Wait()
	}()
	idle := time.NewTimer(tick)
	defer idle.Stop()
	var batch fsm.Batch
	for {
		select {
		case <-ctx.Done():
			return
		case slots <- struct{}{}:
		}
		idle.Reset(tick)
		stamp := p.stamp
		if bug.Planted(bug.StampEarly) {
			early := p.stamp()
			stamp = func() clock.Millis { return early }
		}
		calls, ok := p.next(ctx, idle.C)
		if !ok {
			return
		}
		batch.Reset()
		for _, c := range calls {
			batch.AddEncoded(c.encoded)
		}
		// NB: the batch is closed before the clock is read, so the stamp is later
		// than the sending of everything in it.
		entry := batch.Seal(stamp(), p.id)
		taken := len(calls) > 0
		if bug.Planted(bug.AckEarly) {
			calls = p.ackEarly(entry, calls)
		}
		sealed := sealing{commands: len(calls), bytes: len(entry)}
		if p.times != nil {
			sealed.at = time.Now()
		}
		future := p.apply(entry, p.cfg.EnqueueTimeout)
		flying.Go(func() {
			p.settle(ctx, future, calls, sealed)
			if taken {
				p.land()
			}
			<-slots
		})
	}
}

// next waits for the next batch. When silence ends first it is empty: such an
// entry carries only its stamp. It reports false when ctx ends.
func (p *Proposer) next(ctx context.Context, silence <-chan time.Time) ([]*call, bool) {
	for {
		if calls := p.take(); len(calls) > 0 {
			if ctx.Err() == nil {
				return calls, true
			}
			p.land()
			return calls, p.refuse(calls)
		}
		select {
		case <-ctx.Done():
			return nil, false
		case <-silence:
			return nil, true
		case <-p.arrive:
		}
	}
}

// refuse answers calls that were taken and not proposed. It reports false.
func (p *Proposer) refuse(calls []*call) bool {
	for _, c := range calls {
		c.done <- reply{err: ErrNotLeader}
	}
	return false
}

// accept opens or closes the queue. Closing refuses what waits in it.
func (p *Proposer) accept(leads bool) {
	p.mu.Lock()
	refused := p.queue
	p.leads, p.queue, p.bytes = leads, nil, 0
	p.mu.Unlock()
	p.refuse(refused)
}

// take removes a batch from the front of the queue.
func (p *Proposer) take() []*call {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.paused {
		return nil
	}
	var calls []*call
	size, n := 0, 0
	for _, c := range p.queue {
		if len(calls) == p.cfg.MaxCommands || size+len(c.encoded) > p.cfg.MaxBytes {
			break
		}
		n++
		p.bytes -= len(c.encoded)
		if c.state.CompareAndSwap(callQueued, callTaken) {
			calls = append(calls, c)
			size += len(c.encoded)
		}
	}
	if p.queue = p.queue[n:]; len(p.queue) > 0 {
		p.signal()
	} else {
		p.queue = nil
	}
	if len(calls) > 0 {
		p.flying++
	}
	return calls
}

// settle answers the calls of one entry. A future that raft never answers, as
// happens when it shuts down under load, becomes an unknown outcome once
// leadership has ended and a grace has passed.
func (p *Proposer) settle(ctx context.Context, future raft.ApplyFuture, calls []*call, sealed sealing) {
	out, err := p.outcome(ctx, future)
	if err == nil && len(out.Results) != len(calls) {
		panic(fmt.Sprintf("transport: entry %d has %d results for %d commands", out.Index, len(out.Results), len(calls)))
	}
	var times applyTimes
	if p.times != nil && err == nil {
		times = p.times(out.Index)
	}
	for i, c := range calls {
		if err != nil {
			c.done <- reply{err: err}
			continue
		}
		applied := Applied{Result: out.Results[i], Index: out.Index, Now: out.Now}
		if p.times != nil {
			applied.Timing = sealed.timing(c, times)
		}
		c.done <- reply{applied: applied}
	}
}

func (p *Proposer) outcome(ctx context.Context, future raft.ApplyFuture) (fsm.Outcome, error) {
	answered := make(chan error, 1)
	go func() { answered <- future.Error() }()
	var err error
	select {
	case err = <-answered:
	case <-ctx.Done():
		select {
		case err = <-answered:
		case <-time.After(futureGrace):
			return fsm.Outcome{}, fmt.Errorf("%w: leadership ended and raft did not answer", ErrOutcomeUnknown)
		}
	}
	switch {
	case err == nil:
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress), errors.Is(err, raft.ErrEnqueueTimeout):
		return fsm.Outcome{}, fmt.Errorf("%w: %w", ErrNotLeader, err)
	default:
		return fsm.Outcome{}, fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
	}
	switch res := future.Response().(type) {
	case fsm.Outcome:
		return res, nil
	case error:
		return fsm.Outcome{}, fmt.Errorf("%w: %w", ErrOutcomeUnknown, res)
	default:
		panic(fmt.Sprintf("transport: replica answered %T", res))
	}
}

// futureGrace is how long after the end of leadership a future may still be
// answered. Raft answers them all when it steps down; only a shutdown under load
// leaves some behind.
const futureGrace = 2 * time.Second
