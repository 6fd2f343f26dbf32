package fsm

import (
	"encoding/binary"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/policy"
	"github.com/tkcoord/tkcoord/strategy"
)

// Peek says whether a cost of 1 would pass for a key at now, on which the clock
// counts if that is later; nothing is consumed. It is for policies that decide
// every check strictly: others answer ErrUnsupported or ErrUnknownPolicy.
//
// Unlike the other methods of a Machine, Peek and Forecast may be called by
// several goroutines at once, while nothing is applied.
func (m *Machine) Peek(policy, key string, now clock.Millis) (strategy.Decision, error) {
	now = max(now, m.now)
	p, err := m.strict(policy, "peek")
	if err != nil {
		return strategy.Decision{}, err
	}
	if !p.ledger {
		return p.rate.Peek(m.stateOf(p, key), int64(now)), nil
	}
	left, w := m.leftOf(p, key, now)
	d := strategy.Decision{Allowed: left >= 1, Limit: int64(p.Limit), Remaining: int64(left), ResetAt: int64(w.End)}
	if !d.Allowed {
		d.RetryAfter = int64(w.End - now)
	}
	return d, nil
}

// Forecast says what a key could spend on requests of a cost in [1,
// strategy.MaxCost]. It is for the same policies as Peek.
func (m *Machine) Forecast(policy, key string, cost int64, now clock.Millis) (strategy.Forecast, error) {
	now = max(now, m.now)
	p, err := m.strict(policy, "forecast")
	if err != nil {
		return strategy.Forecast{}, err
	}
	if err := checkAmount("cost", cost); err != nil {
		return strategy.Forecast{}, err
	}
	if !p.ledger {
		return p.rate.Forecast(m.stateOf(p, key), int64(now), strategy.Cost(cost)), nil
	}
	left, w := m.leftOf(p, key, now)
	return strategy.Forecast{SpendableNow: int64(left) / cost, NextReplenishAt: int64(w.End), FullAt: int64(w.End)}, nil
}

// strict returns a policy that every check is a command of.
func (m *Machine) strict(name, op string) (*policyState, error) {
	p := m.policies.get([]byte(name))
	switch {
	case p == nil || p.deleted:
		return nil, unknownPolicy([]byte(name))
	case p.Kind == policy.Plain || p.Kind == policy.TwoTier && p.Tier.Mode == policy.Strict:
		return p, nil
	}
	return nil, p.unsupported(op)
}

// keyOf builds a key without the scratch buffer.
func keyOf(id uint32, key string) []byte {
	return append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(key)), id), key...)
}

func (m *Machine) stateOf(p *policyState, key string) *strategy.State {
	if c := m.cells.get(keyOf(p.states, key)); c != nil {
		return &c.State
	}
	return new(strategy.State)
}

// leftOf returns what a key has left, and until when.
func (m *Machine) leftOf(p *policyState, key string, now clock.Millis) (escrow.Credits, escrow.Window) {
	b := m.budgets.get(keyOf(p.id, key))
	w, live := p.windowAt(now, b)
	return p.left(b, live), w
}
