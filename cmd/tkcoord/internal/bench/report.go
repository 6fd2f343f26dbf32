package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
)

// WriteTable prints the report for people.
func (r *Report) WriteTable(w io.Writer) error {
	fmt.Fprintf(w, "%s, %s, %d nodes, clients on the same machine, every grant replicated and synced\n\n", r.Machine, r.Go, r.Nodes)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "measurement\tresult\tunit\tp50 ms\tp99 ms\tserver CPU us\tnote")
	for _, row := range r.Rows {
		fmt.Fprintf(t, "%s\t%.0f\t%s\t%.1f\t%.1f\t%.1f\t%s\n", row.Name, row.Value, row.Unit, row.P50, row.P99, row.CPU, row.Note)
	}
	for _, s := range r.Skipped {
		fmt.Fprintf(t, "skipped\t\t\t\t\t\t%s\n", s)
	}
	return t.Flush()
}

// WriteJSON prints the report for programs.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}
