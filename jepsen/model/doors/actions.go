package doors

import (
	"fmt"

	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/jepsen/model"
)

// Kinds of actions. An argument has the process in its lowest bits, above it a
// place in a list, and above that whether a copy stays under way.
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
	client, node := string(rune('a'+c.process)), string(rune('A'+c.process))
	switch a.Kind() {
	case tick:
		return "time passes"
	case call:
		return client + " asks" + c.lost("request")
	case beat:
		return client + " beats" + c.lost("request")
	case release:
		return client + " releases" + c.lost("request")
	case hear:
		return fmt.Sprintf("%s hears answer %d%s", client, c.place+1, c.again())
	case spend:
		return client + " spends 1"
	case serve:
		return fmt.Sprintf("serve request %d of %s%s%s", c.place+1, client, c.again(), c.lost("answer"))
	case check:
		return "check 1"
	case debit:
		return fmt.Sprintf("debit %d", w.Debits[c.place])
	case stamp:
		return "seal nothing"
	case note:
		return node + " applies the log"
	case elect:
		return node + " leads"
	case step:
		return fmt.Sprintf("step by %d", w.Jumps[c.place])
	case change:
		if c.place == len(w.Limits) {
			return "delete the policy or bring it back"
		}
		return fmt.Sprintf("limit %d", w.Limits[c.place])
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

// Actions implements model.Model.
func (w *World) Actions(dst []model.Action, s *state) []model.Action {
	if s.Tick < w.ticks() {
		dst = append(dst, act(tick, 0))
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
		dst = append(dst, act(sweep, 0))
	}
	if s.left.restores > 0 {
		dst = append(dst, act(restore, 0))
	}
	return dst
}

// Messages are lost in two ways: a newer one takes their place, or they never
// arrive. One that never arrives may as well stay under way to the end.
func (s *state) clientActions(dst []model.Action, i int) []model.Action {
	w, c := s.w, &s.clients[i]
	send := func(kind uint8) { dst = choose{process: i}.append(dst, kind, len(c.requests), w.Requests, false) }
	if s.canCall(c) {
		send(call)
	}
	if c.hold.slot != 0 {
		send(beat)
		send(release)
	}
	for k := range c.answers {
		dst = append(dst, choose{process: i, place: k}.action(hear))
		if s.left.duplicates > 0 {
			dst = append(dst, choose{process: i, place: k, keep: true}.action(hear))
		}
	}
	if s.canSpend(c) {
		dst = append(dst, act(spend, i))
	}
	if s.left.deaths > 0 && !c.edge {
		dst = append(dst, act(die, i))
	}
	return dst
}

// nodeActions: somebody can always lead when nobody does.
func (s *state) nodeActions(dst []model.Action) []model.Action {
	for i := range s.Nodes {
		n := &s.Nodes[i]
		if !n.Fresh {
			dst = append(dst, act(note, i))
		}
		if n.Fresh && (s.Leader < 0 || s.left.elections > 0) {
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
	for i := range s.clients {
		c := &s.clients[i]
		for k := range c.requests {
			dst = s.appendServe(dst, choose{process: i, place: k})
			if s.left.duplicates > 0 {
				dst = s.appendServe(dst, choose{process: i, place: k, keep: true})
			}
		}
	}
	switch s.traffic {
	case Units:
		dst = append(dst, act(check, 0))
	case Tokens:
		for k := range w.Debits {
			dst = append(dst, choose{place: k}.action(debit))
		}
	}
	if s.Clock() > s.now { // others change nothing
		dst = append(dst, act(stamp, 0))
	}
	if s.left.steps > 0 {
		for k := range w.Jumps {
			dst = append(dst, choose{place: k}.action(step))
		}
	}
	if s.left.changes > 0 {
		for k := range w.choices() {
			if k == len(w.Limits) && s.traffic == Slots || k < len(w.Limits) && w.Limits[k] != s.limit && !s.deleted {
				dst = append(dst, choose{place: k}.action(change))
			}
		}
	}
	if s.deleted && s.left.changes == 0 { // bringing it back is no other change
		dst = append(dst, choose{place: len(w.Limits)}.action(change))
	}
	return dst
}

// appendServe appends what may answer a client. A release is not answered, and
// nobody listens for what is void.
func (s *state) appendServe(dst []model.Action, ch choose) []model.Action {
	c := &s.clients[ch.process]
	q := &c.requests[ch.place]
	if q.void || q.verb == aRelease || q.verb == aBeat && q.slot != c.hold.slot {
		return append(dst, ch.action(serve))
	}
	return ch.append(dst, serve, len(c.answers), s.w.Answers, true)
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
	case call, beat, release, hear, spend, serve, die:
		return s.doClient(kind, &s.clients[c.process], c)
	case check:
		return s.check()
	case debit:
		return s.debit(s.w.Debits[c.place])
	case stamp:
		if err := s.load(); err != nil {
			return err
		}
		_, err := s.commit(nil, nil)
		return err
	case step:
		s.left.spend(&s.left.steps)
		return s.step(s.w.Jumps[c.place])
	case change:
		if s.left.changes > 0 {
			s.left.spend(&s.left.changes)
		}
		return s.change(c.place)
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

func (s *state) doClient(kind uint8, c *client, ch choose) error {
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

func (s *state) doNode(kind uint8, c choose) {
	switch kind {
	case note:
		s.Note(&s.Nodes[c.process], s.now)
	case elect:
		if s.Leader >= 0 {
			s.left.spend(&s.left.elections)
		}
		var ahead clock.Millis
		if s.w.Rule == WallClock {
			ahead = s.w.Length
		}
		s.Elect(c.process, ahead)
	case crash:
		s.left.spend(&s.left.crashes)
		s.Crash(c.process)
	case restart:
		s.left.spend(&s.left.restarts)
		for i := range s.Nodes {
			s.Crash(i)
		}
	}
}
