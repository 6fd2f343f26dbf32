package fsm

import (
	"fmt"

	"github.com/tkcoord/tkcoord/concurrency"
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/policy"
	"github.com/tkcoord/tkcoord/strategy"
)

// widen makes a policy one of any kind.
func (s *story) widen(p *policy.Policy) {
	kind := policy.Kind(s.one("policyKind", int(policy.Guarded)+1))
	if kind != policy.Meter && kind != policy.Federated && s.one("cells", 2) == 1 {
		p.Rate = s.rate()
		p.Strategy, p.Limit, p.Cadence = p.Rate.Name, 0, escrow.Cadence{}
	}
	switch p.Kind = kind; kind {
	case policy.TwoTier:
		p.Tier = policy.Tier{Mode: pick(s, "mode", policy.Strict, policy.CachedDeny, policy.Leased), Batch: 10}
	case policy.Federated:
		p.Batch = 16
		if p.Strategy == policy.Quota { // a federated one counts in windows of one length
			*p = fixed(p.Name, p.Limit, 100)
			p.Kind, p.Batch, p.MaxKeys = policy.Federated, 16, 3
		}
	case policy.Meter:
		p.Strategy, p.Meter = "", policy.TokenBudget
		if p.Cadence.Kind != escrow.Fixed {
			p.Cadence = escrow.Cadence{Kind: escrow.Fixed, Period: 100}
		}
	case policy.Guarded:
		p.Guard = concurrency.DefaultConfig()
		p.Guard.MinLimit = 1 + s.one("minLimit", 3)
		p.Guard.InitialLimit = p.Guard.MinLimit + s.one("initialLimit", 2)
		p.Guard.MaxLimit = p.Guard.InitialLimit + s.one("maxLimit", 4)
		p.Guard.Algorithm = pick(s, "algorithm", concurrency.Gradient2, concurrency.AIMD)
		p.Guard.RTTWindow = pick(s, "rttWindow", 2, 100)
		if p.Rate.Name == "" && s.one("noRate", 2) == 1 {
			p.Strategy, p.Limit, p.Cadence = "", 0, escrow.Cadence{}
		}
	}
	if p.Kind == policy.TwoTier && p.Tier.Mode != policy.Leased {
		p.Tier.Batch = 0
	}
	if err := p.Validate(); err != nil {
		s.t.Fatalf("%+v: %v", p, err)
	}
}

func (s *story) rate() strategy.Params {
	limit, period := pick(s, "rateLimit", 3.0, 1, 10, 2.5), pick(s, "ratePeriod", 100.0, 10, 30, 1000)
	switch s.one("rate", 5) {
	default:
		return strategy.Params{Name: strategy.GCRA, Limit: limit, Period: period, Burst: 1 + float64(s.one("burst", 4))}
	case 1:
		return strategy.Params{Name: strategy.TokenBucket, Capacity: limit, RefillPerSec: 1e4 / period}
	case 2:
		return strategy.Params{Name: strategy.SlidingWindow, Limit: limit, Period: period, Buckets: 1 + s.one("buckets", 5)}
	case 3:
		return strategy.Params{Name: strategy.SlidingWindowLog, Limit: limit, Period: period}
	case 4:
		return strategy.Params{Name: strategy.Quota, Limit: limit, Period: period, Buckets: 10, Rolling: true}
	}
}

// request draws a command of the public unary doors. Half of them are for a
// policy that takes them.
func (s *story) request() Command {
	name := pick(s, "policy", "p0", "p0", "p1", "p2", "nobody")
	kind := s.one("request", 6)
	if p := s.m.policies.get([]byte(name)); p != nil && s.one("fitting", 4) > 0 {
		kind = map[policy.Kind]int{policy.Federated: s.one("reserve", 2), policy.Meter: 2, policy.Guarded: 3 + s.one("slot", 3)}[p.Kind]
	}
	key := func() string { return pick(s, "key", "k0", "k0", "k1", "k2") }
	amount := func() int64 { return pick[int64](s, "amount", 1, 1, 2, 5, 60, strategy.MaxCost) }
	switch kind {
	default:
		c := &Check{Policy: name, Cost: amount()}
		for range s.one("keys", 4) {
			c.Keys = append(c.Keys, key())
		}
		return c
	case 1:
		return &Reserve{Policy: name, Key: key(), Wants: amount()}
	case 2:
		return &Debit{Policy: name, Key: key(), Tokens: amount()}
	case 3:
		return &Admit{Policy: name, Key: key(), Nonce: [16]byte{byte(s.one("nonce", 200))}}
	case 4:
		return &Release{LeaseID: s.lease(), Dropped: s.one("dropped", 3) == 2}
	case 5:
		c := &Heartbeat{}
		for range s.one("leases", 4) {
			c.LeaseIDs = append(c.LeaseIDs, s.lease())
		}
		return c
	}
}

// lease draws a lease id: mostly one of the newest.
func (s *story) lease() string {
	if len(s.leases) == 0 || s.one("guess", 10) == 9 {
		return fmt.Sprintf("%x000-%032x", s.m.index, s.one("nonce", 3))
	}
	return s.leases[len(s.leases)-1-s.one("ago", min(5, len(s.leases)))]
}
