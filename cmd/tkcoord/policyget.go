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
is the largest use of a window minus its limit: it never goes above 0. LIMIT and
WINDOW are capacity and refill of a tokenBucket, and slots where nothing but
concurrency is limited.`,
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
	t.row("NAME", "KIND", "STRATEGY", "LIMIT", "WINDOW", "KEYS", "CAPACITY", "OUT", "USED",
		"GRANTED TOTAL", "RETURNED TOTAL", "USED TOTAL", "REFUSED", "WORST")
	for i, p := range all {
		c := res.Policies[i].GetCounters()
		t.row(p.Name, p.Kind, p.Strategy, limitText(&p), windowText(&p), c.GetLiveKeys(), c.GetLiveCapacity(), c.GetLiveOut(), c.GetLiveUsed(),
			c.GetGrantedTotal(), c.GetReturnedTotal(), c.GetUsedTotal(), c.GetRefusedTotal(), c.GetWorstOvershoot())
	}
	return &t
}

// A policiesReport is the JSON form of policies with their counters.
type policiesReport struct {
	Version  uint64         `json:"version"`
	Policies []policyReport `json:"policies"`
}

// A policyReport has what the kind of the policy uses, and null elsewhere.
type policyReport struct {
	Name     string         `json:"name"`
	Kind     string         `json:"kind"`
	Strategy string         `json:"strategy"` // "" for none
	Limit    int64          `json:"limit"`    // of windows and meters, else 0
	Cadence  *cadenceReport `json:"cadence"`
	MaxKeys  int64          `json:"max_keys"`
	Rate     *rateReport    `json:"rate,omitempty"`
	Tier     *tierReport    `json:"tier,omitempty"`
	Batch    int64          `json:"batch,omitempty"`
	Meter    string         `json:"meter,omitempty"`
	Guard    *guardReport   `json:"guard,omitempty"`
	Counters countersReport `json:"counters"`
}

type cadenceReport struct {
	Kind          string `json:"kind"`
	PeriodMs      int64  `json:"period_ms"`
	AnchorMs      int64  `json:"anchor_ms"`
	OffsetMinutes int32  `json:"offset_minutes"`
	WeekStart     int32  `json:"week_start"`
}

type rateReport struct {
	Limit        float64 `json:"limit,omitempty"`
	PeriodMs     float64 `json:"period_ms,omitempty"`
	Burst        float64 `json:"burst,omitempty"`
	Capacity     float64 `json:"capacity,omitempty"`
	RefillPerSec float64 `json:"refill_per_sec,omitempty"`
	Buckets      int64   `json:"buckets,omitempty"`
}

type tierReport struct {
	Mode              string  `json:"mode"`
	Batch             int64   `json:"batch"`
	LowWater          float64 `json:"low_water"`
	WindowCoupled     bool    `json:"window_coupled"`
	ReturnIdleAfterMs int64   `json:"return_idle_after_ms"`
}

type guardReport struct {
	MinLimit     int64   `json:"min_limit"`
	MaxLimit     int64   `json:"max_limit"`
	InitialLimit int64   `json:"initial_limit"`
	Algorithm    string  `json:"algorithm"`
	RTTWindow    int64   `json:"rtt_window"`
	Smoothing    float64 `json:"smoothing"`
	Tolerance    float64 `json:"tolerance"`
	BackoffRatio float64 `json:"backoff_ratio"`
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
		p := newPolicyReport(s.GetPolicy())
		c := s.GetCounters()
		p.Counters = countersReport{
			LiveKeys: c.GetLiveKeys(), LiveCapacity: c.GetLiveCapacity(), LiveOut: c.GetLiveOut(), LiveUsed: c.GetLiveUsed(),
			GrantedTotal: c.GetGrantedTotal(), ReturnedTotal: c.GetReturnedTotal(), UsedTotal: c.GetUsedTotal(),
			RefusedTotal: c.GetRefusedTotal(), WorstOvershoot: c.GetWorstOvershoot(),
		}
		r.Policies = append(r.Policies, p)
	}
	return r
}

func newPolicyReport(p *tkcoordv1.Policy) policyReport {
	r := policyReport{
		Name: p.GetName(), Kind: p.GetKind(), Strategy: p.GetStrategy(), Limit: p.GetLimit(), MaxKeys: p.GetMaxKeys(),
		Batch: p.GetBatch(), Meter: p.GetMeter(),
	}
	if c := p.GetCadence(); c != nil {
		r.Cadence = &cadenceReport{c.GetKind(), c.GetPeriodMs(), c.GetAnchorMs(), c.GetOffsetMinutes(), c.GetWeekStart()}
	}
	if x := p.GetRate(); x != nil {
		r.Rate = &rateReport{x.GetLimit(), x.GetPeriodMs(), x.GetBurst(), x.GetCapacity(), x.GetRefillPerSec(), x.GetBuckets()}
	}
	if t := p.GetTier(); t != nil {
		r.Tier = &tierReport{t.GetMode(), t.GetBatch(), t.GetLowWater(), t.GetWindowCoupled(), t.GetReturnIdleAfterMs()}
	}
	if g := p.GetGuard(); g != nil {
		r.Guard = &guardReport{
			g.GetMinLimit(), g.GetMaxLimit(), g.GetInitialLimit(), g.GetAlgorithm(), g.GetRttWindow(),
			g.GetSmoothing(), g.GetTolerance(), g.GetBackoffRatio(),
		}
	}
	return r
}
