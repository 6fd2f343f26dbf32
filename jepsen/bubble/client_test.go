package bubble

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/edge"
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"google.golang.org/grpc"
)

// A client is one machine with an edge. Its edges come and go under one name,
// as processes of one service do.
type client struct {
	c   *cluster
	i   int
	ip  string
	rnd *rand.Rand
}

// An admission is what an edge spent, by its own record.
type admission struct {
	edge   string
	budget budget
	n      escrow.Credits
	start  clock.Millis // of the window
	at     time.Time
}

type budget struct{ policy, key string }

// A reply is what a node told an edge.
type reply struct {
	req *tkcoordv1.ExchangeRequest
	res *tkcoordv1.ExchangeResponse
	at  time.Time
}

// live runs one process of the client after the other, until ctx ends.
func (k *client) live(ctx context.Context) {
	for life := 0; ctx.Err() == nil; life++ {
		k.once(ctx, life)
		if sleep(ctx, time.Duration(k.rnd.ExpFloat64()*float64(500*time.Millisecond))) != nil {
			return
		}
	}
}

// once runs one process. It ends in order, or by a crash with credits in hand.
func (k *client) once(ctx context.Context, life int) {
	h := k.c.net.host(k.ip)
	mono := k.c.newOscillator()
	cfg := edge.DefaultConfig()
	cfg.EdgeID = fmt.Sprintf("e%d", k.i)
	for i := range members {
		cfg.Addresses = append(cfg.Addresses, net.JoinHostPort(memberIP((i+k.i)%members), grpcPort))
	}
	cfg.DialOptions = []grpc.DialOption{
		grpc.WithContextDialer(h.dialPatiently),
		grpc.WithChainUnaryInterceptor(k.record),
	}
	cfg.Horizon, cfg.IdleAfter = k.c.swarm.horizon, k.c.swarm.idleAfter
	cfg.Rates, cfg.Monotonic = k.c.swarm.settings.Rates, mono.now
	cfg.Logger = k.c.log.With("edge", cfg.EdgeID, "life", life)
	cfg.OnAdmit = func(policy, key string, n int64, w escrow.Window, _ clock.Nanos) {
		k.c.admitted(admission{fmt.Sprintf("%s/%d", cfg.EdgeID, life), budget{policy, key}, escrow.Credits(n), w.Start, time.Now()})
	}
	e, err := edge.Open(ctx, cfg)
	if err != nil {
		k.c.violated("edge %d does not start: %v", k.i, err)
		return
	}
	age := time.Duration(k.rnd.ExpFloat64() * float64(20*time.Second))
	living, cancel := context.WithTimeout(ctx, age)
	defer cancel()
	k.traffic(living, e, mono)
	crashed := ctx.Err() == nil && k.rnd.IntN(2) == 0
	if crashed {
		h.kill()
	}
	_ = e.Close() // what cannot be given back stays counted as granted
	if crashed {
		k.c.count(&k.c.stats.EdgeCrashes)
	}
	h.kill()
}

// traffic sends requests until ctx ends. Many come around the ends of windows,
// where a deadline that is too late shows.
func (k *client) traffic(ctx context.Context, e *edge.Edge, mono *oscillator) {
	s := &k.c.swarm
	for ctx.Err() == nil {
		p := s.policies[k.rnd.IntN(len(s.policies))]
		l, key := e.Limiter(p.Name), fmt.Sprintf("k%d", k.rnd.IntN(s.keys))
		n := 1 + k.rnd.Int64N(3)
		switch k.rnd.IntN(8) {
		case 0: // the last and the first milliseconds of a window
			k.untilEnd(ctx, p.Cadence.Period)
			for range 60 {
				l.Allow(key, 1)
				time.Sleep(time.Millisecond)
			}
		case 1: // a burst
			for range 20 {
				l.Allow(key, n)
			}
		case 2, 3:
			l.Allow(key, n)
		default:
			asking, cancel := context.WithTimeout(ctx, time.Second)
			_, _ = l.Check(asking, key, n) // what it answers, OnAdmit tells
			cancel()
		}
		if k.rnd.IntN(200) == 0 {
			mono.drift(k.c.rate())
		}
		_ = sleep(ctx, time.Duration(k.rnd.ExpFloat64()*float64(s.think)))
	}
}

// untilEnd waits until shortly before a window ends, as far as anybody outside
// can tell, and not longer than three seconds.
func (k *client) untilEnd(ctx context.Context, period clock.Millis) {
	now := clock.Millis(k.c.clock.Load())
	rest := time.Duration(period-now%period) * time.Millisecond
	if rest < 3*time.Second {
		_ = sleep(ctx, rest-30*time.Millisecond)
	}
}

// record keeps what an edge was answered.
func (k *client) record(ctx context.Context, method string, req, res any, cc *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	err := call(ctx, method, req, res, cc, opts...)
	q, isExchange := req.(*tkcoordv1.ExchangeRequest)
	if !isExchange {
		return err
	}
	if err != nil {
		k.c.count(&k.c.stats.Failed)
		return err
	}
	k.c.replied(k.i, reply{q, res.(*tkcoordv1.ExchangeResponse), time.Now()})
	if k.c.draw(30) == 0 { // the same message once more, which changes nothing
		again := &tkcoordv1.ExchangeResponse{}
		if call(ctx, method, req, again, cc, opts...) == nil {
			k.c.replied(k.i, reply{q, again, time.Now()})
		}
	}
	return nil
}
