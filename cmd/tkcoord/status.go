package main

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"github.com/spf13/cobra"
	"github.com/tkcoord/tkcoord/api/tkcoordv1"
)

func newStatusCommand(a *cli) *cobra.Command {
	return &cobra.Command{
		Use:     "status",
		GroupID: groupCluster,
		Short:   "Show the members, the leader, the clock and the alarms of a cluster",
		Long: `Show the members, the leader, the clock and the alarms of a cluster.

All addresses are asked, and all members that the first answer names. Nodes that
are down are shown as such; the command fails only if no node answers. What is
wrong is listed above the members, and as problems in JSON.`,
		Example: `  tkcoord status
  tkcoord status --addr 10.0.0.1,10.0.0.2 --timeout 2s
  tkcoord status -o json | jq .problems`,
		Args:              wantArgs(0, 0, ""),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return a.status(cmd) },
	}
}

func (a *cli) status(cmd *cobra.Command) error {
	c, err := a.connect(cmd)
	if err != nil {
		return err
	}
	defer c.Close()
	answers, err := askAll(cmd.Context(), c)
	if err != nil {
		return err
	}
	r := newStatusReport(answers)
	if a.opts.output == asJSON {
		return writeJSON(a.stdout, r)
	}
	return r.write(a.stdout)
}

// A statusAnswer is what one address said when it was asked for its status.
type statusAnswer struct {
	addr string
	res  *tkcoordv1.StatusResponse // nil if there was none
	err  error
}

// askAll asks every address of the client, then every member that the first
// answer names and that has not answered yet. It fails if nobody answers.
func askAll(ctx context.Context, c *client) ([]statusAnswer, error) {
	answers := askStatus(ctx, c, c.addrs)
	first := formed(answers)
	if first == nil {
		var failed nobody
		for _, s := range answers {
			failed.add(s.addr, s.err)
		}
		return nil, &failed
	}
	var others []string
	for _, m := range first.Members {
		known := slices.ContainsFunc(answers, func(s statusAnswer) bool { return s.addr == m.GrpcAddress || s.res.GetNodeId() == m.NodeId })
		if !known && m.GrpcAddress != "" {
			others = append(others, m.GrpcAddress)
		}
	}
	return append(answers, askStatus(ctx, c, others)...), nil
}

// askStatus asks some addresses, side by side and each for itself: here a node's
// failure is part of the answer.
func askStatus(ctx context.Context, c *client, addrs []string) []statusAnswer {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	answers := make([]statusAnswer, len(addrs))
	var wg sync.WaitGroup
	for i, addr := range addrs {
		wg.Go(func() { answers[i] = askOne(ctx, c, addr) })
	}
	wg.Wait()
	return answers
}

func askOne(ctx context.Context, c *client, addr string) statusAnswer {
	l, err := c.link(ctx, addr)
	if err != nil {
		return statusAnswer{addr: addr, err: err}
	}
	res, err := tkcoordv1.NewAdminClient(l.conn).Status(ctx, &tkcoordv1.StatusRequest{})
	if err != nil {
		return statusAnswer{addr: addr, err: describe(err)}
	}
	return statusAnswer{addr: addr, res: res}
}

// formed returns the first answer of a node in a formed cluster, else the first
// one, else nil.
func formed(answers []statusAnswer) *tkcoordv1.StatusResponse {
	var first *tkcoordv1.StatusResponse
	for _, s := range answers {
		if s.res.GetClusterId() != "" {
			return s.res
		}
		first = cmp.Or(first, s.res)
	}
	return first
}

// best returns the answer that knows most about the cluster that answered first:
// that of the leader with the highest term, else of the node that applied most.
func best(answers []statusAnswer) *tkcoordv1.StatusResponse {
	b := formed(answers)
	for _, s := range answers {
		if s.res != nil && s.res.ClusterId == b.ClusterId && knowsMore(s.res, b) {
			b = s.res
		}
	}
	return b
}

func knowsMore(a, b *tkcoordv1.StatusResponse) bool {
	if leads(a) != leads(b) {
		return leads(a)
	}
	return cmp.Or(cmp.Compare(a.Term, b.Term), cmp.Compare(a.AppliedIndex, b.AppliedIndex)) > 0
}

// leads reports whether a node takes itself for the leader.
func leads(s *tkcoordv1.StatusResponse) bool { return s.Leader != nil && s.Leader.NodeId == s.NodeId }
