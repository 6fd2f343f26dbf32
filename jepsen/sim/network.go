package sim

import "time"

// A network delivers messages late, twice, out of order or not at all. Each
// message is delayed by itself, so a later one may overtake it.
type network struct {
	cut     [replicas][replicas]bool // from, to
	slow    time.Duration            // added to the mean delay
	lossy   int                      // added to the loss, in 10,000
	dropped uint64
}

// travel draws how long a message takes.
func (w *world) travel() time.Duration {
	return w.cfg.delay + w.gap(w.cfg.jitter+w.net.slow)
}

// send delivers a message that is not cut off, perhaps twice.
func (w *world) send(cut bool, deliver func()) {
	if cut || w.chance(w.cfg.loss+w.net.lossy) {
		w.net.dropped++
		return
	}
	w.after(w.travel(), deliver)
	if w.chance(w.cfg.dup) {
		late := w.travel()
		if w.rnd.IntN(4) == 0 {
			late += w.gap(2 * time.Second) // lay in a queue somewhere
		}
		w.after(late, deliver)
	}
}

// tell sends a message from one replica to another, which handles it unless it is
// down.
func (n *node) tell(to *node, handle func()) {
	n.w.send(n.w.net.cut[n.id][to.id], func() {
		// NB: a message belongs to no life of the receiver; its sender may have
		// died as well.
		to.run(to.life, handle)
	})
}

// heal takes every fault of the network back.
func (w *world) healNetwork() {
	w.net = network{dropped: w.net.dropped}
	for _, e := range w.edges {
		e.cut = 0
	}
}
