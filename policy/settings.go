package policy

import (
	"strconv"

	"github.com/tkcoord/tkcoord/concurrency"
	"github.com/tkcoord/tkcoord/escrow"
)

// A setting is one key of a policy file, with its value as a file has it.
type setting struct {
	block, key string // block is "" for the keys of the policy itself
	value      string
	byDefault  bool // the value is what the key means when it is absent
}

// name is the key with its block.
func (s setting) name() string {
	if s.block == "" {
		return s.key
	}
	return s.block + "." + s.key
}

// A writer collects the settings of one policy.
type writer struct {
	block string
	list  []setting
}

func (w *writer) word(key, value, otherwise string) {
	w.list = append(w.list, setting{w.block, key, value, value == otherwise})
}

func (w *writer) number(key string, x float64) { w.word(key, formatNumber(x), "") }

func (w *writer) numberOr(key string, x, otherwise float64) {
	w.word(key, formatNumber(x), formatNumber(otherwise))
}

func (w *writer) int(key string, n int64) { w.word(key, strconv.FormatInt(n, 10), "") }

func (w *writer) intOr(key string, n, otherwise int64) {
	w.word(key, strconv.FormatInt(n, 10), strconv.FormatInt(otherwise, 10))
}

// settings returns the keys that a valid policy has in a file, in the order in
// which Format writes them.
func settings(p Policy) []setting {
	var w writer
	if p.Kind == Meter {
		w.block = string(p.Meter)
		w.int("budget", int64(p.Limit))
		w.int("windowMs", int64(p.Cadence.Period))
		w.intOr("maxKeys", int64(p.MaxKeys), DefaultMaxKeys)
		return w.list
	}
	if p.Strategy != "" {
		w.word("strategy", string(p.Strategy), "")
		w.strategy(&p)
	}
	w.intOr("maxKeys", int64(p.MaxKeys), DefaultMaxKeys)
	w.blocks(&p)
	return w.list
}

// strategy writes the parameters of a strategy.
func (w *writer) strategy(p *Policy) {
	r := p.Rate
	switch {
	case p.Ledger():
		w.ledger(p)
	case r.Name == TokenBucket:
		w.number("capacity", r.Capacity)
		w.number("refillPerSec", r.RefillPerSec)
	default:
		w.number("limit", r.Limit)
		if r.Rolling {
			w.word("resetCadence", rolling, "")
		}
		w.word("period", formatPeriod(r.Period), "")
		if r.Name == GCRA {
			w.numberOr("burst", r.Burst, r.Limit)
		}
		if r.Name == SlidingWindow || r.Rolling {
			w.intOr("buckets", int64(r.Buckets), defaultBuckets)
		}
	}
}

// ledger writes a limit and its windows.
func (w *writer) ledger(p *Policy) {
	c := p.Cadence
	w.int("limit", int64(p.Limit))
	if p.Strategy == Quota {
		w.word("resetCadence", c.Kind.String(), "")
	}
	if c.Kind == escrow.Fixed {
		w.word("period", formatSpan(c.Period), "")
	}
	switch {
	case p.Strategy != Quota || p.Kind == Federated:
	case c.Kind == escrow.Fixed:
		w.intOr("anchor", int64(c.Anchor), 0)
	default:
		w.intOr("offsetMinutes", int64(c.OffsetMinutes), 0)
	}
	if c.Kind == escrow.CalendarWeek {
		w.intOr("weekStartsOn", int64(c.WeekStart), monday)
	}
}

// blocks writes the block that makes the policy's kind.
func (w *writer) blocks(p *Policy) {
	switch p.Kind {
	case TwoTier:
		w.block = "twoTier"
		w.word("mode", string(p.Tier.Mode), string(Leased))
		if p.Tier.Mode == Leased {
			w.int("batch", int64(p.Tier.Batch))
			w.numberOr("lowWater", p.Tier.LowWater, 0)
			w.word("windowCoupled", strconv.FormatBool(p.Tier.WindowCoupled), "false")
			w.intOr("returnIdleAfterMs", int64(p.Tier.ReturnIdleAfter), 0)
		}
	case Federated:
		w.block = "federated"
		w.intOr("batch", int64(p.Batch), defaultFederatedBatch)
	case Guarded:
		w.guard(p)
	}
}

func (w *writer) guard(p *Policy) {
	c, d := p.Guard, concurrency.DefaultConfig()
	w.block = "concurrency"
	w.intOr("minLimit", int64(c.MinLimit), int64(d.MinLimit))
	w.intOr("maxLimit", int64(c.MaxLimit), int64(d.MaxLimit))
	w.intOr("initialLimit", int64(c.InitialLimit), int64(c.MinLimit))
	w.word("algorithm", string(c.Algorithm), string(d.Algorithm))
	w.intOr("rttWindow", int64(c.RTTWindow), int64(d.RTTWindow))
	w.numberOr("smoothing", c.Smoothing, d.Smoothing)
	w.numberOr("tolerance", c.Tolerance, d.Tolerance)
	w.numberOr("backoffRatio", c.BackoffRatio, d.BackoffRatio)
}
