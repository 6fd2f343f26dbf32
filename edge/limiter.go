package edge

import (
	"context"
	"fmt"
	"sync/atomic"
	"unicode/utf8"

	"github.com/tkcoord/tkcoord/escrow"
)

// A Limiter admits requests under one policy. All methods may be called by any
// number of goroutines at once.
type Limiter struct {
	edge   *Edge
	policy string
	keys   *table
	err    error // why no key of it can be asked about

	batch   atomic.Pointer[Batch] // nil follows demand
	limit   atomic.Int64          // of the policy, by its newest answer; 0 while unknown
	unknown atomic.Int64          // reading until which the policy counts as unknown

	denied, shadowed, failedOpen, failedClosed atomic.Int64

	hand  int            // slot where the search for keys to forget goes on; guarded by Edge.tables
	spent escrow.Credits // from leases that are gone; guarded by Edge.mu
}

const (
	maxPolicyName = 256    // bytes
	maxKey        = 1024   // bytes
	maxLimiters   = 10_000 // as many as a cluster has policies
)

// Allow is Key.Allow for the key of that name. The first request of a key finds
// no credits: use Check where that must not be a denial.
func (l *Limiter) Allow(key string, n int64) bool {
	k := l.keys.find(key)
	if k == nil {
		var err error
		if k, err = l.Key(key); err != nil {
			return l.deny()
		}
	}
	return k.Allow(n)
}

// Check is Key.Check for the key of that name.
func (l *Limiter) Check(ctx context.Context, key string, n int64) (Decision, error) {
	k := l.keys.find(key)
	if k == nil {
		var err error
		if k, err = l.Key(key); err != nil {
			return Decision{Allowed: l.deny(), Shadow: l.edge.cfg.Shadow}, err
		}
	}
	return k.Check(ctx, n)
}

// Policy returns the policy's name.
func (l *Limiter) Policy() string { return l.policy }

// Key returns the key of that name, 1 to 1024 bytes of UTF-8. It fails with
// ErrInvalid or ErrTooManyKeys. A key that holds and spent nothing may be
// forgotten to make room; it then finds itself again at its next use.
func (l *Limiter) Key(name string) (*Key, error) {
	if k := l.keys.find(name); k != nil {
		return k, nil
	}
	if l.err != nil {
		return nil, l.err
	}
	if name == "" || len(name) > maxKey || !utf8.ValidString(name) {
		return nil, fmt.Errorf("key of %d bytes, want 1 to %d bytes of UTF-8: %w", len(name), maxKey, ErrInvalid)
	}
	return l.edge.addKey(l, name)
}

// deny counts a denial and returns what becomes of the request.
func (l *Limiter) deny() (allowed bool) {
	l.denied.Add(1)
	if l.edge.cfg.Shadow {
		l.shadowed.Add(1)
	}
	return l.edge.cfg.Shadow
}

// failPolicy decides a request for which there are neither credits nor a
// coordinator.
func (l *Limiter) failPolicy() (allowed bool) {
	if l.edge.cfg.Fail == FailOpen {
		l.failedOpen.Add(1)
		return true
	}
	l.failedClosed.Add(1)
	return l.deny()
}
