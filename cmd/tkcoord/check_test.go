package main

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestCheckLocal(t *testing.T) {
	c := startCluster(t, 2).withPolicies(strings.ReplaceAll(onePolicy, "100", "3"))
	t.Run("allowed", func(t *testing.T) {
		r := c.on("check", "--local", "api", "a")
		r.wants(t, exitDone, "")
		rows := strings.Split(strings.TrimSpace(r.stdout), "\n")
		if len(rows) != 2 || !strings.HasPrefix(rows[0], "ALLOWED  LIMIT") || !strings.HasPrefix(rows[1], "yes      3      2 ") {
			t.Errorf("got %s", r.stdout)
		}
	})
	t.Run("until denied", func(t *testing.T) {
		r := c.on("check", "--local", "api", "b", "--repeat", "5", "-o", "json")
		r.wants(t, exitNo, "")
		var got checkReport
		if err := json.Unmarshal([]byte(r.stdout), &got); err != nil {
			t.Fatal(err)
		}
		if got.Allowed != 3 || got.Denied != 2 || len(got.Decisions) != 5 {
			t.Errorf("got %+v", got)
		}
		d := got.Decisions[4]
		if d.Allowed || d.Limit != 3 || d.Remaining != 0 || d.RetryAfterMs <= 0 || d.ResetAtMs != int64(noon)+60_000 || d.WindowMs != 60_000 {
			t.Errorf("the last: %+v", d)
		}
	})
	t.Run("more than the limit", func(t *testing.T) { c.on("check", "--local", "api", "c", "-n", "4").wants(t, exitNo, "") })
	t.Run("the rest goes back", func(t *testing.T) {
		_, all := c.machine.Policies()
		if k := all[0].Counters; k.LiveOut != 4 || k.Used != 4 {
			t.Errorf("out %d, used %d, want 4 and 4", k.LiveOut, k.Used)
		}
	})
}

func TestCheckLocalFails(t *testing.T) {
	c := startCluster(t, 2)
	c.on("check", "--local", "api", "a").wants(t, exitFailed, `tkcoord: check: check "a" under policy "api": .*unknown policy \(.*\)\n`)
	c.on("check", "--local", "api", "a", "-n", "0").wants(t, exitUsage, `tkcoord: check: -n: got 0, want 1 to 9007199254740991 \(.*\)\n`)
	c.on("check", "--local", "api", "a", "--repeat", "0").wants(t, exitUsage, `tkcoord: check: --repeat: got 0, .*\n`)
	lost := refusing(t)
	tkcoord(t, "check", "--local", "api", "a", "--addr", lost).wants(t, exitFailed, "tkcoord: check: "+lost+`: connection refused \(.*\)\n`)
	c.set(func() { c.leader = -1 })
	c.on("check", "--local", "api", "a", "--timeout", "300ms").wants(t, exitFailed, `tkcoord: check: no answer in 300ms \(tkcoord status shows whether there is a leader\)\n`)
}
