package reference

import (
	"cmp"
	"testing"

	"github.com/tkcoord/tkcoord/jepsen/model"
)

// long reports whether a row generates more than about 300,000 states, eight of
// them for each distinct one where only that number is known.
func long(w Want) bool { return cmp.Or(w.Generated, 8*w.Distinct) > 300_000 }

func TestTables(t *testing.T) {
	for _, row := range Tables() {
		t.Run(row.Name(), func(t *testing.T) {
			if testing.Short() && long(row.Want) {
				t.Skip("long")
			}
			res, err := row.Explore(t.Context(), model.DefaultOptions())
			if err != nil {
				t.Fatal(err)
			}
			if !res.Complete() {
				t.Fatalf("stopped by %s", res.Stop)
			}
			cells := row.Compare(res)
			if len(cells) < 2 {
				t.Errorf("only %d numbers are known", len(cells))
			}
			for _, c := range cells {
				if !c.OK() {
					t.Errorf("%s %v", c.Name, c)
				}
			}
		})
	}
}

func TestTablesAreWhole(t *testing.T) {
	rows := Tables()
	count, names := map[string]int{}, map[string]bool{}
	for _, r := range rows {
		count[r.System]++
		if names[r.Name()] {
			t.Errorf("%s stands twice", r.Name())
		}
		names[r.Name()] = true
	}
	for system, want := range map[string]int{"leasing": 26, "federated": 6, "heartbeat": 12, "handoff": 9} {
		if count[system] != want {
			t.Errorf("%d rows of %s, want %d", count[system], system, want)
		}
	}
}

// A refuted rule must be refuted, and every other one hold.
func TestRefuted(t *testing.T) {
	for _, row := range Tables() {
		if row.Heavy && testing.Short() || row.System == "leasing" || row.System == "federated" {
			continue // of leases only the tightened bounds are refuted
		}
		res, err := row.run.Explore(t.Context(), model.DefaultOptions())
		if err != nil {
			t.Fatal(err)
		}
		refuted := map[string]bool{
			"hold share, equal": true, "hold none, equal": true,
			"rule last, trimmed": true, "rule suffix, trimmed": true, "rule handoff, torn, trimmed": true,
		}[row.Rules]
		if got := res.Stop == model.StopViolation; got != refuted {
			t.Errorf("%s: %v, want refuted: %v", row.Name(), res, refuted)
		}
	}
}

// No state may change when it is written and read.
func TestCodecs(t *testing.T) {
	opt := model.DefaultOptions()
	opt.Verify = true
	for _, row := range Tables() {
		if long(row.Want) {
			continue
		}
		if _, err := row.Explore(t.Context(), opt); err != nil {
			t.Error(err)
		}
	}
}

func TestCorruptStates(t *testing.T) {
	m := &Handoff{Nodes: 2, Limit: 4, K: 2, Rule: RuleHandoff}
	m.Init(func(s *handoffState) {
		data := m.Encode(nil, s)
		if err := m.Decode(m.New(), append(data, 0)); err == nil {
			t.Errorf("%v was read with a byte too many", s)
		}
		if err := m.Decode(m.New(), data[:len(data)-1]); err == nil {
			t.Errorf("%v was read with a byte too few", s)
		}
	})
}
