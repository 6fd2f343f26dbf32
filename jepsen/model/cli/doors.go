package cli

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/tkcoord/tkcoord/jepsen/model"
	"github.com/tkcoord/tkcoord/jepsen/model/doors"
)

func doorsSystem() system {
	return system{
		name:  "doors",
		short: "The real state machine and clock under the public calls",
		long: `Clients without identity take slots, check, reserve and debit, beside the lease of an
edge: entries go through the real state machine, stamps come from the real clock.
Messages are lost, repeated, late and overtaken; nodes and clients crash; leaders
change while their clocks differ; replicas are restored from snapshots. Each
--traffic is explored by itself. --rule breaks one rule, which must be refuted. --ci
and --long are worlds that the other flags start from. docs/verification.md explains
them.`,
		example:  "--traffic slots --rule slot-no-guard",
		symmetry: true,
		define:   defineDoors,
		flags:    flagNames(doorsFlags()),
	}
}

func doorsFlags() []worldFlag[doors.World] {
	return []worldFlag[doors.World]{
		{"traffic", "what clients ask for, of slots, units, tokens", func(w *doors.World) any { return &w.Traffic }},
		{"clients", "processes that ask", func(w *doors.World) any { return &w.Clients }},
		{"leaders", "nodes that can lead", func(w *doors.World) any { return &w.Leaders }},
		{"windows", "windows that a fast clock passes", func(w *doors.World) any { return &w.Windows }},
		{"length", "ms of a window", func(w *doors.World) any { return (*int64)(&w.Length) }},
		{"longest", "longest lease in ms", func(w *doors.World) any { return (*int64)(&w.Longest) }},
		{"limit", "slots, units of a window or tokens of a window", func(w *doors.World) any { return &w.Limit }},
		{"debits", "tokens that a debit may be for", func(w *doors.World) any { return &w.Debits }},
		{"beat", "real ms between two ticks", func(w *doors.World) any { return (*int64)(&w.Beat) }},
		{"drift", "ppm by which clocks run fast or slow", func(w *doors.World) any { return (*int64)(&w.Drift) }},
		{"clocks", "worst (slow clients, fast nodes) or all assignments", func(w *doors.World) any { return (*string)(&w.Clocks) }},
		{"requests", "requests of a client under way", func(w *doors.World) any { return &w.Requests }},
		{"answers", "answers to a client under way", func(w *doors.World) any { return &w.Answers }},
		{"faults", "how many of the following in one run", func(w *doors.World) any { return &w.Faults }},
		{"duplicates", "messages delivered again", func(w *doors.World) any { return &w.Duplicates }},
		{"elections", "elections while somebody leads", func(w *doors.World) any { return &w.Elections }},
		{"crashes", "crashes of nodes", func(w *doors.World) any { return &w.Crashes }},
		{"restarts", "crashes of all nodes", func(w *doors.World) any { return &w.Restarts }},
		{"steps", "steps of the clock", func(w *doors.World) any { return &w.Steps }},
		{"changes", "changes of the policy", func(w *doors.World) any { return &w.Changes }},
		{"deaths", "crashes of clients", func(w *doors.World) any { return &w.Deaths }},
		{"restores", "restores from a snapshot", func(w *doors.World) any { return &w.Restores }},
		{"jump", "ms of a step, one of these", func(w *doors.World) any { return &w.Jumps }},
		{"limits", "limits that a change may set", func(w *doors.World) any { return &w.Limits }},
		{"delete", "a change may delete the policy of slots and bring it back, which breaks the ceiling", func(w *doors.World) any { return &w.Delete }},
		{"rule", fmt.Sprintf("rule to break, one of %v", doors.Rules()), func(w *doors.World) any { return (*string)(&w.Rule) }},
	}
}

func defineDoors(c *cobra.Command) func() (model.Runner, error) {
	p := presets[doors.World]{doors.Small, doors.CI, doors.Long}
	return p.define(c, doorsFlags(), func(w *doors.World) (model.Runner, error) { return model.Bind(w), w.Validate() })
}
