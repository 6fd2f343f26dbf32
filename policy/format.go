package policy

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Format writes valid policies as a YAML file of version 2, sorted by name and
// without the keys that have their default. Parse gives the same policies back,
// without warnings, and equal sets of policies give equal bytes.
func Format(policies []Policy) []byte {
	sorted := slices.SortedFunc(slices.Values(policies), func(a, b Policy) int { return strings.Compare(a.Name, b.Name) })
	var b bytes.Buffer
	b.WriteString("version: 2\nlimiters:")
	if len(sorted) == 0 {
		b.WriteString(" {}")
	}
	b.WriteByte('\n')
	for _, p := range sorted {
		fmt.Fprintf(&b, "  %s:\n", formatKey(p.Name))
		formatSettings(&b, settings(p))
	}
	return b.Bytes()
}

// formatSettings writes the keys of one policy. Those of its block come last. A
// block stands there even if all of its keys have their defaults, since it makes
// the policy what it is.
func formatSettings(b *bytes.Buffer, list []setting) {
	for i := 0; i < len(list); {
		block := list[i].block
		indent, empty := "    ", true
		for ; i < len(list) && list[i].block == block; i++ {
			s := list[i]
			if s.byDefault {
				continue
			}
			if block != "" && empty {
				fmt.Fprintf(b, "    %s:\n", block)
				indent = "      "
			}
			fmt.Fprintf(b, "%s%s: %s\n", indent, s.key, s.value)
			empty = false
		}
		if block != "" && empty {
			fmt.Fprintf(b, "    %s: {}\n", block)
		}
	}
}

// formatKey writes a name without quotes if it needs none. The others are
// quoted as in Go, whose escapes are some of those of YAML.
func formatKey(name string) string {
	if plainKey.MatchString(name) {
		return name
	}
	return strconv.Quote(name)
}
