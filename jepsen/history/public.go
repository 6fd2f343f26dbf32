package history

import (
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/strategy"
)

// A Method is one of the public contract.
type Method string

// The methods that clients call.
const (
	Check     Method = "check"
	CheckMany Method = "checkMany"
	Peek      Method = "peek"
	Debit     Method = "debit"
	Reserve   Method = "reserve"
	Admit     Method = "admit"
	Release   Method = "release"
	Heartbeat Method = "heartbeat"
)

// Public is a call of the public contract. Amount is the cost, the tokens or what
// is wanted.
type Public struct {
	Method  Method   `json:"m"`
	Policy  string   `json:"policy,omitempty"`
	Keys    []string `json:"keys,omitempty"` // the lease ids of Release and Heartbeat
	Amount  int64    `json:"n,omitempty"`
	Dropped bool     `json:"dropped,omitempty"`
}

// PublicReply is its answer. One that the cluster did not make, because nobody
// could decide, is recorded as an outcome that is unknown.
type PublicReply struct {
	// Index is that of the entry that decided, and Clock the clock of the cluster
	// after it. A Peek was answered from the state after that entry, at that time.
	Index uint64        `json:"index,omitempty"`
	Clock escrow.Millis `json:"clock"`
	// Local: the node decided, from credits that it holds. There is no Index then.
	Local     bool                `json:"local,omitempty"`
	Decisions []strategy.Decision `json:"d,omitempty"`
	Lease     string              `json:"lease,omitempty"` // of an Admit that took a slot
	Expires   escrow.Millis       `json:"expires,omitempty"`
	Axis      string              `json:"axis,omitempty"`
	Live      []string            `json:"live,omitempty"`
	Reclaimed []string            `json:"reclaimed,omitempty"`
	Granted   escrow.Credits      `json:"g,omitempty"` // by a Reserve
	Limit     escrow.Credits      `json:"l,omitempty"`
	End       escrow.Millis       `json:"e,omitempty"` // of its window
}

// Held says when the holder of a slot took it for its own: between the first and
// the last time that it looked at its clock and found so. Nobody knows it better:
// after Last it may have held it a moment longer, never shorter.
type Held struct {
	Policy string `json:"policy"`
	Lease  string `json:"lease"`
	First  Time   `json:"f"`
	Last   Time   `json:"l"`
	// Left: neither released nor kept until it was lost, so that it ends by itself.
	Left bool `json:"left,omitempty"`
}
