package doors

import (
	"fmt"
	"os"
	"regexp"
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

// Every rule is refuted, and the table in the documents says so.
func TestRulesAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../../docs/verification.md")
	if err != nil {
		t.Fatal(err)
	}
	refuted := make(map[Rule]bool)
	for _, r := range Refutations() {
		refuted[r.Rule] = true
		line := regexp.MustCompile(fmt.Sprintf("(?m)^\\| `%s` \\|.*\\| %d \\| %s", r.Rule, r.Steps, regexp.QuoteMeta(r.Breaks)))
		if !line.Match(page) {
			t.Errorf("docs/verification.md has no line for %s in %d steps", r.Rule, r.Steps)
		}
	}
	for _, rule := range Rules() {
		if !refuted[rule] {
			t.Errorf("nothing refutes a world without %s", rule)
		}
	}
}
