package real

import (
	"strings"
	"testing"

	"github.com/tkcoord/tkcoord/jepsen/model"
)

func explore(t *testing.T, w World, set func(*model.Options)) *model.Result {
	t.Helper()
	if err := w.Validate(); err != nil {
		t.Fatal(err)
	}
	opt := model.DefaultOptions()
	opt.Symmetry = true
	if set != nil {
		set(&opt)
	}
	res, err := model.Explore(t.Context(), &w, opt)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// Each rule, broken alone, is refuted by a short run; the same world with the
// rule has none.
func TestRefutations(t *testing.T) {
	for _, r := range Refutations() {
		t.Run(string(r.Rule), func(t *testing.T) {
			t.Parallel()
			broken := r.Broken()
			res := explore(t, broken, nil)
			if res.Violation == nil {
				t.Fatalf("not refuted: %v", res)
			}
			if n := len(res.Violation.Path.Actions); n != r.Steps || !strings.HasPrefix(res.Violation.Violation, r.Breaks) {
				t.Errorf("refuted in %d steps, want %d that break %q:\n%v", n, r.Steps, r.Breaks, res.Violation)
			}
			if _, err := model.Replay(&broken, res.Violation.Path); err != nil {
				t.Errorf("the counterexample does not replay: %v", err)
			}
			intact := explore(t, r.Intact, nil)
			if !intact.Complete() || intact.Violation != nil {
				t.Errorf("the intact world: %v\n%v", intact, intact.Violation)
			}
			t.Logf("%d steps after %d states; intact %d states", len(res.Violation.Path.Actions), res.Distinct, intact.Distinct)
		})
	}
}

func TestEveryRuleIsRefuted(t *testing.T) {
	var rules []Rule
	for _, r := range Refutations() {
		rules = append(rules, r.Rule)
	}
	for _, rule := range Rules() {
		if !strings.Contains(strings.Join(names(rules), " "), string(rule)) {
			t.Errorf("nothing refutes a world without %q", rule)
		}
	}
}

func names(rules []Rule) []string {
	var list []string
	for _, r := range rules {
		list = append(list, string(r))
	}
	return list
}
