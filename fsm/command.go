package fsm

import (
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/policy"
)

// Version is the newest log format that this code reads and writes. It goes up
// with each new command kind or field. A command is proposed only when every
// voter reports a version that knows it.
const Version = 1

// Kind identifies a command in the log. Numbers are never reused.
type Kind uint8

const (
	KindGenesis  Kind = 1
	KindStep     Kind = 2
	KindExchange Kind = 3
	KindPolicies Kind = 4
	KindDigest   Kind = 5
	KindAlarm    Kind = 6

	KindCheck     Kind = 7
	KindReserve   Kind = 8
	KindDebit     Kind = 9
	KindAdmit     Kind = 10
	KindRelease   Kind = 11
	KindHeartbeat Kind = 12
)

// Needs returns the oldest log format that has a command: replicas of an older
// version would halt at it.
func Needs(c Command) uint32 {
	switch c.kind() {
	case KindGenesis, KindStep, KindExchange, KindPolicies, KindDigest, KindAlarm,
		KindCheck, KindReserve, KindDebit, KindAdmit, KindRelease, KindHeartbeat:
		return 1
	}
	return Version
}

// A Command is one of the types below. One log entry is a batch of them.
//
// Validate must find nothing before a command is proposed: out of range values
// in the log halt every replica.
type Command interface {
	kind() Kind
	Validate() error
}

// Genesis is the first command of a cluster. It is applied once; a later one
// changes nothing and answers ErrBorn.
type Genesis struct {
	ClusterID string // random; keeps strangers apart
	Settings  Settings
}

// Settings are fixed at the birth of a cluster. Every owner and holder relies on
// the same values.
type Settings struct {
	Rates clock.Rates
	// LongestLease caps the ttl of every grant: max_lease_ttl. Too long a value
	// prolongs windows after a restart of the whole cluster by up to this much;
	// too short a one makes edges renew more often (every ttl/2).
	LongestLease clock.Millis
	// SessionIdle is how long an edge may be silent before its session ends.
	// What it held stays counted until the windows end.
	SessionIdle clock.Millis
	// Bounds on what the state machine holds. At a bound new things are refused
	// with ErrExhausted.
	MaxBudgets int // budgets with a record, over all policies
	MaxEdges   int // sessions
	MaxHolders int // holders of one budget in one window
}

// DefaultSettings returns the settings of a new cluster.
func DefaultSettings() Settings {
	return Settings{
		Rates:        clock.DefaultRates(),
		LongestLease: 30_000,
		SessionIdle:  600_000,
		MaxBudgets:   8_000_000,
		MaxEdges:     200_000,
		MaxHolders:   200_000,
	}
}

// Step moves the clock to To, for a cluster that was down or whose clock fell
// behind the voters' median. Windows with credits out are stretched, see
// clock.Stretch. A To that is not after now changes nothing.
type Step struct{ To clock.Millis }

// Exchange settles the budgets of one edge, see the Exchange call of the Edge
// door for the meaning of its fields. An edge asks for each budget at most once; a
// second ask for one is settled like an exchange of its own right after.
type Exchange struct {
	EdgeID      string
	Incarnation uint64
	Session     escrow.HolderID
	Seq         uint64
	Asks        []Ask
}

// Ask reports and asks for one budget.
type Ask struct {
	Policy, Key    string
	Window         clock.Millis // start of the window the totals are about; 0 for none
	Used, Returned escrow.Credits
	Need, Want     escrow.Credits
}

// Policies replaces or adds the policies in Put and removes those named in
// Delete, all or nothing.
type Policies struct {
	Put    []policy.Policy
	Delete []string
	Expect uint64 // the version it was planned on; 0 for any
}

// Digest asks every replica for the digest of its state after this command. It
// changes nothing; the caller of Apply computes the digest from a frozen view.
type Digest struct{}

// Alarm raises an alarm, or clears it.
type Alarm struct {
	Kind   string // "digest" or "clock"
	Node   string
	Detail string
	Clear  bool
}

func (Genesis) kind() Kind    { return KindGenesis }
func (Step) kind() Kind       { return KindStep }
func (*Exchange) kind() Kind  { return KindExchange }
func (Policies) kind() Kind   { return KindPolicies }
func (Digest) kind() Kind     { return KindDigest }
func (Alarm) kind() Kind      { return KindAlarm }
func (*Check) kind() Kind     { return KindCheck }
func (*Reserve) kind() Kind   { return KindReserve }
func (*Debit) kind() Kind     { return KindDebit }
func (*Admit) kind() Kind     { return KindAdmit }
func (*Release) kind() Kind   { return KindRelease }
func (*Heartbeat) kind() Kind { return KindHeartbeat }
