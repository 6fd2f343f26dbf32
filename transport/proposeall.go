package transport

import (
	"context"
	"fmt"

	"github.com/tkcoord/tkcoord/fsm"
)

// A Reply is what became of one of several commands: what Propose would have
// returned.
type Reply struct {
	Applied Applied
	Err     error
}

// ProposeAll puts commands that do not depend on each other through the log and
// returns a reply for each, when all have one. It costs one wait instead of one
// goroutine for each command. Commands are queued in their order, and need not
// end up in the same entry. Errors are those of Propose.
func (p *Proposer) ProposeAll(ctx context.Context, cmds []fsm.Command) []Reply {
	replies := make([]Reply, len(cmds))
	calls := make([]*call, len(cmds)) // nil where there is a reply already
	for i, cmd := range cmds {
		if err := cmd.Validate(); err != nil {
			replies[i].Err = err
			continue
		}
		c := &call{encoded: fsm.Encode(cmd), done: make(chan reply, 1)}
		if replies[i].Err = p.enqueue(c); replies[i].Err == nil {
			calls[i] = c
		}
	}
	for i, c := range calls {
		if c != nil {
			r := c.wait(ctx)
			replies[i] = Reply{r.applied, r.err}
		}
	}
	return replies
}

// wait returns the reply to a call, or why there is none when ctx ends.
func (c *call) wait(ctx context.Context) reply {
	select {
	case r := <-c.done:
		return r
	case <-ctx.Done():
		if c.state.CompareAndSwap(callQueued, callGivenUp) {
			return reply{err: fmt.Errorf("%w: %w", ErrNotProposed, context.Cause(ctx))}
		}
		return reply{err: fmt.Errorf("%w: %w", ErrOutcomeUnknown, context.Cause(ctx))}
	}
}

// ProposeAll is Proposer.ProposeAll for commands of the oldest log format, which
// every voter reads. On a node that does not lead all of them fail with
// ErrNotLeader.
func (n *Node) ProposeAll(ctx context.Context, cmds []fsm.Command) []Reply {
	if n.leading.Load() {
		return n.proposer.ProposeAll(ctx, cmds)
	}
	replies := make([]Reply, len(cmds))
	for i := range replies {
		replies[i].Err = ErrNotLeader
	}
	return replies
}
