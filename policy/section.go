package policy

import (
	"math"
	"slices"
	"strings"

	"github.com/tkcoord/tkcoord/escrow"
)

// A section is a map under reading, with what its problems need to say where
// they are. Its methods report a value that is not allowed and go on, so that
// all problems of a file come out at once; what they return then is not used.
type section struct {
	*tree
	node  *node
	at    *path
	line  int       // of the key that the map belongs to
	asked *[]string // keys that somebody asked for; the others have no effect
}

func newSection(t *tree, n *node, at *path, line int) section {
	return section{tree: t, node: n, at: at, line: line, asked: new([]string)}
}

// isMap reports whether the section is a map at all, and a problem if not.
func (m section) isMap(otherwise string) bool {
	if m.node.kind != mapping && m.node.kind != refused {
		m.refuse(m.node.line, m.at, "%s, got %v", otherwise, m.node)
	}
	return m.node.kind == mapping
}

// find returns the entry of a key, or nil. null is as good as no entry.
func (m section) find(key string) *entry {
	*m.asked = append(*m.asked, key)
	e := m.node.find(key)
	if e == nil || e.node.kind == null || e.node.kind == refused {
		return nil
	}
	return e
}

// block returns the section of a key that is there.
func (m section) block(key string) section {
	*m.asked = append(*m.asked, key)
	e := m.node.find(key)
	b := newSection(m.tree, &e.node, m.at.to(key), e.line)
	if e.node.kind == null { // the contract looks only whether there is such a key
		m.remark(e.line, b.at, "got nothing: read as a map without keys")
		b.node = &node{kind: mapping, line: e.line}
	}
	return b
}

// rest remarks on every key that nobody asked for. known are all keys that have
// an effect in some such section; what says what does not use the key, if it is
// among them. what is "" if that is not known.
func (m section) rest(what string, known []string) {
	for i := range m.node.entries {
		e := &m.node.entries[i]
		switch {
		case slices.Contains(*m.asked, e.key):
			if e.node.kind == null && !slices.Contains(blocks, e.key) {
				m.remark(e.line, m.at.to(e.key), "got nothing: read as if the key were absent")
			}
		case slices.Contains(known, e.key):
			if what != "" {
				m.remark(e.line, m.at.to(e.key), "got %v: %s does not use it, remove it", &e.node, what)
			}
		default:
			m.remark(e.line, m.at.to(e.key), "got an unknown key: %v", suggestion{e.key, known})
		}
	}
}

// missing reports a required key that is absent.
func (m section) missing(key, want string) {
	if e := m.node.find(key); e == nil || e.node.kind != refused {
		m.refuse(m.line, m.at.to(key), "required: %s", want)
	}
}

// A rule says which numbers a key may have.
type rule struct {
	text string
	ok   func(float64) bool // of a finite number
}

var (
	aboveZero   = rule{"a number above 0", func(x float64) bool { return x > 0 }}
	oneOrMore   = rule{"a number of at least 1", func(x float64) bool { return x >= 1 }}
	aCount      = rule{"a number from 0 to 9007199254740991", func(x float64) bool { return x >= 0 && x <= float64(escrow.MaxCredits) }}
	idleTime    = rule{"a number of ms from 0 to 316224000000", func(x float64) bool { return x >= 0 && x <= float64(escrow.MaxPeriod) }}
	aboveZero1  = rule{"a number above 0, at most 1", func(x float64) bool { return x > 0 && x <= 1 }}
	halfToBelow = rule{"a number from 0.5 to below 1", func(x float64) bool { return x >= 0.5 && x < 1 }}
)

// number returns a finite number, or otherwise if the key is absent.
func (m section) number(key string, r rule, otherwise float64) float64 {
	e := m.find(key)
	if e == nil {
		return otherwise
	}
	x, ok := m.numberOf(e)
	if !ok || !r.ok(x) {
		m.refuse(e.node.line, m.at.to(key), "got %v: must be %s", &e.node, r.text)
		return otherwise
	}
	return x
}

// required is number for a key that must be there. It returns 0 if it is not.
func (m section) required(key string, r rule) float64 {
	if m.find(key) == nil {
		m.missing(key, r.text)
		return 0
	}
	return m.number(key, r, 0)
}

// numberOf returns the value of an entry if it is a finite number.
func (m section) numberOf(e *entry) (float64, bool) {
	if e.node.kind != number {
		return 0, false
	}
	if oddZero.MatchString(e.node.value) {
		m.remark(e.node.line, m.at.to(e.key), "got %v: read as a decimal number, write it without the zero", &e.node)
	}
	return plainNumber(e.node.value)
}

// whole returns a number without a fraction in [lo, hi], or otherwise if the key
// is absent.
func (m section) whole(key string, lo, hi, otherwise int64) int64 {
	return m.integer(key, lo, hi, otherwise, false)
}

// floor is whole for a key that may have a fraction in the contract. It is cut
// off.
func (m section) floor(key string, lo, hi, otherwise int64) int64 {
	return m.integer(key, lo, hi, otherwise, true)
}

func (m section) integer(key string, lo, hi, otherwise int64, cut bool) int64 {
	e := m.find(key)
	if e == nil {
		return otherwise
	}
	x, ok := m.numberOf(e)
	v := math.Floor(x)
	if !ok || v < float64(lo) || v > float64(hi) || v != x && !cut {
		whole := "whole "
		if cut {
			whole = ""
		}
		m.refuse(e.node.line, m.at.to(key), "got %v: must be a %snumber from %d to %d", &e.node, whole, lo, hi)
		return otherwise
	}
	if v != x {
		m.remark(e.node.line, m.at.to(key), "got %v: counts as %.0f", &e.node, v)
	}
	return int64(v)
}

// credits returns a limit that is counted in whole credits, 0 if it is absent or
// wrong.
func (m section) credits(key string) escrow.Credits {
	if m.find(key) == nil {
		m.missing(key, "a number from 1 to 9007199254740991")
		return 0
	}
	return escrow.Credits(m.floor(key, 1, int64(escrow.MaxCredits), 0))
}

func (m section) boolean(key string) bool {
	e := m.find(key)
	if e == nil {
		return false
	}
	if e.node.kind != boolean {
		m.refuse(e.node.line, m.at.to(key), "got %v: must be true or false", &e.node)
	}
	return e.node.value == "true"
}

// choice returns a word, or otherwise if the key is absent, and whether it is one
// of those allowed.
func (m section) choice(key, otherwise, problem string, allowed []string) (string, bool) {
	e := m.find(key)
	switch {
	case e == nil && otherwise == "":
		m.missing(key, "one of "+strings.Join(allowed, ", "))
		return "", false
	case e == nil:
		return otherwise, true
	case e.node.kind == text && slices.Contains(allowed, e.node.value):
		return e.node.value, true
	}
	m.refuse(e.node.line, m.at.to(key), "%s %v: %v", problem, &e.node, suggestion{e.node.value, allowed})
	return "", false
}

// prefix returns the entry of the key prefix if it is there and a string.
func (m section) prefix() *entry {
	e := m.find("prefix")
	if e != nil && e.node.kind != text {
		m.remark(e.node.line, m.at.to("prefix"), "got %v: must be a string", &e.node)
		return nil
	}
	return e
}
