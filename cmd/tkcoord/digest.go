package main

import (
	"cmp"
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"google.golang.org/grpc"
)

func newDigestCommand(a *cli) *cobra.Command {
	return &cobra.Command{
		Use:     "digest",
		GroupID: groupCluster,
		Short:   "Compare the state of all replicas at one index",
		Long: `Compare the state of all replicas at one index. The command fails if they
differ: the odd replica then raises an alarm and stops serving.`,
		Example:           "  tkcoord digest",
		Args:              wantArgs(0, 0, ""),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect(cmd)
			if err != nil {
				return err
			}
			defer c.Close()
			res, err := do(cmd.Context(), c, repeats, func(ctx context.Context, conn grpc.ClientConnInterface) (*tkcoordv1.DigestResponse, error) {
				return tkcoordv1.NewAdminClient(conn).Digest(ctx, &tkcoordv1.DigestRequest{})
			})
			if err != nil {
				return err
			}
			if err := a.showDigest(res); err != nil {
				return err
			}
			if !res.Equal {
				return hint(fmt.Errorf("the replicas differ at index %d", res.Index), "tkcoord status shows the alarm")
			}
			return nil
		},
	}
}

// A digestReport is the JSON form of digest.
type digestReport struct {
	Index uint64       `json:"index"`
	Equal bool         `json:"equal"`
	Nodes []nodeDigest `json:"nodes"`
}

type nodeDigest struct {
	NodeID string `json:"node_id"`
	Digest string `json:"digest"` // empty if there is none
	Error  string `json:"error"`
}

func (a *cli) showDigest(res *tkcoordv1.DigestResponse) error {
	r := digestReport{Index: res.Index, Equal: res.Equal, Nodes: []nodeDigest{}}
	var t table
	t.row("NODE", "INDEX", "DIGEST")
	for _, n := range res.Nodes {
		r.Nodes = append(r.Nodes, nodeDigest{n.NodeId, n.Digest, n.Error})
		t.row(n.NodeId, res.Index, cmp.Or(n.Digest, "none: "+cmp.Or(n.Error, "no answer")))
	}
	if a.opts.output == asJSON {
		return writeJSON(a.stdout, r)
	}
	return t.write(a.stdout)
}
