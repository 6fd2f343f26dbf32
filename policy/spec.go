package policy

import (
	"math"
	"slices"
	"strings"

	"github.com/tkcoord/tkcoord/concurrency"
	"github.com/tkcoord/tkcoord/escrow"
)

// blocks are the keys that say what kind a policy is, in the order in which the
// contract names them.
var blocks = []string{
	"tokenBudget", "fleetBudget", "fairEscrow", "federatedFairEscrow", "concurrency", "distributedConcurrency", "twoTier", "federated",
}

// unserved are those of them that this version does not serve, and what for.
var unserved = map[string]string{
	"fairEscrow":             "fair sharing",
	"federatedFairEscrow":    "fair sharing",
	"distributedConcurrency": "concurrency shared out to nodes (concurrency counts in the whole cluster here)",
}

// policyKeys are all keys of a policy beside blocks.
var policyKeys = []string{
	"strategy", "limit", "period", "windowMs", "periodMs", "burst", "capacity", "refillPerSec", "buckets",
	"resetCadence", "anchor", "offsetMinutes", "weekStartsOn", "maxKeys", "prefix",
}

// Defaults of the contract.
const (
	defaultFederatedBatch = 16
	defaultBuckets        = 10
)

// policy reads one policy. It is valid if no problem was reported.
func (t *tree) policy(e *entry, limiters *path) Policy {
	m := newSection(t, &e.node, limiters.to(e.key), e.line)
	if err := checkName(e.key); err != nil {
		t.refuse(e.line, m.at, "%v", err)
	}
	if !m.isMap("expected an object: a map with strategy and its parameters") {
		return Policy{}
	}
	p := Policy{Name: e.key, MaxKeys: int(m.whole("maxKeys", 1, MaxMaxKeys, DefaultMaxKeys))}
	m.prefix()
	block, ok := m.onlyBlock()
	if !ok {
		return p
	}
	what := "this kind of policy"
	switch block {
	case "":
		what = m.rate(&p)
	case "tokenBudget", "fleetBudget":
		m.meter(&p, MeterName(block))
		what = "a policy with " + block
	case "concurrency":
		if m.find("strategy") != nil {
			what = m.rate(&p)
		} else {
			what = "concurrency without a strategy"
		}
		m.block(block).guard(&p)
	case "twoTier":
		what = m.rate(&p)
		m.block(block).tier(&p)
	case "federated":
		what = m.federatedRate(&p)
		m.block(block).federated(&p)
	}
	m.rest(what, slices.Concat(policyKeys, blocks))
	return p
}

// onlyBlock returns the block that a policy declares, "" for none. It reports
// false, and a problem, if there are several or one that is not served.
func (m section) onlyBlock() (string, bool) {
	var declared []string
	for _, b := range blocks {
		if e := m.node.find(b); e != nil && e.node.kind != refused {
			declared = append(declared, b)
		}
	}
	switch {
	case len(declared) == 0:
		return "", true
	case len(declared) > 1:
		m.refuse(m.line, m.at, "a policy may declare at most one of %s: got %s", strings.Join(blocks, " / "), strings.Join(declared, " and "))
		return "", false
	}
	if what, ok := unserved[declared[0]]; ok {
		m.refuse(m.node.find(declared[0]).line, m.at.to(declared[0]), "not served by this version: %s", what)
		return "", false
	}
	return declared[0], true
}

// meter reads tokenBudget or fleetBudget.
func (m section) meter(p *Policy, name MeterName) {
	b := m.block(string(name))
	p.Kind, p.Meter = Meter, name
	if !b.isMap("expected an object: a map with budget and windowMs") {
		return
	}
	if b.find("budget") == nil || b.find("windowMs") == nil {
		m.refuse(b.line, b.at, "both `budget` and `windowMs` are required: numbers of at least 1")
	} else {
		p.Limit = b.credits("budget")
		p.Cadence = escrow.Cadence{Kind: escrow.Fixed, Period: escrow.Millis(b.whole("windowMs", 1, int64(escrow.MaxPeriod), 0))}
	}
	p.MaxKeys = int(b.floor("maxKeys", 1, MaxMaxKeys, int64(p.MaxKeys)))
	known := []string{"budget", "windowMs", "maxKeys"}
	if name == FleetBudget {
		b.prefix()
		known = append(known, "prefix")
	}
	b.rest(string(name), known)
}

var tierKeys = []string{"mode", "batch", "lowWater", "windowCoupled", "returnIdleAfterMs"}

// tier reads the block twoTier.
func (b section) tier(p *Policy) {
	p.Kind = TwoTier
	if !b.isMap("expected an object: a map with mode and batch") {
		return
	}
	mode, ok := b.choice("mode", string(Leased), "got", []string{string(Leased), string(Strict), string(CachedDeny)})
	p.Tier.Mode = Mode(mode)
	if !ok {
		return
	}
	if p.Tier.Mode == Leased {
		if b.find("batch") == nil {
			b.missing("batch", "leased mode requires lease.batch, a number of at least 1")
		}
		p.Tier.Batch = int(b.floor("batch", 1, int64(escrow.MaxCredits), 0))
		p.Tier.LowWater = b.number("lowWater", aCount, 0)
		p.Tier.WindowCoupled = b.boolean("windowCoupled")
		p.Tier.ReturnIdleAfter = escrow.Millis(math.Ceil(b.number("returnIdleAfterMs", idleTime, 0)))
	}
	b.rest("mode "+mode, tierKeys)
}

// federated reads the block of that name.
func (b section) federated(p *Policy) {
	p.Kind = Federated
	if !b.isMap("expected an object: a map with batch") {
		return
	}
	if e := b.find("region"); e != nil && e.node.kind != text {
		b.remark(e.node.line, b.at.to("region"), "got %v: must be a string", &e.node)
	}
	b.prefix()
	p.Batch = int(b.floor("batch", 1, int64(escrow.MaxCredits), defaultFederatedBatch))
	b.rest("federated", []string{"region", "batch", "prefix"})
}

var guardKeys = []string{"minLimit", "maxLimit", "initialLimit", "algorithm", "rttWindow", "smoothing", "tolerance", "backoffRatio"}

// guard reads the block concurrency.
func (b section) guard(p *Policy) {
	p.Kind = Guarded
	if !b.isMap("expected an object: a map with minLimit and maxLimit") {
		return
	}
	c := concurrency.DefaultConfig()
	c.MinLimit = int(b.floor("minLimit", 1, concurrency.MaxMaxLimit, int64(c.MinLimit)))
	c.MaxLimit = int(b.floor("maxLimit", 1, concurrency.MaxMaxLimit, int64(c.MaxLimit)))
	c.InitialLimit = int(b.floor("initialLimit", 1, concurrency.MaxMaxLimit, int64(c.MinLimit)))
	name, _ := b.choice("algorithm", string(c.Algorithm), "got", []string{string(concurrency.Gradient2), string(concurrency.AIMD)})
	c.Algorithm = concurrency.Algorithm(name)
	c.RTTWindow = int(b.floor("rttWindow", 1, concurrency.MaxRTTWindow, int64(c.RTTWindow)))
	c.Smoothing = b.number("smoothing", aboveZero1, c.Smoothing)
	c.Tolerance = b.number("tolerance", oneOrMore, c.Tolerance)
	c.BackoffRatio = b.number("backoffRatio", halfToBelow, c.BackoffRatio)
	switch {
	case c.MaxLimit < c.MinLimit:
		b.refuse(b.line, b.at, "maxLimit: got %d: must be at least minLimit, which is %d", c.MaxLimit, c.MinLimit)
	case c.InitialLimit < c.MinLimit || c.InitialLimit > c.MaxLimit:
		b.refuse(b.line, b.at, "initialLimit: got %d: must be from minLimit (%d) to maxLimit (%d)", c.InitialLimit, c.MinLimit, c.MaxLimit)
	}
	p.Guard = c
	b.rest("concurrency", guardKeys)
}
