package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// tryPolicies are of all kinds that a command tries.
const tryPolicies = `version: 1
limiters:
  api: { strategy: fixedWindow, limit: 3, period: 1h }
  bucket: { strategy: tokenBucket, capacity: 4, refillPerSec: 0.001 }
  tokens:
    tokenBudget: { budget: 100, windowMs: 3600000 }
  slots:
    concurrency: { minLimit: 1, maxLimit: 1 }
  global:
    strategy: fixedWindow
    limit: 10
    period: 1h
    federated: { batch: 1 }
`

// on runs a command line against all nodes of the cluster.
func (c *realCluster) on(args ...string) result {
	c.t.Helper()
	var addrs []string
	for _, m := range c.members {
		addrs = append(addrs, m.addresses().GRPC)
	}
	return tkcoord(c.t, append(args, "--addr", strings.Join(addrs, ","))...)
}

func (r result) json(t testing.TB, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.stdout), into); err != nil {
		t.Fatalf("%v: %s", err, r.stdout)
	}
}

// lines returns the words of each line of a table.
func (r result) lines() (all [][]string) {
	for l := range strings.Lines(r.stdout) {
		all = append(all, strings.Fields(l))
	}
	return all
}

func TestTry(t *testing.T) {
	c := startReal(t, 1, tryPolicies)
	t.Run("check", func(t *testing.T) {
		r := c.on("check", "api", "a")
		r.wants(t, exitDone, "")
		if l := r.lines(); len(l) != 2 || l[0][0] != "ALLOWED" || strings.Join(l[1][:3], " ") != "yes 3 2" || l[1][len(l[1])-1] != "cluster" {
			t.Errorf("got %s", r.stdout)
		}
		r = c.on("check", "api", "b", "--repeat", "5", "-o", "json")
		r.wants(t, exitNo, "")
		var got checkReport
		if r.json(t, &got); got.Allowed != 3 || got.Denied != 2 || len(got.Decisions) != 5 || got.Decisions[4].RetryAfterMs <= 0 || got.Decisions[0].ResetAtMs < time.Now().UnixMilli() {
			t.Errorf("got %+v", got)
		}
		c.on("check", "bucket", "a", "-n", "5").wants(t, exitNo, "")
		c.on("check", "api", "", "-n", "3").wants(t, exitDone, "") // the empty key is one
		c.on("check", "none", "a").wants(t, exitFailed, `tkcoord: check: unknown policy "none"; configured policies: "api", "bucket", "global", "tokens", "slots" \(tkcoord policy get .*\)\n`)
		c.on("check", "tokens", "a").wants(t, exitFailed, `tkcoord: check: policy "tokens" does not support check\n`)
		c.on("check", "api", strings.Repeat("k", 1025)).wants(t, exitFailed, `tkcoord: check: key: got 1025 bytes, want at most 1024\n`)
		c.on("check", "api", "a", "-n", "0").wants(t, exitUsage, `tkcoord: check: -n: got 0, want 1 to 9007199254740991 \(.*\)\n`)
		c.on("check", "api").wants(t, exitUsage, `tkcoord: check: want POLICY and KEY, got "api" \(.*\)\n`)
		c.on("check", "--local", "bucket", "a").wants(t, exitFailed, `tkcoord: check: .*bucket.*\n`)
	})
	t.Run("peek and forecast", func(t *testing.T) {
		c.on("peek", "api", "b").wants(t, exitNo, "")
		var d decisionReport
		if c.on("peek", "api", "new", "-o", "json").json(t, &d); !d.Allowed || d.Remaining != 3 {
			t.Errorf("got %+v", d)
		}
		r := c.on("forecast", "api", "new", "-n", "2")
		r.wants(t, exitDone, "")
		if l := r.lines(); len(l) != 2 || l[1][0] != "1" {
			t.Errorf("got %s", r.stdout)
		}
		var f forecastReport
		if c.on("forecast", "api", "b", "-o", "json").json(t, &f); f.SpendableNow != 0 || f.FullAtMs < time.Now().UnixMilli() {
			t.Errorf("got %+v", f)
		}
		c.on("forecast", "global", "b").wants(t, exitFailed, `tkcoord: forecast: policy "global" does not support forecast\n`)
	})
	t.Run("debit", func(t *testing.T) {
		var d decisionReport
		if c.on("debit", "tokens", "a", "-n", "150", "-o", "json").json(t, &d); !d.Allowed || d.Remaining != 0 || d.Limit != 100 {
			t.Errorf("got %+v", d)
		}
		c.on("debit", "tokens", "a").wants(t, exitNo, "")
		c.on("debit", "api", "a").wants(t, exitFailed, `tkcoord: debit: policy "api" does not support debit\n`)
	})
	t.Run("reserve", func(t *testing.T) {
		var l reserveReport
		if c.on("reserve", "global", "--want", "8", "-o", "json").json(t, &l); l.Capacity != 8 || l.Limit != 10 || l.ExpiryMs < time.Now().UnixMilli() {
			t.Errorf("got %+v", l)
		}
		r := c.on("reserve", "global", "--want", "8")
		r.wants(t, exitDone, "")
		if l := r.lines(); len(l) != 2 || l[1][0] != "2" {
			t.Errorf("got %s", r.stdout)
		}
		c.on("reserve", "global").wants(t, exitNo, "")
		c.on("reserve", "global", "--domain", "other").wants(t, exitDone, "")
		c.on("reserve", "api").wants(t, exitFailed, `tkcoord: reserve: fleet: no leasable policy "api"; leasable policies: "global" \(.*\)\n`)
		c.on("reserve", "global", "--want", "0").wants(t, exitUsage, `tkcoord: reserve: --want: got 0, .*\n`)
	})
}

// A slot that is held longer than it lives is kept by heartbeats, and is free again
// when the command ends.
func TestAdmit(t *testing.T) {
	c := startReal(t, 1, tryPolicies)
	held := make(chan result, 1)
	hold := func() { held <- c.on("admit", "slots", "--hold", "3s", "-o", "json") }
	go hold()
	within(t, "the slot is taken", func() bool {
		select {
		case <-held: // another one, of below, had it
			go hold()
		default:
		}
		r := c.on("admit", "slots", "-o", "json")
		var a admitReport
		r.json(t, &a)
		return r.code == exitNo && a.Axis == "concurrency" && a.LeaseID == "" && a.RetryAfterMs > 0
	})
	r := <-held
	r.wants(t, exitDone, "")
	var a admitReport
	if r.json(t, &a); a.LeaseID == "" || a.Beats < 2 || !a.Released {
		t.Errorf("got %+v", a)
	}
	r = c.on("admit", "slots", "k", "--dropped")
	r.wants(t, exitDone, "")
	if l := r.lines(); len(l) != 3 || l[0][0] != "ADMITTED" || l[1][0] != "yes" || l[2][0] != "released" {
		t.Errorf("got %s", r.stdout)
	}
	c.on("admit", "api").wants(t, exitFailed, `tkcoord: admit: policy "api" does not support admit\n`)
	c.on("admit", "slots", "--hold", "-1s").wants(t, exitUsage, `tkcoord: admit: --hold: got -1s, .*\n`)
	c.on("admit").wants(t, exitUsage, `tkcoord: admit: want POLICY and perhaps KEY, .*\n`)
}

func TestReserveWithoutFederated(t *testing.T) {
	c := startReal(t, 1, onePolicy)
	c.on("reserve", "api").wants(t, exitFailed, `tkcoord: reserve: no policy of the cluster is federated \(.*\)\n`)
}

// What nobody could decide is a failure here, whatever the node's fail mode makes of
// it.
func TestTryLeaderless(t *testing.T) {
	c := startReal(t, 3, tryPolicies)
	var alone *devMember
	for _, m := range c.members {
		if alone == nil && m != c.leader() {
			alone = m
			continue
		}
		if err := c.kill(m); err != nil {
			t.Fatal(err)
		}
	}
	at := alone.addresses().GRPC
	tkcoord(t, "check", "api", "a", "--addr", at, "--timeout", "1s").wants(t, exitFailed,
		`tkcoord: check: nobody could decide; the node denies then \(tkcoord status shows whether there is a leader\)\n`)
	tkcoord(t, "peek", "api", "a", "--addr", at, "--timeout", "1s").wants(t, exitFailed, `tkcoord: peek: .*(no leader is known|no answer in 1s).*\n`)
	tkcoord(t, "debit", "tokens", "a", "--addr", at, "--timeout", "1s").wants(t, exitFailed, `tkcoord: debit: .*(no leader is known|the outcome is not known|no answer in 1s).*\n`)
	lost := refusing(t)
	tkcoord(t, "check", "api", "a", "--addr", lost).wants(t, exitFailed, "tkcoord: check: "+lost+`: connection refused \(.*\)\n`)
}
