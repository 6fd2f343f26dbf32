package edge

import (
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// TestTable: the table against a map.
func TestTable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tab, model := newTable(maphash.MakeSeed()), map[string]*Key{}
		name := rapid.Custom(func(t *rapid.T) string { return fmt.Sprint(rapid.IntRange(0, 60).Draw(t, "name")) })
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				if n := name.Draw(t, "name"); model[n] == nil {
					model[n] = &Key{name: n}
					tab.add(model[n])
				}
			},
			"remove": func(t *rapid.T) {
				n := name.Draw(t, "name")
				if k := model[n]; k != nil {
					tab.remove(k)
					delete(model, n)
				}
			},
			"": func(t *rapid.T) {
				for i := range 61 {
					n := fmt.Sprint(i)
					if got := tab.find(n); got != model[n] {
						t.Fatalf("find(%s) = %p, want %p", n, got, model[n])
					}
				}
				n := 0
				tab.each(func(*Key) bool { n++; return true })
				if n != len(model) || tab.live != n || tab.used < n || tab.used > len(*tab.slots.Load())/2+1 {
					t.Fatalf("%d keys, live %d, used %d of %d, want %d", n, tab.live, tab.used, len(*tab.slots.Load()), len(model))
				}
			},
		})
	})
}

// TestTableReaders: readers find what was added before they looked, while others
// add and forget.
func TestTableReaders(t *testing.T) {
	cfg := quietConfig()
	cfg.MaxKeys = 300
	e := newEdge(cfg)
	l := e.Limiter("p")
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 2000 {
				name := fmt.Sprint(g, "-", i)
				k, err := l.Key(name)
				if err != nil {
					t.Error(err)
					return
				}
				if got := l.keys.find(name); got != k && k.state.Load() != gone {
					t.Errorf("find(%q) = %p after Key returned %p", name, got, k)
				}
				l.keys.find("0-0")
			}
		})
	}
	wg.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.check(); err != nil {
		t.Error(err)
	}
}

// TestMaxKeys: keys that hold nothing make room, keys that spent something do not
// until the cluster says that their window is over.
func TestMaxKeys(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		e := b.edge(func(c *Config) { c.MaxKeys = 10 })
		l := e.Limiter("p")
		for i := range 100 {
			if _, err := e.Limiter("unknown").Key(fmt.Sprint(i)); err != nil {
				t.Fatalf("key %d: %v", i, err)
			}
		}
		for i := range 10 {
			b.check(l, fmt.Sprint("k", i), 1)
		}
		d, err := l.Check(t.Context(), "more", 1)
		if !errors.Is(err, ErrTooManyKeys) || d.Allowed || l.Allow("more", 1) {
			t.Errorf("the 11th key in use: %+v, %v", d, err)
		}
		if s := e.Stats(); s.Keys != 10 || s.TooManyKeys != 2 || s.Forgotten != 100 {
			t.Errorf("%+v, want 10 keys, 2 times no room, 100 forgotten", s)
		}
		time.Sleep(30 * time.Second) // returned as idle, but spent in this window
		if _, err := l.Check(t.Context(), "more", 1); !errors.Is(err, ErrTooManyKeys) {
			t.Errorf("while their window lasts: %v", err)
		}
		time.Sleep(40 * time.Second)
		_, _ = l.Check(t.Context(), "more", 1) // has the loop look for room
		synctest.Wait()
		time.Sleep(time.Second)
		for i := range 10 {
			if d := b.check(l, fmt.Sprint("n", i), 1); !d.Allowed {
				t.Errorf("new key in the next window: %+v", d)
			}
		}
	}, perWindow("p", 100, time.Minute))
}

// TestForgettingAsksTheCluster: a window that is over by this process's clock may
// still run at its owner, whose clock lost time. A key that was forgotten then
// would be told its grant again, and spend it twice.
func TestForgettingAsksTheCluster(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		l := b.edge(func(c *Config) { c.MaxKeys = 1 }).Limiter("p")
		b.check(l, "k", 10)
		b.lag.Store(30_000)
		time.Sleep(70 * time.Second)
		for range 5 {
			if _, err := l.Check(t.Context(), "other", 1); !errors.Is(err, ErrTooManyKeys) {
				t.Fatalf("Check(other) = %v while the window of k goes on", err)
			}
			time.Sleep(time.Second)
		}
		if d := b.check(l, "k", 1); d.Allowed {
			t.Errorf("the 11th of 10: %+v", d)
		}
		time.Sleep(30 * time.Second)
		_, _ = l.Check(t.Context(), "other", 1) // has the loop look for room
		time.Sleep(time.Second)
		if d := b.check(l, "other", 1); !d.Allowed {
			t.Errorf("after that window: %+v", d)
		}
	}, perWindow("p", 10, time.Minute))
}

// TestForgottenKey: a handle of a key that was forgotten goes on working.
func TestForgottenKey(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		l := b.edge(func(c *Config) { c.MaxKeys = 1 }).Limiter("p")
		k, err := l.Key("k")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Key("other"); err != nil || k.state.Load() != gone {
			t.Fatalf("Key(other): %v, state of k %d", err, k.state.Load())
		}
		if d, err := k.Check(t.Context(), 1); err != nil || !d.Allowed {
			t.Errorf("Check on the forgotten key: %+v, %v", d, err)
		}
		if k.Allow(1) {
			t.Error("Allow on the forgotten key, of a limit for 1 that is spent")
		}
	}, perWindow("p", 1, time.Hour))
}

func TestNames(t *testing.T) {
	e := newEdge(quietConfig())
	for _, tt := range []struct{ policy, key string }{
		{"", "k"}, {strings.Repeat("x", 257), "k"}, {"a\nb", "k"}, {"a\xff", "k"},
		{"p", ""}, {"p", strings.Repeat("x", 1025)}, {"p", "\xff"},
	} {
		if _, err := e.Limiter(tt.policy).Key(tt.key); !errors.Is(err, ErrInvalid) {
			t.Errorf("Limiter(%q).Key(%q): %v, want ErrInvalid", tt.policy, tt.key, err)
		}
	}
	if a, b := e.Limiter("p"), e.Limiter("p"); a != b || a.Policy() != "p" {
		t.Error("Limiter(p) is not the same one twice")
	}
	if names := slices.Collect(func(yield func(string) bool) {
		for n := range e.limiters {
			if !yield(n) {
				return
			}
		}
	}); len(names) != 1 {
		t.Errorf("limiters %v are kept, want only p", names)
	}
}
