package fsm

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/policy"
)

// A reader takes values off the front of a buffer. After the first failure it
// yields zeros; err says what failed.
type reader struct {
	buf []byte
	err error
}

func (r *reader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", errCorrupt, what)
	}
	r.buf = nil
}

func (r *reader) u8() uint8 {
	if len(r.buf) < 1 {
		r.fail("it ends early")
		return 0
	}
	v := r.buf[0]
	r.buf = r.buf[1:]
	return v
}

func (r *reader) u64() uint64 {
	if len(r.buf) < 8 {
		r.fail("it ends early")
		return 0
	}
	v := binary.LittleEndian.Uint64(r.buf)
	r.buf = r.buf[8:]
	return v
}

func (r *reader) uvarint() uint64 {
	if len(r.buf) > 0 && r.buf[0] < 0x80 { // most numbers are small
		v := r.buf[0]
		r.buf = r.buf[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(r.buf)
	if n <= 0 {
		r.fail("bad number")
		return 0
	}
	r.buf = r.buf[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.buf)
	if n <= 0 {
		r.fail("bad number")
		return 0
	}
	r.buf = r.buf[n:]
	return v
}

// count reads a number that is at most limit.
func (r *reader) count(limit uint64) uint64 {
	v := r.uvarint()
	if v > limit {
		r.above(v, limit)
		return 0
	}
	return v
}

func (r *reader) above(v, limit uint64) {
	r.fail(fmt.Sprintf("%d is above the limit of %d", v, limit))
}

func (r *reader) credits() escrow.Credits {
	return escrow.Credits(r.count(uint64(escrow.MaxCredits)))
}

func (r *reader) millis() clock.Millis { return clock.Millis(r.count(uint64(clock.MaxInstant))) }

func (r *reader) int() int { return int(r.count(math.MaxInt64)) }

// bytes returns a piece of the buffer itself.
func (r *reader) bytes(limit int) []byte {
	n := r.count(uint64(limit))
	if n > uint64(len(r.buf)) {
		r.fail("it ends early")
		return nil
	}
	v := r.buf[:n]
	r.buf = r.buf[n:]
	return v
}

// fixed returns n bytes of the buffer itself, nil if there are fewer.
func (r *reader) fixed(n int) []byte {
	if n > len(r.buf) {
		r.fail("it ends early")
		return nil
	}
	v := r.buf[:n]
	r.buf = r.buf[n:]
	return v
}

func (r *reader) string(limit int) string { return string(r.bytes(limit)) }

func (r *reader) bool() bool { return r.u8() == 1 }

func (r *reader) settings() Settings {
	return Settings{
		Rates:        clock.Rates{Drift: clock.PPM(r.count(uint64(clock.MaxRate))), Slew: clock.PPM(r.count(uint64(clock.MaxRate)))},
		LongestLease: r.millis(),
		SessionIdle:  r.millis(),
		MaxBudgets:   r.int(),
		MaxEdges:     r.int(),
		MaxHolders:   r.int(),
	}
}

func (r *reader) genesis() Genesis {
	return Genesis{ClusterID: r.string(maxClusterID), Settings: r.settings()}
}

// An exchangeView is an Exchange whose strings lie in the entry. Its asks follow.
type exchangeView struct {
	edgeID      []byte
	incarnation uint64
	session     escrow.HolderID
	seq         uint64
	asks        int
}

func (r *reader) exchangeHead() exchangeView {
	return exchangeView{
		edgeID: r.bytes(MaxEdgeIDLen), incarnation: r.u64(), session: escrow.HolderID(r.uvarint()),
		seq: r.uvarint(), asks: int(r.count(MaxAsks)),
	}
}

// An askView is an Ask whose strings lie in the entry.
type askView struct {
	policy, key    []byte
	window         clock.Millis
	used, returned escrow.Credits
	need, want     escrow.Credits
}

func (r *reader) ask(a *askView) {
	a.policy, a.key, a.window = r.bytes(policy.MaxNameLen), r.bytes(MaxKeyLen), r.millis()
	a.used, a.returned, a.need, a.want = r.credits(), r.credits(), r.credits(), r.credits()
}

func (r *reader) policies() Policies {
	var c Policies
	n := int(r.count(maxPolicyBatch))
	for range n {
		if r.err != nil {
			return c
		}
		c.Put = append(c.Put, r.policy())
	}
	n = int(r.count(maxPolicyBatch))
	for range n {
		if r.err != nil {
			return c
		}
		c.Delete = append(c.Delete, r.string(policy.MaxNameLen))
	}
	c.Expect = r.uvarint()
	return c
}

func (r *reader) alarm() Alarm {
	return Alarm{Kind: r.string(maxAlarmKind), Node: r.string(maxNodeIDLen), Detail: r.string(maxDetailLen), Clear: r.bool()}
}

// skip reads one command and drops it.
func (r *reader) skip() {
	switch kind := Kind(r.u8()); kind {
	case KindGenesis:
		r.genesis()
	case KindStep:
		r.millis()
	case KindExchange:
		var a askView
		for n := r.exchangeHead().asks; n > 0 && r.err == nil; n-- {
			r.ask(&a)
		}
	case KindPolicies:
		r.policies()
	case KindDigest:
	case KindAlarm:
		r.alarm()
	case KindCheck:
		for n := r.checkHead().keys; n > 0 && r.err == nil; n-- {
			r.key()
		}
	case KindReserve, KindDebit:
		r.amountOf()
	case KindAdmit:
		r.admit()
	case KindRelease:
		r.leaseID()
		r.bool()
	case KindHeartbeat:
		for n := int(r.count(MaxLeaseIDs)); n > 0 && r.err == nil; n-- {
			r.leaseID()
		}
	default:
		r.fail(fmt.Sprintf("command kind %d is unknown to this version", kind))
	}
}
