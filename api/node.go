package api

import (
	"context"
	"fmt"

	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/transport"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Node serves tkcoord.v1.Node, which nodes of one cluster ask each other.
type Node struct {
	tkcoordv1.UnimplementedNodeServer
	node *transport.Node
}

// Stats tells how far this node is.
func (n *Node) Stats(context.Context, *tkcoordv1.StatsRequest) (*tkcoordv1.StatsResponse, error) {
	s := n.node.Status()
	return &tkcoordv1.StatsResponse{NodeId: s.ID, Term: s.LastTerm, LastIndex: s.LastIndex, AppliedIndex: s.AppliedIndex, WallMs: int64(s.Wall)}, nil
}

// StateDigest returns the digest that this node computed at an index.
func (n *Node) StateDigest(_ context.Context, req *tkcoordv1.StateDigestRequest) (*tkcoordv1.StateDigestResponse, error) {
	d, ok := n.node.Replica().DigestAt(req.Index)
	if !ok {
		return nil, status.Errorf(codes.NotFound, "no digest at index %d", req.Index)
	}
	return &tkcoordv1.StateDigestResponse{Digest: d}, nil
}

// Peers asks other nodes over the forwarder's connections. It implements
// transport.Peers.
type Peers struct{ Forward *Forwarder }

// Stats implements transport.Peers.
func (p Peers) Stats(ctx context.Context, address string) (transport.PeerStats, error) {
	conn, err := p.Forward.To(address)
	if err != nil {
		return transport.PeerStats{}, err
	}
	s, err := tkcoordv1.NewNodeClient(conn).Stats(ctx, &tkcoordv1.StatsRequest{})
	if err != nil {
		return transport.PeerStats{}, fmt.Errorf("stats of %s: %w", address, err)
	}
	return transport.PeerStats{ID: s.NodeId, LastTerm: s.Term, LastIndex: s.LastIndex, AppliedIndex: s.AppliedIndex, Wall: clock.Millis(s.WallMs)}, nil
}

// Digest implements transport.Peers. It reports "" while the peer has none.
func (p Peers) Digest(ctx context.Context, address string, index uint64) (string, error) {
	conn, err := p.Forward.To(address)
	if err != nil {
		return "", err
	}
	d, err := tkcoordv1.NewNodeClient(conn).StateDigest(ctx, &tkcoordv1.StateDigestRequest{Index: index})
	if status.Code(err) == codes.NotFound {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("digest of %s: %w", address, err)
	}
	return d.Digest, nil
}
