package check

import (
	"maps"
	"slices"
	"strings"
)

// replicas checks I9: the comparison at the end of the run, every comparison
// that the nodes made themselves, and all snapshots, against the replay.
func replicas(x *Case, p *problems) {
	p.take(x.Story.replica)
	for _, a := range x.Story.Alarms {
		if a.Kind == "digest" {
			p.add(Problem{}, "the cluster raised an alarm against %s: %s", a.Node, a.Detail)
		}
	}
	p.stat("snapshots compared", "%d", len(x.Story.Log.Snapshots))
	p.stat("digests in the log", "%d", len(x.Story.Digests))
	if x.Digests == nil {
		p.add(Problem{}, "the replicas were not compared at the end")
		return
	}
	want, known := x.Story.Digests[x.Digests.Index]
	if !known && !x.Story.missing(x.Digests.Index) {
		p.add(Problem{Index: x.Digests.Index}, "the replicas were compared at entry %d, which the log does not have", x.Digests.Index)
	}
	for _, node := range x.Nodes {
		if _, ok := x.Digests.Nodes[node]; !ok {
			p.add(Problem{Index: x.Digests.Index}, "%s took no part in the comparison at the end", node)
		}
	}
	for _, node := range slices.Sorted(maps.Keys(x.Digests.Nodes)) {
		got := x.Digests.Nodes[node]
		if want == "" {
			want = got
		}
		switch {
		case strings.HasPrefix(got, "error"), got == "":
			p.add(Problem{Index: x.Digests.Index}, "%s did not tell its digest at entry %d: %s", node, x.Digests.Index, got)
		case got != want:
			p.add(Problem{Index: x.Digests.Index}, "%s has digest %.16s at entry %d, the replay %.16s", node, got, x.Digests.Index, want)
		}
	}
}
