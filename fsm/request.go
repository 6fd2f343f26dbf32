package fsm

import (
	"encoding/binary"
	"fmt"
	"unicode/utf8"

	"github.com/tkcoord/tkcoord/policy"
	"github.com/tkcoord/tkcoord/strategy"
)

// What the public unary doors ask for. Unlike an Exchange these commands carry no
// identity: each is executed as often as it is in the log.

// Check consumes Cost for each of the Keys, in their order and all at one
// instant. Each key stands alone: one that is denied consumes nothing and keeps
// none of the others back. A key that is listed twice is charged twice.
//
// It is for policies with a strategy, except those with a guard.
type Check struct {
	Policy string
	Keys   []string // at most MaxCheckKeys; each may be ""
	Cost   int64    // in [1, strategy.MaxCost]
}

// Reserve takes up to Wants credits of a key for good, as far as there are any
// left in the window. It is for Federated policies.
type Reserve struct {
	Policy, Key string
	Wants       int64 // in [1, strategy.MaxCost]
}

// Debit counts tokens that were spent, if any budget was left before. It is for
// Meter policies.
type Debit struct {
	Policy, Key string
	Tokens      int64 // in [1, strategy.MaxCost]
}

// Admit takes a slot of a Guarded policy and, if the policy has a strategy, one
// unit of its Key's rate. A denial on one axis leaves the other as it is.
type Admit struct {
	Policy, Key string
	Nonce       [16]byte // random, becomes part of the lease id
}

// Release gives a slot back, once: of a lease that is unknown, or was released or
// reclaimed before, nothing is changed. It is never refused.
type Release struct {
	LeaseID string
	Dropped bool // the work was abandoned: the limit shrinks
}

// Heartbeat keeps slots for SlotTTL from now.
type Heartbeat struct{ LeaseIDs []string } // at most MaxLeaseIDs

// Bounds on what these commands may carry.
const (
	MaxCheckKeys  = 4096
	MaxLeaseIDs   = 4096 // of one Heartbeat
	MaxLeaseIDLen = 64   // bytes. Longer ones belong to nobody
)

// Validate reports the first field that is out of range.
func (c *Check) Validate() error {
	if err := checkPolicyName(c.Policy); err != nil {
		return err
	}
	if len(c.Keys) > MaxCheckKeys {
		return fieldError("keys", fmt.Sprintf("%d of them", len(c.Keys)), "at most %d", MaxCheckKeys)
	}
	for i, k := range c.Keys {
		if err := checkKey(fmt.Sprintf("keys[%d]", i), k); err != nil {
			return err
		}
	}
	return checkAmount("cost", c.Cost)
}

// Validate reports the first field that is out of range.
func (c *Reserve) Validate() error { return checkRequest(c.Policy, c.Key, "wants", c.Wants) }

// Validate reports the first field that is out of range.
func (c *Debit) Validate() error { return checkRequest(c.Policy, c.Key, "tokens", c.Tokens) }

// Validate reports the first field that is out of range.
func (c *Admit) Validate() error { return checkRequest(c.Policy, c.Key, "cost", 1) }

// Validate reports a lease id that is too long.
func (c *Release) Validate() error { return checkLeaseID("lease_id", c.LeaseID) }

// Validate reports the first field that is out of range.
func (c *Heartbeat) Validate() error {
	if len(c.LeaseIDs) > MaxLeaseIDs {
		return fieldError("lease_ids", fmt.Sprintf("%d of them", len(c.LeaseIDs)), "at most %d", MaxLeaseIDs)
	}
	for i, id := range c.LeaseIDs {
		if err := checkLeaseID(fmt.Sprintf("lease_ids[%d]", i), id); err != nil {
			return err
		}
	}
	return nil
}

func checkRequest(name, key, field string, amount int64) error {
	if err := checkPolicyName(name); err != nil {
		return err
	}
	if err := checkKey("key", key); err != nil {
		return err
	}
	return checkAmount(field, amount)
}

// checkPolicyName lets names pass that no policy can have, if they fit: to the
// contract their policy is unknown.
func checkPolicyName(name string) error {
	if len(name) > policy.MaxNameLen {
		return fieldError("policy", shown(name), "the name of a policy, at most %d bytes", policy.MaxNameLen)
	}
	return nil
}

// checkKey lets the empty key pass: it is an ordinary one in the contract.
func checkKey(field, key string) error {
	if len(key) > MaxKeyLen || !utf8.ValidString(key) {
		return fieldError(field, shown(key), "at most %d bytes of valid UTF-8", MaxKeyLen)
	}
	return nil
}

func checkAmount(field string, n int64) error {
	if n < 1 || n > strategy.MaxCost {
		return fieldError(field, n, "1 to %d", int64(strategy.MaxCost))
	}
	return nil
}

func checkLeaseID(field, id string) error {
	if len(id) > MaxLeaseIDLen {
		return fieldError(field, shown(id), "at most %d bytes", MaxLeaseIDLen)
	}
	return nil
}

func appendCheck(b []byte, c *Check) []byte {
	b = appendString(b, c.Policy)
	b = binary.AppendUvarint(b, uint64(c.Cost))
	return appendStrings(b, c.Keys)
}

func appendAmount(b []byte, name, key string, n int64) []byte {
	b = appendString(b, name)
	b = appendString(b, key)
	return binary.AppendUvarint(b, uint64(n))
}

func appendAdmit(b []byte, c *Admit) []byte {
	b = appendString(b, c.Policy)
	b = appendString(b, c.Key)
	return append(b, c.Nonce[:]...)
}

func appendStrings(b []byte, list []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, s := range list {
		b = appendString(b, s)
	}
	return b
}

// A checkView is a Check whose strings lie in the entry. Its keys follow.
type checkView struct {
	policy []byte
	cost   int64
	keys   int
}

func (r *reader) checkHead() checkView {
	return checkView{policy: r.bytes(policy.MaxNameLen), cost: r.amount(), keys: int(r.count(MaxCheckKeys))}
}

func (r *reader) key() []byte { return r.bytes(MaxKeyLen) }

// amount reads a cost, a wish or tokens.
func (r *reader) amount() int64 {
	n := int64(r.count(strategy.MaxCost))
	if n < 1 {
		r.fail("an amount is 0")
	}
	return n
}

// An amountView is a Reserve or a Debit whose strings lie in the entry.
type amountView struct {
	policy, key []byte
	n           int64
}

func (r *reader) amountOf() amountView {
	return amountView{policy: r.bytes(policy.MaxNameLen), key: r.key(), n: r.amount()}
}

// An admitView is an Admit whose strings lie in the entry.
type admitView struct {
	policy, key []byte
	nonce       [16]byte
}

func (r *reader) admit() admitView {
	return admitView{policy: r.bytes(policy.MaxNameLen), key: r.key(), nonce: r.nonce()}
}

func (r *reader) nonce() (n [16]byte) {
	copy(n[:], r.fixed(len(n)))
	return n
}

func (r *reader) leaseID() []byte { return r.bytes(MaxLeaseIDLen) }

func (r *reader) wholeCheck() *Check {
	v := r.checkHead()
	c := &Check{Policy: string(v.policy), Cost: v.cost}
	for n := v.keys; n > 0 && r.err == nil; n-- {
		c.Keys = append(c.Keys, string(r.key()))
	}
	return c
}

func (r *reader) wholeHeartbeat() *Heartbeat {
	c := &Heartbeat{}
	for n := int(r.count(MaxLeaseIDs)); n > 0 && r.err == nil; n-- {
		c.LeaseIDs = append(c.LeaseIDs, string(r.leaseID()))
	}
	return c
}

// wholeRequest reads what follows the kind of one of the commands above, nil if it
// is none of them.
func (r *reader) wholeRequest(kind Kind) Command {
	switch kind {
	case KindCheck:
		return r.wholeCheck()
	case KindReserve:
		v := r.amountOf()
		return &Reserve{Policy: string(v.policy), Key: string(v.key), Wants: v.n}
	case KindDebit:
		v := r.amountOf()
		return &Debit{Policy: string(v.policy), Key: string(v.key), Tokens: v.n}
	case KindAdmit:
		v := r.admit()
		return &Admit{Policy: string(v.policy), Key: string(v.key), Nonce: v.nonce}
	case KindRelease:
		return &Release{LeaseID: string(r.leaseID()), Dropped: r.bool()}
	case KindHeartbeat:
		return r.wholeHeartbeat()
	}
	return nil
}
