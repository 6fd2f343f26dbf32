package edge

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/policy"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A bubble is a cluster on the fake clock of synctest, with a way to it.
type bubble struct {
	*cluster
	t   *testing.T
	rtt time.Duration
	lag atomic.Int64 // of the cluster clock, ms: time that failovers lost

	mu   sync.Mutex
	hold chan struct{} // requests wait for it to be closed; nil for not at all
}

// inBubble runs f on a fake clock that stands at the start of a minute. Messages
// take a millisecond each way.
func inBubble(t *testing.T, f func(t *testing.T, b *bubble), policies ...policy.Policy) {
	synctest.Test(t, func(t *testing.T) {
		b := &bubble{t: t, rtt: 2 * time.Millisecond}
		now := func() clock.Millis { return clock.Millis(time.Now().UnixMilli() - b.lag.Load()) }
		b.cluster = newCluster(t, now, fsm.DefaultSettings(), policies...)
		f(t, b)
	})
}

// exchange delays what the cluster does.
func (b *bubble) exchange(ctx context.Context, req *tkcoordv1.ExchangeRequest) (*tkcoordv1.ExchangeResponse, error) {
	b.mu.Lock()
	hold := b.hold
	b.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
		}
	}
	time.Sleep(b.rtt / 2)
	res, err := b.cluster.exchange(ctx, req)
	time.Sleep(b.rtt / 2)
	return res, err
}

// block holds requests back until the function it returns is called.
func (b *bubble) block() (release func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	hold := make(chan struct{})
	b.hold = hold
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.hold = nil
		close(hold)
	}
}

// edge opens an edge on the bubble's cluster.
func (b *bubble) edge(change ...func(*Config)) *Edge {
	b.t.Helper()
	cfg := quietConfig()
	for _, f := range change {
		f(&cfg)
	}
	e := connect(b.t, cfg, b.exchange)
	synctest.Wait()
	return e
}

// check asks and fails the test on an error.
func (b *bubble) check(l *Limiter, key string, n int64) Decision {
	b.t.Helper()
	d, err := l.Check(b.t.Context(), key, n)
	if err != nil {
		b.t.Fatalf("Check(%q, %d): %v", key, n, err)
	}
	return d
}

// policyStats returns the counters of one policy.
func policyStats(e *Edge, name string) PolicyStats {
	for _, p := range e.Stats().Policies {
		if p.Policy == name {
			return p
		}
	}
	return PolicyStats{}
}
