package tier

import (
	"sync"
	"sync/atomic"

	"github.com/tkcoord/tkcoord/policy"
)

// books keep what follows from a policy for as long as the policy stays the same.
// A changed policy, also a change that does not matter here, gets a new book: what
// a node holds under the old one is not spent under the new one.
type books[B any] struct {
	mu sync.RWMutex // guards by
	by map[string]*page[B]
}

type page[B any] struct {
	policy policy.Policy
	seen   atomic.Pointer[policy.Policy] // what the policy was last equal to
	book   B
}

// maxBooks bounds the books. There are as many as a cluster has policies; those of
// deleted ones go when the bound is reached.
const maxBooks = 2 * policy.MaxPolicies

// of returns the book of a policy, made by open if there is none.
func (b *books[B]) of(p *policy.Policy, open func(p *policy.Policy) (B, error)) (B, error) {
	b.mu.RLock()
	g := b.by[p.Name]
	b.mu.RUnlock()
	if g != nil && g.is(p) {
		return g.book, nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if g := b.by[p.Name]; g != nil && g.is(p) {
		return g.book, nil
	}
	g = &page[B]{policy: *p}
	var err error
	if g.book, err = open(&g.policy); err != nil {
		return g.book, err
	}
	if b.by == nil || len(b.by) >= maxBooks {
		b.by = make(map[string]*page[B])
	}
	b.by[p.Name] = g
	return g.book, nil
}

// is reports whether the page is about this policy. Callers mostly pass the same
// pointer again, which saves the comparison.
func (g *page[B]) is(p *policy.Policy) bool {
	if g.seen.Load() == p {
		return true
	}
	if g.policy != *p {
		return false
	}
	g.seen.Store(p)
	return true
}
