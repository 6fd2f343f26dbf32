package reference

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A Rule says how much of the limit is reserved for a node.
type Rule string

const (
	// RuleHandoff reserves the largest grant from the acknowledged one on, or the
	// reported use if that is more: any of those grants may be in force at the
	// node or still reach it, and slots in use outlive a lower grant.
	RuleHandoff Rule = "handoff"
	// RuleLast looks at the last and the acknowledged grant and at the use, and
	// forgets the grants between. Refuted.
	RuleLast Rule = "last"
	// RuleSuffix is RuleHandoff without the use. Refuted.
	RuleSuffix Rule = "suffix"
)

var rules = []Rule{RuleHandoff, RuleLast, RuleSuffix}

func (r Rule) reserve(n *handoffNode) int {
	switch r {
	case RuleLast:
		acked, last := 0, 0
		if n.ack > 0 {
			acked = n.grants[n.ack-1]
		}
		if len(n.grants) > 0 {
			last = n.grants[len(n.grants)-1]
		}
		return max(last, acked, n.reported)
	case RuleSuffix:
		return n.largestFrom(n.ack)
	}
	return max(n.largestFrom(n.ack), n.reported)
}

// A handoffNode is a node as it is and as the coordinator knows it. Grants are
// numbered from 1; 0 means none.
//
// Invariant: ack <= applied <= len(grants).
type handoffNode struct {
	live     bool
	grants   []int // oldest first
	applied  int   // the grant in force at the node
	ack      int   // the one that the coordinator knows to be applied
	inflight int
	reported int // inflight as the coordinator knows it
}

// share returns how many slots the node believes it may use.
func (n *handoffNode) share() int {
	if n.applied == 0 {
		return 0
	}
	return n.grants[n.applied-1]
}

// largestFrom returns the largest grant from number i on, 0 if there is none.
func (n *handoffNode) largestFrom(i int) int {
	largest := 0
	for _, g := range n.grants[max(1, i)-1:] {
		largest = max(largest, g)
	}
	return largest
}

// trim forgets the grants that neither side can refer to again.
func (n *handoffNode) trim() {
	if n.applied == 0 || n.ack == 0 {
		return
	}
	gone := min(n.applied, n.ack) - 1
	n.grants = slices.Delete(n.grants, 0, gone)
	n.applied -= gone
	n.ack -= gone
}

func (n *handoffNode) reset(live bool) { *n = handoffNode{live: live, grants: n.grants[:0]} }

func (n *handoffNode) compare(o *handoffNode) int {
	if n.live != o.live {
		return cmp.Compare(bit(n.live), bit(o.live))
	}
	return cmp.Or(
		slices.Compare(n.grants, o.grants),
		cmp.Compare(n.applied, o.applied),
		cmp.Compare(n.ack, o.ack),
		cmp.Compare(n.inflight, o.inflight),
		cmp.Compare(n.reported, o.reported),
	)
}

type handoffState struct{ nodes []handoffNode }

func (s *handoffState) alive() int {
	n := 0
	for i := range s.nodes {
		n += bit(s.nodes[i].live)
	}
	return n
}

func (s *handoffState) inflight() int {
	sum := 0
	for i := range s.nodes {
		sum += s.nodes[i].inflight
	}
	return sum
}

func (s *handoffState) String() string {
	var b strings.Builder
	for i := range s.nodes {
		n := &s.nodes[i]
		if i > 0 {
			b.WriteString("  ")
		}
		if !n.live {
			fmt.Fprintf(&b, "%d: away", i+1)
			continue
		}
		fmt.Fprintf(&b, "%d: grants=%v applied=%d ack=%d inflight=%d reported=%d",
			i+1, n.grants, n.applied, n.ack, n.inflight, n.reported)
	}
	return b.String()
}

func (m *Handoff) New() *handoffState { return &handoffState{make([]handoffNode, m.Nodes)} }

func (m *Handoff) Encode(dst []byte, s *handoffState) []byte {
	for i := range s.nodes {
		n := &s.nodes[i]
		dst = appendInts(dst, bit(n.live))
		if !n.live {
			continue // it is reset
		}
		dst = appendInts(dst, len(n.grants))
		dst = appendInts(dst, n.grants...)
		dst = appendInts(dst, n.applied, n.ack, n.inflight, n.reported)
	}
	return dst
}

func (m *Handoff) Decode(s *handoffState, data []byte) error {
	r := reader{data: data}
	for i := range s.nodes {
		n := &s.nodes[i]
		n.reset(r.int() == 1)
		if !n.live {
			continue
		}
		for range r.int() {
			n.grants = append(n.grants, r.int())
		}
		n.applied, n.ack, n.inflight, n.reported = r.int(), r.int(), r.int(), r.int()
	}
	return r.done()
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}
