package transport

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// barrierTimeout bounds the wait for raft's queue, not for the commit.
const barrierTimeout = 10 * time.Second

// barrier returns when everything that was committed before this leadership has
// been applied.
//
// While a transfer of leadership is under way raft refuses everything. A transfer
// ends within an election timeout, except that raft forgets one to a server that
// it stops replicating to (two transfers to a server that hangs, and then an
// election): that node would refuse everything whenever it leads, for ever. A
// restart is all that helps, so such a node is given up.
func barrier(ctx context.Context, r interface {
	Barrier(timeout time.Duration) raft.Future
}, election time.Duration, fatal func(error)) error {
	for begin := time.Now(); ; {
		err := await(ctx, r.Barrier(barrierTimeout))
		if !errors.Is(err, raft.ErrLeadershipTransferInProgress) {
			return err
		}
		if time.Since(begin) > 2*election {
			err = fmt.Errorf("raft forgot to end a transfer of leadership and refuses everything, restart to forget it: %w", err)
			fatal(err)
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(election / 10):
		}
	}
}
