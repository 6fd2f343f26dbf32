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
// when a problem needs it. nil is the file as a whole.
type path struct {
	up  *path
	key string
}

// config is the top of every file.
var config = &path{key: "config"}

func (p *path) to(key string) *path { return &path{p, key} }

// String spells the path as the ThrottleKit contract does in its errors:
// config.limiters[NAME].twoTier.batch.
func (p *path) String() string {
	if p == nil {
		return ""
	}
	key := p.key
	if !plainKey.MatchString(key) {
		key = strconv.Quote(clip(key))
	}
	switch {
	case p.up == nil:
		return key
	case p.up.up == config && p.up.key == "limiters":
		return p.up.String() + "[" + key + "]"
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
	strict   bool     // the file is of version 2
	problems Problems // what the file is refused for
	remarks  Problems // these are problems if the file is read strictly, else warnings
	warnings Problems
}

func (t *tree) refuse(line int, at *path, format string, args ...any) {
	t.problems.add(t.file, line, at, format, args...)
}

// remark reports what the contract lets pass.
func (t *tree) remark(line int, at *path, format string, args ...any) {
	t.remarks.add(t.file, line, at, format, args...)
}

// put adds an entry to a mapping that has the keys in seen, each with its place
// among the entries. The later one of a key takes the place of the earlier one.
func (t *tree) put(n *node, seen map[string]int, key string, line int, value node, at *path) {
	if forbidden(key) {
		t.refuse(line, at.to(key), "got a reserved key: the ThrottleKit contract refuses it at every level")
		return
	}
	i, again := seen[key]
	if !again {
		seen[key] = len(n.entries)
		n.entries = append(n.entries, entry{key, line, value})
		return
	}
	t.remark(line, at.to(key), "got it a second time: it is on line %d too, and the last one counts", n.entries[i].line)
	n.entries[i] = entry{key, line, value}
}

// tooDeep reports a mapping that is nested deeper than maxDepth.
func (t *tree) tooDeep(depth, line int, at *path) bool {
	if depth <= maxDepth {
		return false
	}
	t.refuse(line, at, "got a value on level %d: at most %d levels are allowed", depth, maxDepth)
	return true
}
