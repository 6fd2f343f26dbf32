package cli

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/tkcoord/tkcoord/jepsen/model"
	"github.com/tkcoord/tkcoord/jepsen/model/reference"
)

// execute runs a command line and returns what it printed.
func execute(t *testing.T, line string) (string, error) {
	t.Helper()
	var out, progress strings.Builder
	c := Command()
	c.SetArgs(strings.Fields(line))
	c.SetOut(&out)
	c.SetErr(&progress)
	err := c.ExecuteContext(t.Context())
	return out.String(), err
}

func TestCommands(t *testing.T) {
	for _, tt := range []struct {
		line string
		code int
		want []string // parts of the output
	}{
		{"run leasing --nodes 2 --limit 4 --batch 2 --variant carryover", 0,
			[]string{"distinct      31", "generated     113", "depth         10", "max admitted  6", "Return 0"}},
		{"run leasing --tighten 1", 1, []string{"admitted 4 > 3"}},
		{"run federated --regions 3 --limit 6 --batch 3 --return", 0, []string{"distinct      43"}},
		{"run federated --tighten 1", 1, []string{"Lease(region 1)", "budget=", "escrow="}},
		{"run heartbeat --nodes 3 --limit 6 --target demand", 0, []string{"distinct      2547"}},
		{"run heartbeat --hold share --all", 1, []string{"distinct      64", "violations    6", "InflightBound: Σ inflight 5 > 4"}},
		{"run handoff", 0, []string{"distinct      12387", "depth         26"}},
		{"run handoff --symmetry --rule last", 1, []string{"InflightBound"}},
		{"run handoff --k 3 --max-states 1000", 3, []string{"stopped       states"}},
		{"run handoff --timeout 0", 3, []string{"stopped       context"}},
		{"run real --edges 1 --leaders 1", 0, []string{"distinct      553", "stopped       exhausted"}},
		{"run real --edges 1 --leaders 1 --rule no-guard", 1, []string{"G1: admitted in [0, 10)", "--rule=no-guard --path 0:"}},
		{"run real --ci --max-depth 4", 3, []string{"stopped       depth"}},
		{"run real --rule none", 2, nil},
		{"run real --ci --long", 2, nil},
		{"run doors --traffic slots,tokens", 0, []string{"distinct      1271", "stopped       exhausted"}},
		{"run doors --traffic slots --rule slot-no-guard", 1, []string{"Slots: 2 hold one, the ceiling is 1", "--traffic=slots --rule=slot-no-guard --path 0:"}},
		{"run doors --ci --max-depth 3", 3, []string{"stopped       depth"}},
		{"run doors --traffic cheese", 2, nil},
		{"run doors --traffic slots,slots", 2, nil},
		{"replay real --edges=1 --wants=1,2 --path 0:16777216", 0, []string{"a asks for 1"}},
		{"run heartbeat --symmetry", 2, nil},
		{"run leasing --variant sideways", 2, nil},
		{"run leasing --nodes 0", 2, nil},
		{"run handoff --rule none", 2, nil},
		{"run handoff -o yaml", 2, nil},
		{"run handoff stray", 2, nil},
		{"replay leasing --path 0:x", 2, nil},
		{"replay leasing", 2, nil},
		{"replay leasing --path 0:16777216", 0, []string{"Lease(node 1)"}},
	} {
		t.Run(tt.line, func(t *testing.T) {
			out, err := execute(t, tt.line)
			if code := ExitCode(err); code != tt.code {
				t.Errorf("exit code %d (%v), want %d", code, err, tt.code)
			}
			for _, want := range tt.want {
				if !strings.Contains(out, want) {
					t.Errorf("%q is not in the output:\n%s", want, out)
				}
			}
		})
	}
}

// The command that run prints for a violation shows the same run again.
func TestRunIsReplayed(t *testing.T) {
	for _, line := range []string{
		"run leasing --variant carryover --tighten 1",
		"run heartbeat --hold none",
		"run handoff --torn --symmetry",
	} {
		out, err := execute(t, line)
		if !errors.Is(err, ErrViolated) {
			t.Fatalf("%s: %v", line, err)
		}
		rest, again, found := strings.Cut(out, "\nagain: tkmodel ")
		if !found {
			t.Fatalf("%s does not say how to replay:\n%s", line, out)
		}
		_, transcript, _ := strings.Cut(rest, "\n\n")
		replayed, err := execute(t, again)
		if !errors.Is(err, ErrViolated) || replayed != transcript {
			t.Errorf("%s: %v\n%swant\n%s", again, err, replayed, transcript)
		}
	}
}

func TestJSON(t *testing.T) {
	out, err := execute(t, "run leasing --nodes 3 --limit 7 --batch 3 --return -o json")
	if err != nil {
		t.Fatal(err)
	}
	var r run
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	if r.Result.Distinct != 62 || r.Result.Generated != 382 || !r.Result.Complete() {
		t.Errorf("%v, want 62 distinct, 382 generated", r.Result)
	}
	out, err = execute(t, "replay leasing --variant carryover --tighten 6 --path 0:16777216 -o json")
	var tr model.Trace
	if jsonErr := json.Unmarshal([]byte(out), &tr); !errors.Is(err, ErrViolated) || jsonErr != nil {
		t.Fatalf("%v, %v", err, jsonErr)
	}
	if len(tr.Steps) != 2 || tr.Path.String() != "0:16777216" || tr.Violation == "" {
		t.Errorf("trace %+v", tr)
	}
}

func TestTables(t *testing.T) {
	out, err := execute(t, "tables --short -o json")
	if err != nil {
		t.Fatal(err)
	}
	var rows []compared
	if err := json.Unmarshal([]byte(out), &rows); err != nil {
		t.Fatal(err)
	}
	if want := len(reference.Tables()) - 3; len(rows) != want {
		t.Errorf("%d rows, want all but the 3 of more than 100,000 states, %d", len(rows), want)
	}
	rows[0].Cells[0].Got++
	rows[0].OK = false
	if err := verdict(rows); ExitCode(err) != 1 {
		t.Errorf("a wrong number ends with %v", err)
	}
	rows[1].Stop = model.StopStates
	if err := verdict(rows); ExitCode(err) != 3 {
		t.Errorf("an unfinished row ends with %v", err)
	}
}
