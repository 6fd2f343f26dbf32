package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// print writes what ran and what came of it.
func (r *round) print(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "\nclient\tversion\tcluster\tchecks\tpasses\tcalls\tinterrupted\tlongest call\tlongest outage\t\n")
	for _, v := range r.verdicts {
		if v == nil {
			continue
		}
		how := "healthy"
		if v.mode == failover {
			how = "leader killed"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%d of %d\t%d\t%d\t%d\t%s\t%s\t%s\n", v.client, v.version, how, v.passed, v.cases, v.passes, v.calls, v.interrupted, short(v.longest), short(v.outage), word(v.problems))
	}
	for _, s := range r.skipped {
		fmt.Fprintf(t, "skipped: %s\n", s)
	}
	if len(r.tallies) > 0 {
		fmt.Fprintf(t, "\nshared by all\tlimit\tadmitted\tunknown\tdenied calls\t\n")
	}
	for _, y := range r.tallies {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%s\n", y.policy, y.limit, y.admitted, y.unknown, y.denied, word(y.wrong))
	}
	_ = t.Flush()
	fmt.Fprintln(w)
	for _, v := range r.verdicts {
		if v == nil {
			continue
		}
		for _, p := range v.problems {
			fmt.Fprintf(w, "failed: %s, %s: %s\n", v.client, v.mode, p)
		}
	}
	for _, y := range r.tallies {
		for _, p := range y.wrong {
			fmt.Fprintf(w, "failed: %s: %s\n", y.policy, p)
		}
	}
	for _, p := range r.problems {
		fmt.Fprintf(w, "failed: %s\n", p)
	}
}

// failed reports whether anything that was printed is wrong.
func (r *round) failed() bool {
	for _, v := range r.verdicts {
		if v == nil || len(v.problems) > 0 {
			return true
		}
	}
	for _, y := range r.tallies {
		if len(y.wrong) > 0 {
			return true
		}
	}
	return len(r.problems) > 0
}

func word(problems []string) string {
	if len(problems) > 0 {
		return "FAILED"
	}
	return "ok"
}

func short(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}
