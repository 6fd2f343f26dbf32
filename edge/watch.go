package edge

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A stream that broke is opened again after up to this long; a node that does
// not know the call is asked again after watchUnknown.
const (
	watchPause   = time.Second
	watchUnknown = time.Minute
)

// watch listens for what an edge should know without asking: who leads, and that
// policies changed. Everything works without it, only later.
func (e *Edge) watch(ctx context.Context) {
	for ctx.Err() == nil {
		err := e.listen(ctx)
		pause := rand.N(watchPause)
		if status.Code(err) == codes.Unimplemented {
			pause = watchUnknown
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// listen takes over what one stream says until it ends.
func (e *Edge) listen(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx) // ends the stream
	defer cancel()
	_, conn, err := e.nodes.pick()
	if err != nil {
		return err
	}
	stream, err := tkcoordv1.NewEdgeClient(conn).Watch(ctx, &tkcoordv1.WatchRequest{EdgeId: e.cfg.EdgeID})
	if err != nil {
		return err
	}
	for {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		if at := m.GetLeader().GetAddress(); at != "" {
			e.nodes.hint(at)
		}
		e.mu.Lock()
		e.policiesAt(m.GetPolicyVersion(), m.GetChangedPolicies())
		e.mu.Unlock()
	}
}
