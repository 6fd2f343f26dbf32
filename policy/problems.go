package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// MaxProblems is how many problems of one file are kept. The others are counted.
const MaxProblems = 50

// A Problem is one thing that is wrong with a policy file.
type Problem struct {
	File    string `json:"file"`
	Line    int    `json:"line,omitempty"` // from 1; 0: the file as a whole
	Key     string `json:"key,omitempty"`  // such as config.limiters[api].limit; empty: the file as a whole
	Message string `json:"message"`
}

// String returns "file:line: key: message" without the parts that are absent.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	}
	if p.Key != "" {
		b.WriteString(": " + p.Key)
	}
	b.WriteString(": " + p.Message)
	return b.String()
}

// Problems are about a file, in the order of its lines. As an error of Parse they
// are everything that is wrong with it.
type Problems struct {
	List []Problem // the first MaxProblems that were found
	More int       // how many others there are
}

// Error returns one line for each problem.
func (p *Problems) Error() string {
	lines := make([]string, 0, len(p.List)+1)
	for _, one := range p.List {
		lines = append(lines, one.String())
	}
	if p.More > 0 {
		lines = append(lines, fmt.Sprintf("... and %d more", p.More))
	}
	return strings.Join(lines, "\n")
}

// add records a problem. Once the list is full it formats nothing.
func (p *Problems) add(file string, line int, at *path, format string, args ...any) {
	if len(p.List) == MaxProblems {
		p.More++
		return
	}
	p.List = append(p.List, Problem{File: file, Line: line, Key: at.String(), Message: fmt.Sprintf(format, args...)})
}

// merge adds what others were found.
func (p *Problems) merge(other *Problems) {
	kept := min(len(other.List), MaxProblems-len(p.List))
	p.List = append(p.List, other.List[:kept]...)
	p.More += other.More + len(other.List) - kept
}

// sort orders the list by line; problems of one line stay in the order in which
// they were found.
func (p *Problems) sort() {
	slices.SortStableFunc(p.List, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
}
