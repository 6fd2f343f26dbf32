package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"
	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"google.golang.org/grpc"
)

func newMemberTransferCommand(a *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "transfer [NODE]",
		Short: "Hand leadership to a voter, or to the one that is furthest",
		Example: `  tkcoord member transfer
  tkcoord member transfer n2`,
		Args:              wantArgs(0, 1, "at most one NODE"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect(cmd)
			if err != nil {
				return err
			}
			defer c.Close()
			to := ""
			if len(args) > 0 {
				to = args[0]
			}
			leader, err := transfer(cmd.Context(), c, to)
			if err != nil {
				return err
			}
			return a.showTransfer(leader)
		},
	}
}

// transfer hands leadership over and returns the new leader. It is nil if
// leadership was handed over and no new leader was heard of in time.
func transfer(ctx context.Context, c *client, to string) (*tkcoordv1.Leader, error) {
	before, err := getStatus(ctx, c)
	if err != nil {
		return nil, err
	}
	res, err := do(ctx, c, changes, func(ctx context.Context, conn grpc.ClientConnInterface) (*tkcoordv1.TransferLeadershipResponse, error) {
		return tkcoordv1.NewAdminClient(conn).TransferLeadership(ctx, &tkcoordv1.TransferLeadershipRequest{NodeId: to})
	})
	if err != nil {
		return nil, err
	}
	// Nodes hear of the new leader a little later, also the one that led before.
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	for l := res.Leader; ; {
		asked := to == l.GetNodeId() || to == "" && l.GetNodeId() != before.Leader.GetNodeId()
		if l != nil && asked {
			return l, nil
		}
		select {
		case <-ctx.Done():
			return nil, nil
		case <-time.After(transferPause):
		}
		s, err := getStatus(ctx, c)
		if err != nil {
			return nil, nil // what was asked for is done
		}
		l = s.Leader
	}
}

// transferPause is how long to wait before asking again who leads.
const transferPause = 50 * time.Millisecond

func (a *cli) showTransfer(l *tkcoordv1.Leader) error {
	if a.opts.output == asJSON {
		var report struct {
			Leader *leaderReport `json:"leader"` // null while it is not known
		}
		if l != nil {
			report.Leader = &leaderReport{l.NodeId, l.Address, l.Term}
		}
		return writeJSON(a.stdout, report)
	}
	if l == nil {
		return a.print("leadership was handed over\n")
	}
	return a.print("leader: %s at %s, term %d\n", l.NodeId, l.Address, l.Term)
}
