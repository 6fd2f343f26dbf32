package fsm

import (
	"errors"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/strategy"
)

// Answers to a single command or ask. None of them changed anything.
var (
	ErrBorn          = errors.New("the cluster exists already")
	ErrUnknownPolicy = errors.New("unknown policy")
	ErrVersion       = errors.New("the policies changed since the plan was made")
	ErrExhausted     = errors.New("a bound is reached")
	ErrFutureWindow  = errors.New("the window has not begun")
	// ErrSession: the session is not current. Another process took the identity,
	// or the edge was silent for too long. It holds nothing any more.
	ErrSession = errors.New("session is not current")
	// ErrReplaced: this incarnation was replaced by another process with the
	// same identity and does not come back.
	ErrReplaced = errors.New("another process has this edge_id")
	// ErrUnsupported: the policy exists, the operation is not for its kind.
	ErrUnsupported = errors.New("not for this kind of policy")
)

// ErrUnborn halts a replica: an entry precedes the Genesis, which is the first
// command of a cluster's own log.
var ErrUnborn = errors.New("the cluster has not been formed yet")

// ErrHalt is wrapped by every error of Apply: this replica cannot go on, since
// it would differ from the others if it did.
var ErrHalt = errors.New("state machine halted")

// A Result answers one command of a batch.
type Result struct {
	Err     error           // why the whole command was refused
	Session escrow.HolderID // Exchange
	Answers []Answer        // Exchange: one for each ask
	Version uint64          // Policies: the version now in force

	Decisions []strategy.Decision // Check: one for each key. Debit: one
	// KeyErrs of a Check is nil unless some key was refused: then it has an error,
	// which wraps ErrExhausted, at the place of each key that was. Its decision is
	// zero, and nothing of it was counted.
	KeyErrs   []error
	Reserved  *Reserved  // Reserve
	Admission *Admission // Admit
	Beat      *Beat      // Heartbeat
}

// Reserved answers a Reserve.
type Reserved struct {
	Granted escrow.Credits // from 0 to what was wanted
	Left    escrow.Credits // of the window, for others
	Limit   escrow.Credits // the policy's
	Window  escrow.Window  // in which they may be spent
}

// An Admission answers an Admit. Without a slot it has only a decision and the
// axis that denied.
type Admission struct {
	strategy.Decision
	LeaseID   string // names the slot, for Heartbeat and Release; "" without one
	Fence     uint64 // larger than that of every slot before; 0 without one
	ExpiresAt clock.Millis
	Axis      string // AxisConcurrency or AxisRate for a denial, or ""
}

// The axes of an Admission.
const (
	AxisConcurrency = "concurrency"
	AxisRate        = "rate"
)

// A Beat answers a Heartbeat. Each id is in one of the lists, as often as it was
// sent and in that order.
type Beat struct {
	Live         []string // kept until NextDeadline
	Reclaimed    []string // belong to nobody, or no more
	NextDeadline clock.Millis
}

// An Answer is about one ask. With Err set the numbers are 0 and nothing
// changed.
type Answer struct {
	Err     error
	Window  escrow.Window
	Granted escrow.Credits // the edge's total in that window
	TTL     clock.Millis
	Limit   escrow.Credits // the policy's
	Left    escrow.Credits // what nobody has
	Length  clock.Millis   // of the window by its policy, 0 for calendar windows
	Retry   clock.Millis   // not 0 when need was not met
}

// Outcome is what became of one log entry.
type Outcome struct {
	Index   uint64
	Now     clock.Millis // the clock after the entry
	Results []Result     // by position in the batch; nil unless asked for
	// What others may want to know: names of policies that changed, whether the
	// clock stepped, whether a digest is due, whether alarms changed.
	ChangedPolicies []string
	Stepped         bool
	DigestDue       bool
	AlarmsChanged   bool
}
