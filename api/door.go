package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/internal/bug"
	"github.com/tkcoord/tkcoord/transport"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// A door carries out the operations of the public services: here if this node
// leads, else at the leader. Safe for concurrent use.
type door struct {
	node    *transport.Node
	relay   *relay
	catalog *catalog
	traces  *tracing // nil: none
	log     *slog.Logger
}

// errLeaderless: nobody who could carry out an operation is known here.
var errLeaderless = fmt.Errorf("%w, and no leader is known", transport.ErrNotLeader)

// run carries out one operation. While nobody leads it waits for somebody who
// does, see patience. Errors:
//
//   - one that wraps transport.ErrNotLeader or transport.ErrNotProposed: nothing
//     was done.
//   - transport.ErrOutcomeUnknown: the operation may still take effect. It is not
//     repeated, since it has no identity and would count twice, unless repeating
//     it is harmless.
//   - a status, from here or the leader: the answer is no.
func (d *door) run(ctx context.Context, op *tkcoordv1.Operation) (*tkcoordv1.Outcome, error) {
	ctx, cancel, until := patience(ctx)
	defer cancel()
	for {
		moved := d.node.LeaderChanged() // NB: before the node is asked who leads
		out, err := d.once(ctx, op, moved)
		if err == nil {
			tell(ctx, out)
		}
		if err == nil || !again(op.Kind, err) || !pause(ctx, err, moved, until) {
			return out, err
		}
	}
}

// A call of a public service that has IndexHeader in its metadata, with any value, is
// told the log entry that decided it in the header of the same name: of Peek and
// Forecast the last one that was applied before. ClockHeader is the clock of the
// cluster at that instant, in Unix ms. An answer that the cluster did not make has
// neither.
const (
	IndexHeader = "tkcoord-index"
	ClockHeader = "tkcoord-clock"
)

// tell sends the caller those headers, if it wants them.
func tell(ctx context.Context, out *tkcoordv1.Outcome) {
	if out.GetIndex() == 0 || metadata.ValueFromIncomingContext(ctx, IndexHeader) == nil {
		return
	}
	// It fails only once the answer is on its way.
	_ = grpc.SetHeader(ctx, metadata.Pairs(IndexHeader, strconv.FormatUint(out.Index, 10), ClockHeader, strconv.FormatInt(out.ClockMs, 10)))
}

// once asks whoever leads now.
func (d *door) once(ctx context.Context, op *tkcoordv1.Operation, moved <-chan struct{}) (*tkcoordv1.Outcome, error) {
	if bug.Planted(bug.LocalRead) && op.Kind == tkcoordv1.OperationKind_OPERATION_KIND_PEEK {
		return d.read(op)
	}
	l, ok := d.node.Leader()
	switch {
	case ok && l.ID == d.node.ID():
		return d.execute(ctx, op)
	case ok && l.Address != "" && bug.Planted(bug.CheckTwice):
		return d.impatient(ctx, l.Address, op, moved)
	case ok && l.Address != "":
		return d.relay.do(ctx, l.Address, op, moved)
	}
	return nil, errLeaderless
}

// impatient asks the leader again when it does not answer at once. It is a mistake,
// see bug.CheckTwice.
func (d *door) impatient(ctx context.Context, address string, op *tkcoordv1.Operation, moved <-chan struct{}) (*tkcoordv1.Outcome, error) {
	short, cancel := context.WithTimeout(ctx, 2*soon)
	defer cancel()
	out, err := d.relay.do(short, address, op, moved)
	if errors.Is(err, transport.ErrOutcomeUnknown) && ctx.Err() == nil {
		return d.relay.do(ctx, address, op, moved)
	}
	return out, err
}

// again reports whether an operation that failed may be tried again.
func again(kind tkcoordv1.OperationKind, err error) bool {
	if errors.Is(err, transport.ErrOutcomeUnknown) {
		return repeatable(kind)
	}
	return errors.Is(err, transport.ErrNotLeader)
}

// repeatable reports whether it does not matter how often an operation is
// carried out.
func repeatable(kind tkcoordv1.OperationKind) bool {
	switch kind {
	case tkcoordv1.OperationKind_OPERATION_KIND_PEEK, tkcoordv1.OperationKind_OPERATION_KIND_FORECAST,
		tkcoordv1.OperationKind_OPERATION_KIND_RELEASE, tkcoordv1.OperationKind_OPERATION_KIND_HEARTBEAT:
		return true
	}
	return false
}

const (
	// leaderPatience is how long a call without a deadline waits for a leader. An
	// election takes about half a second.
	leaderPatience = 2 * time.Second
	// answerPatience is how long it waits altogether, which is only needed when a
	// leader took it and fell silent.
	answerPatience = 4 * time.Second
	// A call with a deadline waits until shortly before it: for a tenth of its time,
	// at most answerMargin, so that the client still learns that there is no answer.
	answerMargin = 100 * time.Millisecond
)

// patience bounds a call: its context ends when there is no more time for an
// answer, until is when there is no more time for a leader to be found.
func patience(ctx context.Context) (limited context.Context, cancel context.CancelFunc, until time.Time) {
	now := time.Now()
	end, ok := ctx.Deadline()
	if !ok {
		limited, cancel = context.WithDeadline(ctx, now.Add(answerPatience))
		return limited, cancel, now.Add(leaderPatience)
	}
	end = end.Add(-min(answerMargin, end.Sub(now)/10))
	limited, cancel = context.WithDeadline(ctx, end)
	return limited, cancel, end
}

const (
	// soon is when a leader that is known and refused is asked again: it has just
	// been elected, or has just lost an election and does not know who won.
	soon = 10 * time.Millisecond
	// later is when somebody is looked for again. That there is a leader is heard
	// of; its address may be known only a moment later.
	later = 100 * time.Millisecond
)

// pause waits until trying again makes sense, and reports whether it does.
func pause(ctx context.Context, err error, moved <-chan struct{}, until time.Time) bool {
	wait := soon
	if errors.Is(err, errLeaderless) {
		wait = later
	}
	left := time.Until(until)
	if left <= 0 {
		return false
	}
	t := time.NewTimer(min(wait, left))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-moved:
	case <-t.C:
	}
	return time.Now().Before(until)
}
