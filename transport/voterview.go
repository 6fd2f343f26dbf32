package transport

import (
	"slices"

	"github.com/hashicorp/raft"
)

// MedianWallOffset returns the median of the voters' wall clocks minus the
// cluster clock, in ms, as they gossip it. It is ok if a majority of the voters,
// this node among them, are present and tell theirs. Of an even number it is the
// lower one, so that half of the clocks must agree before the cluster clock is
// moved forward.
//
// An offset is as old as gossip is slow: about GossipConfig.WallOffsetEvery, and
// seconds more while a node that vanished is not found dead.
func (m *Membership) MedianWallOffset() (offsetMs int64, ok bool) {
	v := voters(m.configuration())
	var told []int64
	own := false
	for _, s := range v {
		p, known := m.roster.Peer(string(s.ID))
		if !known || !p.Present() || !p.HasWallOffset {
			continue
		}
		told = append(told, p.WallOffset)
		own = own || s.ID == m.cfg.ID
	}
	if !own || len(told) < len(v)/2+1 {
		return 0, false
	}
	slices.Sort(told)
	return told[(len(told)-1)/2], true
}

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
