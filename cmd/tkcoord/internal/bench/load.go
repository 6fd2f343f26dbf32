package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// A load is callers that exchange as fast as they are answered. Every ask raises
// a grant, so every one is a change that is replicated and synced.
type load struct {
	callers  int
	budgets  int // per exchange
	duration time.Duration
	holders  int // if not 0: callers take turns at being that many edges, on one budget
}

// grantSize is how much each ask raises a grant by.
const grantSize = 10

// A caller is one edge, or several in turn.
type caller struct {
	client tkcoordv1.EdgeClient
	edges  []*edgeState
	next   int
}

// An edgeState is what an edge remembers between exchanges: its next request.
type edgeState struct {
	req *tkcoordv1.ExchangeRequest
}

func newEdgeState(id string, policy string, keys []string) *edgeState {
	e := &edgeState{req: &tkcoordv1.ExchangeRequest{EdgeId: id, Incarnation: rand.Uint64() | 1}}
	for _, k := range keys {
		e.req.Asks = append(e.req.Asks, &tkcoordv1.Ask{Policy: policy, Key: k, Need: grantSize, Want: grantSize})
	}
	return e
}

// exchange asks for more of every budget, reporting all it had as used.
func (e *edgeState) exchange(ctx context.Context, c tkcoordv1.EdgeClient) error {
	e.req.Seq++
	res, err := c.Exchange(ctx, e.req)
	if err != nil {
		return err
	}
	e.req.Session = res.Session
	for i, a := range res.Answers {
		if a.Problem != nil {
			return fmt.Errorf("ask %d: %s", i, a.Problem.Message)
		}
		ask := e.req.Asks[i]
		if a.Granted < ask.Need {
			return fmt.Errorf("ask %d: granted %d of %d", i, a.Granted, ask.Need)
		}
		ask.WindowStartMs, ask.Used = a.WindowStartMs, a.Granted
		ask.Need, ask.Want = a.Granted+grantSize, a.Granted+grantSize
	}
	return nil
}

// load makes callers, lets each edge exchange once so that sessions and budgets
// exist, and measures them.
func (cl *cluster) load(ctx context.Context, l load) (sample, error) {
	callers, closeAll, err := cl.introduce(ctx, l)
	if err != nil {
		return sample{}, err
	}
	defer closeAll()
	return cl.measure(ctx, callers, l.duration)
}

// measure lets callers exchange as fast as they are answered.
func (cl *cluster) measure(ctx context.Context, callers []*caller, duration time.Duration) (sample, error) {
	var s sample
	var mu sync.Mutex
	begin, cpu := time.Now(), cl.cpu()
	end := begin.Add(duration)
	g, ctx := errgroup.WithContext(ctx)
	for _, c := range callers {
		g.Go(func() error {
			var took []time.Duration
			for t := time.Now(); t.Before(end); {
				e := c.edges[c.next%len(c.edges)]
				c.next++
				if err := e.exchange(ctx, c.client); transient(err) {
					time.Sleep(retryPause) // an election: asking again is safe, and its time counts
					continue
				} else if err != nil {
					return err
				}
				now := time.Now()
				took = append(took, now.Sub(t))
				t = now
			}
			mu.Lock()
			defer mu.Unlock()
			s.latencies = append(s.latencies, took...)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return sample{}, err
	}
	s.ops, s.took, s.cpu = len(s.latencies), time.Since(begin), cl.cpu()-cpu
	if s.ops == 0 {
		return s, errNoSamples
	}
	return s, nil
}

const retryPause = 5 * time.Millisecond

// transient reports whether an exchange failed for want of a leader.
func transient(err error) bool {
	code := status.Code(err)
	return code == codes.Unavailable || code == codes.Unknown && err != nil
}

// callers makes the callers of a load, a few connections to the leader between
// them.
func (cl *cluster) callers(lead int, l load) ([]*caller, func(), error) {
	const conns = 4
	var open []*grpc.ClientConn
	closeAll := func() {
		for _, c := range open {
			_ = c.Close() // nothing is under way
		}
	}
	for range conns {
		c, err := grpc.NewClient("passthrough:///"+cl.grpc[lead], grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		open = append(open, c)
	}
	var all []*caller
	for i := range l.callers {
		c := &caller{client: tkcoordv1.NewEdgeClient(open[i%conns])}
		if l.holders > 0 {
			for h := i; h < l.holders; h += l.callers {
				c.edges = append(c.edges, newEdgeState(holderName(h), benchPolicy, []string{"shared"}))
			}
		} else {
			keys := make([]string, l.budgets)
			for k := range keys {
				keys[k] = fmt.Sprintf("tenant-%05d", i*keysPerCaller+k)
			}
			c.edges = []*edgeState{newEdgeState(fmt.Sprintf("bench-%d-%d", i, rand.Uint32()), benchPolicy, keys)}
		}
		all = append(all, c)
	}
	return all, closeAll, nil
}

func holderName(i int) string { return fmt.Sprintf("holder-%06d", i) }

// introduce makes the callers of a load and lets each of their edges exchange
// once. The function it returns closes their connections.
func (cl *cluster) introduce(ctx context.Context, l load) ([]*caller, func(), error) {
	lead, err := cl.leader(ctx)
	if err != nil {
		return nil, nil, err
	}
	callers, closeAll, err := cl.callers(lead, l)
	if err != nil {
		return nil, nil, err
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, c := range callers {
		g.Go(func() error {
			for _, e := range c.edges {
				err := e.exchange(ctx, c.client)
				for ; transient(err) && ctx.Err() == nil; err = e.exchange(ctx, c.client) {
					time.Sleep(retryPause)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		closeAll()
		return nil, nil, err
	}
	return callers, closeAll, nil
}
