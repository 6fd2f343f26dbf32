package edge

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tkcoord/tkcoord/api/throttlekitv1"
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/policy"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// metering is a policy of tokens per window.
func metering(name string, budget escrow.Credits, length time.Duration) policy.Policy {
	p := perWindow(name, budget, length)
	p.Strategy, p.Kind, p.Meter = "", policy.Meter, policy.TokenBudget
	return p
}

// debit is what the public door does.
func (b *bubble) debit(ctx context.Context, req *throttlekitv1.DebitRequest) (*throttlekitv1.DebitResponse, error) {
	time.Sleep(b.rtt / 2)
	defer time.Sleep(b.rtt / 2)
	if err := ctx.Err(); err != nil {
		return nil, status.FromContextError(err).Err()
	}
	c := b.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked[req.Key]++
	if c.down != nil {
		return nil, c.down
	}
	res, _ := c.commit(&fsm.Debit{Policy: req.Policy, Key: req.Key, Tokens: req.Tokens})
	switch {
	case errors.Is(res.Err, fsm.ErrUnknownPolicy):
		return nil, status.Error(codes.NotFound, res.Err.Error())
	case errors.Is(res.Err, fsm.ErrUnsupported):
		return nil, status.Error(codes.Unimplemented, res.Err.Error())
	case res.Err != nil:
		return nil, status.Error(codes.Internal, res.Err.Error())
	}
	d := res.Decisions[0]
	return &throttlekitv1.DebitResponse{Decision: &throttlekitv1.Decision{
		Allowed: d.Allowed, Limit: d.Limit, Remaining: d.Remaining, ResetAt: d.ResetAt, RetryAfterMs: d.RetryAfter,
	}}, nil
}

// meter returns a meter of policy p at a new edge.
func (b *bubble) meter(batch MeterBatch, change ...func(*Config)) *Meter {
	b.t.Helper()
	e := b.edge(change...)
	e.debit = b.debit
	m := e.Meter("p")
	if err := m.SetBatch(batch); err != nil {
		b.t.Fatal(err)
	}
	return m
}

func (b *bubble) take(m *Meter, key string, n int64) Decision {
	b.t.Helper()
	d, err := m.Debit(b.t.Context(), key, n)
	if err != nil {
		b.t.Fatalf("Debit(%q, %d): %v", key, n, err)
	}
	return d
}

// TestMeterStopsAtTheBoundary: the debit that crosses is admitted in full, the next
// one is denied until the window ends.
func TestMeterStopsAtTheBoundary(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		m := b.meter(MeterBatch{Size: 1})
		if _, known := m.Remaining("k"); known {
			t.Error("Remaining of a key that nobody knows")
		}
		for i, tt := range []struct {
			n         int64
			allowed   bool
			remaining int64
		}{{6, true, 4}, {0, true, 3}, {9, true, 0}, {1, false, 0}, {1, false, 0}} {
			d := b.take(m, "k", tt.n)
			if d.Allowed != tt.allowed || d.Remaining != tt.remaining || d.Limit != 10 || d.Allowed == (d.RetryAfter > 0) {
				t.Errorf("debit %d: %+v, want allowed %v, %d remaining", i, d, tt.allowed, tt.remaining)
			}
			if left, known := m.Remaining("k"); left != tt.remaining || !known {
				t.Errorf("after debit %d: Remaining = %d, %v", i, left, known)
			}
		}
		if n := b.count("k"); n != 4 {
			t.Errorf("%d questions, want the second denial from memory", n)
		}
		if d := b.take(m, "other", 1); !d.Allowed {
			t.Errorf("another key: %+v", d)
		}
		b.nextWindow(time.Minute)
		if left, _ := m.Remaining("k"); left != 10 {
			t.Errorf("Remaining = %d in a new window", left)
		}
		if d := b.take(m, "k", 1); !d.Allowed || d.Remaining != 9 {
			t.Errorf("in a new window: %+v", d)
		}
	}, metering("p", 10, time.Minute))
}

// TestMeterBatch: a batch is one question, unless that could exceed the budget; what
// was denied is charged to the next window.
func TestMeterBatch(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		m := b.meter(MeterBatch{Size: 10, MaxAge: time.Hour})
		for range 41 {
			if d := b.take(m, "k", 1); !d.Allowed {
				t.Fatalf("%+v", d)
			}
		}
		if n := b.count("k"); n != 5 { // the first one, then one for each ten
			t.Errorf("%d questions for 41 debits in batches of 10", n)
		}
		admitted := 41
		for b.take(m, "k", 1).Allowed {
			admitted++
		}
		if admitted != 100 {
			t.Errorf("%d admitted of 100, alone and with debits of 1", admitted)
		}

		b.nextWindow(time.Minute)
		other := b.meter(MeterBatch{Size: 1}, func(c *Config) { c.EdgeID = "edge-2" })
		for range 8 {
			b.take(m, "k", 1) // one is counted, seven are pending
		}
		b.take(other, "k", 99)
		for b.take(m, "k", 1).Allowed {
			admitted++
		}
		b.nextWindow(time.Minute)
		if d := b.take(m, "k", 1); !d.Allowed || d.Remaining != 100-9-1 {
			t.Errorf("%+v, want the nine that the last window had no budget for charged to this one", d)
		}
	}, metering("p", 100, time.Minute))
}

// TestMeterAge: what is pending for longer than MaxAge is counted with the next
// debit, and by Flush and Close at once.
func TestMeterAge(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		m := b.meter(MeterBatch{Size: 100, MaxAge: time.Second})
		served := func() int64 {
			d, err := b.debit(t.Context(), &throttlekitv1.DebitRequest{Policy: "p", Key: "k", Tokens: 1})
			if err != nil {
				t.Fatal(err)
			}
			return 1000 - d.Decision.Remaining
		}
		for range 3 {
			b.take(m, "k", 1)
		}
		if n := served(); n != 1+1 {
			t.Errorf("%d served, want the first debit and this one", n)
		}
		time.Sleep(time.Second)
		b.take(m, "k", 1)
		if n := served(); n != 4+2 {
			t.Errorf("%d served after MaxAge, want 6", n)
		}
		b.take(m, "k", 5)
		if err := m.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := served(); n != 9+3 {
			t.Errorf("%d served after Flush, want 12", n)
		}
		b.take(m, "k", 2)
		if err := m.edge.Close(); err != nil {
			t.Fatal(err)
		}
		if n := served(); n != 11+4 {
			t.Errorf("%d served after Close, want 15", n)
		}
		if d, err := m.Debit(t.Context(), "k", 1); !errors.Is(err, ErrClosed) || d.Allowed {
			t.Errorf("after Close: %+v, %v", d, err)
		}
	}, metering("p", 1000, time.Hour))
}

// TestMeterOvershoot: over n processes with batches, what is admitted in a window
// stays within the bound, and what is admitted altogether is charged.
func TestMeterOvershoot(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			inBubble(t, func(t *testing.T, b *bubble) {
				r := rand.New(rand.NewPCG(seed, 3))
				processes, size, largest := 1+r.IntN(4), 1+r.Int64N(20), 1+r.Int64N(8)
				var mu sync.Mutex
				admitted := map[int64]int64{}
				var work sync.WaitGroup
				stop := time.Now().Add(5 * time.Second)
				for i := range processes {
					m := b.meter(MeterBatch{Size: size, MaxAge: 300 * time.Millisecond}, func(c *Config) { c.EdgeID = fmt.Sprint("edge-", i) })
					for range 3 {
						own := rand.New(rand.NewPCG(r.Uint64(), 4))
						work.Go(func() {
							for time.Now().Before(stop) {
								n := 1 + own.Int64N(largest)
								start := time.Now()
								d, err := m.Debit(t.Context(), "k", n)
								if err != nil {
									t.Error(err)
									return
								}
								if d.Allowed && start.Unix() == time.Now().Unix() {
									mu.Lock()
									admitted[start.Unix()] += n
									mu.Unlock()
								}
								time.Sleep(time.Duration(own.IntN(10_000)) * time.Microsecond)
							}
						})
					}
				}
				work.Wait()
				bound := 200 + int64(processes)*(size-1) + largest - 1
				if processes == 1 {
					bound = 200 + largest - 1
				}
				full := 0
				for at, n := range admitted {
					if n > bound {
						t.Errorf("%d processes, batch %d, debits to %d: %d admitted in second %d, want at most %d", processes, size, largest, n, at, bound)
					}
					if n >= 150 {
						full++
					}
				}
				if full < 3 {
					t.Errorf("%v: the budget was hardly used", admitted)
				}
			}, metering("p", 200, time.Second))
		})
	}
}

// TestMeterErrors: why there is no answer, and what becomes of the tokens.
func TestMeterErrors(t *testing.T) {
	unknownOutcome, _ := status.New(codes.Unavailable, "").WithDetails(&errdetails.ErrorInfo{Reason: reasonOutcomeUnknown, Domain: domain})
	for _, tt := range []struct {
		name    string
		policy  string
		key     string
		n       int64
		down    error
		want    error
		covered bool // by the fail policy
		asked   bool // more than once
	}{
		{"no leader", "p", "k", 1, errDown, ErrUnavailable, true, true},
		{"it may have been counted", "p", "k", 1, unknownOutcome.Err(), ErrUnavailable, true, false},
		{"unknown policy", "q", "k", 1, nil, ErrUnknownPolicy, false, false},
		{"no meter", "window", "k", 1, nil, ErrUnsupported, false, false},
		{"a key of bytes", "p", "\xff", 1, nil, ErrInvalid, false, false},
		{"too many tokens", "p", "k", 1 << 60, nil, ErrInvalid, false, false},
		{"another refusal", "p", "k", 1, status.Error(codes.Internal, "broken"), ErrRefused, false, false},
		{"a bound", "p", "k", 1, status.Error(codes.ResourceExhausted, "full"), ErrExhausted, false, false},
		{"a policy without a name", "", "k", 1, nil, ErrInvalid, false, false},
	} {
		for _, fail := range []Fail{FailClosed, FailOpen} {
			t.Run(fmt.Sprint(tt.name, " ", fail), func(t *testing.T) {
				inBubble(t, func(t *testing.T, b *bubble) {
					e := b.edge(func(c *Config) { c.Fail = fail })
					e.debit = b.debit
					b.fail(tt.down)
					m := e.Meter(tt.policy)
					d, err := m.Debit(t.Context(), tt.key, tt.n)
					if !errors.Is(err, tt.want) || d.Allowed != (tt.covered && fail == FailOpen) {
						t.Errorf("%+v, %v, want %v", d, err, tt.want)
					}
					if n := b.count(tt.key); (n > 1) != tt.asked {
						t.Errorf("asked %d times", n)
					}
					b.fail(nil)
					time.Sleep(time.Second)
					if !tt.covered {
						return
					}
					want := int64(9)
					if fail == FailOpen {
						want = 8 // what passed is counted now
					}
					if d := b.take(m, tt.key, 1); !d.Allowed || d.Remaining != want {
						t.Errorf("afterwards: %+v, want %d remaining", d, want)
					}
				}, metering("p", 10, time.Hour), perWindow("window", 1, time.Hour))
			})
		}
	}
}

// TestMeterWaits: debits of a key that wait for an answer can be given up, and there
// is one question at a time.
func TestMeterWaits(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		m := b.meter(MeterBatch{Size: 1})
		hold := make(chan struct{})
		m.edge.debit = func(ctx context.Context, req *throttlekitv1.DebitRequest) (*throttlekitv1.DebitResponse, error) {
			<-hold
			return b.debit(ctx, req)
		}
		var work sync.WaitGroup
		for range 3 {
			work.Go(func() { b.take(m, "k", 1) })
		}
		ctx, cancel := context.WithCancel(t.Context())
		work.Go(func() {
			if d, err := m.Debit(ctx, "k", 1); !errors.Is(err, context.Canceled) || d.Allowed {
				t.Errorf("given up: %+v, %v", d, err)
			}
		})
		synctest.Wait()
		cancel()
		synctest.Wait()
		close(hold)
		work.Wait()
		if left, _ := m.Remaining("k"); left < 6 || left > 7 { // the one given up may have been the first
			t.Errorf("%d remaining after three debits", left)
		}
	}, metering("p", 10, time.Hour))
}

// TestMeterCountsWhatTheFailPolicyPassed: also when it passed while a question was
// under way that did not contain it.
func TestMeterCountsWhatTheFailPolicyPassed(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		m := b.meter(MeterBatch{Size: 1}, func(c *Config) { c.Fail = FailOpen })
		hold := make(chan struct{})
		m.edge.debit = func(ctx context.Context, req *throttlekitv1.DebitRequest) (*throttlekitv1.DebitResponse, error) {
			<-hold
			return b.debit(context.WithoutCancel(ctx), req)
		}
		var work sync.WaitGroup
		work.Go(func() { b.take(m, "k", 1) })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if d, err := m.Debit(ctx, "k", 3); !errors.Is(err, context.DeadlineExceeded) || !d.Allowed {
			t.Errorf("%+v, %v", d, err)
		}
		close(hold)
		work.Wait()
		if d := b.take(m, "k", 1); d.Remaining != 5 {
			t.Errorf("%+v, want 1, 3 and 1 of 10 counted", d)
		}
	}, metering("p", 10, time.Hour))
}

// TestMeterHearsOfABiggerBudget: within a second.
func TestMeterHearsOfABiggerBudget(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		m := b.meter(MeterBatch{Size: 1})
		b.take(m, "k", 10)
		b.take(m, "k", 1)
		b.apply(t, fsm.Policies{Put: []policy.Policy{metering("p", 20, time.Hour)}})
		if d := b.take(m, "k", 1); d.Allowed || d.Source != FromRefusal {
			t.Errorf("at once: %+v", d)
		}
		time.Sleep(time.Second)
		if d := b.take(m, "k", 1); !d.Allowed || d.Remaining != 9 {
			t.Errorf("after a second: %+v", d)
		}
	}, metering("p", 10, time.Hour))
}

// TestMeterKeysAreBounded: a key with nothing pending makes room, and if there is
// none the answer is an error.
func TestMeterKeysAreBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		m := b.meter(MeterBatch{Size: 10, MaxAge: time.Hour}, func(c *Config) { c.MaxKeys = 2 })
		b.take(m, "a", 1)
		b.take(m, "a", 1) // pending
		b.take(m, "b", 1)
		b.take(m, "c", 1)
		b.take(m, "c", 1)
		if len(m.keys) != 2 || m.keys["b"] != nil {
			t.Errorf("%d keys", len(m.keys))
		}
		if d, err := m.Debit(t.Context(), "d", 1); !errors.Is(err, ErrTooManyKeys) || d.Allowed {
			t.Errorf("%+v, %v", d, err)
		}
	}, metering("p", 1000, time.Hour))
}

func TestMeterShadow(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		m := b.meter(MeterBatch{Size: 1}, func(c *Config) { c.Shadow = true })
		b.take(m, "k", 3)
		for range 2 {
			if d := b.take(m, "k", 1); !d.Allowed || !d.Shadow {
				t.Errorf("%+v", d)
			}
		}
	}, metering("p", 3, time.Hour))
}

func TestMeterNeedsAWay(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		m := b.edge().Meter("p")
		if d, err := m.Debit(t.Context(), "k", 1); !errors.Is(err, ErrUnsupported) || d.Allowed {
			t.Errorf("%+v, %v", d, err)
		}
		for _, bad := range []MeterBatch{{}, {Size: 1 << 60}, {Size: 1, MaxAge: -1}, {Size: 1, MaxAge: 2 * time.Hour}} {
			if err := m.SetBatch(bad); !errors.Is(err, ErrInvalid) {
				t.Errorf("SetBatch(%+v) = %v", bad, err)
			}
		}
	}, metering("p", 3, time.Hour))
}

// BenchmarkMeter: one iteration is one debit that the batch takes.
func BenchmarkMeter(b *testing.B) {
	e := newEdge(quietConfig())
	e.debit = func(context.Context, *throttlekitv1.DebitRequest) (*throttlekitv1.DebitResponse, error) {
		return &throttlekitv1.DebitResponse{Decision: &throttlekitv1.Decision{Allowed: true, Limit: 1 << 52, Remaining: 1 << 52}}, nil
	}
	m := e.Meter("p")
	if err := m.SetBatch(MeterBatch{Size: 1 << 52, MaxAge: time.Hour}); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if d, err := m.Debit(b.Context(), "k", 1); err != nil || !d.Allowed {
			b.Fatal(d, err)
		}
	}
}
