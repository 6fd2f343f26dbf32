package policy

import (
	"bytes"
	"encoding/json"
	"errors"
)

// json reads a JSON text.
func (t *tree) json(data []byte) (node, bool) {
	var whole json.RawMessage
	if err := json.Unmarshal(data, &whole); err != nil {
		line := 0
		if at, ok := errors.AsType[*json.SyntaxError](err); ok {
			line = 1 + bytes.Count(data[:min(at.Offset, int64(len(data)))], []byte("\n"))
		}
		t.refuse(line, nil, "not JSON: %v", err)
		return node{}, false
	}
	j := jsonTree{tree: t, data: data, dec: json.NewDecoder(bytes.NewReader(data)), line: 1}
	j.dec.UseNumber()
	return j.value(1, config), true
}

// A jsonTree walks over the tokens of a text that is known to be JSON.
type jsonTree struct {
	*tree
	data []byte
	dec  *json.Decoder
	seen int // bytes before which lines were counted
	line int // line of the byte at seen
}

// next returns the next token and its line. No token of JSON spans lines.
func (j *jsonTree) next() (json.Token, int) {
	tok, _ := j.dec.Token() // NB: cannot fail, since the whole text was found to be JSON
	end := int(j.dec.InputOffset())
	j.line += bytes.Count(j.data[j.seen:end], []byte("\n"))
	j.seen = end
	return tok, j.line
}

func (j *jsonTree) value(depth int, at *path) node {
	tok, line := j.next()
	switch v := tok.(type) {
	case json.Delim:
		if v == '{' {
			return j.object(depth, line, at)
		}
		j.skip()
		return node{kind: list, line: line}
	case json.Number:
		return node{kind: number, line: line, value: v.String()}
	case string:
		return node{kind: text, line: line, value: v}
	case bool:
		if v {
			return node{kind: boolean, line: line, value: "true"}
		}
		return node{kind: boolean, line: line, value: "false"}
	}
	return node{kind: null, line: line}
}

func (j *jsonTree) object(depth, line int, at *path) node {
	if j.tooDeep(depth, line, at) {
		j.skip()
		return node{kind: refused, line: line}
	}
	n := node{kind: mapping, line: line}
	seen := map[string]int{}
	for j.dec.More() {
		tok, line := j.next()
		key, _ := tok.(string)
		value := j.value(depth+1, at.to(key))
		j.put(&n, seen, key, line, value, at)
	}
	j.next() // the closing brace
	return n
}

// skip reads up to the end of the list or object whose start was read.
func (j *jsonTree) skip() {
	for open := 1; open > 0; {
		switch tok, _ := j.next(); tok {
		case json.Delim('{'), json.Delim('['):
			open++
		case json.Delim('}'), json.Delim(']'):
			open--
		}
	}
}
