package sim

import (
	"slices"
	"time"

	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/fsm/clock"
)

// A proposer has the rules of transport.Proposer: commands collect while an entry
// is in flight, the batch is closed, and then its stamp is read.
type proposer struct {
	id     uint64 // in every entry; a new one for each process
	leads  bool   // its barrier was applied
	queue  []*call
	flying []*entry
	stamps clock.Millis // newest under this leadership
	early  clock.Millis // read when the last batch was sealed; see Rules
	spoke  time.Duration
	batch  fsm.Batch
}

// A call is one command that waits for its result.
type call struct {
	command []byte
	asks    []int // budgets, for an exchange
	reply   func(*node, outcome)
}

// An outcome answers a call: not proposed, unknown, or applied.
type outcome struct {
	refused, unknown bool
	fsm.Result
	index uint64
	now   clock.Millis
}

// maxQueue bounds the commands that wait.
const maxQueue = 16_384

// lead begins a leader's work: the clock goes on from the newest applied entry.
func (n *node) lead() {
	w := n.w
	n.source.Lead()
	n.leads, n.stamps, n.spoke = true, 0, w.now
	n.heard = [replicas]bool{}
	n.early = n.clock()
	w.res.Leaders++
	w.note("lead", n.id, int64(n.term), int64(n.early), int64(n.wallClock()))
	n.found()
	n.watchSilence(n.term)
	n.watchWalls(n.term)
	n.watchDigests(n.term)
	n.pump()
}

// found gives a new cluster its identity, the time, and its first policies. A
// leader before may have been lost on the way.
func (n *node) found() {
	if n.machine.ClusterID() == "" {
		n.propose(&call{command: fsm.Encode(fsm.Genesis{ClusterID: "sim", Settings: n.w.cfg.Settings})})
	}
	if n.machine.PolicyVersion() == 0 {
		n.propose(&call{command: fsm.Encode(fsm.Step{To: n.wallClock()})})
		n.propose(&call{command: fsm.Encode(fsm.Policies{Put: n.w.cfg.policies})})
	}
}

// abandon ends it. What was not proposed is refused; what is in flight may still
// be committed by the next leader.
func (n *node) abandon() {
	n.source.Follow()
	queue, flying := n.queue, n.flying
	n.leads, n.queue, n.flying = false, nil, nil
	for _, c := range queue {
		c.answer(n, outcome{refused: true})
	}
	for _, e := range flying {
		for _, c := range e.calls {
			c.answer(n, outcome{unknown: true})
		}
	}
}

func (c *call) answer(n *node, o outcome) {
	if c.reply != nil {
		c.reply(n, o)
	}
}

// propose takes a command or refuses it.
func (n *node) propose(c *call) {
	if !n.leads || len(n.queue) >= maxQueue {
		c.answer(n, outcome{refused: true})
		return
	}
	n.queue = append(n.queue, c)
	n.pump()
}

// pump proposes what waits while there is room in flight.
func (n *node) pump() {
	for n.leads && len(n.queue) > 0 && len(n.flying) < n.w.cfg.inFlight {
		n.seal(min(len(n.queue), n.w.cfg.maxBatch))
	}
}

// seal closes a batch of the first calls and then reads the stamp.
func (n *node) seal(count int) {
	w := n.w
	e := &entry{term: n.term, calls: slices.Clone(n.queue[:count]), by: n.proposer.id}
	n.queue = n.queue[count:]
	n.batch.Reset()
	for _, c := range e.calls {
		n.batch.AddEncoded(c.command)
	}
	e.made = w.now
	e.stamp = n.clock()
	if w.opt.Broken.StampBeforeSeal {
		n.early, e.stamp = e.stamp, n.early
	}
	n.stamps = max(n.stamps, e.stamp)
	e.stamp = n.stamps
	e.data = n.batch.Seal(e.stamp, n.proposer.id)
	n.spoke = w.now
	n.flying = append(n.flying, e)
	n.append(e)
}

// clock reads what the next stamp would be.
func (n *node) clock() clock.Millis {
	if n.w.opt.Broken.WallClockLeader {
		return n.wallClock()
	}
	return min(n.source.At(n.w.reading(&n.mono)), clock.MaxInstant)
}

// settle answers the calls of an own entry.
func (n *node) settle(e *entry, out fsm.Outcome) {
	i := slices.Index(n.flying, e)
	if i < 0 {
		return // its leadership ended: the calls were told so
	}
	n.flying = slices.Delete(n.flying, i, i+1)
	for i, c := range e.calls {
		c.answer(n, outcome{Result: out.Results[i], index: out.Index, now: out.Now})
	}
}

// watchSilence proposes an empty entry when the log was silent for a tick: the
// clock of the state machine only moves with entries.
func (n *node) watchSilence(term uint64) {
	if !n.leads || n.term != term {
		return
	}
	if n.w.now-n.spoke >= n.w.cfg.tick && len(n.flying) < n.w.cfg.inFlight {
		n.seal(0)
	}
	n.in(max(n.spoke+n.w.cfg.tick-n.w.now, time.Millisecond*5), func() { n.watchSilence(term) })
}

// watchDigests makes all replicas compute digests of their states now and then.
func (n *node) watchDigests(term uint64) {
	n.in(n.w.cfg.digestGap, func() {
		if n.leads && n.term == term {
			n.propose(&call{command: fsm.Encode(fsm.Digest{})})
			n.watchDigests(term)
		}
	})
}
