package reference

import (
	"context"
	"fmt"
	"strconv"

	"github.com/tkcoord/tkcoord/jepsen/model"
)

// A Source says where the numbers of a row come from.
type Source string

const (
	Published Source = "published"  // by the reference, from TLC or its exhaustive twin
	Derived   Source = "re-derived" // from the published actions; at most the maxima were published
)

// A Row is an exploration whose numbers are known.
type Row struct {
	System string
	Size   string
	Rules  string
	Source Source
	Want   Want
	Heavy  bool // more than 100,000 distinct states

	run model.Runner
}

// Want are the numbers of a row. Those that are not known are zero, and are not
// compared.
type Want struct {
	Distinct  uint64
	Generated uint64
	Depth     int
	Admitted  int64 // the largest of each, if the system has it
	Share     int64
	Inflight  int64
}

// A Cell is one number of a row, as explored and as known.
type Cell struct {
	Name string `json:"name"`
	Got  int64  `json:"got"`
	Want int64  `json:"want"`
}

// OK reports whether the numbers agree.
func (c Cell) OK() bool { return c.Got == c.Want }

func (c Cell) String() string {
	if c.OK() {
		return strconv.FormatInt(c.Got, 10)
	}
	return fmt.Sprintf("%d, not %d", c.Got, c.Want)
}

// Name returns what identifies the row.
func (r *Row) Name() string { return r.System + " " + r.Size + " " + r.Rules }

// Explore visits every state of the row, also beyond a violation: the counts of
// refuted rules are those of the whole system.
func (r *Row) Explore(ctx context.Context, opt model.Options) (*model.Result, error) {
	opt.Continue = true
	res, err := r.run.Explore(ctx, opt)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.Name(), err)
	}
	return res, nil
}

// Compare puts the known numbers of the row beside those of a result.
func (r *Row) Compare(res *model.Result) []Cell {
	var cells []Cell
	add := func(name string, got, want int64) {
		if want > 0 {
			cells = append(cells, Cell{name, got, want})
		}
	}
	add("distinct", int64(res.Distinct), int64(r.Want.Distinct))
	add("generated", int64(res.Generated), int64(r.Want.Generated))
	add("depth", int64(res.Depth), int64(r.Want.Depth))
	for _, m := range []Cell{
		{Name: "admitted", Want: r.Want.Admitted},
		{Name: "share", Want: r.Want.Share},
		{Name: "inflight", Want: r.Want.Inflight},
	} {
		got, _ := res.Maximum(m.Name)
		add("max "+m.Name, got, m.Want)
	}
	return cells
}

// Tables returns every row, system by system.
func Tables() []Row {
	var rows []Row
	for _, table := range [][]Row{leasingRows(), federatedRows(), heartbeatRows(), handoffRows()} {
		rows = append(rows, table...)
	}
	for i := range rows {
		rows[i].Heavy = rows[i].Want.Distinct > 100_000
	}
	return rows
}
