package transport

import (
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// A contact knows which followers do not answer this node's heartbeats, and
// since when. Raft keeps that to itself, except for what it tells observers;
// the observer's filter takes it down and lets nothing through, so nothing is
// dropped and nobody has to listen.
type contact struct {
	mu   sync.Mutex // guards lost
	lost map[raft.ServerID]silence
}

// A silence is a follower that does not answer.
type silence struct {
	since time.Time // last contact
	told  time.Time // when the newest heartbeat failed
}

// silenceHolds is how long a failed heartbeat counts. Raft sends the next within
// a heartbeat timeout, and waits for its answer at most rpcTimeout. One that
// fails long after its server was removed and added again is the last of its
// kind, and raft tells of no success after it.
const silenceHolds = 3 * rpcTimeout

func newContact() *contact { return &contact{lost: map[raft.ServerID]silence{}} }

// observe is a raft.FilterFn. Raft calls it from several goroutines.
func (c *contact) observe(o *raft.Observation) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch d := o.Data.(type) {
	case raft.FailedHeartbeatObservation:
		s, ok := c.lost[d.PeerID]
		if !ok || s.over() {
			s.since = d.LastContact
		}
		s.told = time.Now()
		c.lost[d.PeerID] = s
	case raft.ResumedHeartbeatObservation:
		delete(c.lost, d.PeerID)
	case raft.PeerObservation: // removed, or added anew
		delete(c.lost, d.Peer.ID)
	}
	return false
}

func (s silence) over() bool { return time.Since(s.told) > silenceHolds }

// lostFor returns how long a server has not answered, 0 if it does.
func (c *contact) lostFor(id raft.ServerID) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s, ok := c.lost[id]; ok && !s.over() {
		return max(time.Since(s.since), 1)
	}
	return 0
}
