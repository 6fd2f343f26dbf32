package doors

import (
	"fmt"

	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/jepsen/model"
	"github.com/tkcoord/tkcoord/jepsen/model/cluster"
)

// Kinds of actions. Their arguments are cluster.Choices.
const (
	tick uint8 = iota
	call
	beat
	release
	hear
	spend
	serve
	check
	debit
	stamp
	note
	elect
	step
	change
	sweep
	die
	crash
	restart
	restore
)

// Kinds implements model.Model.
func (w *World) Kinds() []string {
	return []string{
		"tick", "call", "beat", "release", "hear", "spend", "serve", "check", "debit", "stamp", "note",
		"elect", "step", "change", "sweep", "restart client", "crash", "restart all", "restore",
	}
}

// Label implements model.Model.
func (w *World) Label(a model.Action) string {
	c := cluster.Chosen(a)
	client, node := string(rune('a'+c.Process)), string(rune('A'+c.Process))
	switch a.Kind() {
	case tick:
		return "time passes"
	case call:
		return client + " asks" + c.Lost("request")
	case beat:
		return client + " beats" + c.Lost("request")
	case release:
		return client + " releases" + c.Lost("request")
	case hear:
		return fmt.Sprintf("%s hears answer %d%s", client, c.Place+1, c.Again())
	case spend:
		return client + " spends 1"
	case serve:
		return fmt.Sprintf("serve request %d of %s%s%s", c.Place+1, client, c.Again(), c.Lost("answer"))
	case check:
		return "check 1"
	case debit:
		return fmt.Sprintf("debit %d", w.Debits[c.Place])
	case stamp:
		return "seal nothing"
	case note:
		return node + " applies the log"
	case elect:
		return node + " leads"
	case step:
		return fmt.Sprintf("step by %d", w.Jumps[c.Place])
	case change:
		if c.Place == len(w.Limits) {
			return "delete the policy or bring it back"
		}
		return fmt.Sprintf("limit %d", w.Limits[c.Place])
	case sweep:
		return "the sweep passes"
	case die:
		return client + " crashes and starts again"
	case crash:
		return node + " crashes and starts again"
	case restart:
		return "all nodes crash and start again"
	}
	return w.Kinds()[a.Kind()]
}

// Actions implements model.Model.
func (w *World) Actions(dst []model.Action, s *state) []model.Action {
	if s.Tick < w.ticks() {
		dst = append(dst, cluster.Act(tick, 0))
	}
	if s.traffic != Tokens {
		for i := range s.clients {
			dst = s.clientActions(dst, i)
		}
	}
	dst = s.nodeActions(dst)
	if s.Leader >= 0 {
		dst = s.leaderActions(dst)
	}
	if s.sweepable() {
		dst = append(dst, cluster.Act(sweep, 0))
	}
	if s.left.restores > 0 {
		dst = append(dst, cluster.Act(restore, 0))
	}
	return dst
}

// Messages are lost in two ways: a newer one takes their place, or they never
// arrive. One that never arrives may as well stay under way to the end.
func (s *state) clientActions(dst []model.Action, i int) []model.Action {
	w, c := s.w, &s.clients[i]
	send := func(kind uint8) {
		dst = cluster.Choice{Process: i}.Append(dst, kind, len(c.requests), w.Requests, false)
	}
	if s.canCall(c) {
		send(call)
	}
	if c.hold.slot != 0 {
		send(beat)
		send(release)
	}
	for k := range c.answers {
		dst = append(dst, cluster.Choice{Process: i, Place: k}.Action(hear))
		if s.left.duplicates > 0 {
			dst = append(dst, cluster.Choice{Process: i, Place: k, Keep: true}.Action(hear))
		}
	}
	if s.canSpend(c) {
		dst = append(dst, cluster.Act(spend, i))
	}
	if s.left.deaths > 0 && !c.edge {
		dst = append(dst, cluster.Act(die, i))
	}
	return dst
}

// nodeActions: somebody can always lead when nobody does.
func (s *state) nodeActions(dst []model.Action) []model.Action {
	for i := range s.Nodes {
		n := &s.Nodes[i]
		if !n.Fresh {
			dst = append(dst, cluster.Act(note, i))
		}
		if n.Fresh && (s.Leader < 0 || s.left.elections > 0) {
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
	for i := range s.clients {
		c := &s.clients[i]
		for k := range c.requests {
			dst = s.appendServe(dst, cluster.Choice{Process: i, Place: k})
			if s.left.duplicates > 0 {
				dst = s.appendServe(dst, cluster.Choice{Process: i, Place: k, Keep: true})
			}
		}
	}
	switch s.traffic {
	case Units:
		dst = append(dst, cluster.Act(check, 0))
	case Tokens:
		for k := range w.Debits {
			dst = append(dst, cluster.Choice{Place: k}.Action(debit))
		}
	}
	if s.Clock() > s.now { // others change nothing
		dst = append(dst, cluster.Act(stamp, 0))
	}
	if s.left.steps > 0 {
		for k := range w.Jumps {
			dst = append(dst, cluster.Choice{Place: k}.Action(step))
		}
	}
	if s.left.changes > 0 {
		for k := range w.choices() {
			if k == len(w.Limits) && s.traffic == Slots || k < len(w.Limits) && w.Limits[k] != s.limit && !s.deleted {
				dst = append(dst, cluster.Choice{Place: k}.Action(change))
			}
		}
	}
	if s.deleted && s.left.changes == 0 { // bringing it back is no other change
		dst = append(dst, cluster.Choice{Place: len(w.Limits)}.Action(change))
	}
	return dst
}

// appendServe appends what may answer a client. A release is not answered, and
// nobody listens for what is void.
func (s *state) appendServe(dst []model.Action, ch cluster.Choice) []model.Action {
	c := &s.clients[ch.Process]
	q := &c.requests[ch.Place]
	if q.void || q.verb == aRelease || q.verb == aBeat && q.slot != c.hold.slot {
		return append(dst, ch.Action(serve))
	}
	return ch.Append(dst, serve, len(c.answers), s.w.Answers, true)
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
	case call, beat, release, hear, spend, serve, die:
		return s.doClient(kind, &s.clients[c.Process], c)
	case check:
		return s.check()
	case debit:
		return s.debit(s.w.Debits[c.Place])
	case stamp:
		if err := s.load(); err != nil {
			return err
		}
		_, err := s.commit(nil, nil)
		return err
	case step:
		s.left.spend(&s.left.steps)
		return s.step(s.w.Jumps[c.Place])
	case change:
		if s.left.changes > 0 {
			s.left.spend(&s.left.changes)
		}
		return s.change(c.Place)
	case sweep:
		return s.sweep()
	case restore:
		s.left.spend(&s.left.restores)
		return s.restore()
	default:
		s.doNode(kind, c)
	}
	return nil
}

func (s *state) doClient(kind uint8, c *client, ch cluster.Choice) error {
	switch kind {
	case call:
		s.call(c, ch)
	case beat:
		s.beat(c, ch)
	case release:
		s.release(c, ch)
	case hear:
		s.hear(c, ch)
	case spend:
		return s.spend(c)
	case serve:
		return s.serve(c, ch)
	case die:
		s.left.spend(&s.left.deaths)
		c.die()
	}
	return nil
}

func (s *state) doNode(kind uint8, c cluster.Choice) {
	switch kind {
	case note:
		s.Note(&s.Nodes[c.Process], s.now)
	case elect:
		if s.Leader >= 0 {
			s.left.spend(&s.left.elections)
		}
		var ahead clock.Millis
		if s.w.Rule == WallClock {
			ahead = s.w.Length
		}
		s.Elect(c.Process, ahead)
	case crash:
		s.left.spend(&s.left.crashes)
		s.Crash(c.Process)
	case restart:
		s.left.spend(&s.left.restarts)
		for i := range s.Nodes {
			s.Crash(i)
		}
	}
}
