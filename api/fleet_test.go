package api

import (
	"context"
	"testing"
	"time"

	"github.com/tkcoord/tkcoord/api/throttlekitv1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A node that was just started knows of no policy until it has heard what is
// committed. Clients take "there is no such service" for an answer that lasts, so it
// must not be said before.
func TestFleetAtANodeThatKnowsNothing(t *testing.T) {
	c := startNodes(t, 3, contractPolicies, nil)
	n := c.follower()
	for _, n := range c.nodes {
		n.crash()
	}
	n.start(nil) // alone, so there is no leader to hear from
	if n.Configured("global") {
		t.Fatal("the node knows the policies already: the test is about one that does not")
	}
	for _, axis := range []throttlekitv1.Axis{throttlekitv1.Axis_AXIS_RATE, throttlekitv1.Axis_AXIS_CONCURRENCY} {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		_, err := n.fleetClient().Reserve(ctx, &throttlekitv1.ReserveRequest{Policy: "global", Axis: axis})
		cancel()
		if status.Code(err) != codes.Unavailable {
			t.Errorf("Reserve of %v: %v, want UNAVAILABLE", axis, err)
		}
	}
}
