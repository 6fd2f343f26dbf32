package transport

import (
	"slices"
	"time"

	"github.com/hashicorp/raft"
	autopilot "github.com/hashicorp/raft-autopilot"
)

// A promoter is autopilot's stable promoter with three differences:
//
//   - it keeps the number of voters odd and within maxVoters. An even number
//     costs a vote more for each commit and tolerates no failure more; the
//     server left over is a spare, with all the data;
//   - a server must be stable for its whole time also when the leader is new,
//     when autopilot would ask for none;
//   - one dead server is removed at a time, non-voters first, so that after each
//     removal the others are looked at anew.
//
// It never demotes.
type promoter struct {
	autopilot.Promoter
	maxVoters int
}

// CalculatePromotionsAndDemotions implements autopilot.Promoter.
func (p promoter) CalculatePromotionsAndDemotions(c *autopilot.Config, s *autopilot.State) autopilot.RaftChanges {
	now := time.Now()
	var stable []raft.ServerID
	for id, srv := range s.Servers {
		if srv.State == autopilot.RaftNonVoter && srv.Health.IsStable(now, c.ServerStabilizationTime) {
			stable = append(stable, id)
		}
	}
	slices.Sort(stable)
	return autopilot.RaftChanges{Promotions: stable[:promotions(len(s.Voters), len(stable), p.maxVoters)]}
}

// promotions returns how many of the candidates become voters beside those that
// there are: as many as make the largest odd number that is not above most.
func promotions(voters, candidates, most int) int {
	target := min(voters+candidates, most)
	if target%2 == 0 {
		target--
	}
	return max(0, target-voters)
}

// FilterFailedServerRemovals implements autopilot.Promoter. Servers that the
// delegate does not know are in neither of its lists, see KnownServers.
func (promoter) FilterFailedServerRemovals(_ *autopilot.Config, _ *autopilot.State, f *autopilot.FailedServers) *autopilot.FailedServers {
	one := &autopilot.FailedServers{}
	if len(f.FailedNonVoters) > 0 {
		one.FailedNonVoters = f.FailedNonVoters[:1]
	} else if len(f.FailedVoters) > 0 {
		one.FailedVoters = f.FailedVoters[:1]
	}
	return one
}
