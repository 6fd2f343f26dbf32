package policy

import (
	"regexp"
	"strconv"
	"unicode/utf8"
)

// maxDepth bounds how deep mappings and lists may be nested.
const maxDepth = 64

type kind uint8

const (
	refused kind = iota // its problem is already known: whoever reads it says nothing more
	null
	boolean
	number
	text
	list
	mapping
)

// A node is one value of a policy file, whichever notation it was written in.
type node struct {
	kind    kind
	line    int
	value   string  // of a scalar: strings without quotes and escapes, the others as written
	entries []entry // of a mapping, in the order of the file, each key once
	// Items of a list are not kept: no key takes a list.
}

type entry struct {
	key  string
	line int
	node node
}

// find returns the entry of a mapping with that key, or nil.
func (n *node) find(key string) *entry {
	for i := range n.entries {
		if n.entries[i].key == key {
			return &n.entries[i]
		}
	}
	return nil
}

// String shows the value as a problem quotes it.
func (n *node) String() string {
	switch n.kind {
	case mapping:
		return "a map"
	case list:
		return "a list"
	case text:
		return strconv.Quote(clip(n.value))
	case null:
		return "null"
	}
	return clip(n.value)
}

// A path is the way from the top of a file to a value. It is spelled out only
// when a problem needs it. nil is the top.
type path struct {
	up  *path
	key string
}

func (p *path) to(key string) *path { return &path{p, key} }

func (p *path) String() string {
	if p == nil {
		return ""
	}
	key := p.key
	if !plainKey.MatchString(key) {
		key = strconv.Quote(clip(key))
	}
	if p.up == nil {
		return key
	}
	return p.up.String() + "." + key
}

// plainKey matches the keys that are written without quotes.
var plainKey = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_-]{0,63}$`)

// clip keeps what a problem quotes short.
func clip(s string) string {
	const longest = 64 // bytes
	if len(s) <= longest {
		return s
	}
	end := longest
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "..."
}

// A tree reads the notation of one file and reports what no notation may have.
type tree struct {
	file     string
	problems Problems
}

func (t *tree) refuse(line int, at *path, format string, args ...any) {
	t.problems.add(t.file, line, at, format, args...)
}

// admits reports whether a key may enter a mapping that has the keys in seen,
// each with its line, and records it there.
func (t *tree) admits(seen map[string]int, key string, line int, at *path) bool {
	if forbidden(key) {
		t.refuse(line, at.to(key), "got a reserved key: the ThrottleKit contract refuses it at every level")
		return false
	}
	if first, again := seen[key]; again {
		t.refuse(line, at.to(key), "got it a second time: it is already on line %d, and each key may appear once", first)
		return false
	}
	seen[key] = line
	return true
}

// tooDeep reports a mapping or list that is nested deeper than maxDepth.
func (t *tree) tooDeep(depth, line int, at *path) bool {
	if depth <= maxDepth {
		return false
	}
	t.refuse(line, at, "got a value on level %d: at most %d levels are allowed", depth, maxDepth)
	return true
}
