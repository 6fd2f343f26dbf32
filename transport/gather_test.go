package transport

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// After an entry of three commands the next one waits for three, but no longer than
// half the time that the entry took, and no longer than Linger.
func TestProposerGathers(t *testing.T) {
	for _, c := range []struct {
		name         string
		linger, wait time.Duration // for the third command
	}{
		{"half of the last entry", time.Second, 5 * time.Millisecond},
		{"at most Linger", 2 * time.Millisecond, 2 * time.Millisecond},
		{"off", 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := DefaultProposerConfig()
			cfg.Linger = c.linger
			queueing(t, cfg, fixedStamp, func(t *testing.T, p *Proposer, h *heldRaft) {
				var asking sync.WaitGroup
				propose := func(edges ...string) {
					for _, e := range edges {
						asking.Go(func() {
							if _, err := p.Propose(t.Context(), session(e)); err != nil {
								t.Errorf("%s: %v", e, err)
							}
						})
					}
					synctest.Wait()
				}
				sealed := func(what string, sizes ...int) {
					t.Helper()
					e := h.seen()
					var got []int
					for i := range e {
						got = append(got, len(e[i].Commands))
					}
					if !slices.Equal(got, sizes) {
						t.Errorf("%s: entries of %v commands, want %v", what, got, sizes)
					}
				}
				propose("a", "b", "c")
				h.release(0)
				synctest.Wait()
				sealed("three waited", 1, 3)
				time.Sleep(10 * time.Millisecond)
				h.release(1)
				synctest.Wait()
				propose("d", "e")
				if c.wait > 0 {
					sealed("two of three", 1, 3)
					time.Sleep(c.wait)
					synctest.Wait()
					sealed("after a while", 1, 3, 2)
				} else if sizes := len(h.seen()); sizes != 3 {
					t.Errorf("%d entries at once, want 3", sizes)
				}
				time.Sleep(10 * time.Millisecond)
				h.release(2)
				synctest.Wait()
				if c.wait > 0 {
					propose("f", "g") // no time passes
					sealed("as many as before", 1, 3, 2, 2)
				}
				n := len(h.seen())
				for i := 3; i < n; i++ {
					h.release(i)
				}
				for synctest.Wait(); len(h.seen()) > n; synctest.Wait() {
					h.release(n)
					n++
				}
				asking.Wait()
			})
		})
	}
}
