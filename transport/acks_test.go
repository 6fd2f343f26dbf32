package transport

import (
	"errors"
	"testing"

	"github.com/hashicorp/raft"
)

func TestAcks(t *testing.T) {
	req := func(term uint64) *raft.AppendEntriesRequest { return &raft.AppendEntriesRequest{Term: term} }
	answer := func(resp *raft.AppendEntriesResponse, term uint64) func() error {
		return func() error { resp.Term = term; return nil }
	}
	var resp raft.AppendEntriesResponse
	for _, tt := range []struct {
		name string
		send func(a *acks) error
		want bool // that n2 acknowledged the last round in term 4
	}{
		{"nothing sent", func(a *acks) error { a.begin(); return nil }, false},
		{"acknowledged", func(a *acks) error { a.begin(); return a.note("n2", req(4), &resp, answer(&resp, 4)) }, true},
		{"refused for its log, in our term", func(a *acks) error {
			a.begin()
			return a.note("n2", req(4), &resp, func() error { resp = raft.AppendEntriesResponse{Term: 4, Success: false}; return nil })
		}, true},
		{"refused for a newer term", func(a *acks) error { a.begin(); return a.note("n2", req(4), &resp, answer(&resp, 5)) }, false},
		{"acknowledged another leadership", func(a *acks) error { a.begin(); return a.note("n2", req(3), &resp, answer(&resp, 3)) }, false},
		{"by another peer", func(a *acks) error { a.begin(); return a.note("n3", req(4), &resp, answer(&resp, 4)) }, false},
		{"before the round", func(a *acks) error { defer a.begin(); return a.note("n2", req(4), &resp, answer(&resp, 4)) }, false},
		{"sent before the round, answered in it", func(a *acks) error {
			return a.note("n2", req(4), &resp, func() error { a.begin(); return answer(&resp, 4)() })
		}, false},
		{"a late answer of an older term", func(a *acks) error {
			a.begin()
			return errors.Join(a.note("n2", req(4), &resp, answer(&resp, 4)), a.note("n2", req(3), &resp, answer(&resp, 3)))
		}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var a acks
			if err := tt.send(&a); err != nil {
				t.Fatal(err)
			}
			if got := a.acknowledged("n2", 4, a.round.Load()); got != tt.want {
				t.Errorf("acknowledged = %v, want %v", got, tt.want)
			}
		})
	}
	var a acks
	a.begin()
	lost := errors.New("lost")
	if err := a.note("n2", req(4), &resp, func() error { resp.Term = 4; return lost }); err != lost || a.acknowledged("n2", 4, 1) {
		t.Errorf("note of a request that failed = %v, acknowledged; want its error and nothing noted", err)
	}
}
