package main

import (
	"log/slog"

	"github.com/tkcoord/tkcoord/api"
	"github.com/tkcoord/tkcoord/edge/tier"
	"github.com/tkcoord/tkcoord/transport"
)

// openTier lets a node decide two-tier and federated checks from credits of its
// own. It talks to the cluster through its own doors.
func openTier(node *transport.Node, server *api.Server, clocks transport.Clocks, log *slog.Logger) (*tier.Tier, error) {
	c := tier.DefaultConfig()
	c.Authority, c.Clock = server.CheckStrict, node.ClusterTime
	c.Edge.EdgeID, c.Edge.Exchange = tierPrefix+node.ID(), server.Exchange
	c.Edge.Monotonic, c.Edge.Logger = clocks.Monotonic, log
	t, err := tier.New(c)
	if err != nil {
		return nil, err
	}
	server.UseTier(t)
	return t, nil
}

// tierPrefix begins the edge_id of a node. An edge of a client that begins with it
// takes a node's credits, and the node takes them back.
const tierPrefix = "node:"

// closeTier gives back what the node holds, while there is a leader to take it.
func (p *process) closeTier() {
	if err := p.tier.Close(); err != nil {
		p.log.Warn("credits of this node not given back in full", "err", err)
	}
}
