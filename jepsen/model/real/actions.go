package real

import (
	"fmt"

	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/jepsen/model"
	"github.com/tkcoord/tkcoord/jepsen/model/cluster"
)

// Kinds of actions. Their arguments are cluster.Choices.
const (
	tick uint8 = iota
	ask
	hear
	spend
	giveBack
	seal
	stamp
	commit
	note
	elect
	step
	change
	sweep
	steer
	dieEdge
	crash
	restart
	readStamp
)

// Kinds implements model.Model.
func (w *World) Kinds() []string {
	return []string{
		"tick", "ask", "hear", "spend", "return", "seal", "stamp", "commit", "note",
		"elect", "step", "change", "sweep", "steer", "restart edge", "crash", "restart all", "read stamp",
	}
}

// Label implements model.Model.
func (w *World) Label(a model.Action) string {
	c := cluster.Chosen(a)
	edge, node := string(rune('a'+c.Process)), string(rune('A'+c.Process))
	switch a.Kind() {
	case tick:
		return "time passes"
	case ask:
		return fmt.Sprintf("%s asks for %d%s", edge, w.Wants[c.Place], c.Lost("ask"))
	case hear:
		return fmt.Sprintf("%s hears answer %d%s", edge, c.Place+1, c.Again())
	case spend:
		return edge + " spends 1"
	case giveBack:
		return edge + " returns 1"
	case seal:
		return fmt.Sprintf("seal ask %d of %s%s%s", c.Place+1, edge, c.Again(), c.Lost("answer"))
	case stamp:
		return "seal nothing"
	case commit:
		return "commit" + c.Lost("answer")
	case note:
		return node + " applies the log"
	case elect:
		return node + " leads"
	case step:
		return fmt.Sprintf("seal a step by %d", w.Jumps[c.Place])
	case change:
		return "seal " + w.choices()[c.Place].String()
	case sweep:
		return "the sweep passes"
	case steer:
		return "steer " + [...]string{"level", "fast", "slow"}[c.Place]
	case dieEdge:
		return edge + " crashes and starts again"
	case crash:
		return node + " crashes and starts again"
	case restart:
		return "all nodes crash and start again"
	}
	return w.Kinds()[a.Kind()]
}

func (c choice) String() string {
	switch {
	case c.delete:
		return "delete or bring back"
	case c.limit != 0:
		return fmt.Sprintf("limit %d", c.limit)
	}
	return fmt.Sprintf("windows of %d", c.length)
}

// Actions implements model.Model.
func (w *World) Actions(dst []model.Action, s *state) []model.Action {
	if s.Tick < w.ticks() {
		dst = append(dst, cluster.Act(tick, 0))
	}
	for e := range s.edges {
		dst = s.edgeActions(dst, e)
	}
	dst = s.nodeActions(dst)
	if s.Leader >= 0 {
		dst = s.leaderActions(dst)
	}
	if len(s.pending) > 0 {
		dst = s.appendCommit(dst, commit, cluster.Choice{}, s.pending[0].edge)
	}
	if s.sweepable() {
		dst = append(dst, cluster.Act(sweep, 0))
	}
	return dst
}

// Messages are lost in two ways: a newer one takes their place, or they never
// arrive. One that never arrives may as well stay under way to the end.
func (s *state) edgeActions(dst []model.Action, i int) []model.Action {
	w, e := s.w, &s.edges[i]
	if !e.halted {
		for k := range w.Wants {
			if w.Wants[k] > 0 || e.lease.Returned+e.promised > 0 {
				dst = cluster.Choice{Process: i, Place: k}.Append(dst, ask, len(e.requests), w.Requests, false)
			}
		}
	}
	for k := range e.answers {
		dst = append(dst, cluster.Choice{Process: i, Place: k}.Action(hear))
		if s.left.duplicates > 0 {
			dst = append(dst, cluster.Choice{Process: i, Place: k, Keep: true}.Action(hear))
		}
	}
	if s.canSpend(e) {
		dst = append(dst, cluster.Act(spend, i))
	}
	if s.left.returns > 0 && e.lease.Unspent() > e.promised {
		dst = append(dst, cluster.Act(giveBack, i))
	}
	if s.left.deaths > 0 {
		dst = append(dst, cluster.Act(dieEdge, i))
	}
	return dst
}

func (s *state) nodeActions(dst []model.Action) []model.Action {
	for i := range s.Nodes {
		n := &s.Nodes[i]
		if !n.Fresh {
			dst = append(dst, cluster.Act(note, i))
		}
		if s.left.elections > 0 && (n.Fresh || s.w.Rule == NoBarrier) {
			dst = append(dst, cluster.Act(elect, i))
		}
		if s.left.crashes > 0 {
			dst = append(dst, cluster.Act(crash, i))
		}
	}
	if s.left.restarts > 0 {
		dst = append(dst, cluster.Act(restart, 0))
	}
	return dst
}

func (s *state) leaderActions(dst []model.Action) []model.Action {
	w := s.w
	if w.Slew > 0 {
		for i, slew := range steers {
			if s.Nodes[s.Leader].Source.Slew != w.Slew*slew {
				dst = append(dst, cluster.Choice{Place: i}.Action(steer))
			}
		}
	}
	if w.Pipeline > 0 && len(s.pending) == w.Pipeline {
		return dst
	}
	if w.Rule == EarlyStamp && s.read == 0 {
		dst = append(dst, cluster.Act(readStamp, 0))
	}
	for i := range s.edges {
		for k := range s.edges[i].requests {
			dst = s.appendCommit(dst, seal, cluster.Choice{Process: i, Place: k}, i)
			if s.left.duplicates > 0 {
				dst = s.appendCommit(dst, seal, cluster.Choice{Process: i, Place: k, Keep: true}, i)
			}
		}
	}
	if s.stampIsNews() {
		dst = append(dst, cluster.Act(stamp, 0))
	}
	if s.left.steps > 0 {
		for i := range w.Jumps {
			dst = append(dst, cluster.Choice{Place: i}.Action(step))
		}
	}
	if s.left.changes > 0 {
		for i, c := range w.choices() {
			if s.head.differs(c) {
				dst = append(dst, cluster.Choice{Place: i}.Action(change))
			}
		}
	}
	return dst
}

// appendCommit appends an action that may answer an edge.
func (s *state) appendCommit(dst []model.Action, kind uint8, c cluster.Choice, edge int) []model.Action {
	if kind == seal && s.w.Pipeline > 0 {
		return append(dst, c.Action(kind)) // the answer comes with the commit
	}
	return c.Append(dst, kind, len(s.edges[edge].answers), s.w.Answers, true)
}

// stampIsNews reports whether an entry without a command would move the clock of
// the state machine. Others change nothing.
func (s *state) stampIsNews() bool {
	newest := s.head.now
	for i := range s.pending {
		newest = max(newest, s.pending[i].stamp)
	}
	return s.Clock() > newest
}

// differs reports whether a change would change something.
func (h *head) differs(c choice) bool {
	switch {
	case c.delete:
		return true
	case c.limit != 0:
		return int(h.limit) != c.limit && h.exists && !h.deleted
	}
	return int(h.length) != c.length && h.exists && !h.deleted
}

// Apply implements model.Model.
func (w *World) Apply(s *state, a model.Action) error {
	err := s.do(a.Kind(), cluster.Chosen(a))
	s.left.normalise()
	if !w.raw {
		s.normalise()
	}
	return err
}

func (s *state) do(kind uint8, c cluster.Choice) error {
	if c.Keep {
		s.left.spend(&s.left.duplicates)
	}
	switch kind {
	case tick:
		s.Tick++
	case ask, hear, spend, giveBack, dieEdge:
		return s.doEdge(kind, &s.edges[c.Process], c)
	case seal:
		return s.sealAsk(c)
	case stamp:
		return s.seal(entry{what: nothing}, c)
	case commit:
		return s.commit(c)
	case step:
		s.left.spend(&s.left.steps)
		return s.seal(entry{what: aStep, to: s.Clock() + clock.Millis(s.w.Jumps[c.Place])}, c)
	case change:
		s.left.spend(&s.left.changes)
		return s.seal(entry{what: aChange, change: c.Place}, c)
	case sweep:
		return s.sweepAll()
	default:
		s.doNode(kind, c)
	}
	return nil
}

func (s *state) doEdge(kind uint8, e *edge, c cluster.Choice) error {
	switch kind {
	case ask:
		s.ask(e, c)
	case hear:
		return s.hear(e, c)
	case spend:
		return s.spend(e)
	case giveBack:
		s.left.returns--
		s.giveBack(e)
	case dieEdge:
		s.left.spend(&s.left.deaths)
		s.die(e)
	}
	return nil
}

func (s *state) doNode(kind uint8, c cluster.Choice) {
	switch kind {
	case note:
		s.note(&s.Nodes[c.Process])
	case elect:
		s.left.spend(&s.left.elections)
		s.elect(c.Process)
	case crash:
		s.left.spend(&s.left.crashes)
		s.crash(c.Process)
	case restart:
		s.left.spend(&s.left.restarts)
		for i := range s.Nodes {
			s.crash(i)
		}
	case steer:
		s.steer(steers[c.Place])
	case readStamp:
		s.read = s.Clock()
	}
}
