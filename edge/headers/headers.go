// Package headers renders a decision as response headers.
package headers

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tkcoord/tkcoord/edge"
)

// Style is one of the three ways to tell clients about their limit.
type Style uint8

const (
	// Draft: RateLimit-Limit, RateLimit-Remaining and RateLimit-Reset, the seconds
	// until the window ends.
	Draft Style = iota
	// Structured: RateLimit and RateLimit-Policy as structured fields.
	Structured
	// Legacy: X-RateLimit-Limit, -Remaining and -Reset, the Unix time in seconds
	// at which the window ends.
	Legacy
)

// Validate reports a style that does not exist.
func (s Style) Validate() error {
	if s > Legacy {
		return fmt.Errorf("header style %d is unknown", s)
	}
	return nil
}

// A Field is one header. Its name is in the spelling of HTTP.
type Field struct{ Name, Value string }

// Of returns the headers of a decision under a policy's name. A decision that
// knows no limit, since nobody was asked, has none.
func (s Style) Of(d edge.Decision, policy string) []Field {
	if d.Limit == 0 {
		return nil
	}
	var fields []Field
	limit, remaining := strconv.FormatInt(d.Limit, 10), strconv.FormatInt(d.Remaining, 10)
	delta := strconv.FormatInt(max(0, ceil(d.ResetAfter, time.Second)), 10)
	switch s {
	case Structured:
		name := quoted(policy)
		window := ""
		if d.Window > 0 {
			window = ";w=" + strconv.FormatInt(int64((d.Window+time.Second/2)/time.Second), 10)
		}
		fields = append(fields, Field{"RateLimit", name + ";r=" + remaining + ";t=" + delta}, Field{"RateLimit-Policy", name + ";q=" + limit + window})
	case Legacy:
		reset := strconv.FormatInt(ceil(time.Duration(d.ResetAt.UnixMilli())*time.Millisecond, time.Second), 10)
		fields = append(fields, Field{"X-RateLimit-Limit", limit}, Field{"X-RateLimit-Remaining", remaining}, Field{"X-RateLimit-Reset", reset})
	default:
		fields = append(fields, Field{"RateLimit-Limit", limit}, Field{"RateLimit-Remaining", remaining}, Field{"RateLimit-Reset", delta})
	}
	if !d.Allowed {
		fields = append(fields, Field{"Retry-After", strconv.FormatInt(max(1, ceil(d.RetryAfter, time.Second)), 10)})
	}
	return fields
}

// RetryAfterMillis is how long a denied client should wait, in whole
// milliseconds rounded up.
func RetryAfterMillis(d edge.Decision) int64 { return max(0, ceil(d.RetryAfter, time.Millisecond)) }

// ceil is ⌈d/unit⌉.
func ceil(d, unit time.Duration) int64 {
	n := int64(d / unit)
	if d%unit > 0 {
		n++
	}
	return n
}

// quoted is a structured field's string: without control characters, and with
// quotes and backslashes escaped, so that a policy's name cannot add a header.
func quoted(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r < 0x20 || r == 0x7f:
			continue
		case r == '"' || r == '\\':
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	b.WriteByte('"')
	return b.String()
}
