package transport

import (
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
// parentheses. peers are id:offset:logversion, an offset of - is not known, and a
// leading ! is dead.
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
		if _, err := fmt.Sscan(f[1], &p.WallOffset); err == nil {
			p.HasWallOffset = true
		}
		if _, err := fmt.Sscan(f[2], &p.LogVersion); err != nil {
			t.Fatal(err)
		}
		known.peers[p.ID] = p
	}
	c := quickMembership()
	c.ID = "a"
	return newMembership(c, stillRaft{conf: conf}, known, nil)
}

func TestVoterView(t *testing.T) {
	for _, tc := range []struct {
		servers, peers string
		offset         string // - is not ok
		version        string
	}{
		{"", "a:1:1", "-", "-"},
		{"a", "a:5:3", "5", "3"},
		{"a", "a:-:3", "-", "3"},
		{"a b c", "a:1:3 b:3:3 c:2:3", "2", "3"},
		{"a b c", "a:1:3 b:3:2 c:-:4", "1", "2"}, // the lower one of two
		{"a b c", "a:9:3 b:3:2 c:-:4", "3", "2"},
		{"a b c", "a:-:3 b:3:3 c:2:3", "-", "3"}, // not without our own
		{"a b c", "a:1:3 b:-:3 c:-:3", "-", "3"}, // no majority
		{"a b c", "a:1:3 !b:3:3 !c:2:1", "-", "1"},
		{"a b c", "a:1:3 b:3:3 !c:2:1", "1", "1"},
		{"a b c", "a:1:3 b:3:3", "1", "-"}, // c was never heard of
		{"a b c (d)", "a:1:3 b:3:3 c:2:3 d:-99:1", "2", "3"},
		{"a b c d", "a:1:3 b:2:3 c:-:3 d:-:3", "-", "3"}, // half is no majority
		{"a b c d", "a:-8:3 b:-2:3 c:7:3 d:4:3", "-2", "3"},
		{"a b c", "a:1:3 b:3:3 c:2:3 stranger:-99:1", "2", "3"},
		{"b c d (a)", "a:1:3 b:3:3 c:2:3 d:4:3", "-", "3"}, // no voter
	} {
		m := newStillMembership(t, tc.servers, tc.peers)
		offset, version := "-", "-"
		if ms, ok := m.MedianWallOffset(); ok {
			offset = fmt.Sprint(ms)
		}
		if v, ok := m.MinLogVersion(); ok {
			version = fmt.Sprint(v)
		}
		if offset != tc.offset || version != tc.version {
			t.Errorf("servers %q, peers %q: offset %s, version %s, want %s, %s", tc.servers, tc.peers, offset, version, tc.offset, tc.version)
		}
	}
}
