package policy

import (
	"fmt"
	"strings"
	"testing"
)

// show writes a node on one line.
func show(n *node) string {
	if n.kind != mapping {
		return fmt.Sprintf("%s:%d", n, n.line)
	}
	var parts []string
	for _, e := range n.entries {
		parts = append(parts, fmt.Sprintf("<%s> %s", e.key, show(&e.node)))
	}
	return fmt.Sprintf("{%s}:%d", strings.Join(parts, " "), n.line)
}

// TestSubset: what the contract's subset of YAML reads, or the error that ends
// the reading.
func TestSubset(t *testing.T) {
	deep := ""
	for i := range maxDepth {
		deep += strings.Repeat(" ", i) + "k:\n"
	}
	for _, tc := range []struct{ name, text, want string }{
		{"nothing", " \n# only this\n\t#\n", "{}:1"},
		{"a map", "a: 1\nb:\n  c: x\n  d: 2\ne: 3\n", `{<a> 1:1 <b> {<c> "x":3 <d> 2:4}:3 <e> 3:5}:1`},
		{"Windows", "a:\r\n  b: 1\r\n", `{<a> {<b> 1:2}:2}:1`},
		{"the first colon ends the key", "a:b: c:d", `{<a> "b: c:d":1}:1`},
		{"keys keep their quotes", "\"a b\": 1\n'c': 2", `{<"a b"> 1:1 <'c'> 2:2}:1`},
		{"scalars", "a:\nb: ~\nc: null\nd: true\ne: -1.5e3\nf: .5\ng: True\nh: \"1\"\ni: 'it''s'\nj: 0x1\nk: - x",
			`{<a> null:1 <b> null:2 <c> null:3 <d> true:4 <e> -1.5e3:5 <f> ".5":6 <g> "True":7 <h> "1":8 <i> "it's":9 <j> "0x1":10 <k> "- x":11}:1`},
		{"escapes", `a: "\t\u00e9\""`, `{<a> "\té\"":1}:1`},
		{"quotes that do not match", `a: "b' c`, `{<a> "\"b' c":1}:1`},
		{"one quote", `a: "`, `{<a> "\"":1}:1`},
		{"comments", "a: 1 # x\nb: x#y\nc: \"x # y\" # z\nd: 'x # y'\ne: \"\\\" # y\"\n# f: 1\ng:\t# x\n  h: 1",
			`{<a> 1:1 <b> "x#y":2 <c> "x # y":3 <d> "x # y":4 <e> "\" # y":5 <g> {<h> 1:8}:8}:1`},
		{"braces", "a: { b: 1, c: x: y ,, d: }\ne: {}", `{<a> {<b> 1:1 <c> "x: y":1 <d> null:1}:1 <e> {}:2}:1`},
		{"brackets are a string", "a: [1, 2]", `{<a> "[1, 2]":1}:1`},
		{"the last of equal keys", "a: 1\nb: 2\na: {c: 1, c: 3}", `{<a> {<c> 3:3}:3 <b> 2:2}:1`},
		{"64 levels", deep[:strings.LastIndexByte(deep[:len(deep)-1], '\n')] + " 1", "{" + strings.Repeat("<k> {", 62)},

		{"top level", "\n  a: 1", `unexpected indentation at "a: 1"`},
		{"below a value", "a: 1\n  b: 2", `unexpected indentation at "b: 2"`},
		{"deeper", "a:\n  b: 1\n    c: 2", `unexpected indentation at "c: 2"`},
		{"between", "a:\n    b: 1\n  c: 2", `unexpected indentation at "c: 2"`},
		{"no colon", "a: 1\n---\n", `expected a key and a colon, got "---"`},
		{"no key", "a: 1\n : 2", `unexpected indentation at ": 2"`},
		{"an empty key", ": 2", `expected a key and a colon, got ": 2"`},
		{"nested braces", "a: { b: { c: 1 } }", "nested flow maps are not supported: write the inner one on lines of its own, or say version: 2 at the top"},
		{"commas in braces", `a: { b: "x, y" }`, `expected a key and a colon, got "y\""`},
		{"open braces", "a: { b: 1,\n  c: 2 }", `a map in braces must end on its line, got "{ b: 1,"`},
		{"escapes that are none", `a: "\x41"`, `got "\x41", which is no string of JSON: invalid character 'x' in string escape code`},
		{"65 levels", deep + strings.Repeat(" ", 64) + "k: 1", "more than 64 levels of maps"},
		{"65 levels with braces", deep[:len(deep)-1] + " {}", "more than 64 levels of maps"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tr := tree{file: "f"}
			n, ok := tr.subset([]byte(tc.text))
			got := show(&n)
			if !ok {
				// The number of the line is in front of the text, as in the contract.
				p := tr.problems.List[0]
				var found bool
				if got, found = strings.CutPrefix(p.Message, fmt.Sprintf("YAML parse error at line %d: ", p.Line)); !found || len(tr.problems.List) > 1 {
					t.Errorf("problems %v", &tr.problems)
				}
			}
			if got != tc.want && !(strings.HasSuffix(tc.want, "<k> {") && strings.HasPrefix(got, tc.want)) {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

// TestForbiddenKeys: the contract refuses some keys at every level, also where
// nothing has an effect.
func TestForbiddenKeys(t *testing.T) {
	for _, text := range []string{"limiters: {}\n__proto__: 1\n", "limiters: {}\nx:\n  y: { constructor: 1 }\n", `{"limiters": {}, "x": {"prototype": {}}}`} {
		if _, err := Parse("f", []byte(text)); err == nil || !strings.Contains(err.Error(), "reserved key") {
			t.Errorf("Parse(%q): %v, want a reserved key", text, err)
		}
	}
}
