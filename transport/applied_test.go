package transport

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestAppliedIndexWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a appliedIndex
		a.advance(5)
		a.advance(3) // a restored snapshot may be older
		if got := a.load(); got != 5 {
			t.Errorf("load() = %d, want 5", got)
		}
		if err := a.wait(t.Context(), 5); err != nil {
			t.Errorf("wait(5) = %v", err)
		}
		ended := make(chan int, 3)
		for i, index := range []uint64{6, 7, 9} {
			go func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if err := a.wait(ctx, index); (err != nil) != (index == 9) || err != nil && !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("wait(%d) = %v", index, err)
				}
				ended <- i
			}()
		}
		synctest.Wait()
		a.advance(6)
		synctest.Wait()
		if len(ended) != 1 {
			t.Errorf("%d waits ended at 6, want 1", len(ended))
		}
		a.advance(8)
		synctest.Wait()
		if len(ended) != 2 {
			t.Errorf("%d waits ended at 8, want 2", len(ended))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(ended) != 3 {
			t.Errorf("%d waits ended, want 3", len(ended))
		}
	})
}
