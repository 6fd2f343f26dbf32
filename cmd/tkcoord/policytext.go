package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/tkcoord/tkcoord/policy"
)

// limitText shows what a policy admits, without the time in which it does.
func limitText(p *policy.Policy) string {
	r := p.Rate
	switch {
	case p.Limit > 0:
		return strconv.FormatInt(int64(p.Limit), 10)
	case r.Name == policy.TokenBucket:
		return number(r.Capacity)
	case r.Name == policy.GCRA && r.Burst != r.Limit:
		return number(r.Limit) + ", burst " + number(r.Burst)
	case r.Name != "":
		return number(r.Limit)
	}
	return slotsText(p)
}

// windowText shows the time in which a policy admits that much, "" if time has
// nothing to do with it.
func windowText(p *policy.Policy) string {
	r := p.Rate
	switch {
	case p.Cadence.Period > 0:
		return span(int64(p.Cadence.Period))
	case p.Limit > 0:
		return p.Cadence.Kind.String()
	case r.Name == policy.TokenBucket:
		return number(r.RefillPerSec) + "/s"
	case r.Rolling:
		return "rolling " + period(r.Period)
	case r.Name != "":
		return period(r.Period)
	}
	return ""
}

// period shows a length in ms that may have a fraction.
func period(ms float64) string {
	if ms == float64(int64(ms)) {
		return span(int64(ms))
	}
	return number(ms) + "ms"
}

// slotsText shows how many requests may run at once.
func slotsText(p *policy.Policy) string {
	g := p.Guard
	if g.MinLimit == g.MaxLimit {
		return fmt.Sprintf("%d slots", g.MaxLimit)
	}
	return fmt.Sprintf("%d-%d slots", g.MinLimit, g.MaxLimit)
}

// describePolicy shows a policy in a few words: "gcra 100 per 1m0s, burst 20".
func describePolicy(p *policy.Policy) string {
	var b strings.Builder
	switch {
	case p.Kind == policy.Meter:
		fmt.Fprintf(&b, "%d tokens per %s", p.Limit, windowText(p))
	case p.Rate.Name == policy.TokenBucket:
		fmt.Fprintf(&b, "tokenBucket %s, refilled at %s", limitText(p), windowText(p))
	case p.Rate.Name == policy.GCRA:
		fmt.Fprintf(&b, "gcra %s per %s, burst %s", number(p.Rate.Limit), windowText(p), number(p.Rate.Burst))
	case p.Strategy != "":
		fmt.Fprintf(&b, "%s %s per %s", p.Strategy, limitText(p), windowText(p))
	}
	switch p.Kind {
	case policy.TwoTier:
		fmt.Fprintf(&b, ", %s", p.Tier.Mode)
	case policy.Federated:
		b.WriteString(", federated")
	case policy.Guarded:
		if p.Strategy != "" {
			b.WriteString(", ")
		}
		b.WriteString(slotsText(p))
	}
	return b.String()
}

func number(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) }
