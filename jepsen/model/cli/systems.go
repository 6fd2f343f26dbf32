package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/tkcoord/tkcoord/jepsen/model"
	"github.com/tkcoord/tkcoord/jepsen/model/reference"
)

// A system is a family of models that flags choose from.
type system struct {
	name, short, long string
	example           string // flags of an interesting member
	symmetry          bool   // is on unless switched off

	// define adds the flags, which are those in flags, to a command. What it
	// returns makes the model once they are parsed.
	define func(*cobra.Command) func() (model.Runner, error)
	flags  []string
}

func systems() []system {
	return []system{realSystem(), doorsSystem(), leasing(), federated(), heartbeat(), handoff()}
}

func leasing() system {
	return system{
		name:  "leasing",
		short: "Leases of batches from one counter",
		long: `Nodes take credits from a pool of --limit units per window, --batch at a time,
and serve requests from them. Admitted units per window are bounded by the limit
if credits end with their window (coupled), and by limit + nodes*(batch-1) if
they are carried over.`,
		example: "--nodes 2 --limit 4 --batch 2 --variant carryover --tighten 1",
		define: func(c *cobra.Command) func() (model.Runner, error) {
			return defineLeasing(c, "nodes", reference.Leased)
		},
		flags: []string{"nodes", "limit", "batch", "variant", "return", "tighten"},
	}
}

func federated() system {
	return system{
		name:  "federated",
		short: "Escrow of regions from one global budget",
		long: `Regions draw escrow from a budget of --limit units per window, --batch at a time.
It is the leasing system in other words, and has its state counts.`,
		example: "--regions 3 --limit 6 --batch 3 --variant coupled",
		define: func(c *cobra.Command) func() (model.Runner, error) {
			return defineLeasing(c, "regions", reference.Federated)
		},
		flags: []string{"regions", "limit", "batch", "variant", "return", "tighten"},
	}
}

func defineLeasing(c *cobra.Command, holders string, words reference.Words) func() (model.Runner, error) {
	m := &reference.Leasing{Words: words}
	f := c.Flags()
	f.IntVar(&m.Nodes, holders, 2, "number of "+holders)
	f.IntVar(&m.Limit, "limit", 4, "units per window")
	f.IntVar(&m.Batch, "batch", 2, "units taken at a time")
	f.BoolVar(&m.Return, "return", false, "let credits be given back within the window")
	f.IntVar(&m.Tighten, "tighten", 0, "subtract this from the bound; 1 shows that it is tight")
	variant := f.String("variant", "coupled", "what becomes of credits at the end of a window: coupled or carryover")
	return func() (model.Runner, error) {
		switch *variant {
		case "coupled", "carryover":
			m.Coupled = *variant == "coupled"
		default:
			return nil, fmt.Errorf("variant %q: coupled or carryover", *variant)
		}
		return model.Bind(m), m.Validate()
	}
}

func heartbeat() system {
	return system{
		name:  "heartbeat",
		short: "Shares of a concurrency limit, messages taking no time",
		long: `A coordinator sets the shares of live nodes one by one, never more than what the
others leave of --limit. With --hold occupancy neither shares nor slots in use
can sum to more than the limit; the other rules are refuted.`,
		example: "--nodes 2 --limit 4 --hold share",
		define:  defineHeartbeat,
		flags:   []string{"nodes", "limit", "hold", "target"},
	}
}

func defineHeartbeat(c *cobra.Command) func() (model.Runner, error) {
	var m reference.Heartbeat
	f := c.Flags()
	f.IntVar(&m.Nodes, "nodes", 2, "number of nodes")
	f.IntVar(&m.Limit, "limit", 4, "slots in all")
	f.StringVar((*string)(&m.Hold), "hold", string(reference.HoldOccupancy),
		"what a node is taken to occupy: none, share, or occupancy, the greater of its share and its slots in use")
	f.StringVar((*string)(&m.Target), "target", string(reference.EqualSplit), "what a node is to have: equal or demand")
	return func() (model.Runner, error) { return model.Bind(&m), m.Validate() }
}

func handoff() system {
	return system{
		name:  "handoff",
		short: "Shares of a concurrency limit, messages lost, late and overtaken",
		long: `Grants are delivered late, out of order or not at all, and so are reports. What
the coordinator reserves for a node must cover every grant that may still land
and the work it reported; otherwise slots in use exceed --limit.`,
		example: "--nodes 2 --limit 4 --k 2 --rule suffix",
		define:  defineHandoff,
		flags:   []string{"nodes", "limit", "k", "rule", "torn", "trimmed"},
	}
}

func defineHandoff(c *cobra.Command) func() (model.Runner, error) {
	var m reference.Handoff
	f := c.Flags()
	f.IntVar(&m.Nodes, "nodes", 2, "number of nodes")
	f.IntVar(&m.Limit, "limit", 4, "slots in all")
	f.IntVar(&m.K, "k", 2, "grants remembered for each node")
	f.StringVar((*string)(&m.Rule), "rule", string(reference.RuleHandoff),
		"what is reserved for a node: handoff, last (only the last and the acknowledged grant, and the use), or suffix (no use)")
	f.BoolVar(&m.Torn, "torn", false, "report the acknowledged grant and the slots in use apart")
	f.BoolVar(&m.Trimmed, "trimmed", true, "forget grants that neither side can refer to")
	return func() (model.Runner, error) { return model.Bind(&m), m.Validate() }
}

// settings returns the flags of a system that were given, as they would be
// given again.
func (s system) settings(c *cobra.Command) string {
	text := ""
	for _, name := range s.flags {
		f := c.Flags().Lookup(name)
		if !f.Changed {
			continue
		}
		value := f.Value.String()
		if list, ok := f.Value.(pflag.SliceValue); ok { // whose String has brackets, which Set does not take
			value = strings.Join(list.GetSlice(), ",")
		}
		text += fmt.Sprintf(" --%s=%s", name, value)
	}
	return text
}
