package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"
	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"google.golang.org/grpc"
)

func newMemberCommand(a *cli) *cobra.Command {
	cmd := newGroupCommand("member", "List the nodes of a cluster, hand over leadership, take a node out",
		newMemberListCommand(a),
		newMemberTransferCommand(a),
		newMemberRemoveCommand(a),
	)
	cmd.GroupID = groupCluster
	cmd.Example = `  tkcoord member list
  tkcoord member transfer n2
  tkcoord member remove n3`
	return cmd
}

func newMemberListCommand(a *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the nodes of a cluster with their addresses",
		Long: `List the nodes of a cluster with their addresses, as the first node that answers
sees them. Status also asks each of them.`,
		Example:           "  tkcoord member list -o json",
		Args:              wantArgs(0, 0, ""),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect(cmd)
			if err != nil {
				return err
			}
			defer c.Close()
			s, err := getStatus(cmd.Context(), c)
			if err != nil {
				return err
			}
			return writeMembers(a.stdout, a.opts.output, s.Members)
		},
	}
}

// getStatus returns the status of the first node that answers.
func getStatus(ctx context.Context, c *client) (*tkcoordv1.StatusResponse, error) {
	return do(ctx, c, repeats, func(ctx context.Context, conn grpc.ClientConnInterface) (*tkcoordv1.StatusResponse, error) {
		return tkcoordv1.NewAdminClient(conn).Status(ctx, &tkcoordv1.StatusRequest{})
	})
}

// A membersReport is the JSON form of member list.
type membersReport struct {
	Members []memberAddresses `json:"members"`
}

type memberAddresses struct {
	NodeID      string `json:"node_id"`
	Region      string `json:"region"`
	Role        string `json:"role"`
	RaftAddress string `json:"raft_address"`
	GRPCAddress string `json:"grpc_address"`
	HTTPAddress string `json:"http_address"`
	Gossip      string `json:"gossip"`
	Version     string `json:"version"`
	LogVersion  uint32 `json:"log_version"`
}

func writeMembers(w io.Writer, form string, members []*tkcoordv1.Member) error {
	r := membersReport{[]memberAddresses{}}
	var t table
	t.row("NODE", "ROLE", "REGION", "GRPC", "RAFT", "HTTP", "GOSSIP", "VERSION", "LOG FORMAT")
	for _, m := range members {
		r.Members = append(r.Members, memberAddresses{
			m.NodeId, m.Region, role(m), m.RaftAddress, m.GrpcAddress, m.HttpAddress, m.Gossip, m.Version, m.LogVersion,
		})
		t.row(m.NodeId, role(m), m.Region, m.GrpcAddress, m.RaftAddress, m.HttpAddress, m.Gossip, m.Version, m.LogVersion)
	}
	if form == asJSON {
		return writeJSON(w, r)
	}
	return t.write(w)
}

func newMemberRemoveCommand(a *cli) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "remove NODE",
		Short: "Take a node out of a cluster for good",
		Long: `Take a node out of a cluster for good. It cannot come back with its data
directory. The removal has to be confirmed, unless --yes is given.`,
		Example: `  tkcoord member remove n3
  tkcoord member remove n3 --yes`,
		Args:              wantArgs(1, 1, "one NODE"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect(cmd)
			if err != nil {
				return err
			}
			defer c.Close()
			return a.removeMember(cmd.Context(), c, args[0], yes)
		},
	}
	registerYes(cmd, &yes)
	return cmd
}

func (a *cli) removeMember(ctx context.Context, c *client, node string, yes bool) error {
	if !yes {
		s, err := getStatus(ctx, c)
		if err != nil {
			return err
		}
		question, err := removal(s.Members, node)
		if err != nil {
			return err
		}
		err = a.confirm(ctx, "%s Remove it?", question)
		if errors.Is(err, errNotConfirmed) {
			return hint(err, "--yes does not ask")
		}
		if err != nil {
			return err
		}
	}
	_, err := do(ctx, c, changes, func(ctx context.Context, conn grpc.ClientConnInterface) (*tkcoordv1.RemoveMemberResponse, error) {
		return tkcoordv1.NewAdminClient(conn).RemoveMember(ctx, &tkcoordv1.RemoveMemberRequest{NodeId: node})
	})
	if err != nil {
		return err
	}
	if a.opts.output == asJSON {
		return writeJSON(a.stdout, struct {
			Removed string `json:"removed"`
		}{node})
	}
	return a.print("removed %s\n", node)
}

// removal says what removing a node means.
func removal(members []*tkcoordv1.Member, node string) (string, error) {
	at := slices.IndexFunc(members, func(m *tkcoordv1.Member) bool { return m.NodeId == node })
	if at < 0 {
		return "", hint(fmt.Errorf("no member is named %q", node), "tkcoord member list names them")
	}
	if !members[at].Voter {
		return fmt.Sprintf("%s has no vote.", node), nil
	}
	voters := 0
	for _, m := range members {
		if m.Voter {
			voters++
		}
	}
	tolerates := func(n int) int { return max(0, n-1) / 2 }
	return fmt.Sprintf("%s is a %s. The cluster has %s and tolerates the loss of %d; without it, of %d of %d.",
		node, role(members[at]), count(voters, "voter"), tolerates(voters), tolerates(voters-1), voters-1), nil
}
