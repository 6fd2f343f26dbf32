package api

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tkcoord/tkcoord/api/throttlekitv1"
	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/strategy"
	"github.com/tkcoord/tkcoord/transport"
)

// execute carries out one operation at this node, which should lead. Errors are
// those of run.
func (d *door) execute(ctx context.Context, op *tkcoordv1.Operation) (*tkcoordv1.Outcome, error) {
	v := d.executeAll(ctx, []*tkcoordv1.Operation{op})[0]
	return v.out, v.err
}

// A verdict is what became of one operation.
type verdict struct {
	out *tkcoordv1.Outcome
	err error
}

// executeAll carries out operations that do not depend on each other, with one
// wait for all of them.
func (d *door) executeAll(ctx context.Context, ops []*tkcoordv1.Operation) []verdict {
	all := make([]verdict, len(ops))
	if err := d.node.Serving(); err != nil {
		for i := range all {
			all[i].err = fmt.Errorf("%w: it does not serve: %w", transport.ErrNotLeader, err)
		}
		return all
	}
	now := d.catalog.now.Load()
	var cmds []fsm.Command
	var of []int // the operation of each command
	var reads []int
	for i, op := range ops {
		e, err := now.require(op)
		cmd := command(op)
		switch {
		case cmd == nil || err != nil:
			// NB: only of a leader that still leads is it true that there is no such
			// policy.
			reads = append(reads, i)
		case impossible(op):
			all[i].out = deny(e, op)
		default:
			cmds, of = append(cmds, cmd), append(of, i)
		}
	}
	var reading sync.WaitGroup
	if len(reads) > 0 && len(cmds) > 0 {
		reading.Go(func() { d.readAll(ctx, ops, reads, all) })
	} else if len(reads) > 0 {
		d.readAll(ctx, ops, reads, all)
	}
	begun := time.Now()
	for i, r := range d.node.ProposeAll(ctx, cmds) {
		v := &all[of[i]]
		d.traces.proposal(d.asker(ctx, ops[of[i]]), begun, &r.Applied, r.Err)
		if v.err = r.Err; v.err == nil {
			v.out, v.err = d.outcome(ops[of[i]], &r.Applied)
		}
	}
	reading.Wait()
	return all
}

// asker returns the context of who asked for an operation: of one that another node
// passed on, with the span there.
func (d *door) asker(ctx context.Context, op *tkcoordv1.Operation) context.Context {
	if d.traces == nil || len(op.Trace) == 0 {
		return ctx
	}
	return d.traces.under(ctx, op.Trace)
}

// readAll carries out some of the operations after it made sure that this node
// leads.
func (d *door) readAll(ctx context.Context, ops []*tkcoordv1.Operation, which []int, all []verdict) {
	err := d.node.ReadBarrier(ctx)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w: %w", transport.ErrNotProposed, err)
	}
	d.catalog.refresh()
	now := d.catalog.now.Load()
	for _, i := range which {
		v := &all[i]
		if v.err = err; err != nil {
			continue
		}
		if _, v.err = now.require(ops[i]); v.err != nil {
			continue
		}
		if command(ops[i]) != nil {
			v.err = fmt.Errorf("%w: the policy is new here", transport.ErrNotLeader) // the next try finds it
			continue
		}
		v.out, v.err = d.read(ops[i])
	}
}

// impossible reports whether an operation is a check of a cost that no policy can
// have, which is denied. The reference fails on it, and then allows it where its
// fail mode is open.
func impossible(op *tkcoordv1.Operation) bool {
	switch op.Kind {
	case tkcoordv1.OperationKind_OPERATION_KIND_CHECK, tkcoordv1.OperationKind_OPERATION_KIND_CHECK_MANY:
		return op.Amount > strategy.MaxCost
	}
	return false
}

// deny answers a check with denials that nobody decided: their reset_at is 0.
func deny(e *entry, op *tkcoordv1.Operation) *tkcoordv1.Outcome {
	return &tkcoordv1.Outcome{Decisions: repeated(len(op.Keys), e.undecided(false))}
}

// undecided is the answer when nobody could decide. Its reset_at is 0.
func (e *entry) undecided(allowed bool) *throttlekitv1.Decision {
	d := &throttlekitv1.Decision{Allowed: allowed, Limit: e.ceiling}
	if allowed {
		d.Remaining = d.Limit
	}
	return d
}

func repeated(n int, d *throttlekitv1.Decision) []*throttlekitv1.Decision {
	all := make([]*throttlekitv1.Decision, n)
	for i := range all {
		all[i] = d
	}
	return all
}

// command returns the command of an operation, nil if it only reads. An operation
// that lacks something becomes a command that Validate refuses.
func command(op *tkcoordv1.Operation) fsm.Command {
	switch op.Kind {
	case tkcoordv1.OperationKind_OPERATION_KIND_CHECK, tkcoordv1.OperationKind_OPERATION_KIND_CHECK_MANY:
		return &fsm.Check{Policy: op.Policy, Keys: op.Keys, Cost: op.Amount}
	case tkcoordv1.OperationKind_OPERATION_KIND_DEBIT:
		return &fsm.Debit{Policy: op.Policy, Key: first(op.Keys), Tokens: op.Amount}
	case tkcoordv1.OperationKind_OPERATION_KIND_ADMIT:
		return &fsm.Admit{Policy: op.Policy, Key: first(op.Keys), Nonce: nonce(op.Nonce)}
	case tkcoordv1.OperationKind_OPERATION_KIND_RELEASE:
		return &fsm.Release{LeaseID: first(op.Keys), Dropped: op.Dropped}
	case tkcoordv1.OperationKind_OPERATION_KIND_HEARTBEAT:
		return &fsm.Heartbeat{LeaseIDs: op.Keys}
	case tkcoordv1.OperationKind_OPERATION_KIND_RESERVE:
		return &fsm.Reserve{Policy: op.Policy, Key: first(op.Keys), Wants: op.Amount}
	}
	return nil
}

func first(keys []string) string {
	if len(keys) == 0 {
		return ""
	}
	return keys[0]
}

func nonce(b []byte) (n [16]byte) {
	copy(n[:], b)
	return n
}

// read answers an operation that changes nothing, at the cluster clock's present.
// It is linearizable after a read barrier.
func (d *door) read(op *tkcoordv1.Operation) (*tkcoordv1.Outcome, error) {
	if err := validateRead(op); err != nil {
		return nil, err
	}
	now := d.node.ClusterTime()
	out := &tkcoordv1.Outcome{ClockMs: int64(now)}
	var err error
	d.node.Replica().Query(func(m *fsm.Machine) {
		out.Index = m.Index()
		switch op.Kind {
		case tkcoordv1.OperationKind_OPERATION_KIND_PEEK:
			var dec strategy.Decision
			if dec, err = m.Peek(op.Policy, first(op.Keys), now); err == nil {
				out.Decisions = []*throttlekitv1.Decision{wireDecision(&dec)}
			}
		case tkcoordv1.OperationKind_OPERATION_KIND_FORECAST:
			var f strategy.Forecast
			if f, err = m.Forecast(op.Policy, first(op.Keys), op.Amount, now); err == nil {
				out.Forecast = &throttlekitv1.Forecast{SpendableNow: f.SpendableNow, NextReplenishAt: f.NextReplenishAt, FullAt: f.FullAt}
			}
		default:
			err = &fsm.FieldError{Field: "kind", Value: op.Kind.String(), Want: "a kind that this version knows"}
		}
	})
	if err != nil {
		return nil, d.refused(op, err)
	}
	return out, nil
}

// validateRead checks what the commands check for themselves.
func validateRead(op *tkcoordv1.Operation) error {
	probe := &fsm.Debit{Policy: op.Policy, Key: first(op.Keys), Tokens: 1}
	if err := probe.Validate(); err != nil {
		return err
	}
	if op.Kind == tkcoordv1.OperationKind_OPERATION_KIND_FORECAST && (op.Amount < 1 || op.Amount > strategy.MaxCost) {
		return &fsm.FieldError{Field: "cost", Value: fmt.Sprint(op.Amount), Want: fmt.Sprintf("1 to %d", int64(strategy.MaxCost))}
	}
	return nil
}

// outcome translates the result of a command.
func (d *door) outcome(op *tkcoordv1.Operation, a *transport.Applied) (*tkcoordv1.Outcome, error) {
	if a.Err != nil {
		return nil, d.refused(op, a.Err)
	}
	out := &tkcoordv1.Outcome{ClockMs: int64(a.Now), Index: a.Index}
	switch op.Kind {
	case tkcoordv1.OperationKind_OPERATION_KIND_CHECK:
		if len(a.KeyErrs) > 0 && a.KeyErrs[0] != nil {
			return nil, a.KeyErrs[0]
		}
		out.Decisions = wireDecisions(a.Decisions)
	case tkcoordv1.OperationKind_OPERATION_KIND_CHECK_MANY:
		out.Decisions = wireDecisions(a.Decisions)
		for i, err := range a.KeyErrs {
			if err != nil { // a bound; the other keys were charged, so that this is no error
				out.Decisions[i] = &throttlekitv1.Decision{Limit: d.catalog.ceiling(op.Policy)}
			}
		}
	case tkcoordv1.OperationKind_OPERATION_KIND_DEBIT:
		out.Decisions = wireDecisions(a.Decisions)
	case tkcoordv1.OperationKind_OPERATION_KIND_ADMIT:
		out.Decisions = []*throttlekitv1.Decision{wireDecision(&a.Admission.Decision)}
		out.LeaseId, out.LeaseExpiresAt, out.Axis = a.Admission.LeaseID, int64(a.Admission.ExpiresAt), a.Admission.Axis
	case tkcoordv1.OperationKind_OPERATION_KIND_HEARTBEAT:
		out.Live, out.Reclaimed, out.NextDeadline = a.Beat.Live, a.Beat.Reclaimed, int64(a.Beat.NextDeadline)
	case tkcoordv1.OperationKind_OPERATION_KIND_RESERVE:
		r := a.Reserved
		out.Granted, out.Limit = int64(r.Granted), int64(r.Limit)
		out.WindowStartMs, out.WindowEndMs = int64(r.Window.Start), int64(r.Window.End)
	}
	return out, nil
}

// refused puts what the state machine says of a policy that was changed a moment
// ago into the words of the contract.
func (d *door) refused(op *tkcoordv1.Operation, err error) error {
	if errors.Is(err, fsm.ErrUnknownPolicy) || errors.Is(err, fsm.ErrUnsupported) {
		d.catalog.refresh()
		if _, no := d.catalog.now.Load().require(op); no != nil {
			return no
		}
	}
	return err
}

func wireDecision(d *strategy.Decision) *throttlekitv1.Decision {
	return &throttlekitv1.Decision{Allowed: d.Allowed, Limit: d.Limit, Remaining: d.Remaining, ResetAt: d.ResetAt, RetryAfterMs: d.RetryAfter}
}

func wireDecisions(all []strategy.Decision) []*throttlekitv1.Decision {
	slab := make([]throttlekitv1.Decision, len(all)) // one allocation for all
	out := make([]*throttlekitv1.Decision, len(all))
	for i := range all {
		d, w := &all[i], &slab[i]
		w.Allowed, w.Limit, w.Remaining, w.ResetAt, w.RetryAfterMs = d.Allowed, d.Limit, d.Remaining, d.ResetAt, d.RetryAfter
		out[i] = w
	}
	return out
}

func fromWire(d *throttlekitv1.Decision) strategy.Decision {
	return strategy.Decision{Allowed: d.GetAllowed(), Limit: d.GetLimit(), Remaining: d.GetRemaining(), ResetAt: d.GetResetAt(), RetryAfter: d.GetRetryAfterMs()}
}
