package policy

import (
	"fmt"
	"slices"

	"github.com/tkcoord/tkcoord/escrow"
)

// What the contract has and this version serves, or does not.
var (
	strategies         = []string{string(FixedWindow), string(Quota)}
	strategiesUnserved = []string{"gcra", "tokenBucket", "slidingWindow", "slidingWindowLog"}

	cadences = []string{
		escrow.CalendarMonth.String(), escrow.CalendarWeek.String(), escrow.CalendarDay.String(), escrow.Fixed.String(),
	}
	cadencesUnserved = []string{"rolling"}

	blocksUnserved = map[string]string{
		"tokenBudget":            "metering",
		"fleetBudget":            "metering",
		"federated":              "a federated limit",
		"fairEscrow":             "fair sharing",
		"federatedFairEscrow":    "fair sharing",
		"concurrency":            "limiting concurrency",
		"distributedConcurrency": "limiting concurrency",
		"twoTier":                "a two-tier limit",
	}
)

// Keys of a policy by what they belong to.
var (
	commonKeys   = []string{"strategy", "limit", "maxKeys", "prefix"}
	windowKeys   = []string{"period", "windowMs"}
	fixedKeys    = []string{"resetCadence", "period", "periodMs", "anchor"}
	calendarKeys = []string{"resetCadence", "offsetMinutes"}
	weekKeys     = []string{"resetCadence", "offsetMinutes", "weekStartsOn"}
	unservedKeys = []string{"burst", "capacity", "refillPerSec", "buckets"} // of unserved strategies
)

// policyKeys are all keys of a policy that this version serves.
var policyKeys = []string{
	"strategy", "limit", "period", "windowMs", "periodMs", "resetCadence", "anchor", "offsetMinutes", "weekStartsOn", "maxKeys", "prefix",
}

// policy reads one policy. It is valid if no problem was reported.
func (t *tree) policy(e *entry, limiters *path) Policy {
	m := section{tree: t, node: &e.node, at: limiters.to(e.key), line: e.line}
	if err := checkName(e.key); err != nil {
		t.refuse(e.line, m.at, "%v", err)
	}
	if !m.isMap("strategy and limit") {
		return Policy{}
	}
	m.keys(policyKeys, unservedKeys, blocksUnserved)
	p := Policy{
		Name:    e.key,
		Limit:   escrow.Credits(m.whole("limit", 1, int64(escrow.MaxCredits), 0)),
		MaxKeys: int(m.whole("maxKeys", 1, MaxMaxKeys, DefaultMaxKeys)),
	}
	m.prefix()
	if m.needsStrategy() {
		p.Strategy = Strategy(m.choice("strategy", strategies, strategiesUnserved))
		m.requireLimit()
	}
	w := m.windows()
	switch p.Strategy {
	case FixedWindow:
		p.Cadence = escrow.Cadence{Kind: escrow.Fixed, Period: w.length(m, "windowMs", w.windowMs)}
		m.onlyUses("strategy fixedWindow", windowKeys)
	case Quota:
		p.Cadence = w.cadence(m)
	}
	return p
}

// requireLimit reports that there is no limit. Token buckets have none.
func (m section) requireLimit() {
	s := m.node.find("strategy")
	if m.node.find("limit") == nil && (s == nil || s.node.value != "tokenBucket") {
		m.missing("limit", fmt.Sprintf("a whole number from 1 to %d", escrow.MaxCredits))
	}
}

// needsStrategy reports whether the policy counts by a strategy: it does unless
// a block says how it counts. Blocks are not served, and that is the problem to
// report then.
func (m section) needsStrategy() bool {
	if m.node.find("strategy") != nil {
		return true
	}
	for block := range blocksUnserved {
		if m.node.find(block) != nil && block != "twoTier" && block != "federated" {
			return false
		}
	}
	return true
}

// onlyUses reports keys of the contract that have no effect beside the others.
func (m section) onlyUses(what string, used []string) {
	for i := range m.node.entries {
		e := &m.node.entries[i]
		known := slices.Contains(policyKeys, e.key) || slices.Contains(unservedKeys, e.key)
		if known && !slices.Contains(commonKeys, e.key) && !slices.Contains(used, e.key) {
			m.refuse(e.line, m.at.to(e.key), "got %v: %s does not use it, remove it", &e.node, what)
		}
	}
}
