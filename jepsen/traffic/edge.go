package traffic

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/edge"
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/jepsen/history"
	"google.golang.org/grpc"
)

// EdgeLoad is what one edge does: requests through the SDK, as an application
// makes them.
type EdgeLoad struct {
	Policies []string `json:"policies"` // a request picks one
	Keys     int      `json:"keys"`
	// Zipf skews the choice of keys if it is above 1; otherwise all are alike.
	Zipf  float64 `json:"zipf,omitempty"`
	Rate  int     `json:"rate"`  // requests per second, as far as the machine can
	Units int64   `json:"units"` // most that one request takes
	// Checks is the share of requests that use Check, which may wait.
	Checks float64 `json:"checks"`
	// On and Off make the edge work in bursts, with a phase of its own.
	On  time.Duration `json:"on,omitempty"`
	Off time.Duration `json:"off,omitempty"`
	// IdleAfter and Horizon are those of the SDK.
	IdleAfter time.Duration `json:"idle_after"`
	Horizon   time.Duration `json:"horizon"`
}

// A tick is how often a worker makes the requests that are due.
const tick = time.Millisecond

// workers share the rate of one edge.
const workers = 2

// checkTime bounds one Check.
const checkTime = 100 * time.Millisecond

func runEdge(ctx context.Context, r *running) error {
	cfg := edge.DefaultConfig()
	cfg.Addresses, cfg.EdgeID, cfg.Rates = r.Addresses, r.Identity, r.Rates
	cfg.IdleAfter, cfg.Horizon = r.Edge.IdleAfter, r.Edge.Horizon
	cfg.Monotonic, cfg.Logger = r.clocks.Monotonic, r.log
	cfg.OnAdmit = func(policy, key string, n int64, window escrow.Window, at clock.Nanos) {
		r.record.Admit(policy, key, int64(window.Start), n, r.clocks.At(at))
	}
	creds, err := r.credentials()
	if err != nil {
		return err
	}
	cfg.DialOptions = []grpc.DialOption{grpc.WithTransportCredentials(creds), grpc.WithChainUnaryInterceptor(r.recordExchange)}
	e, err := edge.Open(ctx, cfg)
	if err != nil {
		return err
	}
	r.started()
	var work sync.WaitGroup
	for i := range workers {
		work.Go(func() { r.work(ctx, e, rand.New(rand.NewPCG(r.Seed, uint64(i)))) })
	}
	work.Wait()
	if err := e.Close(); err != nil {
		r.log.Warn("edge not closed in full", "err", err) // its credits stay counted: no harm
	}
	return nil
}

// recordExchange records the exchanges of the SDK.
func (r *running) recordExchange(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	x, ok := req.(*tkcoordv1.ExchangeRequest)
	if !ok {
		return invoke(ctx, method, req, reply, conn, opts...)
	}
	op := r.record.Call(exchangeCall(r.record, x, conn.Target()))
	err := invoke(ctx, method, req, reply, conn, opts...)
	at := history.Now()
	r.record.Return(exchangeReturn(op, at, reply.(*tkcoordv1.ExchangeResponse), err))
	return err
}

// work makes requests until ctx ends.
func (r *running) work(ctx context.Context, e *edge.Edge, random *rand.Rand) {
	load := r.Edge
	var zipf *rand.Zipf
	if load.Zipf > 1 {
		zipf = rand.NewZipf(random, load.Zipf, 1, uint64(load.Keys-1))
	}
	limiters := make([]*edge.Limiter, len(load.Policies))
	for i, p := range load.Policies {
		limiters[i] = e.Limiter(p)
	}
	began := time.Now().Add(-time.Duration(random.Int64N(int64(load.On + load.Off + 1))))
	t := time.NewTicker(tick)
	defer t.Stop()
	last, due := time.Now(), 0.0
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			// What a held-up worker missed is not made up for beyond a burst.
			due += min(now.Sub(last), 50*time.Millisecond).Seconds() * float64(load.Rate) / workers
			last = now
			if load.resting(now.Sub(began)) {
				due = 0
			}
		}
		for ; due >= 1 && ctx.Err() == nil; due-- {
			k := random.IntN(load.Keys)
			if zipf != nil {
				k = int(zipf.Uint64())
			}
			l := limiters[random.IntN(len(limiters))]
			r.request(ctx, l, keyName(k), 1+random.Int64N(load.Units), random.Float64() < load.Checks)
		}
	}
}

func (l *EdgeLoad) resting(since time.Duration) bool {
	return l.Off > 0 && since%(l.On+l.Off) >= l.On
}

func keyName(i int) string {
	return "k" + string(rune('a'+i%26)) + string(rune('0'+i/26%10)) + string(rune('0'+i/260%10))
}

// request makes one request and records a denial; admissions record themselves.
func (r *running) request(ctx context.Context, l *edge.Limiter, key string, n int64, wait bool) {
	if !wait {
		if !l.Allow(key, n) {
			r.record.Deny(l.Policy(), key, "local", n, history.Now())
		}
		return
	}
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	d, err := l.Check(ctx, key, n)
	switch {
	case d.Allowed:
	case errors.Is(err, context.Canceled): // the program ends
	case err != nil:
		r.record.Deny(l.Policy(), key, "no answer", n, history.Now())
	default:
		r.record.Deny(l.Policy(), key, d.Source.String(), n, history.Now())
	}
}
