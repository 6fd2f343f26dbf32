// Package bench measures a cluster of three real node processes: grants,
// exchanges, checks of the public contract, the cost of many holders, and
// failovers, beside etcd doing one durable put per grant where it is installed.
//
// Everything that is compared runs in the same run, in turns, since machines
// differ and shared ones change from minute to minute.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"
)

// Config says what to measure and for how long.
type Config struct {
	Binary   string        // the tkcoord program that runs the nodes
	Dir      string        // scratch; removed by the caller
	Nodes    int           // of each cluster
	Duration time.Duration // of each measurement in each round
	Rounds   int           // of the measurements that are compared; the median counts
	Kills    int           // of the leader
	Holders  int           // known holders in the larger of two measurements
	Only     []string      // names of measurements; empty means all
	Etcd     string        // path of the etcd program, "" leaves it out
	Progress io.Writer
}

// A Row is one line of the report.
type Row struct {
	Name    string  `json:"name"`
	Value   float64 `json:"value"`
	Unit    string  `json:"unit"`
	P50     float64 `json:"p50_ms,omitempty"`
	P99     float64 `json:"p99_ms,omitempty"`
	CPU     float64 `json:"server_cpu_us_per_op,omitempty"`
	Note    string  `json:"note,omitempty"`
	Samples int     `json:"samples,omitempty"`
}

// A Report is what a run measured.
type Report struct {
	When     time.Time `json:"when"`
	Machine  string    `json:"machine"`
	Go       string    `json:"go"`
	Nodes    int       `json:"nodes"`
	Duration string    `json:"duration"`
	Rows     []Row     `json:"rows"`
	// What was asked for and could not be measured, with the reason.
	Skipped []string `json:"skipped,omitempty"`
}

// Measurements in the order in which they run.
var Measurements = []string{"grants", "exchanges", "checks", "checkmany", "leased", "etcd", "holders", "failover"}

// Run makes the measurements. The report is complete as far as it got when an
// error is returned.
func Run(ctx context.Context, c Config) (*Report, error) {
	r := &Report{
		When: time.Now().UTC(), Machine: fmt.Sprintf("%d CPUs, %s/%s", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH),
		Go: runtime.Version(), Nodes: c.Nodes, Duration: c.Duration.String(),
	}
	var err error
	if c.wants("grants") || c.wants("exchanges") || c.wants("etcd") || c.wants("checks") || c.wants("checkmany") || c.wants("leased") {
		err = c.throughput(ctx, r)
	}
	if err == nil && c.wants("holders") {
		err = c.holders(ctx, r)
	}
	if err == nil && c.wants("failover") {
		err = c.failover(ctx, r)
	}
	return r, err
}

func (c *Config) wants(name string) bool {
	if len(c.Only) == 0 {
		return true
	}
	for _, n := range c.Only {
		if n == name {
			return true
		}
	}
	return false
}

func (c *Config) say(format string, args ...any) { fmt.Fprintf(c.Progress, format+"\n", args...) }

// Callers of the measurements, as the published targets have them.
const (
	grantCallers   = 16
	grantBudgets   = 100
	singleCallers  = 64
	etcdCallers    = 64
	benchPolicy    = "bench"
	fewHolders     = 100
	keysPerCaller  = 1000
	measuredWindow = time.Hour
)

// Loads of checks, by the name of the measurement.
var checkings = []struct {
	name string
	checking
	row, unit, note string
}{
	{"checks", checking{strictPolicy, checkCallers, 1, strictKeys, 1}, "strict checks", "checks/s", "gcra, callers at all nodes"},
	{"checkmany", checking{strictPolicy, batchCallers, keysPerBatch, strictKeys, 1}, "strict checks in batches", "keys/s", "gcra, CheckMany of 100 keys, callers at all nodes"},
	{"leased", checking{leasedPolicy, checkCallers, 1, leasedKeys, leasedKeys}, "leased checks", "checks/s", "twoTier, 200 keys, batch 10000, callers at all nodes"},
}

// throughput compares grants, exchanges and checks with etcd's puts, round by round.
func (c *Config) throughput(ctx context.Context, r *Report) error {
	cl, err := startCluster(ctx, c, "throughput")
	if err != nil {
		return err
	}
	defer cl.stop()
	var etcd *etcdCluster
	if c.wants("etcd") {
		if c.Etcd == "" {
			r.Skipped = append(r.Skipped, "etcd: no etcd program found (Debian's package is etcd-server)")
		} else if etcd, err = startEtcd(ctx, c); err != nil {
			return err
		} else {
			defer etcd.stop()
		}
	}
	var grants, singles, puts []sample
	checked := make([][]sample, len(checkings))
	for round := range c.Rounds {
		c.say("round %d of %d", round+1, c.Rounds)
		if c.wants("grants") {
			s, err := cl.load(ctx, load{callers: grantCallers, budgets: grantBudgets, duration: c.Duration})
			if err != nil {
				return fmt.Errorf("grants: %w", err)
			}
			grants = append(grants, s)
		}
		if c.wants("exchanges") {
			s, err := cl.load(ctx, load{callers: singleCallers, budgets: 1, duration: c.Duration})
			if err != nil {
				return fmt.Errorf("exchanges: %w", err)
			}
			singles = append(singles, s)
		}
		for i, m := range checkings {
			if !c.wants(m.name) {
				continue
			}
			s, err := cl.checks(ctx, m.checking, c.Duration)
			if err != nil {
				return fmt.Errorf("%s: %w", m.name, err)
			}
			checked[i] = append(checked[i], s)
		}
		if etcd != nil {
			s, err := etcd.load(ctx, etcdCallers, c.Duration)
			if err != nil {
				return fmt.Errorf("etcd: %w", err)
			}
			puts = append(puts, s)
		}
	}
	put := 0.0
	if len(puts) > 0 {
		m := middle(puts)
		put = m.rate()
		r.Rows = append(r.Rows, m.row("etcd durable puts", "puts/s", 1, fmt.Sprintf("%d callers, one put per grant", etcdCallers)))
	}
	if len(grants) > 0 {
		m := middle(grants)
		r.Rows = append(r.Rows, m.row("budget grants", "grants/s", grantBudgets,
			fmt.Sprintf("%d callers, %d budgets per exchange%s", grantCallers, grantBudgets, ratio(m.rate()*grantBudgets, put))))
	}
	if len(singles) > 0 {
		m := middle(singles)
		r.Rows = append(r.Rows, m.row("single-budget exchanges", "exchanges/s", 1,
			fmt.Sprintf("%d callers%s", singleCallers, ratio(m.rate(), put))))
	}
	for i, m := range checkings {
		if len(checked[i]) > 0 {
			s := middle(checked[i])
			r.Rows = append(r.Rows, s.row(m.row, m.unit, m.keys, fmt.Sprintf("%d callers, %s%s", m.callers, m.note, ratio(s.rate()*float64(m.keys), put))))
		}
	}
	return nil
}

func ratio(rate, put float64) string {
	if put == 0 {
		return ""
	}
	return fmt.Sprintf("; %.1f times etcd", rate/put)
}

// holders compares the cost of an exchange when few and when many holders of one
// budget are known.
func (c *Config) holders(ctx context.Context, r *Report) error {
	var few, many []sample
	for _, n := range []int{fewHolders, c.Holders} {
		s, err := c.knownHolders(ctx, n)
		if err != nil {
			return fmt.Errorf("%d holders: %w", n, err)
		}
		if n == fewHolders {
			few = s
		} else {
			many = s
		}
	}
	a, b := middle(few), middle(many)
	r.Rows = append(r.Rows,
		a.row(fmt.Sprintf("exchanges, %d holders known", fewHolders), "exchanges/s", 1, "one budget"),
		b.row(fmt.Sprintf("exchanges, %d holders known", c.Holders), "exchanges/s", 1,
			fmt.Sprintf("one budget; cost %.2f times that of %d (server CPU)", b.cpuPerOp()/a.cpuPerOp(), fewHolders)))
	return nil
}

// knownHolders measures exchanges of one budget with n holders, who take turns.
func (c *Config) knownHolders(ctx context.Context, n int) (all []sample, err error) {
	cl, err := startCluster(ctx, c, fmt.Sprintf("holders-%d", n))
	if err != nil {
		return nil, err
	}
	defer cl.stop()
	c.say("making %d holders of one budget known", n)
	callers, closeAll, err := cl.introduce(ctx, load{callers: singleCallers, budgets: 1, holders: n})
	if err != nil {
		return nil, err
	}
	defer closeAll()
	for range c.Rounds {
		s, err := cl.measure(ctx, callers, c.Duration)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

var errNoSamples = errors.New("nothing was measured")
