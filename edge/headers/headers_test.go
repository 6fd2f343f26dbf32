package headers

import (
	"slices"
	"testing"
	"time"

	"github.com/tkcoord/tkcoord/edge"
)

func TestFields(t *testing.T) {
	reset := time.UnixMilli(1_700_000_040_001)
	allowed := edge.Decision{
		Allowed: true, Limit: 100, Remaining: 42, ResetAt: reset, ResetAfter: 12_345 * time.Millisecond, Window: time.Minute,
	}
	denied := allowed
	denied.Allowed, denied.Remaining, denied.RetryAfter = false, 0, 1500*time.Millisecond
	soon := denied
	soon.RetryAfter = time.Millisecond
	calendar := allowed
	calendar.Window = 0
	half := allowed
	half.Window = 1500 * time.Millisecond
	over := allowed
	over.ResetAfter = 0
	for _, tt := range []struct {
		name   string
		style  Style
		d      edge.Decision
		policy string
		want   []Field
	}{
		{"draft", Draft, allowed, "api", []Field{{"RateLimit-Limit", "100"}, {"RateLimit-Remaining", "42"}, {"RateLimit-Reset", "13"}}},
		{"draft, denied", Draft, denied, "api", []Field{{"RateLimit-Limit", "100"}, {"RateLimit-Remaining", "0"}, {"RateLimit-Reset", "13"}, {"Retry-After", "2"}}},
		{"a retry is at least a second away", Draft, soon, "api", []Field{{"RateLimit-Limit", "100"}, {"RateLimit-Remaining", "0"}, {"RateLimit-Reset", "13"}, {"Retry-After", "1"}}},
		{"the window is over", Draft, over, "api", []Field{{"RateLimit-Limit", "100"}, {"RateLimit-Remaining", "42"}, {"RateLimit-Reset", "0"}}},
		{"structured", Structured, allowed, "api", []Field{{"RateLimit", `"api";r=42;t=13`}, {"RateLimit-Policy", `"api";q=100;w=60`}}},
		{"structured, denied", Structured, denied, "api", []Field{{"RateLimit", `"api";r=0;t=13`}, {"RateLimit-Policy", `"api";q=100;w=60`}, {"Retry-After", "2"}}},
		{"structured, no window of one length", Structured, calendar, "api", []Field{{"RateLimit", `"api";r=42;t=13`}, {"RateLimit-Policy", `"api";q=100`}}},
		{"structured, half seconds round up", Structured, half, "api", []Field{{"RateLimit", `"api";r=42;t=13`}, {"RateLimit-Policy", `"api";q=100;w=2`}}},
		{"structured, a hostile name", Structured, allowed, "a\"b\\c\r\nX: y\x7f", []Field{{"RateLimit", `"a\"b\\cX: y";r=42;t=13`}, {"RateLimit-Policy", `"a\"b\\cX: y";q=100;w=60`}}},
		{"legacy", Legacy, allowed, "api", []Field{{"X-RateLimit-Limit", "100"}, {"X-RateLimit-Remaining", "42"}, {"X-RateLimit-Reset", "1700000041"}}},
		{"legacy, denied", Legacy, denied, "api", []Field{{"X-RateLimit-Limit", "100"}, {"X-RateLimit-Remaining", "0"}, {"X-RateLimit-Reset", "1700000041"}, {"Retry-After", "2"}}},
		{"nobody was asked", Draft, edge.Decision{Allowed: true, Source: edge.FromFail}, "api", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.style.Of(tt.d, tt.policy); !slices.Equal(got, tt.want) {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
	if Draft.Validate() != nil || Legacy.Validate() != nil || Style(3).Validate() == nil {
		t.Error("Validate accepts the wrong styles")
	}
}
