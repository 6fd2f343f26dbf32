package transport

import (
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	autopilot "github.com/hashicorp/raft-autopilot"
)

func TestPromotions(t *testing.T) {
	for _, tc := range []struct{ voters, candidates, most, want int }{
		{1, 0, 5, 0}, {1, 1, 5, 0}, {1, 2, 5, 2}, {1, 3, 5, 2}, {1, 4, 5, 4}, {1, 9, 5, 4},
		{2, 0, 5, 0}, {2, 1, 5, 1}, {2, 2, 5, 1},
		{3, 1, 5, 0}, {3, 2, 5, 2}, {3, 2, 3, 0},
		{4, 0, 5, 0}, {4, 1, 5, 1}, {5, 1, 5, 0}, {5, 9, 5, 0},
		{6, 1, 5, 0}, {7, 2, 5, 0}, // by hand; nobody is demoted
	} {
		if got := promotions(tc.voters, tc.candidates, tc.most); got != tc.want {
			t.Errorf("promotions(%d, %d, %d) = %d, want %d", tc.voters, tc.candidates, tc.most, got, tc.want)
		}
	}
}

func TestPromoterPicks(t *testing.T) {
	p := promoter{autopilot.DefaultPromoter(), 5}
	c := &autopilot.Config{ServerStabilizationTime: time.Minute}
	state := func(s autopilot.RaftState, healthy bool, since time.Duration) *autopilot.ServerState {
		return &autopilot.ServerState{State: s, Health: autopilot.ServerHealth{Healthy: healthy, StableSince: time.Now().Add(-since)}}
	}
	s := &autopilot.State{
		Voters: []raft.ServerID{"a", "b"},
		Servers: map[raft.ServerID]*autopilot.ServerState{
			"a": state(autopilot.RaftLeader, true, time.Hour),
			"b": state(autopilot.RaftVoter, true, time.Hour),
			"c": state(autopilot.RaftNonVoter, false, time.Hour),
			"d": state(autopilot.RaftNonVoter, true, 59*time.Second), // the leader is new: autopilot would take it
			"f": state(autopilot.RaftNonVoter, true, 2*time.Minute),
			"e": state(autopilot.RaftNonVoter, true, time.Hour),
		},
	}
	got := p.CalculatePromotionsAndDemotions(c, s)
	if !slices.Equal(got.Promotions, []raft.ServerID{"e"}) || got.Demotions != nil || got.Leader != "" {
		t.Errorf("changes = %+v, want e promoted", got)
	}
}

func TestPromoterRemovesOne(t *testing.T) {
	a, b, c := &autopilot.Server{ID: "a"}, &autopilot.Server{ID: "b"}, &autopilot.Server{ID: "c"}
	f := &autopilot.FailedServers{
		StaleNonVoters: []raft.ServerID{"x"}, StaleVoters: []raft.ServerID{"y"},
		FailedNonVoters: []*autopilot.Server{c}, FailedVoters: []*autopilot.Server{a, b},
	}
	got := promoter{}.FilterFailedServerRemovals(nil, nil, f)
	if !slices.Equal(got.FailedNonVoters, []*autopilot.Server{c}) || got.FailedVoters != nil || got.StaleVoters != nil || got.StaleNonVoters != nil {
		t.Errorf("removes %+v, want c", got)
	}
	f.FailedNonVoters = nil
	got = promoter{}.FilterFailedServerRemovals(nil, nil, f)
	if !slices.Equal(got.FailedVoters, []*autopilot.Server{a}) {
		t.Errorf("removes %+v, want a", got)
	}
}
