package main

import (
	"context"
	"fmt"

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
