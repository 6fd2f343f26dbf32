package policy

import (
	"encoding/json"
	"strings"
)

// subset reads the YAML of the ThrottleKit contract, which is less than YAML and
// here and there something else:
//
//   - Maps are written by indentation with blanks or tabs, the top level in the
//     first column, or on one line in braces. In braces every comma separates.
//   - The first colon of a line ends the key, which is what stands there: quotes
//     belong to it.
//   - # begins a comment at the start of a line, or after a blank outside quotes.
//   - No value, ~ and null are null; true, false and decimal numbers are what they
//     seem. Strings are in double quotes with the escapes of JSON, in single quotes
//     where two of them are one, or bare: anything else is a string.
//
// Lists, anchors, tags, several documents and strings of several lines do not
// exist: what looks like them is an error or a bare string.
func (t *tree) subset(data []byte) (node, bool) {
	s := subsetReader{tree: t}
	number := 0
	for line := range strings.SplitSeq(string(data), "\n") {
		number++
		line = strings.TrimRight(line[:commentStart(line)], " \t\r")
		if body := strings.TrimLeft(line, " \t"); body != "" {
			s.lines = append(s.lines, subsetLine{number: number, indent: len(line) - len(body), text: body})
		}
	}
	top := s.block(0, 1, 1, config)
	return top, !s.failed
}

// commentStart returns where the comment of a line begins, its length if it has
// none.
func commentStart(line string) int {
	var quote byte
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case quote == '"' && c == '\\':
			i++ // whatever it escapes ends no string
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '#' && (i == 0 || line[i-1] == ' ' || line[i-1] == '\t'):
			return i
		}
	}
	return len(line)
}

type subsetLine struct {
	number, indent int
	text           string // without indentation, comment and blanks at its end
}

// A subsetReader reads lines until the first one that is wrong.
type subsetReader struct {
	*tree
	lines  []subsetLine // the rest
	failed bool
}

// fail reports the error that ends the reading.
func (s *subsetReader) fail(line int, format string, args ...any) {
	if !s.failed {
		s.refuse(line, nil, "YAML parse error at line %d: "+format, append([]any{line}, args...)...)
	}
	s.failed, s.lines = true, nil
}

// block reads the lines of one map, which are indented so far.
func (s *subsetReader) block(indent, depth, line int, at *path) node {
	n := node{kind: mapping, line: line}
	if s.tooDeep(depth, line) {
		return n
	}
	seen := map[string]int{}
	for len(s.lines) > 0 && s.lines[0].indent >= indent {
		l := s.lines[0]
		if l.indent > indent {
			s.fail(l.number, "unexpected indentation at %q", clip(l.text))
			break
		}
		s.lines = s.lines[1:]
		key, text, ok := s.pair(l.number, l.text)
		if !ok {
			break
		}
		value := node{kind: null, line: l.number}
		switch {
		case text != "":
			value = s.value(text, depth+1, l.number, at.to(key))
		case len(s.lines) > 0 && s.lines[0].indent > indent:
			value = s.block(s.lines[0].indent, depth+1, s.lines[0].number, at.to(key))
		}
		s.put(&n, seen, key, l.number, value, at)
	}
	return n
}

// tooDeep fails at a map that is nested deeper than maxDepth.
func (s *subsetReader) tooDeep(depth, line int) bool {
	if depth > maxDepth {
		s.fail(line, "more than %d levels of maps", maxDepth)
	}
	return depth > maxDepth
}

// pair splits "key: value" at the first colon.
func (s *subsetReader) pair(line int, text string) (key, value string, ok bool) {
	key, value, ok = strings.Cut(text, ":")
	key = strings.TrimSpace(key)
	if !ok || key == "" {
		s.fail(line, "expected a key and a colon, got %q", clip(text))
		return "", "", false
	}
	return key, strings.TrimSpace(value), true
}

// value reads what stands behind a colon.
func (s *subsetReader) value(text string, depth, line int, at *path) node {
	if text[0] == '{' {
		return s.flow(text, depth, line, at)
	}
	return s.scalar(text, line)
}

// flow reads a map in braces.
func (s *subsetReader) flow(text string, depth, line int, at *path) node {
	inner, ok := strings.CutSuffix(text[1:], "}")
	if !ok {
		s.fail(line, "a map in braces must end on its line, got %q", clip(text))
		return node{}
	}
	n := node{kind: mapping, line: line}
	if s.tooDeep(depth, line) {
		return n
	}
	seen := map[string]int{}
	for item := range strings.SplitSeq(inner, ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		key, text, ok := s.pair(line, item)
		if !ok {
			break
		}
		if strings.HasPrefix(text, "{") {
			s.fail(line, "nested flow maps are not supported: write the inner one on lines of its own, or say version: 2 at the top")
			break
		}
		s.put(&n, seen, key, line, s.scalar(text, line), at)
	}
	return n
}

func (s *subsetReader) scalar(raw string, line int) node {
	if len(raw) > 1 && raw[0] == raw[len(raw)-1] {
		switch raw[0] {
		case '"':
			n := node{kind: text, line: line}
			if err := json.Unmarshal([]byte(raw), &n.value); err != nil {
				s.fail(line, "got %s, which is no string of JSON: %v", clip(raw), err)
			}
			return n
		case '\'':
			return node{kind: text, line: line, value: strings.ReplaceAll(raw[1:len(raw)-1], "''", "'")}
		}
	}
	return node{kind: plainKind(raw), line: line, value: raw}
}
