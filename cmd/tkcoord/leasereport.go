package main

import (
	"fmt"
	"io"

	"github.com/tkcoord/tkcoord/api/tkcoordv1"
)

// A leaseReport is the JSON form of lease.
type leaseReport struct {
	Policy        string `json:"policy"`
	Key           string `json:"key"`
	Want          int64  `json:"want"`
	Need          int64  `json:"need"`
	Granted       int64  `json:"granted"`
	WindowStartMs int64  `json:"window_start_ms"`
	WindowEndMs   int64  `json:"window_end_ms"`
	TTLMs         int64  `json:"ttl_ms"`
	Limit         int64  `json:"limit"`
	Left          int64  `json:"left"`
	RetryAfterMs  int64  `json:"retry_after_ms"` // 0 when the grant reached need
	Returned      int64  `json:"returned"`
	LeftAfter     *int64 `json:"left_after_return"` // null if nothing was given back

	EdgeID        string `json:"edge_id"`
	Incarnation   string `json:"incarnation"` // hexadecimal: a double cannot hold it
	Session       uint64 `json:"session"`
	ClockMs       int64  `json:"clock_ms"`
	Index         uint64 `json:"index"`
	PolicyVersion uint64 `json:"policy_version"`
}

func newLeaseReport(edge *throwaway, res *tkcoordv1.ExchangeResponse, ans *tkcoordv1.Answer) *leaseReport {
	return &leaseReport{
		Granted: ans.Granted, WindowStartMs: ans.WindowStartMs, WindowEndMs: ans.WindowEndMs, TTLMs: ans.TtlMs,
		Limit: ans.Limit, Left: ans.Left, RetryAfterMs: ans.RetryAfterMs,
		EdgeID: edge.id, Incarnation: fmt.Sprintf("%016x", edge.incarnation), Session: res.Session,
		ClockMs: res.ClockMs, Index: res.Index, PolicyVersion: res.PolicyVersion,
	}
}

// write shows the lease to a person.
func (r *leaseReport) write(w io.Writer) error {
	t := table{least: facts}
	t.row("granted", fmt.Sprintf("%d of %d", r.Granted, r.Want))
	t.row("window", fmt.Sprintf("%s to %s, ends in %s", instant(r.WindowStartMs), instant(r.WindowEndMs), span(r.WindowEndMs-r.ClockMs)))
	t.row("ttl", span(r.TTLMs))
	t.row("limit", r.Limit)
	t.row("left", r.Left)
	if r.RetryAfterMs > 0 {
		t.row("retry", fmt.Sprintf("in %s: the grant does not reach %d", span(r.RetryAfterMs), r.Need))
	}
	t.row("edge", fmt.Sprintf("%s, session %d", r.EdgeID, r.Session))
	return t.write(w)
}
