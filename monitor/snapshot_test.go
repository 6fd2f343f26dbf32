package monitor

import (
	"encoding/json"
	"flag"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tkcoord/tkcoord/strategy"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != string(got) {
		t.Errorf("%s differs:\n%s", file, got)
	}
}

// twoNodes returns what two nodes saw.
func twoNodes() (a, b *Hub) {
	now := int64(2*Window + 500)
	a, b = newHub(&now), newHub(&now)
	a.Decision("api", "gcra", "ann", 1, strategy.Decision{Allowed: true, Limit: 10, Remaining: 9}, 2*time.Millisecond)
	a.Decision("api", "gcra", "bob", 1, strategy.Decision{Limit: 10, ResetAt: 120_900, RetryAfter: 400}, 4*time.Millisecond)
	b.Decision("api", "gcra", "bob", 1, strategy.Decision{Limit: 10, ResetAt: 120_900, RetryAfter: 400}, 6*time.Millisecond)
	b.Decision("deleted", "gcra", "zoe", 1, allow, 0)
	b.Admission(Admission{Policy: "jobs", Key: "cem", Decision: strategy.Decision{Limit: 3, ResetAt: 120_500, RetryAfter: 1}, Lane: Concurrency, Took: time.Millisecond})
	return a, b
}

func twoNodesView() View {
	reachable := true
	return View{
		At: 2*Window + 600, Node: "a", Missing: []Missing{{"c", "deadline exceeded"}},
		Policies: []Configured{{"jobs", "gcra", Admitter}, {"api", "gcra", Limiter}, {"idle", "quota", Limiter}},
		Guards:   []Guard{{Name: "jobs", Limit: 3, Inflight: 3, RTTNoload: Number(math.Inf(1)), LastRTT: Number(math.NaN())}},
		Health:   &Health{Backend: "raft", FailMode: "closed", Reachable: &reachable},
		Forecast: func(policy, key string) (strategy.Forecast, bool) {
			return strategy.Forecast{SpendableNow: 1, NextReplenishAt: 2, FullAt: 3}, policy == "api" && key == "bob"
		},
	}
}

// The JSON is that of the contract, in its order, with null for what is no number.
func TestSnapshotJSON(t *testing.T) {
	a, b := twoNodes()
	s := NewSnapshot(twoNodesView(), []Report{a.Report("a"), b.Report("b")})
	got, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/snapshot.json", append(got, '\n'))
}

// Policies that do not fit are left out, the least busy first, and are counted.
func TestBusiest(t *testing.T) {
	for _, c := range []struct {
		n    int
		want string
	}{{5, "abcd"}, {4, "abcd"}, {3, "abd"}, {2, "ad"}, {1, "d"}} {
		var s Snapshot
		for i, total := range []int64{5, 1, 1, 7} {
			s.Policies = append(s.Policies, PolicyView{Name: string(rune('a' + i)), Analytics: Analytics{Total: total}})
		}
		s.Busiest(c.n)
		got := ""
		for _, p := range s.Policies {
			got += p.Name
		}
		if got != c.want || s.Meta.OmittedPolicies != 4-len(c.want) {
			t.Errorf("busiest %d: %s, %d left out; want %s", c.n, got, s.Meta.OmittedPolicies, c.want)
		}
	}
}

// Counters for Prometheus go on where a window ends, and no key is among them.
func TestProm(t *testing.T) {
	now := int64(Window)
	h := newHub(&now)
	guards := []Guard{{Name: "jobs", Limit: 2.5, Inflight: 2}}
	configured := []Configured{{"jobs", "", Admitter}, {`a"\` + "\n", "gcra", Limiter}, {"idle", "quota", Limiter}}
	h.Decision(`a"\`+"\n", "gcra", "secret-key", 1, allow, 1500*time.Microsecond)
	h.Admission(Admission{Policy: "jobs", Key: "secret-key", Decision: deny, Lane: Concurrency, Took: time.Millisecond})
	h.Decision("deleted", "gcra", "secret-key", 1, allow, 0)
	now += Window
	h.Decision(`a"\`+"\n", "gcra", "secret-key", 1, deny, 2500*time.Microsecond)
	var b strings.Builder
	if err := h.WriteProm(&b, configured, guards); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/metrics.txt", []byte(b.String()))
	if strings.Contains(b.String(), "secret") {
		t.Error("a key is in the metrics")
	}
	b.Reset()
	if err := New(Config{Now: func() int64 { return 0 }}).WriteProm(&b, nil, nil); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(b.String(), "\n"); got != 2*len(AllSeries) {
		t.Errorf("without samples there are %d lines of HELP and TYPE, want %d", got, 2*len(AllSeries))
	}
}
