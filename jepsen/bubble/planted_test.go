//go:build bugs

package bubble

import "testing"

// patient is how many seeds a planted bug may survive.
const patient = 60

// TestPlanted requires that the planted bug of this build is found. Without one it
// fails, as it should:
//
//	go test -tags bugs -ldflags "-X github.com/tkcoord/tkcoord/internal/bug.planted=ack-early" ./jepsen/bubble -run Planted -v
func TestPlanted(t *testing.T) {
	for seed := *firstSeed; seed < *firstSeed+patient; seed++ {
		if c := inBubble(t, seed); len(c.violations) > 0 {
			t.Logf("found by seed %d: %s", seed, c.violations[0])
			return
		}
	}
	t.Fatalf("%d seeds found nothing, or nothing is planted", patient)
}
