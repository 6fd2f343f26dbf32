package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"github.com/tkcoord/tkcoord/api"
	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/policy"
	"google.golang.org/grpc"
)

func newPolicyCommand(a *cli) *cobra.Command {
	cmd := newGroupCommand("policy", "Show and change the limits that a cluster enforces",
		newPolicyGetCommand(a),
		newPolicyPlanCommand(a),
		newPolicyApplyCommand(a),
		newPolicyDeleteCommand(a),
	)
	cmd.GroupID = groupPolicies
	cmd.Example = `  tkcoord policy get > limits.yaml
  tkcoord policy plan -f limits.yaml
  tkcoord policy apply -f limits.yaml`
	return cmd
}

// readPolicies reads a policy file, "-" for stdin. All problems of the file go
// to stderr, one line each, and the error counts them.
func (a *cli) readPolicies(ctx context.Context, file string) ([]policy.Policy, error) {
	name, data, err := file, []byte(nil), error(nil)
	switch file {
	case "":
		return nil, usagef("--file is missing: name a policy file, or - for stdin")
	case "-":
		name = "stdin"
		data, err = await(ctx, func() ([]byte, error) { return io.ReadAll(io.LimitReader(a.stdin, policy.MaxFileSize+1)) })
	default:
		data, err = readBounded(file, policy.MaxFileSize+1)
	}
	if err != nil {
		return nil, fmt.Errorf("read the policies: %w", err)
	}
	f, err := policy.Parse(name, data)
	bad, ok := errors.AsType[*policy.Problems](err)
	if !ok {
		return f.Policies, err
	}
	for _, p := range bad.List {
		fmt.Fprintln(a.stderr, oneLine(p.String()))
	}
	n := len(bad.List) + bad.More
	if bad.More > 0 {
		return nil, fmt.Errorf("%s has %s, of which the first %d are shown", name, count(n, "problem"), len(bad.List))
	}
	return nil, fmt.Errorf("%s has %s", name, count(n, "problem"))
}

// readBounded reads at most limit bytes of a file.
func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}

// getPolicies returns the named policies with their counters, or all.
func getPolicies(ctx context.Context, c *client, names ...string) (*tkcoordv1.GetPoliciesResponse, error) {
	return do(ctx, c, repeats, func(ctx context.Context, conn grpc.ClientConnInterface) (*tkcoordv1.GetPoliciesResponse, error) {
		return tkcoordv1.NewAdminClient(conn).GetPolicies(ctx, &tkcoordv1.GetPoliciesRequest{Names: names})
	})
}

// fromWire returns the policies of an answer.
func fromWire(res *tkcoordv1.GetPoliciesResponse) ([]policy.Policy, error) {
	all := make([]policy.Policy, len(res.Policies))
	for i, s := range res.Policies {
		p, err := api.PolicyFromWire(s.Policy)
		if err == nil {
			err = p.Validate()
		}
		if err != nil {
			return nil, hint(fmt.Errorf("policy %q: %w", s.Policy.GetName(), err), "the cluster may be newer than this program, %s", buildVersion())
		}
		all[i] = p
	}
	return all, nil
}
