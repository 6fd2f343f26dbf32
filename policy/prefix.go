package policy

import (
	"fmt"
	"strings"
)

// A keySpace is where policies of one prefix count in the contract.
type keySpace struct {
	policies []string
	node     *node // the prefix as written, nil while it is a policy's name only
	at       *path
}

// checkPrefixes remarks on policies that share a key space in the contract.
//
// There a policy counts under prefix:key in a store, where the prefix is its own,
// else the default one, else its name. Policies of one prefix mix their counters;
// a default prefix makes all of them do so. Here every policy has its counters to
// itself and prefixes have no effect. Policies that have one in common together
// admit more here than there.
func (t *tree) checkPrefixes(limiters *node, byDefault *entry) {
	spaces := map[string]*keySpace{}
	var inOrder []*keySpace
	for i := range limiters.entries {
		e := &limiters.entries[i]
		prefix, written, at := e.key, (*node)(nil), (*path)(nil)
		if own := e.node.find("prefix"); own != nil {
			if own.node.kind != text {
				continue // remarked on already, or null
			}
			prefix, written, at = own.node.value, &own.node, config.to("limiters").to(e.key).to("prefix")
		} else if byDefault != nil {
			prefix, written, at = byDefault.node.value, &byDefault.node, config.to("defaults").to("prefix")
		}
		s := spaces[prefix]
		if s == nil {
			s = &keySpace{}
			spaces[prefix] = s
			inOrder = append(inOrder, s)
		}
		s.policies = append(s.policies, e.key)
		if written != nil {
			s.node, s.at = written, at
		}
	}
	for _, s := range inOrder {
		if len(s.policies) > 1 { // names differ, so the prefix is written somewhere
			t.remark(s.node.line, s.at, "got %v: policies of one prefix (%s) share their counters in the ThrottleKit contract; "+
				"here each policy has its own: remove the prefix", s.node, sample(s.policies))
		}
	}
}

// sample names the first few.
func sample(names []string) string {
	const few = 3
	shown := make([]string, 0, few)
	for _, n := range names[:min(few, len(names))] {
		shown = append(shown, (*path)(nil).to(n).String())
	}
	if more := len(names) - few; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(shown, ", "), more)
	}
	return strings.Join(shown, ", ")
}
