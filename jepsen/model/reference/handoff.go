package reference

import (
	"errors"
	"fmt"
	"slices"

	"github.com/tkcoord/tkcoord/jepsen/model"
)

// Handoff is the reference's model of shares of one concurrency limit when
// messages take time. Every grant to a node is kept in a list. Delivery moves the
// node to any later grant, so grants are lost and overtaken; a report moves the
// coordinator's idea of the node to where the node is. A grant to one node is
//
//	max(0, min(⌈Limit/n⌉, Limit - Σ reserve of the other live nodes)),
//
// where the reserve of a node covers every grant that it may still come to use,
// and the work that it last reported.
//
// The theorem is Σ inflight <= Limit. It needs both parts of the reserve, and
// reports that are taken at one instant; Rule and Torn take these away.
type Handoff struct {
	Nodes, Limit int
	K            int  // grants kept for each node; then it gets no more
	Trimmed      bool // forget grants below both the applied and the acknowledged one
	Rule         Rule
	Torn         bool // a report's two parts are taken and sent apart
}

// What is added to the actions of every fleet.
const (
	deliver = release + 1 + iota
	report
	reportAck
	reportUse
)

// Validate reports all sizes and rules that make no sense.
func (m *Handoff) Validate() error {
	return errors.Join(
		within("nodes", m.Nodes, 1, maxNodes),
		within("limit", m.Limit, 1, maxSize),
		within("k", m.K, 1, 255), // a grant's number takes eight bits of an action
		oneOf("rule", m.Rule, rules),
	)
}

func (m *Handoff) Kinds() []string {
	return slices.Concat(fleetKinds, []string{"Deliver", "Report", "ReportAck", "ReportUse"})
}

func (m *Handoff) Label(a model.Action) string {
	n, i := operands(a)
	if a.Kind() == deliver {
		return fmt.Sprintf("Deliver(node %d, grant %d)", n+1, i)
	}
	return fmt.Sprintf("%s(node %d)", m.Kinds()[a.Kind()], n+1)
}

// operands returns the node that an action is about, and for Deliver the grant.
func operands(a model.Action) (node, index int) { return int(a.Arg() >> 8), int(a.Arg() & 0xff) }

func act(kind uint8, node, index int) model.Action {
	return model.Act(kind, uint32(node)<<8|uint32(index))
}

// Init emits every fleet that is not empty, without grants.
func (m *Handoff) Init(emit func(*handoffState)) {
	for live := 1; live < 1<<m.Nodes; live++ {
		s := m.New()
		for n := range s.nodes {
			s.nodes[n].live = live>>n&1 == 1
		}
		emit(s)
	}
}

func (m *Handoff) Actions(dst []model.Action, s *handoffState) []model.Action {
	alive := s.alive()
	for i := range s.nodes {
		n := &s.nodes[i]
		if !n.live {
			dst = append(dst, act(join, i, 0))
			continue
		}
		if alive > 1 {
			dst = append(dst, act(leave, i, 0))
		}
		if len(n.grants) < m.K {
			dst = append(dst, act(reallocate, i, 0))
		}
		for g := n.applied + 1; g <= len(n.grants); g++ {
			dst = append(dst, act(deliver, i, g))
		}
		dst = m.reports(dst, i, n)
		if n.inflight < n.share() {
			dst = append(dst, act(acquire, i, 0))
		}
		if n.inflight > 0 {
			dst = append(dst, act(release, i, 0))
		}
	}
	return dst
}

// reports lists the reports that would tell the coordinator something.
func (m *Handoff) reports(dst []model.Action, i int, n *handoffNode) []model.Action {
	ack, use := n.ack != n.applied, n.reported != n.inflight
	switch {
	case !m.Torn && (ack || use):
		dst = append(dst, act(report, i, 0))
	case m.Torn:
		if ack {
			dst = append(dst, act(reportAck, i, 0))
		}
		if use {
			dst = append(dst, act(reportUse, i, 0))
		}
	}
	return dst
}

func (m *Handoff) Apply(s *handoffState, a model.Action) error {
	i, index := operands(a)
	n := &s.nodes[i]
	switch a.Kind() {
	case reallocate:
		n.grants = append(n.grants, m.share(s, i))
	case deliver:
		n.applied = index
	case report:
		n.ack, n.reported = n.applied, n.inflight
	case reportAck:
		n.ack = n.applied
	case reportUse:
		n.reported = n.inflight
	case join, leave:
		n.reset(a.Kind() == join)
	case acquire:
		n.inflight++
	case release:
		n.inflight--
	}
	if m.Trimmed {
		n.trim()
	}
	return nil
}

// share returns what the coordinator grants to a node.
func (m *Handoff) share(s *handoffState, self int) int {
	free := m.Limit
	for i := range s.nodes {
		if i != self && s.nodes[i].live {
			free -= m.Rule.reserve(&s.nodes[i])
		}
	}
	return max(0, min(ceilDiv(m.Limit, s.alive()), free))
}

func (m *Handoff) Check(s *handoffState) error {
	if inflight := s.inflight(); inflight > m.Limit {
		return fmt.Errorf("InflightBound: Σ inflight %d > %d", inflight, m.Limit)
	}
	return nil
}

func (m *Handoff) Observables() []string { return []string{"inflight"} }

func (m *Handoff) Observe(dst []int64, s *handoffState) []int64 {
	return append(dst, int64(s.inflight()))
}

// Canonicalise sorts the nodes.
func (m *Handoff) Canonicalise(s *handoffState) {
	slices.SortFunc(s.nodes, func(a, b handoffNode) int { return a.compare(&b) })
}
