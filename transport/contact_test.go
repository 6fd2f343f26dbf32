package transport

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

func TestContact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newContact()
		tell := func(data any) {
			if c.observe(&raft.Observation{Data: data}) {
				t.Errorf("%T is passed on", data)
			}
		}
		want := func(lost time.Duration) {
			t.Helper()
			if got := c.lostFor("a"); got != lost {
				t.Errorf("lostFor(a) = %v, want %v", got, lost)
			}
		}
		want(0)
		heard := time.Now()
		for range 4 { // since the first of them
			time.Sleep(silenceHolds / 2)
			tell(raft.FailedHeartbeatObservation{PeerID: "a", LastContact: heard})
			want(time.Since(heard))
		}
		want(2 * silenceHolds)
		tell(raft.ResumedHeartbeatObservation{PeerID: "a"})
		want(0)
		for _, removed := range []bool{true, false} {
			tell(raft.FailedHeartbeatObservation{PeerID: "a", LastContact: time.Now()})
			want(1)
			tell(raft.PeerObservation{Peer: raft.Server{ID: "a"}, Removed: removed})
			want(0)
		}
		// A server was removed and added again; then a request to its old self
		// fails. Raft tells of no success, since the new self never failed.
		tell(raft.FailedHeartbeatObservation{PeerID: "a", LastContact: heard})
		want(time.Since(heard))
		time.Sleep(silenceHolds + 1)
		want(0)
		later := time.Now()
		tell(raft.FailedHeartbeatObservation{PeerID: "a", LastContact: later})
		time.Sleep(time.Second)
		want(time.Second)
	})
}
