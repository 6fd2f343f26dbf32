package api

import (
	"os"
	"strings"
	"testing"

	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/policy"
	"google.golang.org/protobuf/proto"
)

// Policies of every kind come back from the wire as they were.
func TestPolicyOnTheWire(t *testing.T) {
	data, err := os.ReadFile("../policy/testdata/good/every-kind.yaml")
	if err != nil {
		t.Fatal(err)
	}
	f, err := policy.Parse("every-kind.yaml", data)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[policy.Kind]bool{}
	for _, p := range f.Policies {
		kinds[p.Kind] = true
		wire, err := proto.Marshal(PolicyToWire(p))
		if err != nil {
			t.Fatal(err)
		}
		var w tkcoordv1.Policy
		if err := proto.Unmarshal(wire, &w); err != nil {
			t.Fatal(err)
		}
		if got, err := PolicyFromWire(&w); err != nil || got != p {
			t.Errorf("sent %+v, got %+v, %v", p, got, err)
		}
	}
	if len(kinds) != int(policy.Guarded)+1 {
		t.Errorf("the file has kinds %v, want all", kinds)
	}
}

// What the translation cannot express is an error; the rest is left to Validate.
func TestPolicyFromWireRefuses(t *testing.T) {
	fixed := &tkcoordv1.Cadence{Kind: "fixed", PeriodMs: 1000}
	for _, tc := range []struct {
		name string
		w    *tkcoordv1.Policy
		want string
	}{
		{"as before there were kinds", &tkcoordv1.Policy{Name: "p", Strategy: "fixedWindow", Limit: 1, MaxKeys: 1, Cadence: fixed}, ""},
		{"nothing", nil, "a name must have"},
		{"kind", &tkcoordv1.Policy{Kind: "Plain"}, `kind: got "Plain", want one of plain, twoTier, federated, meter, guarded`},
		{"cadence", &tkcoordv1.Policy{Cadence: &tkcoordv1.Cadence{Kind: "hourly"}}, `cadence.kind: got "hourly", want one of fixed, `},
		{"no cadence", &tkcoordv1.Policy{Name: "p", Strategy: "fixedWindow", Limit: 1, MaxKeys: 1}, "unknown cadence kind 0"},
		{"a rate beside a ledger", &tkcoordv1.Policy{Name: "p", Strategy: "fixedWindow", Limit: 1, MaxKeys: 1, Cadence: fixed, Rate: &tkcoordv1.Rate{}}, "rate has parameters"},
		{"negative batch", &tkcoordv1.Policy{Name: "p", Kind: "federated", Strategy: "fixedWindow", Limit: 1, MaxKeys: 1, Cadence: fixed, Batch: -1}, "batch -1 is outside"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, err := PolicyFromWire(tc.w)
			if err == nil {
				err = p.Validate()
			}
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("got %+v, %v, want error %q", p, err, tc.want)
			}
		})
	}
}
