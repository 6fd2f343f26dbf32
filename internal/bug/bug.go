// Package bug names mistakes that a build can be given on purpose, one at a
// time, to show that the fault suite finds them. In an ordinary build Planted is
// constant false, and what depends on it is not part of the program.
//
// A build with the tag bugs has the one that the linker is told:
//
//	go build -tags bugs -ldflags "-X github.com/tkcoord/tkcoord/internal/bug.planted=no-guard"
package bug

// A Name is a mistake.
type Name string

const (
	ForgetUsed   Name = "forget-used"   // a budget that is granted in full is forgotten, and granted again
	GrantTwice   Name = "grant-twice"   // a repeated exchange is granted twice what it asks for
	TTLToEnd     Name = "ttl-to-end"    // a ttl reaches the end of its window, less nothing for rounding
	DropSessions Name = "drop-sessions" // a restored replica has lost the sessions
	StampEarly   Name = "stamp-early"   // the stamp is read before the batch is sealed
	AckEarly     Name = "ack-early"     // an exchange is answered before its entry is committed
	WallClock    Name = "wall-clock"    // a new leader continues from its wall clock
	ReadLate     Name = "read-late"     // an edge reads its clock after the reply instead of before sending
	NoGuard      Name = "no-guard"      // an edge spends for the whole ttl by its own clock
	ReturnEarly  Name = "return-early"  // an edge reports credits as returned before it takes them away
	NoStretch    Name = "no-stretch"    // a step of the clock ends windows with credits out
	SameHolder   Name = "same-holder"   // an edge that starts again is the holder that it was

	LocalRead      Name = "local-read"      // a peek is answered by any node from what it has applied
	CheckTwice     Name = "check-twice"     // a call that was passed on and takes long is passed on again
	StrictApart    Name = "strict-apart"    // strict checks do not see what edges have been granted
	SlotNotKept    Name = "slot-not-kept"   // a heartbeat is answered and keeps no slot
	SlotRevived    Name = "slot-revived"    // a heartbeat brings a slot back that had ended
	SlotForgotten  Name = "slot-forgotten"  // a restored replica has lost the slots
	DebitForgotten Name = "debit-forgotten" // a restored replica has lost what meters counted
)
