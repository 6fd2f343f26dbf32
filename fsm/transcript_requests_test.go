package fsm

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/tkcoord/tkcoord/concurrency"
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/policy"
	"github.com/tkcoord/tkcoord/strategy"
)

// policy takes what follows put.
func (p *words) policy() policy.Policy {
	q := policy.Policy{Name: p.next(), MaxKeys: policy.DefaultMaxKeys}
	p.rate(&q)
	for len(p.list) > 0 {
		switch w := p.next(); w {
		case "keys":
			q.MaxKeys = int(p.number())
		case "strict", "leased":
			q.Kind, q.Tier.Mode = policy.TwoTier, policy.Mode(w)
			if w == "leased" {
				q.Tier.Batch = 10
			}
		case "federated":
			q.Kind, q.Batch = policy.Federated, 16
		case "meter":
			q.Kind, q.Strategy, q.Meter = policy.Meter, "", policy.TokenBudget
		case "guard", "aimd":
			q.Kind, q.Guard = policy.Guarded, concurrency.DefaultConfig()
			lowest, highest, _ := strings.Cut(p.next(), "..")
			q.Guard.MinLimit, _ = strconv.Atoi(lowest)
			q.Guard.MaxLimit, _ = strconv.Atoi(highest)
			q.Guard.InitialLimit = q.Guard.MinLimit
			if w == "aimd" {
				q.Guard.Algorithm = concurrency.AIMD
			}
		default:
			p.t.Fatalf("%q: unknown word %q", p.line, w)
		}
	}
	return q
}

func (p *words) rate(q *policy.Policy) {
	double := func() float64 {
		w := p.next()
		x, err := strconv.ParseFloat(w, 64)
		if err != nil {
			p.t.Fatalf("%q: %v", p.line, err)
		}
		return x
	}
	switch p.list[0] {
	case "none":
		p.next()
		return
	case "gcra", "bucket", "sliding", "log":
	default:
		q.Limit = escrow.Credits(p.number())
		p.next() // per
		q.Strategy, q.Cadence = p.cadence()
		return
	}
	kind := p.next()
	r := &q.Rate
	if kind == "bucket" {
		r.Name, r.Capacity = strategy.TokenBucket, double()
		p.next() // refill
		r.RefillPerSec = double()
	} else {
		r.Limit = double()
		p.next() // per
		r.Period = double()
	}
	switch kind {
	case "gcra":
		p.next() // burst
		r.Name, r.Burst = strategy.GCRA, double()
	case "sliding":
		p.next() // buckets
		r.Name, r.Buckets = strategy.SlidingWindow, int(p.number())
	case "log":
		r.Name = strategy.SlidingWindowLog
	}
	q.Strategy = r.Name
}

func (p *words) request(word string) Command {
	switch word {
	case "check":
		c := &Check{Policy: p.next()}
		cost := p.next()
		c.Cost, _ = strconv.ParseInt(strings.TrimSuffix(cost, ":"), 10, 64)
		for _, k := range p.list {
			c.Keys = append(c.Keys, strings.TrimPrefix(k, "-"))
		}
		return c
	case "release":
		return &Release{LeaseID: lease(p.next()), Dropped: len(p.list) > 0}
	case "heartbeat":
		c := &Heartbeat{}
		for _, l := range p.list {
			c.LeaseIDs = append(c.LeaseIDs, lease(l))
		}
		return c
	}
	name, key, _ := strings.Cut(p.next(), "/")
	n := p.number()
	switch word {
	case "reserve":
		return &Reserve{Policy: name, Key: key, Wants: n}
	case "debit":
		return &Debit{Policy: name, Key: key, Tokens: n}
	}
	c := &Admit{Policy: name, Key: key}
	binary.BigEndian.PutUint64(c.Nonce[8:], uint64(n))
	return c
}

// lease returns the lease id that a transcript writes as INDEX.POSITION/NONCE.
func lease(w string) string {
	var index, position, n uint64
	if k, _ := fmt.Sscanf(w, "%d.%d/%d", &index, &position, &n); k != 3 {
		return w
	}
	var nonce [16]byte
	binary.BigEndian.PutUint64(nonce[8:], n)
	return leaseID(index<<positionBits|position, nonce)
}

// shownLease reverses lease.
func shownLease(id string) string {
	fence, nonce, _ := strings.Cut(id, "-")
	f, ferr := strconv.ParseUint(fence, 16, 64)
	n, nerr := strconv.ParseUint(nonce, 16, 64)
	if w := fmt.Sprintf("%d.%d/%d", f>>positionBits, f&(1<<positionBits-1), n); ferr == nil && nerr == nil && lease(w) == id {
		return w
	}
	return id
}

// askBeside executes a peek or a forecast.
func askBeside(t testing.TB, m *Machine, line string) string {
	p := &words{t: t, line: line, list: strings.Fields(line)}
	word := p.next()
	name, key, _ := strings.Cut(p.next(), "/")
	cost, at := int64(0), clock.Millis(0)
	if word == "forecast" {
		cost = p.number()
	}
	if len(p.list) > 0 {
		p.next() // at
		at = clock.Millis(p.number())
	}
	before := m.Freeze().Digest()
	var got string
	if word == "peek" {
		d, err := m.Peek(name, key, at)
		got = describeDecision(d, err)
	} else if f, err := m.Forecast(name, key, cost, at); err != nil {
		got = "refused: " + err.Error()
	} else {
		got = fmt.Sprintf("%d now, more at %d, full at %d", f.SpendableNow, f.NextReplenishAt, f.FullAt)
	}
	if m.Freeze().Digest() != before {
		t.Fatalf("%q changed the state", line)
	}
	return got
}

func describeDecision(d strategy.Decision, err error) string {
	if err != nil {
		return "refused: " + err.Error()
	}
	s := "deny"
	if d.Allowed {
		s = "allow"
	}
	s += fmt.Sprintf(", %d of %d left, reset %d", d.Remaining, d.Limit, d.ResetAt)
	if d.RetryAfter != 0 {
		s += fmt.Sprintf(", retry after %d", d.RetryAfter)
	}
	return s
}

// describeRequest prints the answer to a command of the public unary doors.
func describeRequest(c Command, r Result) (lines []string) {
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	for i, d := range r.Decisions {
		var err error
		if r.KeyErrs != nil {
			err = r.KeyErrs[i]
		}
		name := ""
		if x, ok := c.(*Check); ok {
			name = fmt.Sprintf("%q: ", x.Keys[i])
		}
		add("%s%s", name, describeDecision(d, err))
	}
	if x := r.Reserved; x != nil {
		add("granted %d in %v, left %d of %d", x.Granted, x.Window, x.Left, x.Limit)
	}
	if a := r.Admission; a != nil {
		add("%s", describeDecision(a.Decision, nil))
		if a.Axis != "" {
			add("denied by %s", a.Axis)
		}
		if a.LeaseID != "" {
			add("lease %s until %d", shownLease(a.LeaseID), a.ExpiresAt)
			if want, _, _ := strings.Cut(a.LeaseID, "-"); want != strconv.FormatUint(a.Fence, 16) {
				add("but fence %x", a.Fence)
			}
		}
	}
	if b := r.Beat; b != nil {
		list := func(ids []string) string {
			s := "none"
			for i, id := range ids {
				if i == 0 {
					s = ""
				}
				s += " " + shownLease(id)
			}
			return strings.TrimSpace(s)
		}
		add("live %s; reclaimed %s; next deadline %d", list(b.Live), list(b.Reclaimed), b.NextDeadline)
	}
	return lines
}

// describeStates prints what budgets do not show.
func describeStates(m *Machine) (lines []string) {
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	v := m.Freeze()
	for c := range v.Cells {
		add("%s/%s used, until %d", c.Policy, c.Key, c.Expires)
	}
	for x := range v.Meters {
		add("%s/%s served %d until %d", x.Policy, x.Key, x.Served, x.End)
	}
	for s := range v.Slots {
		add("%s slot %s from %d to %d, one of %d", s.Policy, shownLease(s.LeaseID), s.Start, s.End, s.AtAcquire)
	}
	return lines
}
