package model

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// A Path is one run of a model: an initial state, by its place among those that
// Init emits, and the actions taken from it. Its text, "0:16777217,33554432",
// is what a bug report keeps.
type Path struct {
	Init    int
	Actions []Action
}

func (p Path) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d:", p.Init)
	for i, a := range p.Actions {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.FormatUint(uint64(a), 10))
	}
	return b.String()
}

// MarshalText returns the text of the path.
func (p Path) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (p *Path) UnmarshalText(text []byte) error {
	q, err := ParsePath(string(text))
	if err == nil {
		*p = q
	}
	return err
}

// ParsePath reads the text of a path.
func ParsePath(text string) (Path, error) {
	init, rest, found := strings.Cut(text, ":")
	if !found {
		return Path{}, fmt.Errorf("path %q: want an initial state, a colon, and actions", text)
	}
	var p Path
	var err error
	if p.Init, err = strconv.Atoi(init); err != nil || p.Init < 0 {
		return Path{}, fmt.Errorf("path %q: %q is not the number of an initial state", text, init)
	}
	if rest == "" {
		return p, nil
	}
	for field := range strings.SplitSeq(rest, ",") {
		n, err := strconv.ParseUint(field, 10, 32)
		if err != nil {
			return Path{}, fmt.Errorf("path %q: %q is not an action", text, field)
		}
		p.Actions = append(p.Actions, Action(n))
	}
	return p, nil
}

// Errors of Replay.
var (
	ErrNoSuchStart = errors.New("the model has fewer initial states")
	ErrNotEnabled  = errors.New("the action is not enabled")
	ErrNoViolation = errors.New("the path breaks no invariant")
)
