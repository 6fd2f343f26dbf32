package policy

import (
	"errors"
	"io"

	"go.yaml.in/yaml/v3"
)

// yaml reads a YAML document, of a file of version 2. Scalars mean what they mean
// in the contract's subset: only null, true, false and decimal numbers are no
// strings.
func (t *tree) yaml(data []byte) (node, bool) {
	lines := lineReader{rest: data}
	dec := yaml.NewDecoder(&lines)
	var doc, second yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return node{kind: mapping, line: 1}, true // an empty file is an empty map
	}
	if err != nil {
		t.badYAML(data, lines.read, err)
		return node{}, false
	}
	err = dec.Decode(&second)
	switch {
	case err == nil:
		t.refuse(second.Line, nil, "got another document: a file is one document")
	case !errors.Is(err, io.EOF):
		t.badYAML(data, lines.read, err)
	}
	return t.fromYAML(doc.Content[0], 1, config), true
}

func (t *tree) fromYAML(y *yaml.Node, depth int, at *path) node {
	if t.decorated(y, at) {
		return node{kind: refused, line: y.Line}
	}
	switch y.Kind {
	case yaml.MappingNode:
		return t.yamlMapping(y, depth, at)
	case yaml.SequenceNode:
		return node{kind: list, line: y.Line}
	}
	n := node{kind: text, line: y.Line, value: y.Value}
	if quoted := y.Style != 0; !quoted {
		n.kind = plainKind(y.Value)
	}
	return n
}

// decorated reports what makes one value depend on another place in the file or
// on another schema.
func (t *tree) decorated(y *yaml.Node, at *path) bool {
	switch {
	case y.Kind == yaml.AliasNode:
		t.refuse(y.Line, at, "got alias *%s: aliases and anchors are not allowed, write the value out", clip(y.Value))
	case y.Anchor != "":
		t.refuse(y.Line, at, "got anchor &%s: aliases and anchors are not allowed, write the value out", clip(y.Anchor))
	case y.Style&yaml.TaggedStyle != 0:
		t.refuse(y.Line, at, "got tag %s: tags are not allowed", clip(y.Tag))
	default:
		return false
	}
	return true
}

func (t *tree) yamlMapping(y *yaml.Node, depth int, at *path) node {
	if t.tooDeep(depth, y.Line, at) {
		return node{kind: refused, line: y.Line}
	}
	n := node{kind: mapping, line: y.Line}
	seen := map[string]int{}
	for i := 0; i+1 < len(y.Content); i += 2 {
		key, value := y.Content[i], y.Content[i+1]
		if t.decorated(key, at) {
			continue
		}
		if key.Kind != yaml.ScalarNode {
			t.refuse(key.Line, at, "got a map or list as a key: a key is a word or a string")
			continue
		}
		t.put(&n, seen, key.Value, key.Line, t.fromYAML(value, depth+1, at.to(key.Value)), at)
	}
	return n
}

// plainKind returns what a scalar without quotes is.
func plainKind(s string) kind {
	switch s {
	case "", "~", "null":
		return null
	case "true", "false":
		return boolean
	}
	if numeral.MatchString(s) {
		return number
	}
	return text
}
