package transport

import (
	"context"
	"fmt"
)

// pause stops proposing commands and waits until those under way are settled.
// What arrives meanwhile waits, and is refused if leadership ends. So nobody's
// command is on its way through raft while leadership is handed over, which would
// leave its outcome open. It must be followed by resume, also when it fails
// because ctx ends.
func (p *Proposer) pause(ctx context.Context) error {
	p.mu.Lock()
	p.paused = true
	var landed chan struct{}
	if p.flying > 0 {
		if p.landed == nil {
			p.landed = make(chan struct{})
		}
		landed = p.landed
	}
	p.mu.Unlock()
	if landed == nil {
		return nil
	}
	select {
	case <-landed:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("commands under way are not settled: %w", context.Cause(ctx))
	}
}

// resume ends a pause.
func (p *Proposer) resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.paused = false
	p.signal()
}

// land counts a batch that was taken off the queue as settled.
func (p *Proposer) land() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.flying--; p.flying == 0 && p.landed != nil {
		close(p.landed)
		p.landed = nil
	}
}
