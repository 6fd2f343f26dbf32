package policy

import (
	"fmt"
	"math/big"
	"regexp"

	"github.com/tkcoord/tkcoord/escrow"
)

// Numbers and durations are read exactly, as decimals: 0.07s is 70 ms, although
// no double is 0.07. Longer texts than this are no number that is allowed.
const maxNumeral = 40 // bytes

var (
	numeral  = regexp.MustCompile(`^-?\d+(\.\d+)?([eE][+-]?\d+)?$`)
	spanText = regexp.MustCompile(`^\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?\s*$`)
	hugeExp  = regexp.MustCompile(`[eE][+-]?\d{4,}$`)
	oddZero  = regexp.MustCompile(`^-?0\d`)
)

// units of a duration from the longest to the shortest.
var units = []struct {
	name string
	ms   escrow.Millis
}{{"d", 86_400_000}, {"h", 3_600_000}, {"m", 60_000}, {"s", 1000}, {"ms", 1}}

// whole returns the value of a number without a fraction that lies in [lo, hi].
// 1e3 and 5.0 are such numbers; 010 is not, since readers of YAML disagree
// whether that is eight or ten.
func whole(s string, lo, hi int64) (int64, bool) {
	if oddZero.MatchString(s) {
		return 0, false
	}
	return wholeOf(s, 1, lo, hi)
}

// wholeOf returns the product of a decimal and unit if it has no fraction and
// lies in [lo, hi].
func wholeOf(decimal string, unit, lo, hi int64) (int64, bool) {
	if len(decimal) > maxNumeral || hugeExp.MatchString(decimal) {
		return 0, false
	}
	r, ok := new(big.Rat).SetString(decimal)
	if !ok {
		return 0, false
	}
	r.Mul(r, new(big.Rat).SetInt64(unit))
	if !r.IsInt() || !r.Num().IsInt64() {
		return 0, false
	}
	v := r.Num().Int64()
	return v, lo <= v && v <= hi
}

// span returns a duration text in ms, if it is a whole number of them in
// [lo, hi].
func span(s string, lo, hi int64) (int64, bool) {
	m := spanText.FindStringSubmatch(s)
	if m == nil {
		return 0, false
	}
	unit := escrow.Millis(1)
	for _, u := range units {
		if u.name == m[2] {
			unit = u.ms
		}
	}
	return wholeOf(m[1], int64(unit), lo, hi)
}

// formatSpan writes ms in the longest unit that divides it, as span reads it.
func formatSpan(ms escrow.Millis) string {
	for _, u := range units {
		if ms%u.ms == 0 {
			return fmt.Sprintf("%d%s", ms/u.ms, u.name)
		}
	}
	return "" // unreachable: 1 divides everything
}
