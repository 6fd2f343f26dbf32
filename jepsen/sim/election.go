package sim

import "time"

// An election is what a process knows about who leads. Terms and votes are on the
// disk.
type election struct {
	role    role
	leader  int           // -1 if it knows none
	quiet   time.Duration // when it stands, unless it hears from a leader before
	votes   int
	commit  uint64
	next    [replicas]uint64
	match   [replicas]uint64
	sending [replicas]time.Duration // when the message under way may be given up, 0 for none
	awaits  [replicas]uint64        // its number, 0 once it was answered
	contact [replicas]time.Duration // last answer in this term
}

type role int

const (
	follower role = iota
	candidate
	leader
)

const majority = replicas/2 + 1

func (n *node) awaitElection() {
	n.quiet = n.w.now + span(n.w.rnd, n.w.cfg.election, 2*n.w.cfg.election)
}

// watchElection stands for election whenever nothing was heard for long enough.
func (n *node) watchElection() {
	n.in(max(n.quiet-n.w.now, time.Millisecond), func() {
		if n.role == leader {
			n.awaitElection()
		} else if n.w.now >= n.quiet {
			n.stand()
		}
		n.watchElection()
	})
}

// stand begins a term of its own and asks for votes.
func (n *node) stand() {
	n.awaitElection()
	n.term, n.vote = n.term+1, n.id+1
	n.role, n.leader, n.votes = candidate, -1, 1
	term, last, lastTerm := n.term, n.last(), n.lastTerm()
	n.w.note("stand", n.id, int64(term), int64(last), int64(lastTerm))
	n.fsync(func() {
		for _, to := range n.w.nodes {
			if to != n {
				n.tell(to, func() { to.askedToVote(n, term, last, lastTerm) })
			}
		}
	})
}

// observe takes over a newer term.
func (n *node) observe(term uint64) {
	if term > n.term {
		n.term, n.vote = term, 0
		n.follow(-1)
	}
}

// follow ends a candidacy or a leadership.
func (n *node) follow(whom int) {
	if n.role == leader {
		n.w.note("deposed", n.id, int64(n.term), int64(n.commit), int64(n.last()))
		n.abandon()
	}
	n.role, n.leader = follower, whom
}

func (n *node) askedToVote(from *node, term, last, lastTerm uint64) {
	n.observe(term)
	mine := n.lastTerm()
	current := lastTerm > mine || lastTerm == mine && last >= n.last()
	if term < n.term || !current || n.vote != 0 && n.vote != from.id+1 {
		return
	}
	n.vote = from.id + 1
	n.awaitElection()
	// NB: the vote is on the disk before it is given.
	n.fsync(func() {
		n.tell(from, func() { from.elected(term) })
	})
}

// elected counts a vote. Messages may come twice; with three replicas two votes
// decide, and of a voter's two the second finds a leader.
func (n *node) elected(term uint64) {
	if n.role != candidate || n.term != term {
		return
	}
	if n.votes++; n.votes < majority {
		return
	}
	n.role, n.leader = leader, n.id
	for i := range n.next {
		n.next[i], n.match[i], n.sending[i], n.awaits[i], n.contact[i] = n.last()+1, 0, 0, 0, n.w.now
	}
	n.w.note("elected", n.id, int64(term), int64(n.commit), int64(n.last()))
	n.append(&entry{term: term, barrier: true})
	n.heartbeat(term)
}

// heartbeat keeps followers from standing, sends again what got lost, and steps
// down when a majority was silent for too long.
func (n *node) heartbeat(term uint64) {
	if n.role != leader || n.term != term {
		return
	}
	heard := 1
	for i, to := range n.w.nodes {
		if to == n {
			continue
		}
		if n.w.now-n.contact[i] < n.w.cfg.election {
			heard++
		}
		if n.sending[i] > n.w.now {
			n.remind(to)
		} else {
			n.replicate(to, true)
		}
	}
	if heard < majority {
		n.follow(-1)
		return
	}
	n.in(n.w.cfg.election/5, func() { n.heartbeat(term) })
}

// remind tells a follower who leads while a larger message is under way or lost.
func (n *node) remind(to *node) {
	match := n.match[to.id]
	if t, known := n.termAt(match); known || match == 0 {
		term, commit := n.term, min(n.commit, match)
		n.tell(to, func() { to.received(n, 0, term, match, t, nil, commit) })
	}
}
