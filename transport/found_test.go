package transport

import (
	"fmt"
	"testing"

	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/policy"
)

// A leader that was lost after the Genesis left a clock at 0. The next one put the
// policies, and edges were granted credits of windows that begin at 0, which they
// could not report: in an ask, 0 means no window. A simulation without the
// first step showed it.
func TestFoundingGoesOnWhereItStopped(t *testing.T) {
	cfg := NodeConfig{Clocks: Clocks{Wall: func() clock.Millis { return 1_800_000_000_000 }}}
	policies := []policy.Policy{testPolicy}
	for _, tt := range []struct {
		name     string
		policies []policy.Policy
		id       string
		version  uint64
		want     string
	}{
		{"new", policies, "", 0, "[fsm.Genesis fsm.Step fsm.Policies]"},
		{"new, no policies", nil, "", 0, "[fsm.Genesis fsm.Step]"},
		{"lost after Genesis or Step", policies, "x", 0, "[fsm.Step fsm.Policies]"},
		{"founded", policies, "x", 1, "[]"},
		{"founded without policies", nil, "x", 0, "[]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg.Policies = tt.policies
			got := []string{}
			for _, c := range cfg.lacking(tt.id, tt.version) {
				got = append(got, fmt.Sprintf("%T", c))
			}
			if s := fmt.Sprint(got); s != tt.want {
				t.Errorf("lacking = %s, want %s", s, tt.want)
			}
		})
	}
}
