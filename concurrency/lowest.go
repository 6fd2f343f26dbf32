package concurrency

// A sample is a round trip, numbered from 1.
type sample struct {
	seq uint64
	rtt Millis
}

// A lowest finds the lowest of the newest samples. It keeps those that may still
// become it, which are the ones that no later sample undercuts.
//
// Invariant: seq and rtt strictly ascend from the front to the back.
type lowest struct {
	seq  uint64   // of the newest sample, 0 before the first
	ring []sample // of a length that is a power of two, or 0
	head int      // where the front is
	n    int
}

// at returns the i-th sample from the front.
func (w *lowest) at(i int) *sample { return &w.ring[(w.head+i)&(len(w.ring)-1)] }

// push adds a sample and returns the lowest of the newest ones, of which there
// are window.
func (w *lowest) push(rtt Millis, window int) Millis {
	w.seq++
	for w.n > 0 && w.at(w.n-1).rtt >= rtt {
		w.n--
	}
	for w.n > 0 && w.seq-w.at(0).seq >= uint64(window) {
		w.head = (w.head + 1) & (len(w.ring) - 1)
		w.n--
	}
	w.put(sample{w.seq, rtt})
	return w.at(0).rtt
}

// put appends a sample at the back.
func (w *lowest) put(s sample) {
	if w.n == len(w.ring) {
		w.grow()
	}
	w.n++
	*w.at(w.n - 1) = s
}

func (w *lowest) grow() {
	ring := make([]sample, max(4, 2*len(w.ring)))
	for i := range w.n {
		ring[i] = *w.at(i)
	}
	w.ring, w.head = ring, 0
}
