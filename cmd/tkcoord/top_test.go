package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/tkcoord/tkcoord/monitor"
)

// The view names what is wrong first, then what is busiest, and lets no key
// command the terminal.
func TestTopView(t *testing.T) {
	limit := int64(10)
	s := monitor.Snapshot{
		Meta: monitor.Meta{GeneratedAt: 90_500, NodeID: "a", Nodes: []string{"a", "b"}, Warnings: []string{"node c did not answer\x1b[2J"}},
		Policies: []monitor.PolicyView{
			{Name: "quiet", Kind: "limiter", Strategy: "gcra", Analytics: monitor.Analytics{WindowStartedAt: 60_000}},
			{Name: "busy", Kind: "limiter", Strategy: "quota", Limit: &limit, Latency: &monitor.Latency{P50: 1.5, P99: 20}, Analytics: monitor.Analytics{
				Allowed: 3, Denied: 1, Total: 4, DenyRate: .25, TopDenied: []monitor.KeyCount{{Key: "\x1b[31mann", Count: 1}},
			}},
			{Name: "jobs", Kind: "admitter", Analytics: monitor.Analytics{Denied: 2, Total: 2, DenyRate: 1, TopDenied: []monitor.KeyCount{{Key: "", Count: 2}},
				DeniedByLane: map[string]int64{"rate": 0, "concurrency": 2}}},
		},
		Guards:        []monitor.Guard{{Name: "jobs", Limit: 3, Inflight: 2}},
		RecentDenials: []monitor.RecentDenial{{At: 80_000, Policy: "busy", Key: "old"}, {At: 90_000, Policy: "jobs", Key: strings.Repeat("k", 50), Lane: "concurrency", Node: "b"}},
	}
	raw, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	got, err := newTopView(string(raw))
	if err != nil {
		t.Fatal(err)
	}
	const want = `! node c did not answer�[2J
1970-01-01T00:01:30.500Z  2 nodes heard through a, 30s into the minute

POLICY  KIND      ALLOWED  DENIED  SHARE    LIMIT  P50      P99       BY
busy    quota     3        1       25.0 %   10     1.50 ms  20.00 ms  -
jobs    admitter  0        2       100.0 %  -      -        -         concurrency 2
quiet   gcra      0        0       0.0 %    -      -        -         -

GUARD  HELD  LIMIT  LOWEST ROUND TRIP  LAST
jobs   2     3      -                  -

DENIED MOST  TIMES  POLICY
""           2      jobs
�[31mann     1      busy

NEWEST DENIALS            POLICY  KEY                                       BY           RETRY AFTER  NODE
1970-01-01T00:01:30.000Z  jobs    kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk...  concurrency  0s           b
1970-01-01T00:01:20.000Z  busy    old                                       rate         0s           -
`
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestTop(t *testing.T) {
	c := startObserved(t, 1)
	for range 5 {
		c.check(0, "api", "ann")
	}
	at := c.members[0].addresses().GRPC
	r := tkcoord(t, "top", "--addr", at)
	r.wants(t, exitDone, "")
	if !strings.Contains(r.stdout, "1 node heard through n1") || !strings.Contains(r.stdout, "\nann ") {
		t.Errorf("%s", r.stdout)
	}
	r = tkcoord(t, "top", "--addr", at, "-o", "json")
	r.wants(t, exitDone, "")
	var s monitor.Snapshot
	if err := json.Unmarshal([]byte(r.stdout), &s); err != nil || s.Policies[0].Name != "api" {
		t.Errorf("%v: %s", err, r.stdout)
	}
	tkcoord(t, "top", "--addr", at, "--every", "1ms").wants(t, exitUsage, `.*--every: got 1ms, want at least 200ms.*\n`)
}
