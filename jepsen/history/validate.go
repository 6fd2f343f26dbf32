package history

import (
	"errors"
	"fmt"
)

// Validate reports what breaks the assumptions under which a history means
// something, so that no checker draws conclusions from a broken record:
// operations that return before they are called, overlapping operations of one
// lane, answers that do not fit their questions, sums that cannot be.
func (h History) Validate() error {
	var errs []error
	names := make(map[string]bool)
	for _, c := range h {
		if names[c.Client] {
			errs = append(errs, fmt.Errorf("two files are of client %q", c.Client))
		}
		names[c.Client] = true
		if err := c.validate(); err != nil {
			errs = append(errs, fmt.Errorf("client %q: %w", c.Client, err))
		}
	}
	return errors.Join(errs...)
}

// maxReports bounds what is said about one client.
const maxReports = 10

func (c *Client) validate() error {
	var errs []error
	report := func(format string, args ...any) {
		if len(errs) < maxReports {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	busy := make(map[int]*Op) // the newest operation of each lane
	for i := range c.Ops {
		o := &c.Ops[i]
		if o.At < c.Began || o.Ended < o.At {
			report("operation %d is from %d to %d, and the record began at %d", o.Op, o.At, o.Ended, c.Began)
		}
		// An operation without a return may still be under way: the lane ends.
		if before := busy[o.Lane]; before != nil && o.At < before.Ended {
			report("operations %d and %d of lane %d overlap", before.Op, o.Op, o.Lane)
		}
		busy[o.Lane] = o
		if err := c.fits(o); err != nil {
			report("operation %d: %w", o.Op, err)
		}
	}
	for i := range c.Admitted {
		a := &c.Admitted[i]
		if a.Units <= 0 || a.Times <= 0 || a.Last != 0 && a.Last < a.First {
			report("admissions of %s: %+v", a.Budget, a.Admitted)
		}
	}
	for i := range c.Held {
		if h := &c.Held[i]; h.Last < h.First || h.Lease == "" {
			report("slot held: %+v", *h)
		}
	}
	return errors.Join(errs...)
}

// fits reports whether an answer of the public contract fits its question.
func (r *PublicReply) fits(call *Public) error {
	want := 0
	switch call.Method {
	case CheckMany:
		want = len(call.Keys)
	case Check, Peek, Debit, Admit:
		want = 1
	}
	switch {
	case r == nil || (r.Index == 0) != (r.Local && call.Method == Check):
		return fmt.Errorf("a %s that is ok has no reply, or one without an index", call.Method)
	case len(r.Decisions) != want:
		return fmt.Errorf("%d decisions of a %s with %d keys", len(r.Decisions), call.Method, len(call.Keys))
	case call.Method == Admit && r.Decisions[0].Allowed != (r.Lease != ""):
		return fmt.Errorf("an Admit that is decided %+v has lease %q", r.Decisions[0], r.Lease)
	case call.Method == Heartbeat && len(r.Live)+len(r.Reclaimed) != len(call.Keys):
		return fmt.Errorf("%d live and %d reclaimed of %d leases", len(r.Live), len(r.Reclaimed), len(call.Keys))
	}
	return nil
}

// fits reports whether an answer fits its question.
func (c *Client) fits(o *Op) error {
	switch {
	case o.Outcome != OK && o.Outcome != Fail && o.Outcome != Info:
		return fmt.Errorf("outcome %q", o.Outcome)
	case o.Kind == KindExchange && o.Exchange == nil, o.Kind == KindPolicies && o.Policies == nil, o.Kind == KindPublic && o.Public == nil:
		return fmt.Errorf("%s without a request", o.Kind)
	case o.Kind == KindPublic && o.Outcome == OK:
		return o.Answer.fits(o.Public)
	case o.Kind != KindExchange || o.Outcome != OK:
		return nil
	case o.Reply == nil:
		return errors.New("an exchange that is ok has no reply")
	case len(o.Reply.Answers) != len(o.Exchange.Asks):
		return fmt.Errorf("%d answers to %d asks", len(o.Reply.Answers), len(o.Exchange.Asks))
	}
	for _, a := range o.Exchange.Asks {
		if _, known := c.Names[a.Key]; !known {
			return fmt.Errorf("key %d has no name", a.Key)
		}
	}
	return nil
}
