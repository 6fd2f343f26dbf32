package fsm

import (
	"fmt"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/policy"
)

// An Entry is one entry of the log, taken apart: what Batch.Seal put together.
type Entry struct {
	Stamp    clock.Millis
	Proposer uint64
	Commands []Command
}

// Decode takes an entry apart, for tools that inspect or audit a log. It accepts
// what Apply accepts and nothing else, and shares no memory with the entry.
func Decode(entry []byte) (Entry, error) {
	h, r, err := openEntry(entry)
	if err != nil {
		return Entry{}, err
	}
	e := Entry{Stamp: h.stamp, Proposer: h.proposer}
	for range h.count {
		c, err := r.wholeCommand()
		if err != nil {
			return Entry{}, err
		}
		e.Commands = append(e.Commands, c)
	}
	if len(r.buf) > 0 {
		return Entry{}, fmt.Errorf("%w: %d bytes follow its last command", errCorrupt, len(r.buf))
	}
	return e, nil
}

func (r *reader) wholeCommand() (Command, error) {
	var c Command
	switch kind := Kind(r.u8()); kind {
	case KindGenesis:
		c = Genesis{ClusterID: r.string(maxClusterID), Settings: r.settings()}
	case KindStep:
		c = Step{To: r.millis()}
	case KindExchange:
		c = r.wholeExchange()
	case KindPolicies:
		c = r.policies()
	case KindDigest:
		c = Digest{}
	case KindAlarm:
		c = r.alarm()
	case KindCheck, KindReserve, KindDebit, KindAdmit, KindRelease, KindHeartbeat:
		c = r.wholeRequest(kind)
	default:
		r.fail(fmt.Sprintf("command kind %d is unknown to this version", kind))
	}
	return c, r.err
}

// wholeExchange reads an exchange with its asks.
func (r *reader) wholeExchange() *Exchange {
	x := &Exchange{
		EdgeID: r.string(MaxEdgeIDLen), Incarnation: r.u64(),
		Session: escrow.HolderID(r.uvarint()), Seq: r.uvarint(),
	}
	for n := int(r.count(MaxAsks)); n > 0 && r.err == nil; n-- {
		x.Asks = append(x.Asks, Ask{
			Policy: r.string(policy.MaxNameLen), Key: r.string(MaxKeyLen), Window: r.millis(),
			Used: r.credits(), Returned: r.credits(), Need: r.credits(), Want: r.credits(),
		})
	}
	return x
}
