package model

import (
	"errors"
	"testing"
)

func TestReplay(t *testing.T) {
	g := &graph{starts: []int{0, 3}, edges: ring, bad: []int{5}}
	for _, tt := range []struct {
		path  string
		steps int // of the trace
		err   error
	}{
		{"0:0,1,0", 3, nil},
		{"1:0,0", 2, nil},
		{"1:0,0,0", 2, nil}, // the violation ends it
		{"1:0", 1, ErrNoViolation},
		{"0:0,2", 1, ErrNotEnabled},
		{"0:4278190080", 0, ErrNotEnabled}, // of no kind
		{"2:0", 0, ErrNoSuchStart},
	} {
		p, err := ParsePath(tt.path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Bind(g).Replay(p)
		if !errors.Is(err, tt.err) {
			t.Errorf("Replay(%s): %v, want %v", tt.path, err, tt.err)
		}
		if got != nil && (len(got.Path.Actions) != tt.steps || len(got.Steps) != tt.steps+1) {
			t.Errorf("Replay(%s) took %d steps, want %d", tt.path, len(got.Path.Actions), tt.steps)
		}
	}
}

func TestParsePath(t *testing.T) {
	for _, text := range []string{"", "1", ":", "x:", "-1:", "0:,", "0:1,", "0:-1", "0:4294967296", "0: 1", "0:1;2"} {
		if p, err := ParsePath(text); err == nil {
			t.Errorf("ParsePath(%q) = %v, want an error", text, p)
		}
	}
}

func FuzzParsePath(f *testing.F) {
	f.Add("0:")
	f.Add("7:0,1,4294967295")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePath(text)
		if err != nil {
			return
		}
		var q Path
		if err := q.UnmarshalText([]byte(p.String())); err != nil || q.String() != p.String() {
			t.Errorf("ParsePath(%q) = %v, whose text is read as %v, %v", text, p, q, err)
		}
	})
}
