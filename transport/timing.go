package transport

import "time"

// Timing says when what happened to one command, for traces. The instants are of this
// process's clock; they steer nothing.
type Timing struct {
	Queued    time.Time // Propose took the command
	Sealed    time.Time // its entry was closed and handed to raft
	Committed time.Time // a majority has the entry, and this node began to apply it
	Applied   time.Time // this node had applied it
	Commands  int       // in its entry
	Bytes     int       // of its entry
}

// A sealing is what is known of an entry when it is handed to raft.
type sealing struct {
	at              time.Time
	commands, bytes int
}

// timing returns that of a call in an entry. Committed and Applied are zero if the
// entry was applied too long ago.
func (s *sealing) timing(c *call, t applyTimes) *Timing {
	return &Timing{Queued: time.Unix(0, c.queued), Sealed: s.at, Committed: t.begun, Applied: t.ended, Commands: s.commands, Bytes: s.bytes}
}

// keptTimes is how many entries' times are remembered: as many as may be in flight.
const keptTimes = 64

// applyTimes are when an entry was applied here.
type applyTimes struct {
	index        uint64
	begun, ended time.Time
}

// timesOf returns when an entry of this process was applied, zero if that is not
// remembered.
func (r *Replica) timesOf(index uint64) applyTimes {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if t := r.times[index%keptTimes]; t.index == index {
		return t
	}
	return applyTimes{}
}
