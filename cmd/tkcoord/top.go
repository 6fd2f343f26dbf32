package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/tkcoord/tkcoord/api/throttlekitv1"
	"github.com/tkcoord/tkcoord/monitor"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// topOptions are the settings of top.
type topOptions struct {
	secret string
	every  time.Duration
	once   bool
}

func newTopCommand(a *cli) *cobra.Command {
	o := topOptions{every: time.Second}
	cmd := &cobra.Command{
		Use:     "top",
		GroupID: groupCluster,
		Short:   "Show what a cluster admits and denies, and which keys are denied most",
		Long: `Show what a cluster admits and denies in the present minute, which keys are
denied most, its guards and the newest denials.

Any node answers for all of them; nodes that it does not hear are named above.
The view is drawn again each second until Ctrl-C; it is drawn once where the
output is not a terminal, with --once, and with -o json.

It shows keys of requests. Without a secret a node shows them only to its own
machine; the secret is that of its --monitor-secret, best given in
TKCOORD_MONITOR_SECRET.`,
		Example: `  tkcoord top
  tkcoord top -o json | jq '.policies[] | {name, denied: .analytics.denied}'`,
		Args:              wantArgs(0, 0, ""),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return a.top(cmd, &o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.secret, "secret", "", "`secret` to show to the node")
	f.DurationVar(&o.every, "every", o.every, "how often the view is drawn again, at least 200ms")
	f.BoolVar(&o.once, "once", false, "draw the view once")
	return cmd
}

func (a *cli) top(cmd *cobra.Command, o *topOptions) error {
	if o.every < 200*time.Millisecond {
		return usagef("--every: got %v, want at least 200ms", o.every)
	}
	c, err := a.connect(cmd)
	if err != nil {
		return err
	}
	defer c.Close()
	secret := cmp.Or(o.secret, os.Getenv(envName("monitor-secret")), os.Getenv(contractEnv["monitor-secret"]))
	raw, err := snapshot(cmd.Context(), c, secret)
	if err != nil {
		return err
	}
	if a.opts.output == asJSON {
		return writeJSON(a.stdout, json.RawMessage(raw))
	}
	v, err := newTopView(raw)
	if err != nil || o.once || !isTerminal(a.stdout) {
		return a.print("%s", v)
	}
	t := time.NewTicker(o.every)
	defer t.Stop()
	for {
		if err := a.print("\x1b[H\x1b[2J%s", v); err != nil {
			return err
		}
		select {
		case <-cmd.Context().Done():
			return nil
		case <-t.C:
		}
		if raw, err = snapshot(cmd.Context(), c, secret); err == nil {
			v, err = newTopView(raw)
		}
		if err != nil && cmd.Context().Err() == nil { // the last view stays, below the reason
			v = fmt.Sprintf("! %s\n\n%s", oneLine(err.Error()), v)
		}
	}
}

// snapshot returns raw_json of the first node that answers.
func snapshot(ctx context.Context, c *client, secret string) (string, error) {
	if secret != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "x-monitor-secret", secret)
	}
	res, err := do(ctx, c, repeats, func(ctx context.Context, conn grpc.ClientConnInterface) (*throttlekitv1.GetSnapshotResponse, error) {
		return throttlekitv1.NewMonitorClient(conn).GetSnapshot(ctx, &throttlekitv1.GetSnapshotRequest{})
	})
	return res.GetSnapshot().GetRawJson(), err
}

// Rows of the view.
const (
	topPolicies = 20
	topKeys     = 10
	topDenials  = 8
)

// newTopView shows a snapshot as text.
func newTopView(raw string) (string, error) {
	var s monitor.Snapshot
	if err := json.Unmarshal([]byte(raw), &s); err != nil {
		return "", fmt.Errorf("read raw_json: %w", err)
	}
	var b strings.Builder
	for _, w := range s.Meta.Warnings {
		fmt.Fprintf(&b, "! %s\n", oneLine(w))
	}
	var window int64
	for _, p := range s.Policies {
		window = max(window, p.Analytics.WindowStartedAt)
	}
	fmt.Fprintf(&b, "%s  %s heard through %s, %s into the minute\n\n", instant(s.Meta.GeneratedAt), count(len(s.Meta.Nodes), "node"),
		s.Meta.NodeID, span((s.Meta.GeneratedAt-window)/1000*1000))
	for i, t := range []*table{policiesTable(&s), guardsTable(&s), keysTable(&s), denialsTable(&s)} {
		if len(t.rows) < 2 { // only its title
			continue
		}
		if i > 0 {
			b.WriteByte('\n')
		}
		if err := t.write(&b); err != nil {
			return "", err
		}
	}
	return b.String(), nil
}

func policiesTable(s *monitor.Snapshot) *table {
	all := slices.Clone(s.Policies)
	slices.SortStableFunc(all, func(a, b monitor.PolicyView) int { return cmp.Compare(b.Analytics.Total, a.Analytics.Total) })
	t := &table{}
	t.row("POLICY", "KIND", "ALLOWED", "DENIED", "SHARE", "LIMIT", "P50", "P99", "BY")
	for i, p := range all {
		if i == topPolicies {
			t.row(fmt.Sprintf("... and %d more", len(all)-i))
			break
		}
		limit, p50, p99 := "", "", ""
		if p.Limit != nil {
			limit = fmt.Sprint(*p.Limit)
		}
		if l := p.Latency; l != nil {
			p50, p99 = milliseconds(l.P50), milliseconds(l.P99)
		}
		t.row(p.Name, cmp.Or(p.Strategy, p.Kind), p.Analytics.Allowed, p.Analytics.Denied, fmt.Sprintf("%.1f %%", 100*float64(p.Analytics.DenyRate)),
			limit, p50, p99, lanes(p.Analytics.DeniedByLane))
	}
	return t
}

// milliseconds shows a time; 0 is none.
func milliseconds(n monitor.Number) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f ms", float64(n))
}

// lanes names what denied, where something did.
func lanes(denied map[string]int64) string {
	var text []string
	for _, l := range monitor.Lanes {
		if n := denied[l.String()]; n > 0 {
			text = append(text, fmt.Sprintf("%s %d", l, n))
		}
	}
	return strings.Join(text, ", ")
}

func guardsTable(s *monitor.Snapshot) *table {
	t := &table{}
	t.row("GUARD", "HELD", "LIMIT", "LOWEST ROUND TRIP", "LAST")
	for _, g := range s.Guards {
		t.row(g.Name, g.Inflight, fmt.Sprintf("%.0f", float64(g.Limit)), milliseconds(g.RTTNoload), milliseconds(g.LastRTT))
	}
	return t
}

// keysTable shows the keys that are denied most, of all policies.
func keysTable(s *monitor.Snapshot) *table {
	type keyOf struct {
		monitor.KeyCount
		policy string
	}
	var all []keyOf
	for _, p := range s.Policies {
		for _, k := range p.Analytics.TopDenied {
			all = append(all, keyOf{k, p.Name})
		}
	}
	slices.SortStableFunc(all, func(a, b keyOf) int { return cmp.Compare(b.Count, a.Count) })
	t := &table{}
	t.row("DENIED MOST", "TIMES", "POLICY")
	for _, k := range all[:min(topKeys, len(all))] {
		t.row(shortKey(k.Key), k.Count, k.policy)
	}
	return t
}

func denialsTable(s *monitor.Snapshot) *table {
	t := &table{}
	t.row("NEWEST DENIALS", "POLICY", "KEY", "BY", "RETRY AFTER", "NODE")
	for _, d := range slices.Backward(s.RecentDenials) {
		if len(t.rows) > topDenials {
			break
		}
		t.row(instant(d.At), d.Policy, shortKey(d.Key), cmp.Or(d.Lane, "rate"), span(d.Decision.RetryAfterMs), d.Node)
	}
	return t
}

// shortKey fits a key into a column.
func shortKey(key string) string {
	const most = 40
	switch r := []rune(key); {
	case key == "":
		return `""`
	case len(r) > most:
		return string(r[:most-3]) + "..."
	}
	return key
}
