package policy

import (
	"bytes"
	"cmp"
	"slices"
	"unicode/utf8"
)

// A File is what a policy file says.
type File struct {
	Policies []Policy // by name, each name once
}

// Parse reads a policy file: .throttlekit.yaml, or .throttlekit.json if its
// first character is { or [. name is the file's name in problems, nothing more.
// The error is a *Problems with everything that is wrong.
//
// The file has the shape of the ThrottleKit contract, and Parse is stricter
// than the contract in that nothing in a file is silently without effect:
// unknown keys, keys that the chosen strategy does not use, and kinds of limits
// that this version does not serve are problems. Beyond the contract there is
// maxKeys, see Policy.
//
// YAML may use more than the contract's subset, but no aliases, anchors or tags
// and one document only. In both notations a key appears once in its map.
//
// Where the contract leaves a choice, or differs:
//
//   - limit, lengths of windows and all other numbers are whole: credits and
//     milliseconds are leased one by one.
//   - period wins over windowMs and periodMs in the contract. A file that has
//     two different lengths contradicts itself and is refused.
//   - Equal prefixes make policies share counters in the contract, see
//     checkPrefixes. Prefixes are accepted where they have no effect.
//   - version may be absent, but must not be other than 1.
//   - anchor is taken modulo the period, which gives the same windows.
func Parse(name string, data []byte) (File, error) {
	t := &tree{file: name}
	top, ok := t.read(data)
	if !ok {
		return File{}, &t.problems
	}
	f := t.top(&top)
	if len(t.problems.List) > 0 {
		t.problems.sort()
		return File{}, &t.problems
	}
	return f, nil
}

// read turns the bytes of a file into values, if they can be read at all.
func (t *tree) read(data []byte) (node, bool) {
	if len(data) > MaxFileSize {
		t.refuse(0, nil, "got %d bytes: at most %d are allowed", len(data), MaxFileSize)
		return node{}, false
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if !utf8.Valid(data) {
		t.refuse(0, nil, "got bytes that are not UTF-8: write the file in UTF-8")
		return node{}, false
	}
	if s := bytes.TrimSpace(data); len(s) > 0 && (s[0] == '{' || s[0] == '[') {
		return t.json(data)
	}
	return t.yaml(data)
}

var topKeys = []string{"version", "defaults", "limiters"}

// top reads the top level of a file.
func (t *tree) top(n *node) File {
	m := section{tree: t, node: n, line: n.line}
	if !m.isMap("the keys version, defaults and limiters") {
		return File{}
	}
	m.keys(topKeys, nil, map[string]string{"capture": "decision capture", "replay": "the panel for replays"})
	if e := n.find("version"); e != nil {
		m.whole("version", 1, 1, 1)
	}
	prefix := t.defaults(n)
	limiters := n.find("limiters")
	if limiters == nil {
		m.missing("limiters", "a map from names to policies")
		return File{}
	}
	return t.limiters(limiters, prefix)
}

// defaults reads the prefix that policies have if they have none of their own.
func (t *tree) defaults(top *node) *entry {
	e := top.find("defaults")
	if e == nil {
		return nil
	}
	m := section{tree: t, node: &e.node, at: (*path)(nil).to("defaults"), line: e.line}
	if !m.isMap("the key prefix") {
		return nil
	}
	m.keys([]string{"prefix"}, nil, nil)
	return m.prefix()
}

// limiters reads the policies.
func (t *tree) limiters(e *entry, prefix *entry) File {
	m := section{tree: t, node: &e.node, at: (*path)(nil).to("limiters"), line: e.line}
	if !m.isMap("names and their policies") {
		return File{}
	}
	if n := len(e.node.entries); n > MaxPolicies {
		t.refuse(e.line, m.at, "got %d policies: at most %d are allowed", n, MaxPolicies)
		return File{}
	}
	var f File
	for i := range e.node.entries {
		f.Policies = append(f.Policies, t.policy(&e.node.entries[i], m.at))
	}
	t.checkPrefixes(&e.node, prefix)
	slices.SortFunc(f.Policies, func(a, b Policy) int { return cmp.Compare(a.Name, b.Name) })
	return f
}
