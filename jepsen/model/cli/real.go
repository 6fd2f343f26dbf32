package cli

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/tkcoord/tkcoord/jepsen/model"
	"github.com/tkcoord/tkcoord/jepsen/model/real"
)

func realSystem() system {
	return system{
		name:  "real",
		short: "The real state machine, clock and edges in a small world",
		long: `A cluster and its edges run the real code: entries go through the state machine,
stamps come from the real clock, edges spend real leases. Messages are lost,
repeated, late and overtaken; nodes and edges crash; leaders change while their
clocks differ. --rule breaks one rule, which must be refuted. --ci and --long are
worlds that the other flags start from. docs/verification.md explains them.`,
		example:  "--windows 2 --elections 1 --rule wall-clock",
		symmetry: true,
		define:   defineReal,
		flags:    flagNames(realFlags()),
	}
}

func realFlags() []worldFlag[real.World] {
	return []worldFlag[real.World]{
		{"edges", "processes that spend", func(w *real.World) any { return &w.Edges }},
		{"leaders", "nodes that can lead", func(w *real.World) any { return &w.Leaders }},
		{"windows", "windows that a fast clock passes", func(w *real.World) any { return &w.Windows }},
		{"length", "ms of a window", func(w *real.World) any { return (*int64)(&w.Length) }},
		{"longest", "longest lease in ms", func(w *real.World) any { return (*int64)(&w.Longest) }},
		{"limit", "credits of a window", func(w *real.World) any { return (*int64)(&w.Limit) }},
		{"wants", "how many unspent credits an ask may be for", func(w *real.World) any { return &w.Wants }},
		{"beat", "real ms between two ticks", func(w *real.World) any { return (*int64)(&w.Beat) }},
		{"drift", "ppm by which clocks run fast or slow", func(w *real.World) any { return (*int64)(&w.Drift) }},
		{"slew", "ppm by which a leader may be slewed", func(w *real.World) any { return (*int64)(&w.Slew) }},
		{"clocks", "worst (slow edges, fast nodes) or all assignments", func(w *real.World) any { return (*string)(&w.Clocks) }},
		{"requests", "asks of an edge under way", func(w *real.World) any { return &w.Requests }},
		{"answers", "answers to an edge under way", func(w *real.World) any { return &w.Answers }},
		{"pipeline", "entries sealed and not committed; 0 commits at once", func(w *real.World) any { return &w.Pipeline }},
		{"faults", "how many of the following in one run", func(w *real.World) any { return &w.Faults }},
		{"duplicates", "messages delivered again", func(w *real.World) any { return &w.Duplicates }},
		{"elections", "elections", func(w *real.World) any { return &w.Elections }},
		{"crashes", "crashes of nodes", func(w *real.World) any { return &w.Crashes }},
		{"restarts", "crashes of all nodes", func(w *real.World) any { return &w.Restarts }},
		{"steps", "steps of the clock", func(w *real.World) any { return &w.Steps }},
		{"changes", "changes of the policy", func(w *real.World) any { return &w.Changes }},
		{"deaths", "crashes of edges", func(w *real.World) any { return &w.Deaths }},
		{"jump", "ms of a step, one of these", func(w *real.World) any { return &w.Jumps }},
		{"limits", "limits that a change may set", func(w *real.World) any { return &w.Limits }},
		{"lengths", "lengths of windows that a change may set", func(w *real.World) any { return &w.Lengths }},
		{"delete", "a change may delete the policy and bring it back", func(w *real.World) any { return &w.Delete }},
		{"returns", "credits given back in one run", func(w *real.World) any { return &w.Returns }},
		{"idle", "ms of silence that end a session, 0 for never", func(w *real.World) any { return (*int64)(&w.Idle) }},
		{"rule", fmt.Sprintf("rule to break, one of %v", real.Rules()), func(w *real.World) any { return (*string)(&w.Rule) }},
	}
}

func defineReal(c *cobra.Command) func() (model.Runner, error) {
	p := presets[real.World]{real.Small, real.CI, real.Long}
	return p.define(c, realFlags(), func(w *real.World) (model.Runner, error) { return model.Bind(w), w.Validate() })
}
