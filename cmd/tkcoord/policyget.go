package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/policy"
)

func newPolicyGetCommand(a *cli) *cobra.Command {
	var counters bool
	cmd := &cobra.Command{
		Use:   "get [NAME]...",
		Short: "Print policies as a file, or with their counters",
		Long: `Print policies, all or those named.

The answer is a policy file in YAML, which policy apply takes back, unless
--output or --counters ask for another form. The table and JSON have the counters
of each policy, in credits: KEYS, CAPACITY, OUT and USED are sums over its windows
that have a record now, the other columns count since the policy was made. WORST
is the largest use of a window minus its limit: it never goes above 0.`,
		Example: `  tkcoord policy get > limits.yaml
  tkcoord policy get api --counters
  tkcoord policy get -o json | jq '.policies[].counters'`,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, names []string) error {
			c, err := a.connect(cmd, asYAML)
			if err != nil {
				return err
			}
			defer c.Close()
			res, err := getPolicies(cmd.Context(), c, names...)
			if err != nil {
				return err
			}
			form := asYAML
			switch {
			case cmd.Flags().Changed("output"):
				form = a.opts.output
			case counters:
				form = asTable
			}
			return writePolicies(a.stdout, form, res)
		},
	}
	cmd.Flags().BoolVar(&counters, "counters", false, "print a table with the counters, as -o table does")
	return cmd
}

func writePolicies(w io.Writer, form string, res *tkcoordv1.GetPoliciesResponse) error {
	if form == asJSON {
		return writeJSON(w, newPoliciesReport(res))
	}
	all, err := fromWire(res)
	if err != nil {
		return err
	}
	if form == asTable {
		return countersTable(res, all).write(w)
	}
	if _, err := w.Write(policy.Format(all)); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

func countersTable(res *tkcoordv1.GetPoliciesResponse, all []policy.Policy) *table {
	var t table
	t.row("NAME", "STRATEGY", "LIMIT", "WINDOW", "KEYS", "CAPACITY", "OUT", "USED",
		"GRANTED TOTAL", "RETURNED TOTAL", "USED TOTAL", "REFUSED", "WORST")
	for i, p := range all {
		c := res.Policies[i].GetCounters()
		t.row(p.Name, p.Strategy, p.Limit, window(p), c.GetLiveKeys(), c.GetLiveCapacity(), c.GetLiveOut(), c.GetLiveUsed(),
			c.GetGrantedTotal(), c.GetReturnedTotal(), c.GetUsedTotal(), c.GetRefusedTotal(), c.GetWorstOvershoot())
	}
	return &t
}

// window shows how long the windows of a policy are.
func window(p policy.Policy) string {
	if p.Cadence.Period > 0 {
		return span(int64(p.Cadence.Period))
	}
	return p.Cadence.Kind.String()
}

// A policiesReport is the JSON form of policies with their counters.
type policiesReport struct {
	Version  uint64         `json:"version"`
	Policies []policyReport `json:"policies"`
}

type policyReport struct {
	Name     string         `json:"name"`
	Strategy string         `json:"strategy"`
	Limit    int64          `json:"limit"`
	Cadence  cadenceReport  `json:"cadence"`
	MaxKeys  int64          `json:"max_keys"`
	Counters countersReport `json:"counters"`
}

type cadenceReport struct {
	Kind          string `json:"kind"`
	PeriodMs      int64  `json:"period_ms"`
	AnchorMs      int64  `json:"anchor_ms"`
	OffsetMinutes int32  `json:"offset_minutes"`
	WeekStart     int32  `json:"week_start"`
}

type countersReport struct {
	LiveKeys       int64 `json:"live_keys"`
	LiveCapacity   int64 `json:"live_capacity"`
	LiveOut        int64 `json:"live_out"`
	LiveUsed       int64 `json:"live_used"`
	GrantedTotal   int64 `json:"granted_total"`
	ReturnedTotal  int64 `json:"returned_total"`
	UsedTotal      int64 `json:"used_total"`
	RefusedTotal   int64 `json:"refused_total"`
	WorstOvershoot int64 `json:"worst_overshoot"`
}

func newPoliciesReport(res *tkcoordv1.GetPoliciesResponse) policiesReport {
	r := policiesReport{Version: res.Version, Policies: []policyReport{}}
	for _, s := range res.Policies {
		p, c := s.GetPolicy(), s.GetCounters()
		cad := p.GetCadence()
		r.Policies = append(r.Policies, policyReport{
			Name: p.GetName(), Strategy: p.GetStrategy(), Limit: p.GetLimit(), MaxKeys: p.GetMaxKeys(),
			Cadence: cadenceReport{cad.GetKind(), cad.GetPeriodMs(), cad.GetAnchorMs(), cad.GetOffsetMinutes(), cad.GetWeekStart()},
			Counters: countersReport{
				LiveKeys: c.GetLiveKeys(), LiveCapacity: c.GetLiveCapacity(), LiveOut: c.GetLiveOut(), LiveUsed: c.GetLiveUsed(),
				GrantedTotal: c.GetGrantedTotal(), ReturnedTotal: c.GetReturnedTotal(), UsedTotal: c.GetUsedTotal(),
				RefusedTotal: c.GetRefusedTotal(), WorstOvershoot: c.GetWorstOvershoot(),
			},
		})
	}
	return r
}
