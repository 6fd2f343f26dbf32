package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/tkcoord/tkcoord/fsm"
)

func TestStatus(t *testing.T) {
	c := startCluster(t, 4).withPolicies(onePolicy)
	t.Run("healthy", func(t *testing.T) {
		r := c.on("status")
		r.wants(t, exitDone, "")
		c.golden(r, "status")
	})
	t.Run("one address is enough", func(t *testing.T) {
		if r := tkcoord(t, "status", "--addr", c.nodes[3].addr); r.stdout != c.on("status").stdout {
			t.Errorf("got %s", r.stdout)
		}
	})
	t.Run("json", func(t *testing.T) {
		r := c.on("status", "-o", "json")
		r.wants(t, exitDone, "")
		c.golden(r, "status.json")
	})
}

func TestStatusInTrouble(t *testing.T) {
	c := startCluster(t, 3)
	c.must(fsm.Alarm{Kind: "digest", Node: "n2", Detail: "its state differs at index 2"})
	c.nodes[2].server.Stop()
	t.Run("a node is down", func(t *testing.T) {
		r := tkcoord(t, "status", "--addr", c.nodes[1].addr)
		r.wants(t, exitDone, "")
		c.golden(r, "status-trouble")
	})
	t.Run("json", func(t *testing.T) {
		c.golden(c.on("status", "-o", "json"), "status-trouble.json")
	})
	t.Run("no leader", func(t *testing.T) {
		c.set(func() { c.leader = -1 })
		c.golden(c.on("status"), "status-leaderless")
	})
	t.Run("not formed", func(t *testing.T) {
		young := startCluster(t, 1)
		young.set(func() { young.machine, young.leader = fsm.New(), -1 })
		young.golden(young.on("status"), "status-unformed")
	})
	t.Run("an address that is no member", func(t *testing.T) {
		c.set(func() { c.leader = 0 })
		other := startCluster(t, 1)
		other.machine = fsm.New()
		other.index = 0
		other.must(fsm.Genesis{ClusterID: "other", Settings: fsm.DefaultSettings()})
		lost := refusing(t)
		r := tkcoord(t, "status", "-o", "json", "--addr", strings.Join([]string{lost, c.nodes[0].addr, other.nodes[0].addr}, ","))
		r.wants(t, exitDone, "")
		var got struct{ Problems []string }
		if err := json.Unmarshal([]byte(r.stdout), &got); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{lost + " did not answer: connection refused", other.nodes[0].addr + " answers for another cluster, demo (other)"} {
			if !strings.Contains(strings.Join(got.Problems, "\n"), want) {
				t.Errorf("problems: %q, want among them %q", got.Problems, want)
			}
		}
	})
}
