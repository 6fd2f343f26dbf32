package transport

import (
	"context"
	"time"
)

// An expectation is what the entry before lets the next one hope for.
type expectation struct {
	commands int
	until    time.Time
}

// expectAgain notes that an entry with so many commands was settled, and how long
// it took.
func (p *Proposer) expectAgain(commands int, took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expect = expectation{commands, time.Now().Add(min(took/2, p.cfg.Linger))}
}

// gather waits until as many commands are there as the last entry had, for at most
// half the time that that took and at most Linger. Those who were just answered
// tend to come back: the first of them alone would fill the next entry, and the
// others would wait for all of it. Where commands come at a steady rate, as many
// have arrived while the last entry was under way, and nothing waits; nor does a
// caller who is alone.
func (p *Proposer) gather(ctx context.Context) {
	p.mu.Lock()
	wait := time.Until(p.expect.until)
	if wait <= 0 || len(p.queue) >= p.expect.commands {
		p.mu.Unlock()
		return
	}
	p.enough = p.expect.commands
	select {
	case <-p.arrive: // of those that are too few
	default:
	}
	p.mu.Unlock()
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	case <-p.arrive:
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.enough = 0
	p.signal()
}
