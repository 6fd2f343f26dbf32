package policy

import (
	"math"
	"math/big"
	"regexp"
	"strconv"

	"github.com/tkcoord/tkcoord/escrow"
)

// maxNumeral bounds the decimals that are read exactly, in bytes.
const maxNumeral = 40

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

// plainNumber returns the double nearest to a decimal, if it is finite.
func plainNumber(s string) (float64, bool) {
	x, err := strconv.ParseFloat(s, 64)
	return x, err == nil && numeral.MatchString(s) && !math.IsInf(x, 0)
}

// parts splits a duration text into a decimal and the ms of its unit.
func parts(s string) (decimal string, unit escrow.Millis, ok bool) {
	m := spanText.FindStringSubmatch(s)
	if m == nil {
		return "", 0, false
	}
	for _, u := range units {
		if u.name == m[2] {
			return m[1], u.ms, true
		}
	}
	return m[1], 1, true
}

// wholeOf returns the product of a decimal and a unit if it has no fraction and
// lies in [1, escrow.MaxPeriod]. It computes exactly: 0.07s is 70 ms, although no
// double is 0.07.
func wholeOf(decimal string, unit escrow.Millis) (escrow.Millis, bool) {
	if len(decimal) > maxNumeral || hugeExp.MatchString(decimal) {
		return 0, false
	}
	r, ok := new(big.Rat).SetString(decimal)
	if !ok {
		return 0, false
	}
	r.Mul(r, new(big.Rat).SetInt64(int64(unit)))
	if !r.IsInt() || !r.Num().IsInt64() {
		return 0, false
	}
	v := escrow.Millis(r.Num().Int64())
	return v, v >= 1 && v <= escrow.MaxPeriod
}

// formatSpan writes ms in the longest unit that divides it, as it is read.
func formatSpan(ms escrow.Millis) string {
	for _, u := range units {
		if ms%u.ms == 0 {
			return strconv.FormatInt(int64(ms/u.ms), 10) + u.name
		}
	}
	return "" // unreachable: 1 divides everything
}

// formatPeriod writes a length in ms so that the same double is read.
func formatPeriod(ms float64) string {
	if ms == math.Floor(ms) && ms > 0 && ms <= float64(escrow.MaxCredits) {
		return formatSpan(escrow.Millis(ms))
	}
	return formatNumber(ms)
}

// formatNumber writes the shortest decimal that is read as the same double.
func formatNumber(x float64) string {
	if abs := math.Abs(x); abs >= 1e-6 && abs < 1e21 || abs == 0 {
		return strconv.FormatFloat(x, 'f', -1, 64)
	}
	return strconv.FormatFloat(x, 'e', -1, 64)
}
