package escrow

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/tkcoord/tkcoord/fsm/clock"
)

// TestContractVectors: the lease suites that the ThrottleKit contract publishes for
// whoever holds credits, those of credits that die with their window. (The sixth
// lets them outlive it, which a Lease never does.) G<credits>@<expiry> grants,
// S<at>/<cost>=<left> spends, x for left is a refusal. Readings are in ms.
func TestContractVectors(t *testing.T) {
	for _, tt := range []struct{ suite, script string }{
		{"spend-to-exhaustion", "G5@1000 S0/1=4 S0/1=3 S0/1=2 S0/1=1 S0/1=0 S0/1=x"},
		{"refresh-mid-window", "G3@1000 S0/1=2 S0/1=1 S0/1=0 S0/1=x G3@1000 S0/1=2 S500/1=1"},
		{"window-coupled-discard", "G5@1000 S0/2=3 S1000/1=x G5@2000 S1000/1=4 S2000/1=x"},
		{"cost-gt-1-and-gt-capacity", "G10@1000 S0/4=6 S0/6=0 S0/1=x G5@1000 S0/8=x G10@1000 S0/8=7 S0/8=x"},
		{"large-epoch", "G10@1700000040000 S1700000000000/4=6 S1700000040000/1=x G10@1700000100000 S1700000040000/1=9"},
	} {
		t.Run(tt.suite, func(t *testing.T) {
			var l *Lease
			for i, step := range strings.Fields(tt.script) {
				var credits, at, n int64
				var want string
				if _, err := fmt.Sscanf(step, "G%d@%d", &credits, &at); err == nil {
					if l == nil || l.Window().End != Millis(at) {
						l = NewLease(Window{Start: Millis(at) - 60_000, End: Millis(at)})
					}
					sent := Nanos(at-40_000) * clock.NanosPerMilli
					l.Raise(l.Totals().Granted+Credits(credits), sent, 40_000, clock.Rates{})
					continue
				}
				if _, err := fmt.Sscanf(step, "S%d/%d=%s", &at, &n, &want); err != nil {
					t.Fatal(step, err)
				}
				left, ok := l.Take(Nanos(at)*clock.NanosPerMilli, Credits(n))
				got := strconv.FormatInt(int64(left), 10)
				if !ok {
					got = "x"
				}
				if got != want {
					t.Errorf("step %d, %s: got %s", i, step, got)
				}
			}
		})
	}
}
