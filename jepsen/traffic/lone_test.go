package traffic

import (
	"context"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/tkcoord/tkcoord/api"
	"github.com/tkcoord/tkcoord/api/throttlekitv1"
	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/jepsen/raftlog"
	"github.com/tkcoord/tkcoord/policy"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A lone coordinator: the real state machine behind the real doors, with a log
// in memory.
type lone struct {
	tkcoordv1.UnimplementedEdgeServer
	tkcoordv1.UnimplementedAdminServer

	mu      sync.Mutex // guards the rest
	machine *fsm.Machine
	log     raftlog.Log
	random  *rand.Rand
	losing  bool // a tenth of the replies is lost
}

func (l *lone) entry(cmd fsm.Command) (fsm.Result, fsm.Outcome, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b fsm.Batch
	b.Add(cmd)
	index := uint64(len(l.log.Entries) + 1)
	data := b.Seal(clock.Millis(time.Now().UnixMilli()), 1)
	out, err := l.machine.Apply(index, data, true)
	if err != nil {
		return fsm.Result{}, out, err
	}
	l.log.Entries = append(l.log.Entries, raftlog.Entry{Index: index, Term: 1, Type: raft.LogCommand, Wall: time.Now().UnixNano(), Data: data})
	l.log.Committed = index
	if l.losing && l.random.IntN(10) == 0 {
		return fsm.Result{}, out, status.Error(codes.Unknown, "the reply was lost")
	}
	return out.Results[0], out, nil
}

func (l *lone) Exchange(_ context.Context, req *tkcoordv1.ExchangeRequest) (*tkcoordv1.ExchangeResponse, error) {
	cmd := &fsm.Exchange{EdgeID: req.EdgeId, Incarnation: req.Incarnation, Session: escrow.HolderID(req.Session), Seq: req.Seq}
	for _, a := range req.Asks {
		cmd.Asks = append(cmd.Asks, fsm.Ask{
			Policy: a.Policy, Key: a.Key, Window: clock.Millis(a.WindowStartMs), Used: escrow.Credits(a.Used),
			Returned: escrow.Credits(a.Returned), Need: escrow.Credits(a.Need), Want: escrow.Credits(a.Want),
		})
	}
	r, out, err := l.entry(cmd)
	if err == nil {
		err = r.Err
	}
	if err != nil {
		return nil, err
	}
	res := &tkcoordv1.ExchangeResponse{Session: uint64(r.Session), ClockMs: int64(out.Now), Index: out.Index}
	for _, a := range r.Answers {
		if a.Err != nil {
			res.Answers = append(res.Answers, &tkcoordv1.Answer{Problem: &tkcoordv1.Problem{Reason: tkcoordv1.Reason_REASON_UNKNOWN_POLICY}})
			continue
		}
		res.Answers = append(res.Answers, &tkcoordv1.Answer{
			WindowStartMs: int64(a.Window.Start), WindowEndMs: int64(a.Window.End), Granted: int64(a.Granted), TtlMs: int64(a.TTL),
			Limit: int64(a.Limit), Left: int64(a.Left), RetryAfterMs: int64(a.Retry), WindowMs: int64(a.Length),
		})
	}
	return res, nil
}

func (l *lone) ApplyPolicies(_ context.Context, req *tkcoordv1.ApplyPoliciesRequest) (*tkcoordv1.ApplyPoliciesResponse, error) {
	cmd := fsm.Policies{Delete: req.Delete}
	for _, p := range req.Put {
		q, err := api.PolicyFromWire(p)
		if err != nil {
			return nil, err
		}
		cmd.Put = append(cmd.Put, q)
	}
	r, _, err := l.entry(cmd)
	if err == nil {
		err = r.Err
	}
	return &tkcoordv1.ApplyPoliciesResponse{Version: r.Version}, err
}

// serve starts the coordinator with policies and returns its address.
func (l *lone) serve(t *testing.T, policies []policy.Policy) string {
	t.Helper()
	l.machine, l.random = fsm.New(), rand.New(rand.NewPCG(1, 1))
	for _, c := range []fsm.Command{fsm.Genesis{ClusterID: "c", Settings: fsm.DefaultSettings()}, fsm.Policies{Put: policies}} {
		if _, _, err := l.entry(c); err != nil {
			t.Fatal(err)
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	tkcoordv1.RegisterEdgeServer(s, l)
	tkcoordv1.RegisterAdminServer(s, l)
	throttlekitv1.RegisterRateLimiterServer(s, lonePublic{l: l})
	throttlekitv1.RegisterFleetServer(s, loneFleet{l: l})
	served := make(chan error, 1)
	go func() { served <- s.Serve(listener) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return listener.Addr().String()
}
