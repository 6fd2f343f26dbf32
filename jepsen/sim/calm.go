package sim

import "time"

// calm ends a storm: everything is healed, and after a while all must be alive
// again. Pauses end by themselves.
func (w *world) calm() {
	w.storm++
	w.note("calm", -1, int64(w.storm), 0, 0)
	w.healNetwork()
	for _, n := range w.nodes {
		n.stall = 0
		if !n.up {
			n.start()
		}
	}
	for _, e := range w.edges {
		e.hello = true
	}
	since := w.now
	w.after(w.cfg.calmFor, func() {
		w.alive(since)
		w.storm++
		w.after(w.cfg.stormFor, w.calm)
	})
}

// alive checks what must hold once everything was whole for a while: one node
// leads and commits, all have applied what was committed a moment ago, and every
// edge has had an answer.
func (w *world) alive(since time.Duration) {
	w.res.Calms++
	leads := 0
	for _, n := range w.nodes {
		if n.leads {
			leads++
		}
		if lag := w.books.first + uint64(len(w.books.log)) - 1 - n.applied; lag > maxLag {
			w.fail("node %d is %d entries behind after %v of calm", n.id, lag, w.now-since)
		}
	}
	if leads != 1 {
		w.fail("%d nodes lead after %v of calm", leads, w.now-since)
	}
	if quiet := w.now - w.books.newest; quiet > 5*time.Second {
		w.fail("nothing was committed for %v of calm", quiet)
	}
	for _, e := range w.edges {
		if e.answered < since {
			w.fail("edge %d had no answer in %v of calm", e.id, w.now-since)
		}
	}
}

// maxLag is how many entries a whole replica may be behind: what is committed in
// a pause of its disk or its applying.
const maxLag = 5000
