package api

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tkcoord/tkcoord/policy"
	"github.com/tkcoord/tkcoord/strategy"
)

// A slowTier counts what was spent of each key, and waits for the log when it
// first hears of one.
type slowTier struct {
	wait time.Duration
	bad  string // a key that fails

	mu      sync.Mutex // guards the rest
	used    map[string]int64
	waiting int
	most    int // keys that waited at once
}

var errTier = errors.New("the tier failed")

func (s *slowTier) Check(ctx context.Context, _ *policy.Policy, key string, cost int64) (strategy.Decision, error) {
	s.mu.Lock()
	_, known := s.used[key]
	s.mu.Unlock()
	if !known {
		s.fetch(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := context.Cause(ctx); err != nil {
		return strategy.Decision{}, err
	}
	if key == s.bad {
		return strategy.Decision{}, errTier
	}
	s.used[key] += cost
	return strategy.Decision{Allowed: true, Limit: 100, Remaining: 100 - s.used[key]}, nil
}

func (s *slowTier) fetch(ctx context.Context) {
	s.mu.Lock()
	s.waiting++
	s.most = max(s.most, s.waiting)
	s.mu.Unlock()
	select {
	case <-time.After(s.wait):
	case <-ctx.Done():
	}
	s.mu.Lock()
	s.waiting--
	s.mu.Unlock()
}

func numbered(n int) (keys []string) {
	for i := range n {
		keys = append(keys, fmt.Sprint(i))
	}
	return keys
}

// A batch of keys that were new to the node took one entry of the log after the
// other. Of a thousand keys the client then heard that nobody could decide, although
// they had been charged.
func TestBatchOfNewKeysIsQuick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slowTier{wait: 5 * time.Millisecond, used: map[string]int64{}}
		keys := append(numbered(4000), "0", "7", "again", "again", "again")
		begin := time.Now()
		all, err := checkHere(t.Context(), s, &policy.Policy{}, keys, 2)
		if took := time.Since(begin); err != nil || took > 200*time.Millisecond || s.most > atOnce {
			t.Errorf("%v after %v, with up to %d at once; want less than 200ms with at most %d", err, took, s.most, atOnce)
		}
		seen := map[string]int64{}
		for i, key := range keys {
			if seen[key] += 2; all[i] == nil || all[i].Remaining != 100-seen[key] {
				t.Errorf("keys[%d], %q: %v, want %d left", i, key, all[i], 100-seen[key])
			}
		}
	})
}

// What goes wrong with one key ends the batch, and nobody goes on for a client that
// has left.
func TestBatchEndsEarly(t *testing.T) {
	for _, c := range []struct {
		name, bad string
		stop      time.Duration
		want      error
	}{
		{"at the first key", "0", time.Hour, errTier},
		{"later", "700", time.Hour, errTier},
		{"the client leaves", "", 7 * time.Millisecond, context.DeadlineExceeded},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), c.stop)
				defer cancel()
				s := &slowTier{wait: 5 * time.Millisecond, used: map[string]int64{}, bad: c.bad}
				if _, err := checkHere(ctx, s, &policy.Policy{}, numbered(4000), 1); !errors.Is(err, c.want) {
					t.Errorf("%v, want %v", err, c.want)
				}
				if n := len(s.used); n > 1100 {
					t.Errorf("%d keys were charged", n)
				}
			})
		})
	}
}
