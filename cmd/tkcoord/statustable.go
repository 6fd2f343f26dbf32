package main

import (
	"cmp"
	"fmt"
	"io"
	"time"
)

// write shows the report to a person, alarms first.
func (r *statusReport) write(w io.Writer) error {
	var top table
	for _, al := range r.Alarms {
		top.row(fmt.Sprintf("!!! ALARM %s: node %s: %s (since %s)", al.Kind, al.NodeID, al.Detail, instant(al.RaisedAtMs)))
	}
	for _, p := range r.Problems {
		top.row("! " + p)
	}
	if len(top.rows) > 0 {
		top.rows = append(top.rows, nil)
	}
	if err := top.write(w); err != nil {
		return err
	}
	facts := r.facts()
	facts.rows = append(facts.rows, nil)
	if err := facts.write(w); err != nil {
		return err
	}
	members := r.members()
	return members.write(w)
}

func (r *statusReport) facts() *table {
	t := table{least: facts}
	t.row("cluster", fmt.Sprintf("%s (%s)", r.Cluster, cmp.Or(r.ClusterID, "not formed yet")))
	leader := "NONE"
	if r.Leader != nil {
		leader = fmt.Sprintf("%s at %s", r.Leader.NodeID, r.Leader.Address)
	}
	t.row("leader", fmt.Sprintf("%s, term %d", leader, r.Term))
	t.row("log", fmt.Sprintf("last %d, committed %d, applied %d", r.LastIndex, r.CommitIndex, r.AppliedIndex))
	t.row("clock", r.clock())
	t.row("policies", fmt.Sprintf("version %d", r.PolicyVersion))
	t.row("in use", fmt.Sprintf("%s, %s", count(r.Edges, "edge"), count(r.Budgets, "budget")))
	t.row("seen by", r.Source)
	return &t
}

// clock compares the cluster clock with wall clocks.
func (r *statusReport) clock() string {
	if r.ClusterID == "" {
		return "" // it starts with the cluster
	}
	behind := time.Duration(r.WallMs-r.ClockMs) * time.Millisecond
	text := fmt.Sprintf("%s, %s the wall clock of %s", instant(r.ClockMs), aside(behind), r.Source)
	if r.MedianLagMs != nil {
		text += fmt.Sprintf(", %s the voters' median", aside(time.Duration(*r.MedianLagMs)*time.Millisecond))
	}
	return text
}

func (r *statusReport) members() *table {
	var t table
	t.row("NODE", "ROLE", "REGION", "ADDRESS", "ANSWERS", "SERVES", "GOSSIP", "HEALTHY", "TERM", "APPLIED", "LAG", "WALL OFFSET", "ELECTIONS", "VERSION")
	for _, m := range r.Members {
		serves, term, applied, elections := "", "", "", ""
		if n := m.Node; n != nil {
			serves, term, applied, elections = yesNo(n.Serving), fmt.Sprint(n.Term), fmt.Sprint(n.AppliedIndex), fmt.Sprint(n.Elections)
		}
		t.row(m.NodeID, m.Role, m.Region, m.GRPCAddress, yesNo(m.Node != nil), serves, m.Gossip, yesNo(m.Healthy),
			term, applied, lag(m.Lag), span(m.WallOffsetMs), elections, m.Version)
	}
	return &t
}

// lag shows entries behind the leader, nothing if unknown.
func lag(entries *int64) string {
	if entries == nil {
		return ""
	}
	return fmt.Sprint(*entries)
}
