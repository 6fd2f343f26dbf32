package traffic

import (
	"context"
	"time"

	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/jepsen/history"
)

const (
	// lookEvery is how often a holder looks whether the slot is still its own.
	lookEvery = 10 * time.Millisecond
	// beatEvery is how often it keeps the slot, well before it ends.
	beatEvery = 600 * time.Millisecond
	// lateBeat is how long after its end a slot is asked for once more, some times.
	lateBeat = 300 * time.Millisecond
	// longestHold is above the time to live of a slot, so that some depend on
	// heartbeats.
	longestHold = 3 * time.Second
)

// holdSlots takes slots, holds them and gives them back, or does not, until ctx
// ends.
func (c *caller) holdSlots(ctx context.Context) {
	for ctx.Err() == nil {
		policy := c.Public.Guards[c.random.IntN(len(c.Public.Guards))]
		sent := c.clocks.Monotonic() // NB: before the request
		r := c.call(history.Public{Method: history.Admit, Policy: policy, Keys: []string{keyName(c.random.IntN(max(1, c.Public.Keys)))}})
		if r == nil || r.Lease == "" {
			wait(ctx, time.Duration(20+c.random.IntN(60))*time.Millisecond)
			continue
		}
		h := &hold{caller: c, sent: sent, Held: history.Held{Policy: policy, Lease: r.Lease}}
		h.work(ctx)
	}
}

// A hold is a slot in the hands of its holder, who takes it for its own while less
// than the guarded time to live has passed since it sent the newest request that
// kept it.
type hold struct {
	*caller
	history.Held
	sent clock.Nanos
}

// work holds the slot for some time.
func (h *hold) work(ctx context.Context) {
	until := time.Now().Add(time.Duration(h.random.Int64N(int64(longestHold))))
	beat := time.Now().Add(beatEvery)
	end, beats := h.random.IntN(10), h.random.IntN(4) > 0
	for h.mine() && time.Now().Before(until) && ctx.Err() == nil {
		if beats && time.Now().After(beat) {
			if !h.keep() {
				break
			}
			beat = time.Now().Add(beatEvery)
		}
		wait(ctx, lookEvery)
	}
	h.Left = end < 2 && ctx.Err() == nil
	if h.First != 0 {
		h.record.Hold(h.Held)
	}
	if !h.mine() && beats == (end%2 == 0) { // too late: what is gone stays gone
		wait(ctx, lateBeat)
		h.keep()
	}
	if !h.Left {
		h.call(history.Public{Method: history.Release, Keys: []string{h.Lease}, Dropped: end == 2})
	}
	if end == 3 { // as is what was given back
		h.keep()
	}
}

// mine looks whether the slot is still held.
func (h *hold) mine() bool {
	at := history.Now() // NB: no later than the reading
	if h.clocks.Monotonic()-h.sent >= h.Rates.Guarded(fsm.SlotTTL) {
		return false
	}
	if h.First == 0 {
		h.First = at
	}
	h.Last = at
	return true
}

// keep sends a heartbeat. It reports false if the slot is lost.
func (h *hold) keep() bool {
	sent := h.clocks.Monotonic()
	r := h.call(history.Public{Method: history.Heartbeat, Keys: []string{h.Lease}})
	if r == nil {
		return true // who knows
	}
	if len(r.Live) == 0 {
		return false
	}
	h.sent = sent
	return true
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
