package real

// CI returns the world that is explored to its end with every change: two edges,
// two nodes, one window and the beginning of the next, one fault of any kind in
// each run, and one credit given back.
func CI() World {
	w := Small()
	w.anything()
	w.Returns, w.Faults = 1, 1
	return w
}

// Long returns the world of CI with two faults, in which edges also report without
// asking for more. It has more than ten million
// states; nobody has seen its end.
func Long() World {
	w := CI()
	w.Faults, w.Wants = 2, []int{0, 1}
	return w
}

// anything lets each kind of fault happen as often as Faults allows.
func (w *World) anything() {
	for _, n := range []*int{&w.Duplicates, &w.Elections, &w.Crashes, &w.Restarts, &w.Steps, &w.Changes, &w.Deaths} {
		*n = 9
	}
	w.Jumps, w.Limits = []int{5, 15}, []int{1, 2}
}

// A Refutation is a rule and a small world in which breaking it shows.
type Refutation struct {
	Rule Rule
	// Intact is the world in which everything holds, and Broken the same without
	// the rule.
	Intact World
	Steps  int    // of the counterexample
	Breaks string // what it breaks
}

// Broken returns the world without the rule.
func (r Refutation) Broken() World {
	w := r.Intact
	w.Rule = r.Rule
	return w
}

// Refutations lists the rules with worlds that are as small as possible.
func Refutations() []Refutation {
	in := func(rule Rule, steps int, breaks string, set func(*World)) Refutation {
		w := Small()
		set(&w)
		return Refutation{rule, w, steps, breaks}
	}
	return []Refutation{
		in(NoGuard, 6, "G1: admitted in", func(w *World) { w.Edges, w.Leaders = 1, 1 }),
		in(LateReading, 6, "G1: admitted in", func(w *World) { w.Edges, w.Leaders = 1, 1 }),
		in(EarlyStamp, 7, "G1: admitted in", func(w *World) { w.Edges, w.Leaders = 1, 1 }),
		in(WallClock, 6, "G1: admitted in", func(w *World) { w.Edges, w.Elections = 1, 1 }),
		in(NoBarrier, 7, "G1: admitted in", func(w *World) { w.Edges, w.Elections, w.Clocks = 1, 1, AllClocks }),
		in(KeptStamp, 14, "G1: admitted in", func(w *World) { w.Edges, w.Elections, w.Pipeline = 1, 2, 1 }),
		in(NoStretch, 5, "G1: admitted in", func(w *World) { w.Edges, w.Leaders, w.Steps, w.Jumps = 1, 1, 1, []int{15} }),
		in(KeptDeadline, 13, "G1: admitted in", func(w *World) {
			w.Edges, w.Leaders, w.Returns, w.Wants, w.Steps, w.Jumps = 1, 1, 1, []int{0, 1}, 1, []int{5}
		}),
		in(Increments, 4, "G3", func(w *World) { w.Edges, w.Leaders, w.Duplicates = 1, 1, 1 }),
		in(ReportFirst, 11, "G1: 2 admitted", func(w *World) { w.Leaders, w.Returns, w.Wants = 1, 1, []int{0, 1} }),
		in(RollBack, 11, "G1: 2 admitted", func(w *World) { w.Edges, w.Leaders, w.Duplicates, w.Answers = 1, 1, 1, 2 }),
		in(ForgetUsed, 10, "G1: 2 admitted", func(w *World) { w.Leaders = 1 }),
		in(SameIncarnation, 9, "G1: 2 admitted", func(w *World) { w.Edges, w.Leaders, w.Deaths = 1, 1, 1 }),
	}
}
