package nemesis

import (
	"fmt"
	"slices"
	"testing"
)

func someNames(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("n%d", i+1)
	}
	return out
}

// hears returns whom a node hears under a grudge, itself among them.
func hears(g grudge, nodes []string, node string) []string {
	return slices.DeleteFunc(slices.Clone(nodes), func(from string) bool { return g[from][node] })
}

func TestRing(t *testing.T) {
	for n := 3; n <= 9; n++ {
		nodes := someNames(n)
		g := ring(nodes)
		seen := make(map[string]string)
		for _, node := range nodes {
			heard := hears(g, nodes, node)
			if len(heard) != n/2+1 || !slices.Contains(heard, node) {
				t.Errorf("%d nodes: %s hears %v, want a majority and itself", n, node, heard)
			}
			key := fmt.Sprint(heard)
			if other := seen[key]; other != "" {
				t.Errorf("%d nodes: %s and %s hear the same majority", n, node, other)
			}
			seen[key] = node
		}
	}
}

func TestBridge(t *testing.T) {
	for n := 3; n <= 9; n++ {
		nodes := someNames(n)
		g := bridge(nodes)
		for _, node := range nodes {
			heard := hears(g, nodes, node)
			if node == nodes[0] && len(heard) != n {
				t.Errorf("%d nodes: the bridge hears %v, want all", n, heard)
			}
			if node != nodes[0] && (len(heard) == n || !slices.Contains(heard, nodes[0])) {
				t.Errorf("%d nodes: %s hears %v, want the bridge and its own half", n, node, heard)
			}
		}
	}
}

func TestGrudges(t *testing.T) {
	want := map[string]string{
		"one":    "n1|n2 n1|n3 n1|n4 n1|n5",
		"halves": "n1|n4 n1|n5 n2|n4 n2|n5 n3|n4 n3|n5",
		"ring":   "n1|n3 n1|n4 n2|n4 n2|n5 n3|n5",
		"bridge": "n2|n4 n2|n5 n3|n4 n3|n5",
		"deaf":   "n2>n1 n3>n1 n4>n1 n5>n1",
		"mute":   "n1>n2 n1>n3 n1>n4 n1>n5",
	}
	for _, s := range splits() {
		if got := s.draw(someNames(5)).String(); got != want[s.name] {
			t.Errorf("%s cuts %s, want %s", s.name, got, want[s.name])
		}
	}
	if got, want := ring(someNames(3)).String(), "n1>n2 n2>n3 n3>n1"; got != want {
		t.Errorf("a ring of three cuts %s, want %s", got, want)
	}
}
