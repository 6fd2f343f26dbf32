package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// ChangeKind says what happens to one policy.
type ChangeKind string

const (
	Add       ChangeKind = "add"
	Update    ChangeKind = "update"
	Delete    ChangeKind = "delete"
	Unchanged ChangeKind = "unchanged"
)

// A Change is what happens to the policy of one name.
type Change struct {
	Kind   ChangeKind    `json:"kind"`
	Name   string        `json:"name"`
	Fields []FieldChange `json:"fields,omitempty"` // what differs, in the order of a file
	Notes  []string      `json:"notes,omitempty"`  // what it does to requests, one sentence each

	Old Policy `json:"-"` // of Update, Delete and Unchanged
	New Policy `json:"-"` // of Add, Update and Unchanged
}

// A FieldChange is a key of a policy file whose value differs, such as limit or
// twoTier.batch. An empty value means that the policy has no such key.
type FieldChange struct {
	Key string `json:"key"`
	Old string `json:"old,omitempty"`
	New string `json:"new,omitempty"`
}

// Plan returns the changes that lead from the current policies to the wanted
// ones, sorted by name, one for each name in either. Both are valid policies,
// each name once. A current policy that is not wanted is deleted if prune is
// set and else stays as it is.
func Plan(current, wanted []Policy, prune bool) []Change {
	old, want := byName(current), byName(wanted)
	var changes []Change
	for name, n := range want {
		o, exists := old[name]
		switch {
		case !exists:
			changes = append(changes, Change{Kind: Add, Name: name, New: n, Fields: differ(Policy{}, n)})
		case o == n:
			changes = append(changes, Change{Kind: Unchanged, Name: name, Old: o, New: n})
		default:
			changes = append(changes, Change{Kind: Update, Name: name, Old: o, New: n, Fields: differ(o, n), Notes: effects(o, n)})
		}
	}
	for name, o := range old {
		if _, wanted := want[name]; wanted {
			continue
		}
		if prune {
			changes = append(changes, Change{Kind: Delete, Name: name, Old: o, Fields: differ(o, Policy{}), Notes: []string{noteDelete}})
		} else {
			changes = append(changes, Change{Kind: Unchanged, Name: name, Old: o, New: o, Notes: []string{noteKept}})
		}
	}
	slices.SortFunc(changes, func(a, b Change) int { return strings.Compare(a.Name, b.Name) })
	return changes
}

func byName(policies []Policy) map[string]Policy {
	m := make(map[string]Policy, len(policies))
	for _, p := range policies {
		m[p.Name] = p
	}
	return m
}

// differ returns the keys in which two policies differ, in the order in which the
// new one has them, and then those that only the old one has. The zero Policy has
// no keys.
func differ(o, n Policy) []FieldChange {
	var fields []FieldChange
	olds, news := keysOf(o), keysOf(n)
	for _, s := range news {
		if was := valueOf(olds, s.name()); was != s.value {
			fields = append(fields, FieldChange{s.name(), was, s.value})
		}
	}
	for _, s := range olds {
		if valueOf(news, s.name()) == "" {
			fields = append(fields, FieldChange{s.name(), s.value, ""})
		}
	}
	return fields
}

func keysOf(p Policy) []setting {
	if p == (Policy{}) {
		return nil
	}
	return settings(p)
}

// valueOf returns the value of a key, "" if it is not there.
func valueOf(list []setting, name string) string {
	for _, s := range list {
		if s.name() == name {
			return s.value
		}
	}
	return ""
}

var marks = map[ChangeKind]string{Add: "+", Update: "~", Delete: "-", Unchanged: "="}

// String shows the change in lines: a mark and the name, then each field of an
// update as "key: old -> new", of the other kinds as "key: value", and each note
// after a #.
func (c Change) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s\n", marks[c.Kind], c.Kind, formatKey(c.Name))
	for _, f := range c.Fields {
		if c.Kind == Update {
			fmt.Fprintf(&b, "    %s: %s -> %s\n", f.Key, cmp.Or(f.Old, "none"), cmp.Or(f.New, "none"))
		} else {
			fmt.Fprintf(&b, "    %s: %s\n", f.Key, cmp.Or(f.New, f.Old))
		}
	}
	for _, n := range c.Notes {
		fmt.Fprintf(&b, "    # %s\n", n)
	}
	return b.String()
}

// Summary counts changes: "1 to add, 0 to update, 2 to delete, 7 unchanged".
func Summary(changes []Change) string {
	count := map[ChangeKind]int{}
	for _, c := range changes {
		count[c.Kind]++
	}
	return fmt.Sprintf("%d to add, %d to update, %d to delete, %d unchanged", count[Add], count[Update], count[Delete], count[Unchanged])
}
