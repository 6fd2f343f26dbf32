package edge

import "errors"

// Why Check had no answer. A denial is not among them: it is an answer.
var (
	// ErrUnavailable: the coordinator did not answer for longer than
	// Config.Patience, and the key has no credits. The fail policy decided.
	ErrUnavailable = errors.New("no coordinator and no credits")
	// ErrClosed: the edge was closed.
	ErrClosed = errors.New("the edge is closed")
	// ErrReplaced: another process runs with this edge_id and took it again within
	// a minute. This one spends what it still holds, then denies, and takes the
	// edge_id back after that minute.
	ErrReplaced = errors.New("another process runs with this edge_id")
)

// Why a question cannot be answered. The fail policy does not apply: a mistyped
// policy or a flood of made-up keys must not switch a limit off.
var (
	// ErrUnknownPolicy: the cluster has no such policy. The answer is remembered
	// for about a second, or until the policies change.
	ErrUnknownPolicy = errors.New("unknown policy")
	// ErrInvalid: the policy's name, the key or n is out of range.
	ErrInvalid = errors.New("out of range")
	// ErrTooManyKeys: the table of keys is full of keys that hold or spent
	// credits in a window that is not known to be over.
	ErrTooManyKeys = errors.New("too many keys at this edge")
	// ErrExhausted: a bound of the cluster is reached: keys of the policy, or
	// holders of the budget.
	ErrExhausted = errors.New("a bound of the cluster is reached")
	// ErrUnsupported: the policy has no such operation: Debit is for meters only, and
	// credits are leased of windows only, that is of fixedWindow and quota policies.
	ErrUnsupported = errors.New("not an operation of this policy")
	// ErrRefused: the cluster refused the question for a reason that this version
	// does not know.
	ErrRefused = errors.New("refused by the cluster")
)
