package transport

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tkcoord/tkcoord/fsm"
)

// A pause ends what is under way and begins nothing: who asks meanwhile waits, and
// is served after it.
func TestProposerPause(t *testing.T) {
	queueing(t, DefaultProposerConfig(), fixedStamp, func(t *testing.T, p *Proposer, h *heldRaft) {
		paused, second := make(chan error, 1), make(chan error, 1)
		go func() { paused <- p.pause(t.Context()) }()
		synctest.Wait()
		go func() {
			_, err := p.Propose(t.Context(), session("second"))
			second <- err
		}()
		synctest.Wait()
		select {
		case err := <-paused:
			t.Fatalf("pause = %v while a command is under way", err)
		default:
		}
		h.release(0)
		if err := <-paused; err != nil {
			t.Errorf("pause = %v", err)
		}
		synctest.Wait()
		if n := len(h.seen()); n != 1 {
			t.Errorf("%d entries in the pause, want 1", n)
		}
		if err := p.pause(t.Context()); err != nil { // nothing is under way
			t.Errorf("pause again = %v", err)
		}
		p.resume()
		synctest.Wait()
		if e := h.seen(); len(e) != 2 || e[1].Commands[0].(*fsm.Exchange).EdgeID != "second" {
			t.Fatalf("entries after the pause: %+v", e)
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.pause(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("pause = %v while a command never settles, want the deadline", err)
		}
		h.release(1)
		synctest.Wait()
		if err := <-second; err != nil {
			t.Errorf("the second: %v", err)
		}
		p.resume()
	})
}
