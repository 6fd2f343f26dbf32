package reference

import (
	"errors"
	"fmt"
	"math/bits"

	"github.com/tkcoord/tkcoord/jepsen/model"
)

// Heartbeat is the reference's model of shares of one concurrency limit with
// reports and replies that take no time: one step of the coordinator reads the
// slots that every node has in use and sets one node's share,
//
//	share = max(0, min(target, Limit - Σ hold of the other live nodes)).
//
// The theorem is Σ share <= Limit and Σ inflight <= Limit. It needs a node to
// hold the greater of its share and its slots in use; Hold says what is taken
// instead. The target is policy and no part of the safety.
type Heartbeat struct {
	Nodes, Limit int
	Hold         Hold
	Target       Target
}

// A heartbeatState has a bit of live for each node in the fleet; the others hold
// nothing.
type heartbeatState struct {
	live     uint32
	share    []int
	inflight []int
}

func (s *heartbeatState) alive(n int) bool { return s.live&(1<<n) != 0 }

func (s *heartbeatState) String() string {
	return fmt.Sprintf("live=%s share=%v inflight=%v", names(s.live), s.share, s.inflight)
}

// names writes a set of nodes, "{1 3}".
func names(set uint32) string {
	var nodes []int
	for ; set != 0; set &= set - 1 {
		nodes = append(nodes, bits.TrailingZeros32(set)+1)
	}
	text := fmt.Sprint(nodes)
	return "{" + text[1:len(text)-1] + "}"
}

// Validate reports all sizes and rules that make no sense.
func (m *Heartbeat) Validate() error {
	return errors.Join(
		within("nodes", m.Nodes, 1, maxNodes),
		within("limit", m.Limit, 1, maxSize),
		oneOf("hold", m.Hold, holds),
		oneOf("target", m.Target, targets),
	)
}

func (m *Heartbeat) Kinds() []string { return fleetKinds }

func (m *Heartbeat) Label(a model.Action) string {
	return fmt.Sprintf("%s(node %d)", m.Kinds()[a.Kind()], a.Arg()+1)
}

func (m *Heartbeat) New() *heartbeatState {
	return &heartbeatState{share: make([]int, m.Nodes), inflight: make([]int, m.Nodes)}
}

// Init emits every fleet that is not empty, without shares.
func (m *Heartbeat) Init(emit func(*heartbeatState)) {
	for live := uint32(1); live < 1<<m.Nodes; live++ {
		s := m.New()
		s.live = live
		emit(s)
	}
}

func (m *Heartbeat) Actions(dst []model.Action, s *heartbeatState) []model.Action {
	for n := range m.Nodes {
		node := uint32(n)
		if !s.alive(n) {
			dst = append(dst, model.Act(join, node))
			continue
		}
		dst = append(dst, model.Act(reallocate, node))
		if bits.OnesCount32(s.live) > 1 {
			dst = append(dst, model.Act(leave, node))
		}
		if s.inflight[n] < s.share[n] {
			dst = append(dst, model.Act(acquire, node))
		}
		if s.inflight[n] > 0 {
			dst = append(dst, model.Act(release, node))
		}
	}
	return dst
}

func (m *Heartbeat) Apply(s *heartbeatState, a model.Action) error {
	n := int(a.Arg())
	switch a.Kind() {
	case reallocate:
		s.share[n] = max(0, min(m.target(s, n), m.Limit-m.heldByOthers(s, n)))
	case join:
		s.live |= 1 << n
		s.share[n] = 0
	case leave:
		s.live &^= 1 << n
		s.share[n], s.inflight[n] = 0, 0
	case acquire:
		s.inflight[n]++
	case release:
		s.inflight[n]--
	}
	return nil
}

func (m *Heartbeat) heldByOthers(s *heartbeatState, self int) int {
	sum := 0
	for n := range m.Nodes {
		if n != self && s.alive(n) {
			sum += m.Hold.of(s.share[n], s.inflight[n])
		}
	}
	return sum
}

func (m *Heartbeat) Check(s *heartbeatState) error {
	if share := total(s.share); share > m.Limit {
		return fmt.Errorf("ShareBound: Σ share %d > %d", share, m.Limit)
	}
	if inflight := total(s.inflight); inflight > m.Limit {
		return fmt.Errorf("InflightBound: Σ inflight %d > %d", inflight, m.Limit)
	}
	return nil
}

func (m *Heartbeat) Observables() []string { return []string{"share", "inflight"} }

func (m *Heartbeat) Observe(dst []int64, s *heartbeatState) []int64 {
	return append(dst, int64(total(s.share)), int64(total(s.inflight)))
}

func (m *Heartbeat) Encode(dst []byte, s *heartbeatState) []byte {
	dst = appendInts(dst, int(s.live))
	dst = appendInts(dst, s.share...)
	return appendInts(dst, s.inflight...)
}

func (m *Heartbeat) Decode(s *heartbeatState, data []byte) error {
	r := reader{data: data}
	s.live = uint32(r.int())
	for n := range s.share {
		s.share[n] = r.int()
	}
	for n := range s.inflight {
		s.inflight[n] = r.int()
	}
	return r.done()
}

func total(values []int) int {
	sum := 0
	for _, v := range values {
		sum += v
	}
	return sum
}
