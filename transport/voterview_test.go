package transport

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// A stillRaft has a configuration and nothing else.
type stillRaft struct {
	raftServer
	conf raft.Configuration
}

func (s stillRaft) GetConfiguration() raft.ConfigurationFuture { return stillFuture{s.conf} }
func (stillRaft) LastIndex() uint64                            { return 1 }
func (stillRaft) CurrentTerm() uint64                          { return 1 }
func (stillRaft) LastContact() time.Time                       { return time.Time{} }

type stillFuture struct{ conf raft.Configuration }

func (f stillFuture) Configuration() raft.Configuration { return f.conf }
func (stillFuture) Error() error                        { return nil }
func (stillFuture) Index() uint64                       { return 0 }

// A stillRoster knows peers that do not change.
type stillRoster struct {
	roster
	peers map[string]Peer
}

func (s stillRoster) Peer(id string) (Peer, bool) { p, ok := s.peers[id]; return p, ok }

// newStillMembership is that of server a. servers are ids, non-voters in
// parentheses. peers are id:logversion, and a leading ! is dead.
func newStillMembership(t *testing.T, servers, peers string) *Membership {
	var conf raft.Configuration
	for _, id := range strings.Fields(servers) {
		s := raft.Server{ID: raft.ServerID(strings.Trim(id, "()"))}
		if id[0] == '(' {
			s.Suffrage = raft.Nonvoter
		}
		conf.Servers = append(conf.Servers, s)
	}
	known := stillRoster{peers: map[string]Peer{}}
	for _, text := range strings.Fields(peers) {
		rest, dead := strings.CutPrefix(text, "!")
		f := strings.Split(rest, ":")
		p := Peer{ID: f[0]}
		if dead {
			p.State = PeerDead
		}
		if _, err := fmt.Sscan(f[1], &p.LogVersion); err != nil {
			t.Fatal(err)
		}
		known.peers[p.ID] = p
	}
	c := quickMembership()
	c.ID = "a"
	return newMembership(c, stillRaft{conf: conf}, known, nil)
}

func TestMinLogVersion(t *testing.T) {
	for _, tc := range []struct{ servers, peers, want string }{ // - is not ok
		{"", "a:1", "-"},
		{"a", "a:3", "3"},
		{"a b c", "a:3 b:3 c:3", "3"},
		{"a b c", "a:3 b:2 c:4", "2"},
		{"a b c", "a:3 !b:3 !c:1", "1"}, // it may come back as it was
		{"a b c", "a:3 b:3", "-"},       // c was never heard of
		{"a b c (d)", "a:3 b:3 c:3 d:1", "3"},
		{"a b c", "a:3 b:3 c:3 stranger:1", "3"},
	} {
		m := newStillMembership(t, tc.servers, tc.peers)
		got := "-"
		if v, ok := m.MinLogVersion(); ok {
			got = fmt.Sprint(v)
		}
		if got != tc.want {
			t.Errorf("servers %q, peers %q: version %s, want %s", tc.servers, tc.peers, got, tc.want)
		}
	}
}

// TestOldVoters: what a voter would halt at is refused before it is proposed, also
// while one has never been heard of.
func TestOldVoters(t *testing.T) {
	for _, tc := range []struct {
		peers string // of the voters a and b
		needs uint32
		ok    bool
	}{
		{"a:2 b:2", 2, true},
		{"a:2 b:1", 2, false},
		{"a:2 !b:1", 2, false},
		{"a:2", 2, false},
		{"a:2", 1, true},
		{"a:3 b:2", 3, false},
	} {
		err := newStillMembership(t, "a b", tc.peers).allRead(tc.needs)
		if tc.ok != (err == nil) || err != nil && !errors.Is(err, ErrOldVoter) {
			t.Errorf("peers %q, log format %d: %v, want ok %v", tc.peers, tc.needs, err, tc.ok)
		}
	}
}
