package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/edge"
)

// failover kills the leader again and again and measures how long it takes until
// something new is granted, while an edge with prefetched credits goes on
// admitting.
func (c *Config) failover(ctx context.Context, r *Report) error {
	cl, err := startCluster(ctx, c, "failover")
	if err != nil {
		return err
	}
	defer cl.stop()
	w, err := startWitness(ctx, cl.grpc)
	if err != nil {
		return err
	}
	defer w.stop()
	prober := newEdgeState("prober", benchPolicy, []string{"probe"})
	s := sample{}
	begin := time.Now()
	for kill := range c.Kills {
		lead, err := cl.leader(ctx)
		if err != nil {
			return err
		}
		if err := cl.probe(ctx, prober, -1); err != nil {
			return fmt.Errorf("before kill %d: %w", kill+1, err)
		}
		at := time.Now()
		cl.nodes[lead].kill()
		if err := cl.probe(ctx, prober, lead); err != nil {
			return fmt.Errorf("after kill %d: %w", kill+1, err)
		}
		s.latencies = append(s.latencies, time.Since(at))
		if _, err := cl.nodes[lead].start(ctx, bootPatience); err != nil {
			return err
		}
		if err := cl.waitReady(ctx, bootPatience); err != nil {
			return err
		}
		if (kill+1)%10 == 0 {
			c.say("killed the leader %d of %d times, slowest new grant after %v", kill+1, c.Kills, quantile(s.latencies, 1).Round(time.Millisecond))
		}
	}
	s.ops, s.took = len(s.latencies), time.Since(begin)
	admitted, denied := w.counts()
	r.Rows = append(r.Rows, Row{
		Name: "new grant after kill -9 of the leader", Value: ms(quantile(s.latencies, 0.99)), Unit: "ms (p99)",
		P50: ms(quantile(s.latencies, 0.50)), P99: ms(quantile(s.latencies, 0.99)), Samples: s.ops,
		Note: fmt.Sprintf("worst %.0f ms; an edge with credits admitted %d and denied %d meanwhile", ms(quantile(s.latencies, 1)), admitted, denied),
	})
	return nil
}

// probe asks for a new grant at each node but one in turn until one gives it.
func (cl *cluster) probe(ctx context.Context, e *edgeState, not int) error {
	ctx, cancel := context.WithTimeout(ctx, bootPatience)
	defer cancel()
	var last error
	for {
		for i := range cl.nodes {
			if i == not {
				continue
			}
			conn, err := cl.dial(cl.grpc[i])
			if err != nil {
				return err
			}
			try, stop := context.WithTimeout(ctx, 250*time.Millisecond)
			last = e.exchange(try, tkcoordv1.NewEdgeClient(conn))
			stop()
			if last == nil {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return errors.Join(errors.New("nothing was granted"), last)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// A witness is an edge that admits a thousand times a second.
type witness struct {
	edge             *edge.Edge
	cancel           context.CancelFunc
	done             chan struct{}
	admitted, denied int
}

func startWitness(ctx context.Context, nodes []string) (*witness, error) {
	cfg := edge.DefaultConfig()
	cfg.Addresses, cfg.EdgeID = nodes, "witness"
	e, err := edge.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	l := e.Limiter(benchPolicy)
	if d, err := l.Check(ctx, "witness", 1); err != nil || !d.Allowed {
		return nil, errors.Join(fmt.Errorf("first check: %+v: %w", d, err), e.Close())
	}
	ctx, cancel := context.WithCancel(ctx)
	w := &witness{edge: e, cancel: cancel, done: make(chan struct{})}
	warm := make(chan struct{})
	go func() {
		defer close(w.done)
		t := time.NewTicker(time.Millisecond)
		defer t.Stop()
		begin := time.Now()
		for counting := false; ; {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
			}
			if !counting && time.Since(begin) > warmUp {
				w.admitted, w.denied, counting = 0, 0, true
				close(warm)
			}
			if l.Allow("witness", 1) {
				w.admitted++
			} else {
				w.denied++
			}
		}
	}()
	select {
	case <-warm:
	case <-ctx.Done():
	}
	return w, nil
}

// warmUp is how long the witness may take to learn what it needs: the first
// requests of a key find no credits.
const warmUp = 4 * time.Second

// counts ends the traffic and returns what became of it.
func (w *witness) counts() (admitted, denied int) {
	w.cancel()
	<-w.done
	return w.admitted, w.denied
}

func (w *witness) stop() {
	w.cancel()
	<-w.done
	_ = w.edge.Close() // the cluster is going away
}
