// Package history holds what the clients of a run did and saw: one append-only
// file per client, written as it happens, and the reader that puts them back
// together and checks what the recording itself promises.
//
// A file is a sequence of JSON lines: a Head, then names of keys, calls and
// their returns, and sums of admissions and denials. A call is written through
// to the operating system before its message is sent, so a client that is
// killed leaves no operation that nobody knows of. A call without a return has
// an unknown outcome, as has one that returned Info.
//
// Operations are recorded one by one. Admissions are too many for that and are
// summed, exactly, per budget, window and slot of a few milliseconds, with the
// instants of the first and the last one. The sums are what the limit is about,
// and the last instant of a window is all that matters to when it must have
// ended, so nothing that is checked is lost by it. A client that is killed loses
// its open slots: sums can only be too small by that, so it can hide a violation
// of a few milliseconds and never make one up.
package history

import (
	"github.com/tkcoord/tkcoord/escrow"
)

// A Time is a reading of the machine's CLOCK_MONOTONIC in nanoseconds. All
// processes of a run are on one machine and share that clock, also those whose
// own clocks are bent.
type Time int64

// Never is the return of an operation that did not return.
const Never Time = 1<<63 - 1

// A Head begins each file.
type Head struct {
	Version int    `json:"version"`
	Client  string `json:"client"` // unique in a run
	Role    string `json:"role"`
	// Edge is the identity under which it asks. A client that starts again has a
	// new name and may have the same identity.
	Edge  string `json:"edge,omitempty"`
	Began Time   `json:"began"`
}

// Roles of clients.
const (
	RoleEdge   = "edge"   // the SDK: admits, and is checked against what it was granted
	RoleDirect = "direct" // speaks the protocol by hand
	RoleAdmin  = "admin"  // changes policies
	RolePublic = "public" // calls the public contract
)

// Version of the format.
const Version = 1

// Kinds of operations.
const (
	KindExchange = "exchange"
	KindPolicies = "policies"
	KindPublic   = "public"
)

// An Outcome classifies how an operation ended.
type Outcome string

const (
	OK   Outcome = "ok"   // it took effect, and Return has its answer
	Fail Outcome = "fail" // it certainly had no effect
	Info Outcome = "info" // unknown: it may take effect, now or later
)

// A Call is an operation that is about to be sent.
type Call struct {
	Op int64 `json:"op"` // unique in the file
	// Lane tells apart what one client does at a time: operations of one lane
	// follow each other. A repeated message has a lane of its own.
	Lane     int            `json:"lane,omitempty"`
	At       Time           `json:"at"`
	Kind     string         `json:"kind"`
	Target   string         `json:"to,omitempty"` // whom it was sent to
	Exchange *Exchange      `json:"exchange,omitempty"`
	Policies *PolicyChanges `json:"policies,omitempty"`
	Public   *Public        `json:"public,omitempty"`
	// Repeat names the operation whose message this one repeats, byte by byte; -1
	// is one that is sent at the same time.
	Repeat int64 `json:"repeat,omitempty"`
}

// A Return is the end of an operation.
type Return struct {
	Op      int64        `json:"op"`
	At      Time         `json:"at"`
	Outcome Outcome      `json:"is"`
	Error   string       `json:"error,omitempty"`
	Reply   *Reply       `json:"reply,omitempty"` // of an exchange that is OK
	Version uint64       `json:"version,omitempty"`
	Public  *PublicReply `json:"public,omitempty"` // of a public call that is OK
}

// An Exchange is the request of the Edge door.
type Exchange struct {
	Edge        string `json:"edge"`
	Incarnation uint64 `json:"inc"`
	Session     uint64 `json:"session,omitempty"`
	Seq         uint64 `json:"seq"`
	Asks        []Ask  `json:"asks,omitempty"`
}

// An Ask is one budget of an exchange. Key is an index into the file's names.
type Ask struct {
	Key      int            `json:"k"`
	Window   escrow.Millis  `json:"w,omitempty"`
	Used     escrow.Credits `json:"u,omitempty"`
	Returned escrow.Credits `json:"r,omitempty"`
	Need     escrow.Credits `json:"n,omitempty"`
	Want     escrow.Credits `json:"x,omitempty"`
}

// A Reply is the answer to an exchange.
type Reply struct {
	Session uint64        `json:"session"`
	Index   uint64        `json:"index"`
	Clock   escrow.Millis `json:"clock"`
	Answers []Answer      `json:"answers,omitempty"`
}

// An Answer is about one ask.
type Answer struct {
	Problem string         `json:"problem,omitempty"` // reason, if it was refused
	Start   escrow.Millis  `json:"w,omitempty"`
	End     escrow.Millis  `json:"e,omitempty"`
	Granted escrow.Credits `json:"g,omitempty"`
	TTL     escrow.Millis  `json:"ttl,omitempty"`
	Limit   escrow.Credits `json:"l,omitempty"`
	Left    escrow.Credits `json:"left,omitempty"`
	Retry   escrow.Millis  `json:"retry,omitempty"`
}

// PolicyChanges is what a change of policies asked for: new limits by name, and
// names that were deleted.
type PolicyChanges struct {
	Limits map[string]escrow.Credits `json:"limits,omitempty"`
	Delete []string                  `json:"delete,omitempty"`
}

// A KeyName gives a number to a key of a policy.
type KeyName struct {
	Key    int    `json:"k"`
	Policy string `json:"policy"`
	Name   string `json:"name"`
}

// An Admitted sums the admissions of one budget and window in one slot.
type Admitted struct {
	Key    int            `json:"k"`
	Window escrow.Millis  `json:"w"` // its start, as the edge knew it
	Units  escrow.Credits `json:"n"`
	Times  int64          `json:"c"`
	// Instants of the first and the last admission: when the edge read its clock
	// to decide. Last is 0 if that could not be told; see traffic.
	First Time `json:"f"`
	Last  Time `json:"l"`
}

// A Denied sums refused requests of one key in one slot.
type Denied struct {
	Key   int            `json:"k"`
	Why   string         `json:"why"`
	Units escrow.Credits `json:"n"`
	Times int64          `json:"c"`
	First Time           `json:"f"`
	Last  Time           `json:"l"`
}

// A line of a file holds one of these.
type line struct {
	Head     *Head     `json:"head,omitempty"`
	Name     *KeyName  `json:"key,omitempty"`
	Call     *Call     `json:"call,omitempty"`
	Return   *Return   `json:"ret,omitempty"`
	Admitted *Admitted `json:"adm,omitempty"`
	Denied   *Denied   `json:"den,omitempty"`
	Held     *Held     `json:"held,omitempty"`
	End      *Time     `json:"end,omitempty"` // the client closed its record: nothing is missing
}
