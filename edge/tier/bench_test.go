package tier

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/policy"
	"github.com/tkcoord/tkcoord/strategy"
)

// generous grants what is wanted, in a window without an end.
func generous(_ context.Context, req *tkcoordv1.ExchangeRequest) (*tkcoordv1.ExchangeResponse, error) {
	res := &tkcoordv1.ExchangeResponse{Session: 1, ClockMs: 2}
	for _, a := range req.Asks {
		res.Answers = append(res.Answers, &tkcoordv1.Answer{
			WindowStartMs: 1, WindowEndMs: 1 << 40, Granted: a.Want, TtlMs: 1 << 40, Limit: int64(escrow.MaxCredits), Left: 1 << 40,
		})
	}
	return res, nil
}

// BenchmarkCheck: one iteration is one check from credits in hand.
func BenchmarkCheck(b *testing.B) {
	rate := strategy.Params{Name: strategy.TokenBucket, Capacity: 1e15, RefillPerSec: 1e6}
	denied := leasedBy(rate, policy.Tier{})
	denied.Tier.Mode = policy.CachedDeny
	for _, bm := range []struct {
		name   string
		policy policy.Policy
		cost   int64 // of the first check
	}{
		{"credits", leasedBy(rate, policy.Tier{Batch: 1e9}), 1},
		{"ledger", leased(escrow.MaxCredits, time.Hour, policy.Tier{Batch: 1e9}), 1},
		{"denied", denied, 2e15},
	} {
		for _, keys := range []int{1, 1024} {
			b.Run(fmt.Sprintf("%s/keys=%d", bm.name, keys), func(b *testing.B) {
				at := time.Now()
				tier := newTier(b, newDesk(b, rate), func(c *Config) {
					c.Edge.Monotonic = func() clock.Nanos { return clock.Nanos(time.Since(at)) }
					c.Edge.Exchange = generous
				})
				defer tier.Close()
				names := make([]string, keys)
				for i := range names {
					names[i] = fmt.Sprintf("2001:db8:%x:%x::", i*7919&0xffff, i)
					if _, err := tier.Check(b.Context(), &bm.policy, names[i], bm.cost); err != nil {
						b.Fatal(err)
					}
				}
				ctx := b.Context()
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					if got, err := tier.Check(ctx, &bm.policy, names[i&(keys-1)], 1); err != nil || got.Allowed != (bm.name != "denied") {
						b.Fatal(got, err)
					}
					i++
				}
			})
		}
	}
}
