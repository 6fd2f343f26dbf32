package check

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// suspects are parts of log lines that a healthy node never writes. The first
// ones no fault excuses.
var suspects = []struct {
	part        string
	inexcusable bool
}{
	{"panic:", true},
	{"fatal error:", true},
	{"WARNING: DATA RACE", true},
	{"state machine halted", true},
	{"replica differs", true},
	{"level=ERROR", false},
	{`"level":"ERROR"`, false},
}

// moreLines is how much of what follows a suspicious line is kept.
const moreLines = 12

// ScanLog returns the lines of a node's log that may be problems.
func ScanLog(node string, r io.Reader) ([]LogLine, error) {
	var found []LogLine
	in := bufio.NewScanner(r)
	in.Buffer(nil, 4<<20)
	follows := false // the line belongs to the last one found
	for n := 1; in.Scan(); n++ {
		text := in.Text()
		if suspicious(text) {
			found, follows = append(found, LogLine{Node: node, N: n, Text: text}), true
			continue
		}
		if follows = follows && !strings.Contains(text, "level="); follows {
			if l := &found[len(found)-1]; len(l.More) < moreLines {
				l.More = append(l.More, text)
			}
		}
	}
	if err := in.Err(); err != nil {
		return nil, fmt.Errorf("log of %s: %w", node, err)
	}
	return found, nil
}

func suspicious(text string) bool {
	for _, s := range suspects {
		if strings.Contains(text, s.part) {
			return true
		}
	}
	return false
}

// A LogLine is a line of a node's log that may be a problem, with what follows
// it if that is no log line: the stack of a panic.
type LogLine struct {
	Node string
	N    int // line number
	Text string
	More []string
}

// nodeLogs checks I12.
func nodeLogs(x *Case, p *problems) {
	excused := 0
	for _, l := range x.Lines {
		if x.excused(l.Text) {
			excused++
			continue
		}
		text := l.Text
		if len(l.More) > 0 {
			text += "\n" + strings.Join(l.More, "\n")
		}
		p.add(Problem{}, "%s:%d: %s", l.Node, l.N, text)
	}
	for _, d := range x.Died {
		p.add(Problem{}, "%s", d)
	}
	p.stat("suspicious lines that the faults explain", "%d", excused)
}

func (x *Case) excused(text string) bool {
	for _, s := range suspects {
		if s.inexcusable && strings.Contains(text, s.part) {
			return false
		}
	}
	for _, e := range x.Excused {
		if strings.Contains(text, e) {
			return true
		}
	}
	return false
}
