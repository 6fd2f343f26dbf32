package api

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tkcoord/tkcoord/api/throttlekitv1"
	"github.com/tkcoord/tkcoord/monitor"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// A watching is a client's stream.
type watching struct {
	grpc.ServerStream
	header bool
	full   chan struct{} // Send waits for it to be closed, if there is one
	sent   []*throttlekitv1.DenialEvent
}

func (w *watching) SendHeader(metadata.MD) error { w.header = true; return nil }

func (w *watching) Send(r *throttlekitv1.WatchResponse) error {
	if w.full != nil {
		<-w.full
	}
	w.sent = append(w.sent, r.Denial)
	return nil
}

// At most 500 events go out in each second since the stream was opened, wherever they
// come from. The header goes first. The stream ends with its client or the node.
func TestWatchRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drain := make(chan struct{})
		m := &Monitor{drain: drain}
		here, elsewhere, heard := make(chan monitor.Denial), make(chan monitor.Denial), make(chan struct{})
		w := &watching{}
		ended := make(chan error)
		go func() { ended <- m.send(t.Context(), w, here, elsewhere, heard) }()
		close(heard)
		synctest.Wait()
		if !w.header || len(w.sent) != 0 {
			t.Errorf("header %v, %d sent", w.header, len(w.sent))
		}
		for second := range 3 {
			for range 400 {
				here <- monitor.Denial{}
				elsewhere <- monitor.Denial{}
			}
			synctest.Wait()
			if want := 500 * (second + 1); len(w.sent) != want {
				t.Errorf("%d sent within %d s, want %d", len(w.sent), second+1, want)
			}
			time.Sleep(time.Second)
		}
		close(drain)
		if err := <-ended; status.Code(err) != codes.Unavailable {
			t.Errorf("the node's end: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := (&Monitor{}).send(ctx, w, nil, nil, nil); err != nil {
			t.Errorf("the client's end: %v", err)
		}
	})
}

// A client that takes nothing keeps nobody up, and misses what came meanwhile.
func TestWatchBackPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := monitor.New(monitor.Config{Now: func() int64 { return 5 }})
		watcher, err := hub.Watch("")
		if err != nil {
			t.Fatal(err)
		}
		defer watcher.Close()
		w := &watching{full: make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- (&Monitor{}).send(ctx, w, watcher.C, nil, nil) }()
		for range 10_000 {
			hub.Decision("p", "gcra", "k", 1, denied, 0) // would block for ever
		}
		close(w.full)
		synctest.Wait()
		if n := len(w.sent); n == 0 || n > 100 {
			t.Errorf("%d of 10000 were kept for a client that took none", n)
		}
		hub.Decision("p", "gcra", "later", 1, denied, 0)
		synctest.Wait()
		if last := w.sent[len(w.sent)-1]; last.Key != "later" {
			t.Errorf("last is %v", last)
		}
		cancel()
		<-ended
	})
}
