package traffic

import (
	"sync/atomic"

	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/jepsen/history"
)

// clocks are the program's own monotonic clock, and what it takes to place its
// readings among the records.
//
// An admission is decided by a reading that the edge made some time ago, and a
// bent clock does not tell when that was. So each reading is kept together with
// the real time just before it; of the newest few thousand one is found again by
// its value. A goroutine that is held up for longer than they last has lost it.
type clocks struct {
	monotonic func() clock.Nanos
	bent      bool // otherwise readings are real times
	kept      [keptReadings]atomic.Pointer[reading]
}

// keptReadings is a power of two.
const keptReadings = 1 << 14

type reading struct {
	value clock.Nanos
	at    history.Time // no later than the reading
}

// Monotonic reads the program's clock.
func (c *clocks) Monotonic() clock.Nanos {
	if !c.bent {
		return c.monotonic()
	}
	at := history.Now()
	value := c.monotonic()
	c.kept[slotOf(value)].Store(&reading{value, at})
	return value
}

// At returns a real time that is not later than the reading of that value, 0 if
// it is not known any more. Two readings of one value have the earlier time of
// either, which serves as well.
func (c *clocks) At(value clock.Nanos) history.Time {
	if !c.bent {
		return history.Time(value)
	}
	r := c.kept[slotOf(value)].Load()
	if r == nil || r.value != value {
		return 0
	}
	return r.at
}

// slotOf spreads readings, which come in even steps, over the slots.
func slotOf(v clock.Nanos) uint64 {
	return uint64(v) * 0x9e3779b97f4a7c15 >> (64 - 14)
}
