package edge

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
)

// TestCrowd: many goroutines on a few edges and keys, over a network that loses
// questions and answers. What matters is what the race detector says, and that no
// window admits more than its limit.
func TestCrowd(t *testing.T) {
	const limit = 500
	inBubble(t, func(t *testing.T, b *bubble) {
		var mu sync.Mutex
		spent := map[string]int64{}
		admitted := func(_, key string, n int64, w escrow.Window, _ clock.Nanos) {
			mu.Lock()
			defer mu.Unlock()
			id := fmt.Sprint(key, w)
			if spent[id] += n; spent[id] > limit {
				t.Errorf("%d of %q admitted in %v", spent[id], key, w)
			}
		}
		lossy := func(ctx context.Context, req *tkcoordv1.ExchangeRequest) (*tkcoordv1.ExchangeResponse, error) {
			if rand.N(10) == 0 {
				return nil, errDown
			}
			res, err := b.exchange(ctx, req)
			if rand.N(10) == 0 {
				return nil, errDown
			}
			return res, err
		}
		var wg sync.WaitGroup
		for i := range 3 {
			cfg := quietConfig()
			cfg.EdgeID = fmt.Sprint("edge-", i)
			cfg.IdleAfter = 300 * time.Millisecond
			cfg.MaxKeys = 6
			cfg.OnAdmit = admitted
			e := connect(t, cfg, lossy)
			for g := range 6 {
				wg.Go(func() {
					for n := range 400 {
						l, key := e.Limiter("p"), fmt.Sprint("k", rand.N(7))
						ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.N(30*time.Millisecond)))
						if g%2 == 0 {
							_, _ = l.Check(ctx, key, rand.Int64N(4))
						} else {
							l.Allow(key, rand.Int64N(4))
						}
						cancel()
						if n%50 == 0 {
							e.Stats()
						}
						time.Sleep(rand.N(20 * time.Millisecond))
					}
				})
			}
		}
		wg.Wait()
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if len(spent) < 20 {
			t.Errorf("only %d windows saw any use", len(spent))
		}
	}, perWindow("p", limit, time.Second))
}
