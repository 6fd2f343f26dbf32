package sim

import (
	"time"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/fsm/clock"
)

// A fault does one thing to the world, and schedules its end if it has one.
type fault struct {
	name string
	do   func(*world)
}

var allFaults = []fault{
	{"crash", (*world).crashNode},
	{"depose", (*world).crashLeader},
	{"pause", (*world).pauseNode},
	{"isolate", (*world).isolateNode},
	{"cut", (*world).cutLink},
	{"network", (*world).slowNetwork},
	{"disk", (*world).stallDisk},
	{"wall", (*world).jumpWall},
	{"walls", (*world).jumpWalls},
	{"drift", (*world).driftAll},
	{"edges", (*world).crashEdges},
	{"pauses", (*world).pauseEdges},
	{"cuts", (*world).cutEdges},
	{"restart", (*world).restartAll},
	{"limit", (*world).changeLimit},
}

// nextFault lets one fault happen, unless it is calm, and schedules the next.
func (w *world) nextFault() {
	if w.storm%2 == 0 {
		f := w.cfg.faults[w.rnd.IntN(len(w.cfg.faults))]
		w.res.Faults++
		w.note(f.name, -1, int64(w.storm), 0, 0)
		f.do(w)
	}
	w.after(w.gap(w.cfg.faultGap), w.nextFault)
}

// until schedules the end of a fault, unless the storm ends before.
func (w *world) until(d time.Duration, end func()) {
	storm := w.storm
	w.after(d, func() {
		if w.storm == storm {
			end()
		}
	})
}

func (w *world) anyNode() *node { return w.nodes[w.rnd.IntN(replicas)] }

func (w *world) crashNode() { w.crash(w.anyNode()) }

func (w *world) crashLeader() {
	for _, n := range w.nodes {
		if n.up && n.role == leader {
			w.crash(n)
			return
		}
	}
}

func (w *world) crash(n *node) {
	n.stop()
	w.until(w.gap(5*time.Second), func() {
		if !n.up {
			n.start()
		}
	})
}

// longestPause lets a process that was paused when the calm began wake up in it.
const longestPause = 10 * time.Second

func (w *world) pauseNode() {
	n := w.anyNode()
	n.pausedUntil = w.now + min(w.gap(3*time.Second), longestPause)
}

func (w *world) isolateNode() {
	n := w.anyNode()
	for i := range replicas {
		w.net.cut[n.id][i], w.net.cut[i][n.id] = true, true
	}
	w.until(w.gap(5*time.Second), func() { w.net.cut = [replicas][replicas]bool{} })
}

// cutLink cuts one direction between two nodes.
func (w *world) cutLink() {
	from, to := w.rnd.IntN(replicas), w.rnd.IntN(replicas)
	w.net.cut[from][to] = true
	w.until(w.gap(5*time.Second), func() { w.net.cut[from][to] = false })
}

func (w *world) slowNetwork() {
	w.net.slow, w.net.lossy = w.gap(100*time.Millisecond), w.rnd.IntN(2000)
	w.until(w.gap(5*time.Second), func() { w.net.slow, w.net.lossy = 0, 0 })
}

func (w *world) stallDisk() {
	n := w.anyNode()
	n.stall = w.gap(200 * time.Millisecond)
	w.until(w.gap(3*time.Second), func() { n.stall = 0 })
}

// jump draws how far a wall clock jumps: mostly seconds, at times a day.
func (w *world) jump() clock.Millis {
	d := clock.Millis(w.rnd.Int64N(1 << (8 + w.rnd.IntN(19))))
	if w.rnd.IntN(2) == 0 {
		return -d
	}
	return d
}

func (w *world) jumpWall() { w.anyNode().wall += w.jump() }

// jumpWalls moves the wall clocks of all nodes by about as much: the cluster
// clock follows by a step, or slowly.
func (w *world) jumpWalls() {
	d := w.jump() / 64
	for _, n := range w.nodes {
		n.wall += d + clock.Millis(w.rnd.IntN(50))
	}
}

func (w *world) driftAll() {
	for _, n := range w.nodes {
		n.mono.drift(w.now, w.rate())
	}
	for _, e := range w.edges {
		e.mono.drift(w.now, w.rate())
	}
}

// some calls f with a few edges.
func (w *world) some(f func(*edge)) {
	for range 1 + w.rnd.IntN(1+len(w.edges)/20) {
		f(w.edges[w.rnd.IntN(len(w.edges))])
	}
}

func (w *world) crashEdges() { w.some((*edge).boot) }

func (w *world) pauseEdges() {
	d := min(w.gap(10*time.Second), longestPause)
	w.some(func(e *edge) { e.pausedUntil = w.now + d })
}

// cutEdges keeps edges from some nodes, or all of them.
func (w *world) cutEdges() {
	d := w.gap(20 * time.Second)
	w.some(func(e *edge) {
		e.cut = uint8(w.rnd.IntN(1 << replicas))
		w.until(d, func() { e.cut = 0 })
	})
}

// restartAll stops the whole cluster for a while. Its clock then steps over the
// time that it was down.
func (w *world) restartAll() {
	for _, n := range w.nodes {
		n.stop()
	}
	down := w.gap(pick(w.rnd, 2*time.Second, 10*time.Second, time.Minute))
	for _, n := range w.nodes {
		w.until(down+w.gap(100*time.Millisecond), func() {
			if !n.up {
				n.start()
			}
		})
	}
}

// changeLimit raises or lowers the limit of a policy, if somebody leads.
func (w *world) changeLimit() {
	p := &w.cfg.policies[w.rnd.IntN(len(w.cfg.policies))]
	limit := escrow.Credits(5 + w.rnd.IntN(5*len(w.edges)+20))
	for _, n := range w.nodes {
		if n.up && n.leads {
			put := *p
			put.Limit = limit
			n.propose(&call{command: fsm.Encode(fsm.Policies{Put: append(w.cfg.policies[:0:0], put)})})
			return
		}
	}
}
