package transport

import (
	"fmt"
	"slices"

	"github.com/hashicorp/raft"
)

// MinLogVersion returns the newest log format that all voters understand. It is
// not ok while one of them has never been heard of. A voter that is away counts
// with what it last said, since it may come back as it was.
func (m *Membership) MinLogVersion() (version uint32, ok bool) {
	v := voters(m.configuration())
	if len(v) == 0 {
		return 0, false
	}
	all := make([]uint32, 0, len(v))
	for _, s := range v {
		p, known := m.roster.Peer(string(s.ID))
		if !known {
			return 0, false
		}
		all = append(all, p.LogVersion)
	}
	return slices.Min(all), true
}

// oldestLogVersion is read by every version, so that it need not be asked for.
const oldestLogVersion = 1

// allRead reports ErrOldVoter while a voter may not read a log format.
func (m *Membership) allRead(version uint32) error {
	if version <= oldestLogVersion {
		return nil
	}
	if have, _ := m.MinLogVersion(); have < version {
		return fmt.Errorf("log format %d is needed, a voter reads up to %d: %w", version, have, ErrOldVoter)
	}
	return nil
}

var _ raft.ServerAddressProvider = (*Gossip)(nil)
