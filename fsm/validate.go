package fsm

import (
	"fmt"

	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/policy"
)

// Validate reports the first field that is out of range.
func (c Genesis) Validate() error {
	if c.ClusterID == "" || len(c.ClusterID) > maxClusterID {
		return fieldError("cluster_id", c.ClusterID, "1 to %d bytes", maxClusterID)
	}
	return c.Settings.Validate()
}

// Validate reports the first setting that is out of range.
func (s Settings) Validate() error {
	if err := s.Rates.Validate(); err != nil {
		return &FieldError{Field: "rates", Value: fmt.Sprintf("%+v", s.Rates), Want: err.Error()}
	}
	for _, f := range []struct {
		field string
		span  clock.Millis
	}{{"max_lease_ttl", s.LongestLease}, {"session_idle", s.SessionIdle}} {
		if f.span < 1 || f.span > clock.MaxInstant {
			return fieldError(f.field, f.span, "1 to %d ms", clock.MaxInstant)
		}
	}
	for _, f := range []struct {
		field string
		bound int
	}{{"max_budgets", s.MaxBudgets}, {"max_edges", s.MaxEdges}, {"max_holders", s.MaxHolders}} {
		if f.bound < 1 {
			return fieldError(f.field, f.bound, "at least 1")
		}
	}
	return nil
}

// Validate reports an instant that is out of range.
func (c Step) Validate() error {
	if c.To < 0 || c.To > clock.MaxInstant {
		return fieldError("to", c.To, "0 to %d", clock.MaxInstant)
	}
	return nil
}

// Validate reports the first field that is out of range. Whether the policies
// exist, and how many there may be, only the state machine can tell.
func (c Policies) Validate() error {
	if len(c.Put) > maxPolicyBatch {
		return fieldError("put", fmt.Sprintf("%d of them", len(c.Put)), "at most %d", maxPolicyBatch)
	}
	if len(c.Delete) > maxPolicyBatch {
		return fieldError("delete", fmt.Sprintf("%d of them", len(c.Delete)), "at most %d", maxPolicyBatch)
	}
	for i := range c.Put {
		if err := c.Put[i].Validate(); err != nil {
			return fieldError(fmt.Sprintf("put[%d]", i), shown(c.Put[i].Name), "a valid policy: %v", err)
		}
	}
	for i, name := range c.Delete {
		if name == "" || len(name) > policy.MaxNameLen {
			return fieldError(fmt.Sprintf("delete[%d]", i), shown(name), "a name of 1 to %d bytes", policy.MaxNameLen)
		}
	}
	return nil
}

// Validate has nothing to report.
func (Digest) Validate() error { return nil }

// Validate reports the first field that is out of range.
func (c Alarm) Validate() error {
	switch {
	case c.Kind == "" || len(c.Kind) > maxAlarmKind:
		return fieldError("kind", shown(c.Kind), "1 to %d bytes", maxAlarmKind)
	case len(c.Node) > maxNodeIDLen:
		return fieldError("node_id", shown(c.Node), "at most %d bytes", maxNodeIDLen)
	case len(c.Detail) > maxDetailLen:
		return fieldError("detail", shown(c.Detail), "at most %d bytes", maxDetailLen)
	}
	return nil
}
