package fsm

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/policy"
)

// Bounds on what one command may carry. They are checked before a command is
// proposed.
const (
	MaxKeyLen      = 1024 // bytes
	MaxEdgeIDLen   = 128  // bytes
	MaxAsks        = 4096
	MaxBatchCmds   = 4096
	MaxEntryBytes  = 512 << 10 // a batch is sealed before it grows beyond this
	maxNodeIDLen   = 128
	maxAlarmKind   = 64
	maxDetailLen   = 4096
	maxClusterID   = 64
	maxAlarms      = 100
	maxPolicyBatch = 10_000
)

// A FieldError names the field of a request that is out of range. Nothing was
// proposed.
type FieldError struct {
	Field string // in the spelling of the wire
	Value string
	Want  string // what is allowed
}

func (e *FieldError) Error() string {
	return fmt.Sprintf("%s: got %s, want %s", e.Field, e.Value, e.Want)
}

func fieldError(field string, value any, want string, args ...any) error {
	v := fmt.Sprint(value)
	if s, ok := value.(string); ok {
		v = fmt.Sprintf("%q", s)
	}
	if len(v) > 80 {
		v = v[:77] + "..."
	}
	return &FieldError{Field: field, Value: v, Want: fmt.Sprintf(want, args...)}
}

// Validate reports the first field of the header that is out of range. Asks are
// checked one by one with Ask.Validate, so that a bad one does not spoil the
// others.
func (x *Exchange) Validate() error {
	switch {
	case x.EdgeID == "" || len(x.EdgeID) > MaxEdgeIDLen:
		return fieldError("edge_id", x.EdgeID, "1 to %d bytes", MaxEdgeIDLen)
	case !printable(x.EdgeID):
		return fieldError("edge_id", x.EdgeID, "UTF-8 without control characters")
	case x.Incarnation == 0:
		return fieldError("incarnation", x.Incarnation, "a random number other than 0")
	case x.Seq == 0:
		return fieldError("seq", x.Seq, "a count that starts at 1")
	case len(x.Asks) > MaxAsks:
		return fieldError("asks", fmt.Sprintf("%d of them", len(x.Asks)), "at most %d", MaxAsks)
	}
	return nil
}

// Validate reports the first field that is out of range.
func (a *Ask) Validate() error {
	switch {
	case a.Policy == "" || len(a.Policy) > policy.MaxNameLen:
		return fieldError("policy", shown(a.Policy), "the name of a policy, 1 to %d bytes", policy.MaxNameLen)
	case len(a.Key) > MaxKeyLen: // the empty one is an ordinary key in the contract
		return fieldError("key", shown(a.Key), "at most %d bytes", MaxKeyLen)
	case !utf8.ValidString(a.Key):
		return fieldError("key", a.Key, "valid UTF-8")
	case a.Window < 0 || a.Window > clock.MaxInstant:
		return fieldError("window_start_ms", a.Window, "0 or the start of a window, at most %d", clock.MaxInstant)
	case bad(a.Used):
		return fieldError("used", a.Used, "0 to %d", escrow.MaxCredits)
	case bad(a.Returned):
		return fieldError("returned", a.Returned, "0 to %d", escrow.MaxCredits)
	case bad(a.Want):
		return fieldError("want", a.Want, "0 to %d", escrow.MaxCredits)
	case a.Need < 0 || a.Need > a.Want:
		return fieldError("need", a.Need, "0 to want (%d)", a.Want)
	case a.Window == 0 && (a.Used != 0 || a.Returned != 0):
		return fieldError("window_start_ms", a.Window, "the window that used (%d) and returned (%d) are about", a.Used, a.Returned)
	}
	return nil
}

func bad(c escrow.Credits) bool { return c < 0 || c > escrow.MaxCredits }

// shown keeps an error about a long key short.
func shown(key string) string {
	if len(key) > 40 {
		return fmt.Sprintf("%s... (%d bytes)", strings.ToValidUTF8(key[:40], ""), len(key))
	}
	return key
}

func printable(s string) bool {
	for _, r := range s {
		if r < 0x20 || r == 0x7f || r == utf8.RuneError {
			return false
		}
	}
	return true
}
