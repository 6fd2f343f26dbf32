package history

import (
	"reflect"
	"strings"
	"testing"

	"github.com/tkcoord/tkcoord/strategy"
)

func TestPublicCallsComeBack(t *testing.T) {
	w, path := create(t, "p1")
	call := &Public{Method: CheckMany, Policy: "p", Keys: []string{"a", ""}, Amount: 3}
	reply := &PublicReply{Index: 7, Clock: 1000, Decisions: []strategy.Decision{{Allowed: true, Limit: 5, Remaining: 2, ResetAt: 2000}, {Limit: 5, RetryAfter: 9}}}
	w.Return(Return{Op: w.Call(Call{Kind: KindPublic, Public: call}), At: Now(), Outcome: OK, Public: reply})
	w.Call(Call{Kind: KindPublic, Lane: 1, Public: call})
	held := Held{Policy: "s", Lease: "1-2", First: 3, Last: 4, Left: true}
	w.Hold(held)
	c := readBack(t, path)
	if err := (History{c}).Validate(); err != nil {
		t.Fatal(err)
	}
	if len(c.Ops) != 2 || !reflect.DeepEqual(c.Ops[0].Public, call) || !reflect.DeepEqual(c.Ops[0].Answer, reply) || c.Ops[1].Answer != nil || c.Ops[1].Outcome != Info {
		t.Errorf("calls came back as %+v", c.Ops)
	}
	if len(c.Held) != 1 || c.Held[0] != held {
		t.Errorf("the slot came back as %+v", c.Held)
	}
}

func TestPublicAnswersFit(t *testing.T) {
	one := []strategy.Decision{{Allowed: true}}
	for _, tt := range []struct {
		name string
		call Public
		r    *PublicReply
		text string
	}{
		{"a reservation", Public{Method: Reserve, Keys: []string{"a"}}, &PublicReply{Index: 1, Granted: 3}, ""},
		{"no reply", Public{Method: Check}, nil, "has no reply"},
		{"nobody decided", Public{Method: Check}, &PublicReply{Decisions: one}, "without an index"},
		{"too few decisions", Public{Method: CheckMany, Keys: []string{"a", "b"}}, &PublicReply{Index: 1, Decisions: one}, "1 decisions"},
		{"a slot without a lease", Public{Method: Admit}, &PublicReply{Index: 1, Decisions: one}, `has lease ""`},
		{"a slot that is in neither list", Public{Method: Heartbeat, Keys: []string{"a"}}, &PublicReply{Index: 1}, "0 live and 0 reclaimed of 1"},
	} {
		err := tt.r.fits(&tt.call)
		if tt.text == "" && err != nil || tt.text != "" && (err == nil || !strings.Contains(err.Error(), tt.text)) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.text)
		}
	}
}
