package edge

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"google.golang.org/protobuf/proto"
)

// TestExchangesAreBounded: what does not fit into one exchange goes into the next,
// and there is never more than one under way.
func TestExchangesAreBounded(t *testing.T) {
	for _, size := range []int{5, 900} { // bytes of a key: many asks, or large ones
		inBubble(t, func(t *testing.T, b *bubble) {
			const keys = 5000
			underWay, most, largest := 0, 0, 0
			var mu sync.Mutex
			measured := func(ctx context.Context, req *tkcoordv1.ExchangeRequest) (*tkcoordv1.ExchangeResponse, error) {
				mu.Lock()
				underWay++
				if underWay > 1 {
					t.Error("two exchanges under way")
				}
				most, largest = max(most, len(req.Asks)), max(largest, proto.Size(req))
				mu.Unlock()
				res, err := b.exchange(ctx, req)
				mu.Lock()
				underWay--
				mu.Unlock()
				return res, err
			}
			l := connect(t, quietConfig(), measured).Limiter("p")
			var wg sync.WaitGroup
			for i := range keys {
				wg.Go(func() {
					if d, err := l.Check(t.Context(), fmt.Sprintf("%0*d", size, i), 1); err != nil || !d.Allowed {
						t.Errorf("check %d: %+v, %v", i, d, err)
					}
				})
			}
			wg.Wait()
			mu.Lock() // an exchange may be under way
			defer mu.Unlock()
			if most > maxAsks || largest > maxAskBytes+4096 {
				t.Errorf("an exchange had %d asks, one %d bytes", most, largest)
			}
			if size == 5 && most < maxAsks || size == 900 && largest < maxAskBytes/2 {
				t.Errorf("exchanges had at most %d asks and %d bytes: nothing was put together", most, largest)
			}
		}, perWindow("p", 100, time.Hour))
	}
}

// TestSequence: each exchange has a number of its own and carries the session.
func TestSequence(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		var seen []*tkcoordv1.ExchangeRequest
		l := connect(t, quietConfig(), func(ctx context.Context, req *tkcoordv1.ExchangeRequest) (*tkcoordv1.ExchangeResponse, error) {
			seen = append(seen, req)
			if len(seen)%3 == 2 {
				_, _ = b.exchange(ctx, req) // the answer is lost
				return nil, errDown
			}
			return b.exchange(ctx, req)
		}).Limiter("p")
		for i := range 5 {
			b.check(l, strings.Repeat("k", i+1), 1)
		}
		synctest.Wait()
		for i, req := range seen {
			if req.Seq != uint64(i+1) || i > 0 && req.Session != 1 || req.Incarnation != seen[0].Incarnation || req.EdgeId != "edge-1" {
				t.Errorf("exchange %d: seq %d, session %d, incarnation %x of %q", i, req.Seq, req.Session, req.Incarnation, req.EdgeId)
			}
		}
	}, perWindow("p", 100, time.Hour))
}
