package reference

import (
	"fmt"

	"github.com/tkcoord/tkcoord/jepsen/model"
)

func heartbeatRows() []Row {
	const pub, der = Published, Derived
	const none, share, occ = HoldNone, HoldShare, HoldOccupancy
	const equal, demand = EqualSplit, DemandProportional
	return []Row{
		beating(2, 4, share, equal, pub, Want{Distinct: 64, Share: 4, Inflight: 6}),
		beating(2, 4, occ, equal, pub, Want{Distinct: 76, Share: 4, Inflight: 4}),
		beating(2, 4, occ, demand, pub, Want{Distinct: 112, Share: 4, Inflight: 4}),
		beating(2, 4, none, equal, der, Want{Distinct: 94, Share: 6, Inflight: 6}),
		beating(3, 2, occ, equal, der, Want{Distinct: 103, Share: 2, Inflight: 2}),
		beating(3, 2, occ, demand, der, Want{Distinct: 103, Share: 2, Inflight: 2}),
		beating(3, 4, occ, equal, der, Want{Distinct: 361, Share: 4, Inflight: 4}),
		beating(3, 4, occ, demand, der, Want{Distinct: 635, Share: 4, Inflight: 4}),
		beating(3, 6, occ, equal, der, Want{Distinct: 1432, Share: 6, Inflight: 6}),
		beating(3, 6, occ, demand, der, Want{Distinct: 2547, Share: 6, Inflight: 6}),
		beating(2, 8, occ, equal, der, Want{Distinct: 258, Share: 8, Inflight: 8}),
		beating(2, 8, occ, demand, der, Want{Distinct: 633, Share: 8, Inflight: 8}),
	}
}

func handoffRows() []Row {
	const pub, der = Published, Derived
	return []Row{
		handing(Handoff{Nodes: 2, Limit: 4, K: 3, Rule: RuleHandoff},
			pub, Want{Distinct: 250624, Depth: 37, Inflight: 4}),
		handing(Handoff{Nodes: 2, Limit: 4, K: 2, Rule: RuleHandoff, Trimmed: true},
			pub, Want{Distinct: 12387, Depth: 26, Inflight: 4}),
		handing(Handoff{Nodes: 2, Limit: 4, K: 3, Rule: RuleHandoff, Trimmed: true},
			der, Want{Distinct: 76914, Depth: 30, Inflight: 4}),
		handing(Handoff{Nodes: 3, Limit: 2, K: 2, Rule: RuleHandoff, Trimmed: true},
			der, Want{Distinct: 60013, Depth: 26, Inflight: 2}),
		handing(Handoff{Nodes: 3, Limit: 3, K: 2, Rule: RuleHandoff, Trimmed: true},
			der, Want{Distinct: 318501, Depth: 31, Inflight: 3}),
		handing(Handoff{Nodes: 2, Limit: 4, K: 2, Rule: RuleLast, Trimmed: true},
			der, Want{Distinct: 36415, Depth: 30, Inflight: 6}),
		handing(Handoff{Nodes: 2, Limit: 6, K: 2, Rule: RuleLast, Trimmed: true},
			der, Want{Distinct: 127961, Depth: 37, Inflight: 9}),
		handing(Handoff{Nodes: 2, Limit: 4, K: 2, Rule: RuleSuffix, Trimmed: true},
			der, Want{Distinct: 10397, Depth: 26, Inflight: 6}),
		handing(Handoff{Nodes: 2, Limit: 4, K: 2, Rule: RuleHandoff, Torn: true, Trimmed: true},
			der, Want{Distinct: 57389, Depth: 36, Inflight: 6}),
	}
}

func beating(nodes, limit int, h Hold, t Target, src Source, w Want) Row {
	return Row{
		System: "heartbeat",
		Size:   fmt.Sprintf("N=%d L=%d", nodes, limit),
		Rules:  fmt.Sprintf("hold %s, %s", h, t),
		Source: src,
		Want:   w,
		run:    model.Bind(&Heartbeat{Nodes: nodes, Limit: limit, Hold: h, Target: t}),
	}
}

func handing(m Handoff, src Source, w Want) Row {
	rules := "rule " + string(m.Rule)
	if m.Torn {
		rules += ", torn"
	}
	if m.Trimmed {
		rules += ", trimmed"
	}
	return Row{
		System: "handoff",
		Size:   fmt.Sprintf("N=%d L=%d K=%d", m.Nodes, m.Limit, m.K),
		Rules:  rules,
		Source: src,
		Want:   w,
		run:    model.Bind(&m),
	}
}
