package policy

import (
	"slices"
	"strings"

	"github.com/tkcoord/tkcoord/escrow"
)

// A section is a map under reading, with what its problems need to say where
// they are. Its methods report a value that is not allowed and go on, so that
// all problems of a file come out at once; what they return then is not used.
type section struct {
	*tree
	node *node
	at   *path
	line int // of the key that the map belongs to
}

// isMap reports whether the section is a map at all, and a problem if not.
func (m section) isMap(of string) bool {
	if m.node.kind != mapping && m.node.kind != refused {
		m.refuse(m.node.line, m.at, "got %v: must be a map with %s", m.node, of)
	}
	return m.node.kind == mapping
}

// keys reports every key that is not among those allowed or accepted; the latter
// are not worth naming. unserved are keys of the contract that this version does
// not serve, and what they are for.
func (m section) keys(allowed, accepted []string, unserved map[string]string) {
	for i := range m.node.entries {
		e := &m.node.entries[i]
		if what, ok := unserved[e.key]; ok {
			m.refuse(e.line, m.at.to(e.key), "got %v: %s is not served by this version", &e.node, what)
		} else if !slices.Contains(allowed, e.key) && !slices.Contains(accepted, e.key) {
			m.refuse(e.line, m.at.to(e.key), "got an unknown key: %s", suggest(e.key, allowed))
		}
	}
}

// missing reports a required key that is absent.
func (m section) missing(key, want string) {
	m.refuse(m.line, m.at.to(key), "got nothing: required, %s", want)
}

// whole returns a number in [lo, hi], or otherwise if the key is absent.
func (m section) whole(key string, lo, hi, otherwise int64) int64 {
	e := m.node.find(key)
	if e == nil || e.node.kind == refused {
		return otherwise
	}
	if e.node.kind == number {
		if v, ok := whole(e.node.value, lo, hi); ok {
			return v
		}
	}
	if lo == hi {
		m.refuse(e.node.line, m.at.to(key), "got %v: must be %d", &e.node, lo)
	} else {
		m.refuse(e.node.line, m.at.to(key), "got %v: must be a whole number from %d to %d", &e.node, lo, hi)
	}
	return otherwise
}

// duration returns the length of a window in ms, 0 if the key is absent or
// wrong.
func (m section) duration(key string) escrow.Millis {
	e := m.node.find(key)
	if e == nil || e.node.kind == refused {
		return 0
	}
	var v int64
	ok := false
	switch e.node.kind {
	case number:
		v, ok = whole(e.node.value, 1, int64(escrow.MaxPeriod))
	case text:
		v, ok = span(e.node.value, 1, int64(escrow.MaxPeriod))
	}
	if !ok {
		m.refuse(e.node.line, m.at.to(key), "got %v: must be %s", &e.node, wantDuration)
		return 0
	}
	return escrow.Millis(v)
}

const wantDuration = "a duration such as 30s, 1m or 1h or a number of ms, in whole ms and at most 3660d"

// choice returns a word out of those that are served, or "".
func (m section) choice(key string, served, unserved []string) string {
	e := m.node.find(key)
	switch {
	case e == nil:
		m.missing(key, "one of "+strings.Join(served, ", "))
		return ""
	case e.node.kind == refused:
		return ""
	case e.node.kind == text && slices.Contains(served, e.node.value):
		return e.node.value
	case e.node.kind == text && slices.Contains(unserved, e.node.value):
		m.refuse(e.node.line, m.at.to(key), "got %v: not served by this version: must be one of %s", &e.node, strings.Join(served, ", "))
	default:
		m.refuse(e.node.line, m.at.to(key), "got %v: %s", &e.node, suggest(e.node.value, served))
	}
	return ""
}

// prefix returns the entry of the key prefix if it is there and a string.
func (m section) prefix() *entry {
	e := m.node.find("prefix")
	if e == nil || e.node.kind == refused {
		return nil
	}
	if e.node.kind != text {
		m.refuse(e.node.line, m.at.to("prefix"), "got %v: must be a string", &e.node)
		return nil
	}
	return e
}
