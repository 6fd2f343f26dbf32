package policy

import (
	"math"
	"strings"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/strategy"
)

var (
	strategies = []string{
		string(GCRA), string(TokenBucket), string(FixedWindow), string(SlidingWindow), string(SlidingWindowLog), string(Quota),
	}
	cadences = []string{
		escrow.CalendarMonth.String(), escrow.CalendarWeek.String(), escrow.CalendarDay.String(), escrow.Fixed.String(), rolling,
	}
)

// rolling is the cadence of a quota that has no windows.
const rolling = "rolling"

// monday is the first day of the week unless a policy says otherwise.
const monday = 1

// strategy reads how a policy counts.
func (m section) strategy() Strategy {
	name, _ := m.choice("strategy", "", "unknown strategy", strategies)
	return Strategy(name)
}

// rate reads strategy and its parameters. It returns what it read, for problems,
// "" if there is no such strategy.
func (m section) rate(p *Policy) string {
	p.Strategy = m.strategy()
	what := "strategy " + string(p.Strategy)
	switch p.Strategy {
	case "":
		return ""
	case Quota:
		what = m.quota(p)
	case FixedWindow:
		p.Limit = m.credits("limit")
		p.Cadence = escrow.Cadence{Kind: escrow.Fixed, Period: m.window("windowMs")}
	case TokenBucket:
		p.Rate = strategy.Params{Capacity: m.required("capacity", aboveZero), RefillPerSec: m.required("refillPerSec", aboveZero)}
	case GCRA:
		p.Rate = strategy.Params{Limit: m.required("limit", aboveZero), Period: m.length("periodMs", "windowMs")}
		p.Rate.Burst = m.burst(p.Rate.Limit)
	case SlidingWindow:
		p.Rate = strategy.Params{Limit: m.required("limit", aboveZero), Period: m.length("windowMs"), Buckets: m.buckets()}
	case SlidingWindowLog:
		p.Rate = strategy.Params{Limit: m.required("limit", aboveZero), Period: m.length("windowMs")}
	}
	if p.Rate != (strategy.Params{}) {
		p.Rate.Name = p.Strategy
		m.checkParams(p.Rate)
	}
	return what
}

// checkParams reports parameters that are allowed one by one and not together. It
// is silent where a parameter is missing or wrong, which was reported.
func (m section) checkParams(p strategy.Params) {
	complete := p.Name == TokenBucket && p.Capacity > 0 && p.RefillPerSec > 0 ||
		p.Name != TokenBucket && p.Limit > 0 && p.Period > 0 && (p.Name != GCRA || p.Burst >= 1)
	if !complete {
		return
	}
	if err := p.Validate(); err != nil {
		m.refuse(m.line, m.at, "%v", err)
	}
}

// burst reads the burst of gcra, which is the limit unless the file says
// otherwise.
func (m section) burst(limit float64) float64 {
	burst := m.number("burst", oneOrMore, limit)
	if burst > 0 && burst < 1 {
		m.missing("burst", "a number of at least 1, since limit, its default, is "+formatNumber(limit))
	}
	return burst
}

func (m section) buckets() int {
	return int(m.whole("buckets", 1, strategy.MaxBuckets, defaultBuckets))
}

// quota reads how a quota resets.
func (m section) quota(p *Policy) string {
	name := m.cadence()
	what := "resetCadence " + name
	switch name {
	case "":
		return ""
	case rolling:
		p.Rate = strategy.Params{Limit: m.required("limit", aboveZero), Period: m.length("periodMs"), Buckets: m.buckets(), Rolling: true}
		return what
	case escrow.Fixed.String():
		p.Cadence = escrow.Cadence{Kind: escrow.Fixed, Period: m.window("periodMs")}
		p.Cadence.Anchor = m.anchor(p.Cadence.Period)
	case escrow.CalendarDay.String():
		p.Cadence = escrow.Cadence{Kind: escrow.CalendarDay, OffsetMinutes: m.offset()}
	case escrow.CalendarWeek.String():
		p.Cadence = escrow.Cadence{Kind: escrow.CalendarWeek, OffsetMinutes: m.offset(), WeekStart: int32(m.whole("weekStartsOn", 0, 6, monday))}
	case escrow.CalendarMonth.String():
		p.Cadence = escrow.Cadence{Kind: escrow.CalendarMonth, OffsetMinutes: m.offset()}
	}
	p.Limit = m.credits("limit")
	return what
}

// cadence returns how a quota resets, or "".
func (m section) cadence() string {
	if m.find("resetCadence") == nil {
		m.refuse(m.line, m.at.to("resetCadence"), "required for quota: one of %s", strings.Join(cadences, ", "))
		return ""
	}
	name, _ := m.choice("resetCadence", "", "got", cadences)
	return name
}

func (m section) offset() int32 { return int32(m.whole("offsetMinutes", -840, 840, 0)) }

// anchor reads where windows begin. Every start of a window is as good an anchor
// as any other, and Policy wants the one in [0, period).
func (m section) anchor(period escrow.Millis) escrow.Millis {
	a := escrow.Millis(m.whole("anchor", -int64(escrow.MaxCredits), int64(escrow.MaxCredits), 0))
	if period == 0 {
		return 0
	}
	return (a%period + period) % period
}

// federatedRate reads the strategy of a federated policy: whatever it is, it
// counts in fixed windows aligned on the epoch. It returns what rate returns.
func (m section) federatedRate(p *Policy) string {
	p.Strategy = m.strategy()
	other, refused := "windowMs", string(p.Strategy)
	what := "strategy " + refused + " with federated"
	switch p.Strategy {
	case "":
		return ""
	case Quota:
		name := m.cadence()
		if name == "" {
			return ""
		}
		other, what = "periodMs", "resetCadence "+name+" with federated"
		if refused = string(Quota) + " " + name; name == rolling || name == escrow.Fixed.String() {
			refused = ""
		}
	case FixedWindow, SlidingWindow:
		refused = ""
	}
	if refused != "" {
		m.refuse(m.line, m.at.to("federated"), "requires a window-coupled strategy (fixedWindow, slidingWindow, or quota with resetCadence fixed or rolling); "+
			"%q cannot be federated, since it has no window of one length", refused)
		return ""
	}
	p.Limit = m.credits("limit")
	p.Cadence = escrow.Cadence{Kind: escrow.Fixed, Period: m.window(other)}
	return what
}

// length returns the length of a window in ms, 0 if it is absent or wrong: the
// key period, else the first of others that is there, which are numbers of ms.
func (m section) length(others ...string) float64 {
	e, ms, ok := m.lengthEntry(others)
	if e == nil || !ok {
		return 0
	}
	if !(ms > 0) || math.IsInf(ms, 1) {
		m.refuse(e.node.line, m.at.to(e.key), "got %v: must be above 0 ms", &e.node)
		return 0
	}
	return ms
}

// window is length for windows of a ledger, which are whole ms.
func (m section) window(others ...string) escrow.Millis {
	e, _, ok := m.lengthEntry(others)
	if e == nil || !ok {
		return 0
	}
	decimal, unit := e.node.value, escrow.Millis(1)
	if e.node.kind == text {
		decimal, unit, _ = parts(e.node.value)
	}
	ms, ok := wholeOf(decimal, unit)
	if !ok {
		m.refuse(e.node.line, m.at.to(e.key), "got %v: must be in whole ms from 1 to %d (%s)", &e.node, escrow.MaxPeriod, formatSpan(escrow.MaxPeriod))
		return 0
	}
	return ms
}

// lengthEntry returns the entry that says how long a window is, nil and a problem
// if there is none, and its value in ms, if it has one.
func (m section) lengthEntry(others []string) (e *entry, ms float64, ok bool) {
	if e = m.find("period"); e != nil {
		if ms, ok = duration(&e.node); !ok {
			m.refuse(e.node.line, m.at.to("period"), "cannot parse %v (use e.g. \"30s\", \"1m\", \"1h\", or a number of ms)", &e.node)
		}
	}
	for _, key := range others {
		o := m.find(key)
		switch {
		case o == nil:
		case e == nil:
			e = o
			if ms, ok = m.numberOf(o); !ok {
				m.refuse(o.node.line, m.at.to(key), "got %v: must be a number of ms", &o.node)
			}
		default:
			if also, _ := m.numberOf(o); ok && also != ms {
				m.remark(o.node.line, m.at.to(key), "got %v: %s says %s ms and wins; keep one of the two", &o.node, e.key, formatNumber(ms))
			}
		}
	}
	if e == nil {
		m.missing("period", `a duration such as "30s", "1m" or "1h", or a number of ms`)
	}
	return e, ms, ok
}

// duration returns a duration in ms, in the arithmetic of the contract.
func duration(n *node) (float64, bool) {
	if n.kind == number {
		return plainNumber(n.value)
	}
	if n.kind != text {
		return 0, false
	}
	decimal, unit, ok := parts(n.value)
	if !ok {
		return 0, false
	}
	x, ok := plainNumber(decimal)
	return x * float64(unit), ok
}
