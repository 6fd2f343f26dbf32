package traffic

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/tkcoord/tkcoord/api"
	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/jepsen/history"
	"github.com/tkcoord/tkcoord/policy"
	"google.golang.org/grpc"
)

// AdminLoad is what an operator does to policies that are in use.
type AdminLoad struct {
	Every    time.Duration   `json:"every"`
	Policies []policy.Policy `json:"policies"` // as they were in the beginning
	// Churn deletes policies, makes them anew and changes their windows, beside
	// changing limits.
	Churn bool `json:"churn,omitempty"`
}

func runAdmin(ctx context.Context, r *running) error {
	var doors []tkcoordv1.AdminClient
	for _, a := range r.Addresses {
		conn, err := r.dial(a)
		if err != nil {
			return err
		}
		defer func(c *grpc.ClientConn) { _ = c.Close() }(conn) // nothing is under way
		doors = append(doors, tkcoordv1.NewAdminClient(conn))
	}
	o := &operator{running: r, random: rand.New(rand.NewPCG(r.Seed, 2000)), doors: doors, policies: slices.Clone(r.Admin.Policies)}
	r.started()
	t := time.NewTicker(r.Admin.Every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			o.restore()
			return nil
		case <-t.C:
		}
		o.change()
	}
}

// An operator changes policies; it is the only one who does.
type operator struct {
	*running
	random   *rand.Rand
	doors    []tkcoordv1.AdminClient
	policies []policy.Policy // as they should be
}

// periods are those that churn chooses from, in ms.
var periods = []escrow.Millis{250, 500, 800, 1000, 2000}

// change changes one policy.
func (o *operator) change() {
	i := o.random.IntN(len(o.policies))
	p := &o.policies[i]
	base := o.Admin.Policies[i].Limit
	switch what := o.random.IntN(10); {
	case !o.Admin.Churn || what < 4:
		p.Limit = max(1, base*escrow.Credits(2+o.random.IntN(14))/10) // a fifth to one and a half
	case what < 7:
		p.Cadence.Period = periods[o.random.IntN(len(periods))]
	default: // gone for a moment, so that it comes back over its own windows
		o.apply(nil, []string{p.Name})
	}
	o.apply([]policy.Policy{*p}, nil)
}

// restore ends with the policies of the beginning.
func (o *operator) restore() { o.apply(o.Admin.Policies, nil) }

// apply makes one change through some node. One with an unknown outcome is left:
// the next change says how the policy should be, too.
func (o *operator) apply(put []policy.Policy, drop []string) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	req := &tkcoordv1.ApplyPoliciesRequest{Delete: drop}
	changes := &history.PolicyChanges{Limits: make(map[string]escrow.Credits), Delete: drop}
	for _, p := range put {
		req.Put = append(req.Put, api.PolicyToWire(p))
		changes.Limits[p.Name] = p.Limit
	}
	i := o.random.IntN(len(o.doors))
	op := o.record.Call(history.Call{Kind: history.KindPolicies, Target: o.Addresses[i], Policies: changes})
	res, err := o.doors[i].ApplyPolicies(ctx, req)
	ret := history.Return{Op: op, At: history.Now(), Outcome: outcome(err)}
	if err != nil {
		ret.Error = err.Error()
	} else {
		ret.Version = res.Version
	}
	o.record.Return(ret)
}
