package main

import (
	"fmt"
	"slices"
	"time"
)

// tolerableLag is how far the cluster clock may be from the voters' median wall
// clock before it is worth telling: a leader steps the clock beyond it.
const tolerableLag = time.Second

// judge lists what a person should know or act on. Alarms are apart.
func (r *statusReport) judge(answers []statusAnswer) {
	problem := func(format string, args ...any) { r.Problems = append(r.Problems, fmt.Sprintf(format, args...)) }
	if r.Leader == nil {
		problem("no leader is known: nothing new is granted")
	}
	if r.MedianLagMs != nil {
		if lag := time.Duration(*r.MedianLagMs) * time.Millisecond; lag.Abs() > tolerableLag {
			problem("the cluster clock is %s the voters' median wall clock", aside(lag))
		}
	}
	for _, m := range r.Members {
		switch {
		case m.Node == nil:
			problem("node %s did not answer: %s", m.NodeID, m.Error)
			continue
		case !m.Node.Serving:
			problem("node %s does not serve: %s", m.NodeID, m.Node.NotServingReason)
		case !m.Healthy:
			problem("node %s is not healthy", m.NodeID)
		}
		if r.Leader != nil && m.Node.LeaderID != "" && m.Node.LeaderID != r.Leader.NodeID {
			problem("node %s takes %s for the leader, in term %d", m.NodeID, m.Node.LeaderID, m.Node.Term)
		}
	}
	for _, a := range answers {
		r.judgeStranger(a, problem)
	}
}

// judgeStranger reports an address that is not that of a member.
func (r *statusReport) judgeStranger(a statusAnswer, problem func(string, ...any)) {
	member := slices.ContainsFunc(r.Members, func(m memberReport) bool {
		return m.GRPCAddress == a.addr || a.res != nil && a.res.NodeId == m.NodeID
	})
	switch {
	case a.res != nil && a.res.ClusterId != r.ClusterID && a.res.ClusterId != "":
		problem("%s answers for another cluster, %s (%s)", a.addr, a.res.Cluster, a.res.ClusterId)
	case member:
	case a.res != nil:
		problem("%s is node %s, which is no member", a.addr, a.res.NodeId)
	default:
		problem("%s did not answer: %v", a.addr, a.err)
	}
}

// aside says where a clock is that lags by d.
func aside(d time.Duration) string {
	switch {
	case d > 0:
		return d.String() + " behind"
	case d < 0:
		return (-d).String() + " ahead of"
	default:
		return "level with"
	}
}
