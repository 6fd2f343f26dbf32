package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/transport"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

// A relay has operations carried out at another node. All that go to one node
// share a stream: while requests are under way there, what arrives collects for
// the next one, so that the busier a node is, the less each operation costs. Safe
// for concurrent use.
type relay struct {
	forward *Forwarder
	log     interface{ Debug(string, ...any) }

	mu    sync.Mutex // guards the rest
	lines map[string]*line
	ctx   context.Context // of the streams; ends with close
	stop  context.CancelFunc
	work  sync.WaitGroup
}

func newRelay(f *Forwarder, log interface{ Debug(string, ...any) }) *relay {
	r := &relay{forward: f, log: log, lines: make(map[string]*line)}
	r.ctx, r.stop = context.WithCancel(context.Background())
	return r
}

// close ends all streams. Operations under way have an unknown outcome.
func (r *relay) close() {
	r.mu.Lock()
	r.stop()
	r.mu.Unlock()
	r.work.Wait()
}

// do has an operation carried out at the node with this address. Errors are those
// of door.run. When moved is closed somebody else leads: what has not been sent
// then, or may be repeated, is not waited for any longer.
func (r *relay) do(ctx context.Context, address string, op *tkcoordv1.Operation, moved <-chan struct{}) (*tkcoordv1.Outcome, error) {
	e := &errand{op: op, done: make(chan verdict, 1)}
	e.until, _ = ctx.Deadline()
	if op.Trace == nil { // NB: an operation that is repeated may still be read elsewhere
		if t := r.forward.traces.parent(ctx); t != nil {
			op.Trace = t
		}
	}
	l, err := r.line(address)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", transport.ErrNotLeader, err)
	}
	if !l.add(e) {
		return nil, fmt.Errorf("%w: the stream to %s ended", transport.ErrNotLeader, address)
	}
	for {
		select {
		case v := <-e.done:
			return v.out, v.err
		case <-moved:
			moved = nil
			if l.withdraw(e) {
				return nil, fmt.Errorf("%w: leadership moved", transport.ErrNotLeader)
			}
			if repeatable(op.Kind) {
				return nil, fmt.Errorf("%w: leadership moved", transport.ErrOutcomeUnknown)
			}
		case <-ctx.Done():
			if l.withdraw(e) {
				return nil, fmt.Errorf("%w: %w", transport.ErrNotProposed, context.Cause(ctx))
			}
			return nil, fmt.Errorf("%w: %w", transport.ErrOutcomeUnknown, context.Cause(ctx))
		}
	}
}

// line returns the line to a node, a new one if there is none.
func (r *relay) line(address string) (*line, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l := r.lines[address]; l != nil {
		return l, nil
	}
	if r.ctx.Err() != nil {
		return nil, errors.New("this node is shutting down")
	}
	conn, err := r.forward.To(address)
	if err != nil {
		return nil, err
	}
	l := &line{wake: make(chan struct{}, 1), sent: make(map[uint64][]*errand), slots: make(chan struct{}, requestsAhead)}
	r.lines[address] = l
	r.work.Go(func() {
		err := l.run(r.ctx, tkcoordv1.NewRelayClient(conn))
		r.mu.Lock()
		delete(r.lines, address)
		r.mu.Unlock()
		l.end(err)
		r.log.Debug("relay ended", "to", address, "err", err)
	})
	return l, nil
}

// An errand is an operation on its way to another node.
type errand struct {
	op    *tkcoordv1.Operation
	until time.Time    // when nobody waits for it any more, zero is never
	done  chan verdict // buffered: the answer never waits for its reader
}

// Bounds of a line.
const (
	// requestsAhead is how many requests may be under way at once. With one, what
	// arrives just after it was sent waits for two log entries; with many, requests
	// are small.
	requestsAhead = 2
	// maxRelayed operations, with maxRelayedKeys keys and maxRelayedBytes, seal a
	// request. Short keys have answers that are longer than they are: without a bound
	// on their number the answer could be more than a message may be, and the stream
	// would break.
	maxRelayed      = 1024
	maxRelayedKeys  = 4 * fsm.MaxCheckKeys
	maxRelayedBytes = MaxMessage / 2
	// maxWaiting errands wait for their turn. More are refused.
	maxWaiting = 16_384
)

// A line is the stream to one node. It ends with its stream; the next operation
// opens another.
//
// Invariant: an errand that has no verdict yet is in waiting or in sent, and in
// sent as soon as any of it may have left this node.
type line struct {
	wake  chan struct{} // holds one token while something may wait
	slots chan struct{} // one token for each request under way

	mu      sync.Mutex // guards the rest
	waiting []*errand
	sent    map[uint64][]*errand // by request
	last    uint64               // request
	ended   bool
}

// add queues an errand. It reports false if the line has ended.
func (l *line) add(e *errand) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.ended:
		return false
	case len(l.waiting) >= maxWaiting:
		e.done <- verdict{err: fmt.Errorf("%d operations wait: %w", len(l.waiting), transport.ErrOverloaded)}
		return true
	}
	l.waiting = append(l.waiting, e)
	l.signal()
	return true
}

func (l *line) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// withdraw takes an errand back. It reports false if it may have been sent.
func (l *line) withdraw(e *errand) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, w := range l.waiting {
		if w == e {
			l.waiting = append(l.waiting[:i], l.waiting[i+1:]...)
			return true
		}
	}
	return false
}

// run opens the stream and uses it until it ends, or ctx does. It returns nil if
// the other node ended it in good order: what it did not answer, it did not begin.
func (l *line) run(ctx context.Context, client tkcoordv1.RelayClient) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := client.Run(ctx)
	if err != nil {
		return err
	}
	var sending sync.WaitGroup
	sending.Go(func() {
		l.send(ctx, stream)
		cancel() // so that receive ends
	})
	err = l.receive(stream)
	cancel()
	sending.Wait()
	return err
}

// send sends requests until ctx ends or the stream does not take one.
func (l *line) send(ctx context.Context, stream tkcoordv1.Relay_RunClient) {
	for {
		select {
		case <-ctx.Done():
			return
		case l.slots <- struct{}{}:
		}
		var req *tkcoordv1.RunRequest
		for req == nil {
			if req = l.take(); req == nil {
				select {
				case <-ctx.Done():
					return
				case <-l.wake:
				}
			}
		}
		if stream.Send(req) != nil {
			return // receive tells why
		}
	}
}

// take makes a request of what waits, nil if nothing does.
func (l *line) take() *tkcoordv1.RunRequest {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, keys, size := 0, 0, 0
	var latest time.Time
	for _, e := range l.waiting {
		k, s := len(e.op.Keys), proto.Size(e.op)
		if n == maxRelayed || n > 0 && (size+s > maxRelayedBytes || keys+k > maxRelayedKeys) {
			break
		}
		n, keys, size = n+1, keys+k, size+s
		if e.until.After(latest) {
			latest = e.until
		}
	}
	if n == 0 {
		return nil
	}
	l.last++
	req := &tkcoordv1.RunRequest{Id: l.last, TimeoutMs: time.Until(latest).Milliseconds(), Operations: make([]*tkcoordv1.Operation, n)}
	batch := l.waiting[:n:n]
	for i, e := range batch {
		req.Operations[i] = e.op
	}
	l.sent[l.last] = batch
	if l.waiting = l.waiting[n:]; len(l.waiting) > 0 {
		l.signal()
	} else {
		l.waiting = nil
	}
	return req
}

// receive hands out answers until the stream ends, and returns why it did, nil for
// in good order.
func (l *line) receive(stream tkcoordv1.Relay_RunClient) error {
	for {
		res, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		l.mu.Lock()
		batch := l.sent[res.Id]
		delete(l.sent, res.Id)
		l.mu.Unlock()
		if len(batch) != len(res.Outcomes) {
			err = fmt.Errorf("%d answers to %d operations", len(res.Outcomes), len(batch))
			answer(batch, fmt.Errorf("%w: %w", transport.ErrOutcomeUnknown, err))
			return err
		}
		for i, e := range batch {
			e.done <- verdictOf(res.Outcomes[i])
		}
		<-l.slots
	}
}

// end answers all errands once the stream has ended.
func (l *line) end(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	why := fmt.Errorf("%w: the node that leads ended the stream", transport.ErrNotLeader)
	answer(l.waiting, why)
	if err != nil {
		why = fmt.Errorf("%w: connection to the leader: %w", transport.ErrOutcomeUnknown, err)
	}
	for _, batch := range l.sent {
		answer(batch, why)
	}
	l.waiting, l.sent = nil, nil
}

func answer(batch []*errand, err error) {
	for _, e := range batch {
		e.done <- verdict{err: err}
	}
}

// verdictOf translates an answer of the wire.
func verdictOf(o *tkcoordv1.Outcome) verdict {
	f := o.GetFailure()
	if f == nil {
		return verdict{out: o}
	}
	text := errors.New(f.Message)
	switch f.Reason {
	case ReasonNotLeader:
		return verdict{err: fmt.Errorf("%w: there: %w", transport.ErrNotLeader, text)}
	case ReasonUnknown:
		return verdict{err: fmt.Errorf("%w: there: %w", transport.ErrOutcomeUnknown, text)}
	case ReasonOverloaded:
		return verdict{err: fmt.Errorf("%w: there: %w", transport.ErrOverloaded, text)}
	}
	return verdict{err: detailed(codes.Code(f.Code), f.Message, &errdetails.ErrorInfo{Reason: f.Reason, Domain: Domain})}
}
