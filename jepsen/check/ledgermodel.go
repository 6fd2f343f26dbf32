package check

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/anishathalye/porcupine"
	"github.com/tkcoord/tkcoord/escrow"
)

// ledgerModel is one budget in one window as its clients may rely on it: a pure
// step function over the totals of its holders. What a grant amounts to between
// need and want is the owner's choice, so an answer is checked and not computed.
func ledgerModel() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return ledgerState{} },
		Step: func(s, in, out any) (bool, any) {
			return s.(ledgerState).step(in.(linearOp), out.(linearAnswer))
		},
		Equal:             func(a, b any) bool { return slices.Equal(a.(ledgerState), b.(ledgerState)) },
		DescribeOperation: func(in, out any) string { return describe(in.(linearOp), out.(linearAnswer)) },
		DescribeState:     func(s any) string { return s.(ledgerState).String() },
	}
}

// A share is what one holder has.
type share struct {
	holder escrow.HolderID
	escrow.Allotment
}

// A ledgerState lists the shares by holder. It is never changed, only replaced.
type ledgerState []share

func (s ledgerState) out() (out escrow.Credits) {
	for _, h := range s {
		out += h.Granted - h.Returned
	}
	return out
}

// step returns whether an answer is possible in a state, and the state after it.
func (s ledgerState) step(in linearOp, a linearAnswer) (bool, ledgerState) {
	i, known := slices.BinarySearchFunc(s, in.holder, func(h share, id escrow.HolderID) int { return cmp.Compare(h.holder, id) })
	before := share{holder: in.holder}
	if known {
		before = s[i]
	}
	after := before
	after.Used, after.Returned = max(before.Used, in.used), max(before.Returned, in.returned)
	if after.Used+after.Returned > before.Granted {
		return false, s // must be refused
	}
	free := max(0, a.limit-s.out()+after.Returned-before.Returned)
	least := max(before.Granted, min(in.need, before.Granted+free))
	most := max(before.Granted, min(in.want, before.Granted+free))
	if a.granted < least || a.granted > most {
		return false, s
	}
	after.Granted = a.granted
	next := slices.Clone(s)
	switch {
	case known:
		next[i] = after
	case after.Allotment != (escrow.Allotment{}):
		next = slices.Insert(next, i, after)
	}
	if a.left != max(0, a.limit-next.out()) {
		return false, s
	}
	return true, next
}

func (s ledgerState) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "out %d:", s.out())
	for _, h := range s {
		fmt.Fprintf(&b, " %d has %d-%d", h.holder, h.Granted, h.Returned)
	}
	return b.String()
}

func describe(in linearOp, a linearAnswer) string {
	var ask string
	switch {
	case in.want == 0:
		ask = "report"
	case in.need == in.want:
		ask = fmt.Sprintf("take to %d", in.want)
	default:
		ask = fmt.Sprintf("take to %d..%d", in.need, in.want)
	}
	if in.returned > 0 {
		ask += fmt.Sprintf(", gave %d", in.returned)
	}
	seen := ""
	if a.resolved {
		seen = " (from the log)"
	}
	return fmt.Sprintf("%d: %s → %d, left %d of %d%s", in.holder, ask, a.granted, a.left, a.limit, seen)
}
