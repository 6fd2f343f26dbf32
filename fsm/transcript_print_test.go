package fsm

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/policy"
)

// describeOutcome prints what an entry did, one line for each result and each
// ask.
func describeOutcome(stamp clock.Millis, cmds []Command, out Outcome) []string {
	var lines []string
	if out.Now != stamp {
		lines = append(lines, fmt.Sprintf("now %d", out.Now))
	}
	for i, r := range out.Results {
		switch {
		case r.Err != nil:
			lines = append(lines, "refused: "+r.Err.Error())
			continue
		case cmds[i].kind() == KindPolicies:
			lines = append(lines, fmt.Sprintf("version %d", r.Version))
		}
		lines = append(lines, describeRequest(cmds[i], r)...)
		if x, ok := cmds[i].(*Exchange); ok {
			lines = append(lines, fmt.Sprintf("session %d", r.Session))
			for j, a := range r.Answers {
				lines = append(lines, fmt.Sprintf("%s/%s %s", x.Asks[j].Policy, x.Asks[j].Key, describeAnswer(a)))
			}
		}
	}
	var news []string
	if len(out.ChangedPolicies) > 0 {
		news = append(news, "policies changed: "+strings.Join(out.ChangedPolicies, " "))
	}
	if out.Stepped {
		news = append(news, "the clock stepped")
	}
	if out.DigestDue {
		news = append(news, "a digest is due")
	}
	if out.AlarmsChanged {
		news = append(news, "alarms changed")
	}
	return append(lines, news...)
}

func describeAnswer(a Answer) string {
	if a.Err != nil {
		return "refused: " + a.Err.Error()
	}
	s := fmt.Sprintf("granted %d in %v ttl %d, left %d of %d", a.Granted, a.Window, a.TTL, a.Left, a.Limit)
	if a.Retry != 0 {
		s += fmt.Sprintf(", retry after %d", a.Retry)
	}
	return s
}

// describeState prints everything that the replicas agree on, in the order of
// names.
func describeState(m *Machine) []string {
	lines := []string{fmt.Sprintf("now %d, cluster %q, policies version %d, next session %d", m.now, m.clusterID, m.version, m.nextHolder)}
	_, policies := m.Policies()
	for _, p := range policies {
		c := p.Counters
		lines = append(lines, fmt.Sprintf("policy %s: %s", p.Name, describePolicy(p)),
			fmt.Sprintf("    live: %d keys, capacity %d, out %d, used %d; ever: granted %d, returned %d, used %d, refused %d",
				c.LiveKeys, c.LiveCapacity, c.LiveOut, c.LiveUsed, c.GrantedTotal, c.ReturnedTotal, c.Used, c.Refused))
	}
	edges := maps.Collect(m.edges.sorted())
	for _, id := range slices.Sorted(maps.Keys(edges)) {
		e := edges[id]
		replaced := slices.DeleteFunc(slices.Clone(e.replaced[:]), func(i uint64) bool { return i == 0 })
		lines = append(lines, fmt.Sprintf("edge %s: incarnation %d after %v, session %d, seq %d, seen %d", id, e.incarnation, replaced, e.holder, e.seq, e.seen))
	}
	var budgets []string
	for b := range m.Freeze().Budgets {
		s := fmt.Sprintf("%s/%s %v: out %d of %d, peak %d, used %d", b.Policy, b.Key, b.Window, b.Out, b.Capacity, b.Peak, b.Used)
		if b.Taken > 0 || b.Given > 0 {
			s += fmt.Sprintf(", taken %d, given %d", b.Taken, b.Given)
		}
		for _, h := range b.Holders {
			s += fmt.Sprintf("; %d has %d-%d, used %d", h.Holder, h.Granted, h.Returned, h.Used)
		}
		budgets = append(budgets, s)
	}
	budgets = append(budgets, describeStates(m)...)
	slices.Sort(budgets)
	lines = append(lines, budgets...)
	for _, a := range m.Alarms() {
		lines = append(lines, fmt.Sprintf("alarm %s at %s since %d: %s", a.Kind, a.Node, a.At, a.Detail))
	}
	return lines
}

func describePolicy(p PolicyStatus) string {
	s := fmt.Sprintf("%d per %s", p.Limit, describeCadence(p.Cadence))
	if p.Limit == 0 {
		s = cmp.Or(string(p.Strategy), "no rate")
	}
	if p.Kind != policy.Plain {
		s += ", " + p.Kind.String()
	}
	if p.Kind == policy.Guarded {
		s += fmt.Sprintf(", %d slots of %d, last rtt %d", p.Guard.InFlight, p.Guard.Limit, p.Guard.LastRTT)
	}
	return s
}

func describeCadence(c escrow.Cadence) string {
	if c.Kind == escrow.Fixed {
		return fmt.Sprintf("%d ms from %d", c.Period, c.Anchor)
	}
	return fmt.Sprintf("%v%+d", c.Kind, c.OffsetMinutes)
}
