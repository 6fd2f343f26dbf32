package policy

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Format writes valid policies as a YAML file, sorted by name and without the
// keys that have their default. Parse gives the same policies back, and equal
// sets of policies give equal bytes.
func Format(policies []Policy) []byte {
	sorted := slices.SortedFunc(slices.Values(policies), func(a, b Policy) int { return strings.Compare(a.Name, b.Name) })
	var b bytes.Buffer
	b.WriteString("version: 1\nlimiters:")
	if len(sorted) == 0 {
		b.WriteString(" {}")
	}
	b.WriteByte('\n')
	for _, p := range sorted {
		fmt.Fprintf(&b, "  %s:\n", formatKey(p.Name))
		for _, s := range settings(p) {
			if !s.byDefault {
				fmt.Fprintf(&b, "    %s: %s\n", s.key, s.value)
			}
		}
	}
	return b.Bytes()
}

// formatKey writes a name without quotes if it needs none. The others are
// quoted as in Go, whose escapes are some of those of YAML.
func formatKey(name string) string {
	if plainKey.MatchString(name) {
		return name
	}
	return strconv.Quote(name)
}
