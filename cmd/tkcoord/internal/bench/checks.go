package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tkcoord/tkcoord/api/throttlekitv1"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// Policies of the checks, with limits that are not reached, and their callers as
// the published targets have them.
const (
	strictPolicy  = "strict"
	leasedPolicy  = "leased"
	checkCallers  = 64
	batchCallers  = 16
	keysPerBatch  = 100
	strictKeys    = checkCallers * keysPerCaller
	leasedKeys    = 200
	checkPolicies = `  strict: { strategy: gcra, limit: 1000000000, period: 1s, burst: 1000000000 }
  leased:
    strategy: fixedWindow
    limit: 9007199254740991
    period: 3600000
    twoTier: { batch: 10000, windowCoupled: true }
`
)

// A checking is callers that have checks decided as fast as they are answered, at
// all nodes in turn, each caller at one. Every check is allowed.
type checking struct {
	policy  string
	callers int
	keys    int // of each call: above 1 it is CheckMany
	spread  int // keys that callers take in turn
	warm    int // calls of each caller before the measurement
}

var errDenied = errors.New("a check was denied")

// checks measures a load of checks.
func (cl *cluster) checks(ctx context.Context, l checking, duration time.Duration) (sample, error) {
	var clients []throttlekitv1.RateLimiterClient
	for i := range l.callers {
		if i >= connsPerNode*len(cl.grpc) { // share a connection
			clients = append(clients, clients[i-connsPerNode*len(cl.grpc)])
			continue
		}
		conn, err := grpc.NewClient("passthrough:///"+cl.grpc[i%len(cl.grpc)], grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return sample{}, err
		}
		defer conn.Close()
		clients = append(clients, throttlekitv1.NewRateLimiterClient(conn))
	}
	called := make([]int, len(clients))
	err := l.drive(ctx, clients, func(caller int, _ time.Duration) bool { // so that connections, keys and leases are there
		called[caller]++
		return called[caller] < l.warm
	})
	if err != nil {
		return sample{}, err
	}
	var s sample
	begin, cpu := time.Now(), cl.cpu()
	took := make([][]time.Duration, len(clients))
	err = l.drive(ctx, clients, func(caller int, d time.Duration) bool {
		took[caller] = append(took[caller], d)
		return time.Since(begin) < duration
	})
	if err != nil {
		return sample{}, err
	}
	for _, t := range took {
		s.latencies = append(s.latencies, t...)
	}
	s.ops, s.took, s.cpu = len(s.latencies), time.Since(begin), cl.cpu()-cpu
	if s.ops == 0 {
		return s, errNoSamples
	}
	return s, nil
}

// connsPerNode connections to each node are shared by the callers.
const connsPerNode = 2

// drive has all callers call until more says that it is enough.
func (l checking) drive(ctx context.Context, clients []throttlekitv1.RateLimiterClient, more func(caller int, took time.Duration) bool) error {
	g, ctx := errgroup.WithContext(ctx)
	for i, c := range clients {
		g.Go(func() error {
			for n := i * keysPerCaller; ; n += l.keys {
				begin := time.Now()
				if err := l.call(ctx, c, n); transient(err) {
					time.Sleep(retryPause)
					continue
				} else if err != nil {
					return err
				}
				if !more(i, time.Since(begin)) {
					return nil
				}
			}
		})
	}
	return g.Wait()
}

func (l checking) call(ctx context.Context, c throttlekitv1.RateLimiterClient, n int) error {
	if l.keys == 1 {
		res, err := c.Check(ctx, &throttlekitv1.CheckRequest{Policy: l.policy, Key: l.key(n)})
		if err == nil && !res.Decision.Allowed {
			return errDenied
		}
		return err
	}
	req := &throttlekitv1.CheckManyRequest{Policy: l.policy}
	for i := range l.keys {
		req.Keys = append(req.Keys, l.key(n+i))
	}
	res, err := c.CheckMany(ctx, req)
	for _, d := range res.GetDecisions() {
		if !d.Allowed {
			return errDenied
		}
	}
	return err
}

// key is one of the keys that callers take in turn.
func (l checking) key(n int) string { return fmt.Sprintf("tenant-%05d", n%l.spread) }
