package policy

import (
	"bytes"
	"cmp"
	"regexp"
	"slices"
	"unicode/utf8"
)

// A File is what a policy file says.
type File struct {
	Policies []Policy // by name, each name once
	// Warnings are about what has no effect, or another one than the file's author
	// may think, in the order of lines.
	Warnings Problems
}

// Parse reads a policy file: .throttlekit.yaml, or .throttlekit.json if its
// first character is { or [. name is the file's name in problems, nothing more.
// The error is a *Problems with everything that is wrong.
//
// Files of version 1, or of none, are those of the ThrottleKit contract and mean
// what they mean there. They are written in the contract's subset of YAML, see
// subset. Keys that are unknown or have no effect are warnings, and of a key
// that appears twice the last one counts.
//
// Files of version 2 have the same keys and are strict: what is a warning in
// version 1 is a problem, with a suggestion, since a key that is silently without
// effect is most often a limit that somebody believes in. They are YAML proper,
// but without aliases, anchors and tags, and one document. JSON files have either
// version.
//
// Here and in the contract means the same, but for this:
//
//   - Each policy has its keys to itself. In the contract policies of one prefix
//     share the counters of equal keys; here a prefix has no effect. Policies that
//     would share are warned about.
//   - Policies that count in windows of a ledger (see Policy.Ledger) and meters
//     count whole credits in whole ms. Their limit is rounded down, which answers
//     the same. Below 1 it is refused, as is a window with a fraction of a ms.
//   - Batches and the bounds of concurrency are rounded down too.
//   - A sliding window or rolling quota that is federated counts in fixed windows
//     aligned on the epoch, and an anchor has no effect, as in the contract; such a
//     quota is read as a fixed one.
//   - anchor is taken modulo the period, which gives the same windows.
//   - maxKeys bounds the keys of every policy, not only of meters, and refuses keys
//     beyond it instead of forgetting others. Its default is DefaultMaxKeys.
//   - capture and replay have no effect, and are warned about in both versions.
//   - fairEscrow, federatedFairEscrow and distributedConcurrency are not served.
func Parse(name string, data []byte) (File, error) { return parse(name, data, false) }

// ParseStrict is Parse with the rules of version 2 for what is a problem, in
// files of both versions. It reads a file of version 1 in the contract's subset of
// YAML, so it accepts no more than Parse and gives the same policies.
func ParseStrict(name string, data []byte) (File, error) { return parse(name, data, true) }

func parse(name string, data []byte, strict bool) (File, error) {
	t := &tree{file: name}
	var f File
	if top, ok := t.read(data); ok {
		f = t.top(&top)
	}
	if strict || t.strict {
		t.problems.merge(&t.remarks)
	} else {
		t.warnings.merge(&t.remarks)
	}
	t.problems.sort()
	t.warnings.sort()
	if len(t.problems.List) > 0 {
		return File{}, &t.problems
	}
	f.Warnings = t.warnings
	return f, nil
}

// versionTwo finds the version of a file before it is read, since that says how
// to read it: a line of its own at the left margin.
var versionTwo = regexp.MustCompile(`(?m)^["']?version["']?[ \t]*:[ \t]*["']?2(?:\.0*)?["']?[ \t\r]*(?:#.*)?$`)

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
	if versionTwo.Match(data) {
		return t.yaml(data)
	}
	return t.subset(data)
}

// top reads the top level of a file.
func (t *tree) top(n *node) File {
	m := newSection(t, n, config, n.line)
	if !m.isMap("expected an object at the top level") {
		return File{}
	}
	m.version()
	prefix := t.defaults(m.find("defaults"))
	for _, block := range []string{"capture", "replay"} {
		if e := m.find(block); e != nil {
			t.warnings.add(t.file, e.line, config.to(block), "has no effect here")
		}
	}
	limiters := m.find("limiters")
	if limiters == nil {
		t.refuse(n.line, config, "missing `limiters` map: a map from names to policies is required")
		return File{}
	}
	f := t.limiters(limiters, prefix)
	m.rest("", []string{"version", "defaults", "limiters", "capture", "replay"})
	return f
}

// version reads which version a file has. The contract does not check it.
func (m section) version() {
	e := m.find("version")
	if e == nil {
		return
	}
	v, ok := plainNumber(e.node.value)
	switch {
	case e.node.kind != number && e.node.kind != text || !ok || v != 1 && v != 2:
		m.refuse(e.node.line, m.at.to("version"), "got %v: must be 1 or 2", &e.node)
	case v == 2:
		m.tree.strict = true
	}
}

// defaults reads the prefix that policies have if they have none of their own.
func (t *tree) defaults(e *entry) *entry {
	if e == nil {
		return nil
	}
	m := newSection(t, &e.node, config.to("defaults"), e.line)
	if !m.isMap("expected an object") {
		return nil
	}
	prefix := m.prefix()
	m.rest("", []string{"prefix"})
	return prefix
}

// limiters reads the policies.
func (t *tree) limiters(e *entry, prefix *entry) File {
	m := newSection(t, &e.node, config.to("limiters"), e.line)
	if !m.isMap("expected an object: a map from names to policies") {
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
