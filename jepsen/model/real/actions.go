package real

import (
	"fmt"

	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/jepsen/model"
)

// Kinds of actions. An argument has the process in its lowest bits, above it a
// place in a list, and above that whether a copy stays under way.
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

const (
	placeShift  = 3
	victimShift = 7
	keepShift   = 11
)

// A choose says what an action is about.
type choose struct {
	process, place int
	// victim is the place, counted from 1, of the message that is lost to make
	// room for the one that the action sends; 0 if there is room. A victim beyond
	// the others is the new message itself.
	victim int
	keep   bool // a copy of the delivered message stays under way
}

func (c choose) action(kind uint8) model.Action {
	arg := uint32(c.process | c.place<<placeShift | c.victim<<victimShift)
	if c.keep {
		arg |= 1 << keepShift
	}
	return model.Act(kind, arg)
}

func act(kind uint8, process int) model.Action { return choose{process: process}.action(kind) }

// append appends the action once for each way to make room for the message that
// it sends.
func (c choose) append(dst []model.Action, kind uint8, flying, room int, itself bool) []model.Action {
	if flying < room {
		return append(dst, c.action(kind))
	}
	victims := flying
	if itself {
		victims++
	}
	for c.victim = 1; c.victim <= victims; c.victim++ {
		dst = append(dst, c.action(kind))
	}
	return dst
}

func chosen(a model.Action) choose {
	arg := int(a.Arg())
	return choose{
		process: arg & (1<<placeShift - 1),
		place:   arg >> placeShift & (1<<(victimShift-placeShift) - 1),
		victim:  arg >> victimShift & (1<<(keepShift-victimShift) - 1),
		keep:    arg>>keepShift != 0,
	}
}

// Label implements model.Model.
func (w *World) Label(a model.Action) string {
	c := chosen(a)
	edge, node := string(rune('a'+c.process)), string(rune('A'+c.process))
	switch a.Kind() {
	case tick:
		return "time passes"
	case ask:
		return fmt.Sprintf("%s asks for %d%s", edge, w.Wants[c.place], c.lost("ask"))
	case hear:
		return fmt.Sprintf("%s hears answer %d%s", edge, c.place+1, c.again())
	case spend:
		return edge + " spends 1"
	case giveBack:
		return edge + " returns 1"
	case seal:
		return fmt.Sprintf("seal ask %d of %s%s%s", c.place+1, edge, c.again(), c.lost("answer"))
	case stamp:
		return "seal nothing"
	case commit:
		return "commit" + c.lost("answer")
	case note:
		return node + " applies the log"
	case elect:
		return node + " leads"
	case step:
		return fmt.Sprintf("seal a step by %d", w.Jumps[c.place])
	case change:
		return "seal " + w.choices()[c.place].String()
	case sweep:
		return "the sweep passes"
	case steer:
		return "steer " + [...]string{"level", "fast", "slow"}[c.place]
	case dieEdge:
		return edge + " crashes and starts again"
	case crash:
		return node + " crashes and starts again"
	case restart:
		return "all nodes crash and start again"
	}
	return w.Kinds()[a.Kind()]
}

func (c choose) again() string {
	if c.keep {
		return ", and again later"
	}
	return ""
}

func (c choose) lost(what string) string {
	if c.victim == 0 {
		return ""
	}
	return fmt.Sprintf(", %s %d is lost", what, c.victim)
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
		dst = append(dst, act(tick, 0))
	}
	for e := range s.edges {
		dst = s.edgeActions(dst, e)
	}
	dst = s.nodeActions(dst)
	if s.Leader >= 0 {
		dst = s.leaderActions(dst)
	}
	if len(s.pending) > 0 {
		dst = s.appendCommit(dst, commit, choose{}, s.pending[0].edge)
	}
	if s.sweepable() {
		dst = append(dst, act(sweep, 0))
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
				dst = choose{process: i, place: k}.append(dst, ask, len(e.requests), w.Requests, false)
			}
		}
	}
	for k := range e.answers {
		dst = append(dst, choose{process: i, place: k}.action(hear))
		if s.left.duplicates > 0 {
			dst = append(dst, choose{process: i, place: k, keep: true}.action(hear))
		}
	}
	if s.canSpend(e) {
		dst = append(dst, act(spend, i))
	}
	if s.left.returns > 0 && e.lease.Unspent() > e.promised {
		dst = append(dst, act(giveBack, i))
	}
	if s.left.deaths > 0 {
		dst = append(dst, act(dieEdge, i))
	}
	return dst
}

func (s *state) nodeActions(dst []model.Action) []model.Action {
	for i := range s.Nodes {
		n := &s.Nodes[i]
		if !n.Fresh {
			dst = append(dst, act(note, i))
		}
		if s.left.elections > 0 && (n.Fresh || s.w.Rule == NoBarrier) {
			dst = append(dst, act(elect, i))
		}
		if s.left.crashes > 0 {
			dst = append(dst, act(crash, i))
		}
	}
	if s.left.restarts > 0 {
		dst = append(dst, act(restart, 0))
	}
	return dst
}

func (s *state) leaderActions(dst []model.Action) []model.Action {
	w := s.w
	if w.Slew > 0 {
		for i, slew := range steers {
			if s.Nodes[s.Leader].Source.Slew != w.Slew*slew {
				dst = append(dst, choose{place: i}.action(steer))
			}
		}
	}
	if w.Pipeline > 0 && len(s.pending) == w.Pipeline {
		return dst
	}
	if w.Rule == EarlyStamp && s.read == 0 {
		dst = append(dst, act(readStamp, 0))
	}
	for i := range s.edges {
		for k := range s.edges[i].requests {
			dst = s.appendCommit(dst, seal, choose{process: i, place: k}, i)
			if s.left.duplicates > 0 {
				dst = s.appendCommit(dst, seal, choose{process: i, place: k, keep: true}, i)
			}
		}
	}
	if s.stampIsNews() {
		dst = append(dst, act(stamp, 0))
	}
	if s.left.steps > 0 {
		for i := range w.Jumps {
			dst = append(dst, choose{place: i}.action(step))
		}
	}
	if s.left.changes > 0 {
		for i, c := range w.choices() {
			if s.head.differs(c) {
				dst = append(dst, choose{place: i}.action(change))
			}
		}
	}
	return dst
}

// appendCommit appends an action that may answer an edge.
func (s *state) appendCommit(dst []model.Action, kind uint8, c choose, edge int) []model.Action {
	if kind == seal && s.w.Pipeline > 0 {
		return append(dst, c.action(kind)) // the answer comes with the commit
	}
	return c.append(dst, kind, len(s.edges[edge].answers), s.w.Answers, true)
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
	err := s.do(a.Kind(), chosen(a))
	s.left.normalise()
	if !w.raw {
		s.normalise()
	}
	return err
}

func (s *state) do(kind uint8, c choose) error {
	if c.keep {
		s.left.spend(&s.left.duplicates)
	}
	switch kind {
	case tick:
		s.Tick++
	case ask, hear, spend, giveBack, dieEdge:
		return s.doEdge(kind, &s.edges[c.process], c)
	case seal:
		return s.sealAsk(c)
	case stamp:
		return s.seal(entry{what: nothing}, c)
	case commit:
		return s.commit(c)
	case step:
		s.left.spend(&s.left.steps)
		return s.seal(entry{what: aStep, to: s.Clock() + clock.Millis(s.w.Jumps[c.place])}, c)
	case change:
		s.left.spend(&s.left.changes)
		return s.seal(entry{what: aChange, change: c.place}, c)
	case sweep:
		return s.sweepAll()
	default:
		s.doNode(kind, c)
	}
	return nil
}

func (s *state) doEdge(kind uint8, e *edge, c choose) error {
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

func (s *state) doNode(kind uint8, c choose) {
	switch kind {
	case note:
		s.note(&s.Nodes[c.process])
	case elect:
		s.left.spend(&s.left.elections)
		s.elect(c.process)
	case crash:
		s.left.spend(&s.left.crashes)
		s.crash(c.process)
	case restart:
		s.left.spend(&s.left.restarts)
		for i := range s.Nodes {
			s.crash(i)
		}
	case steer:
		s.steer(steers[c.place])
	case readStamp:
		s.read = s.Clock()
	}
}
