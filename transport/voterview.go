package transport

import (
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

var _ raft.ServerAddressProvider = (*Gossip)(nil)
