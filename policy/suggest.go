package policy

import (
	"fmt"
	"strings"
)

// A suggestion says which word was meant, if one of those allowed is near, and
// otherwise lists them. It is worked out when its problem is written.
type suggestion struct {
	got     string
	allowed []string
}

func (s suggestion) String() string {
	got, allowed := s.got, s.allowed
	best, distance := "", 3 // a word of five letters, the shortest, may have two wrong
	if len(got) <= 2*maxNumeral {
		for _, word := range allowed {
			if d := edits(strings.ToLower(got), strings.ToLower(word)); d < distance {
				best, distance = word, d
			}
		}
	}
	if best != "" {
		return fmt.Sprintf("did you mean %s?", best)
	}
	return "must be one of " + strings.Join(allowed, ", ")
}

// edits returns how many bytes must be inserted, deleted or replaced, or
// neighbours swapped, to turn a into b (optimal string alignment).
func edits(a, b string) int {
	before := make([]int, len(b)+1) // rows for the prefixes of a of length i-2, i-1, i
	last := make([]int, len(b)+1)
	row := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
