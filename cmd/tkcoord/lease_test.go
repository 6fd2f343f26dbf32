package main

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestLease(t *testing.T) {
	c := startCluster(t, 2).withPolicies(onePolicy)
	t.Run("granted", func(t *testing.T) {
		r := c.on("lease", "api", "a", "--want", "40")
		r.wants(t, exitDone, "")
		c.golden(r, "lease")
	})
	t.Run("given back", func(t *testing.T) {
		r := c.on("lease", "api", "b", "--want", "40", "--return")
		r.wants(t, exitDone, "")
		c.golden(r, "lease-return")
	})
	t.Run("json", func(t *testing.T) {
		r := c.on("lease", "api", "c", "--want", "100", "--need", "100", "--return", "-o", "json")
		r.wants(t, exitDone, "")
		c.golden(r, "lease.json")
	})
	t.Run("refused", func(t *testing.T) {
		c.on("lease", "api", "d", "--want", "100", "--need", "100").wants(t, exitDone, "")
		r := c.on("lease", "api", "d", "--want", "10")
		r.wants(t, exitNo, "")
		c.golden(r, "lease-refused")
	})
	t.Run("unknown policy", func(t *testing.T) {
		c.on("lease", "nope", "a", "--want", "1").wants(t, exitFailed,
			`tkcoord: lease: policy: "nope": unknown policy \(tkcoord policy get --counters lists the policies\)\n`)
	})
}

func TestLeaseHold(t *testing.T) {
	c := startCluster(t, 1).withPolicies(onePolicy)
	addr := c.nodes[0].addr
	t.Run("for a while", func(t *testing.T) {
		start := time.Now()
		r := tkcoord(t, "lease", "api", "a", "--want", "10", "--hold", "150ms", "-o", "json", "--addr", addr)
		r.wants(t, exitDone, "")
		if took := time.Since(start); took < 150*time.Millisecond {
			t.Errorf("gave back after %v", took)
		}
		wantReturned(t, r, 10)
	})
	t.Run("until interrupted", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		var stdout, stderr strings.Builder
		code := run(ctx, []string{"lease", "api", "b", "--want", "10", "--hold", "1h", "-o", "json", "--addr", addr}, nil, &stdout, &stderr)
		r := result{code, stdout.String(), stderr.String()}
		r.wants(t, exitDone, "")
		wantReturned(t, r, 10)
	})
	t.Run("past the window's end", func(t *testing.T) {
		time.AfterFunc(50*time.Millisecond, func() { c.set(func() { c.now += 60_000 }) })
		wantReturned(t, tkcoord(t, "lease", "api", "c", "--want", "10", "--hold", "200ms", "-o", "json", "--addr", addr), 0)
	})
}

func wantReturned(t testing.TB, r result, want int64) {
	t.Helper()
	var got struct{ Granted, Returned int64 }
	if err := json.Unmarshal([]byte(r.stdout), &got); err != nil {
		t.Fatalf("%v in %s", err, r.stdout)
	}
	if got.Granted != 10 || got.Returned != want {
		t.Errorf("granted %d, returned %d, want 10 and %d", got.Granted, got.Returned, want)
	}
}
