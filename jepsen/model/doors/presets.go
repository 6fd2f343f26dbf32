package doors

// CI returns the world that is explored to its end with every change.
func CI() World {
	w := Small()
	w.anything()
	w.Debits, w.Faults = []int{1, 2}, 1
	return w
}

// Long returns a larger world: three clients and any two faults.
func Long() World {
	w := CI()
	w.Clients, w.Limit, w.Faults = 3, 2, 2
	return w
}

// anything lets each kind of fault happen as often as Faults allows.
func (w *World) anything() {
	for _, n := range []*int{&w.Duplicates, &w.Elections, &w.Crashes, &w.Restarts, &w.Steps, &w.Changes, &w.Deaths, &w.Restores} {
		*n = 9
	}
	w.Jumps, w.Limits = []int{1000, 3000}, []int{1, 2}
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
	in := func(traffic Traffic, rule Rule, steps int, breaks string, set func(*World)) Refutation {
		w := Small()
		w.Traffic, w.Leaders = []string{string(traffic)}, 1
		set(&w)
		return Refutation{rule, w, steps, breaks}
	}
	return []Refutation{
		in(Slots, NoGuard, 8, "Slots: 2 hold one", func(w *World) {}),
		in(Slots, NoGrain, 9, "Slots: 2 hold one", func(w *World) { w.Drift, w.Windows = 249_688, 2 }),
		in(Slots, LateReading, 8, "Slots: 2 hold one", func(w *World) {}),
		in(Slots, UnheardBeat, 9, "Slots: 2 hold one", func(w *World) {}),
		in(Slots, ReleaseFirst, 8, "Slots: 2 hold one", func(w *World) {}),
		in(Slots, WallClock, 8, "Slots: 2 hold one", func(w *World) { w.Leaders, w.Elections = 2, 1 }),
		in(Slots, StepReclaims, 7, "Slots: 2 hold one", func(w *World) { w.Steps, w.Jumps = 1, []int{3000} }),
		in(Slots, Revive, 11, "Slots: 2 hold one", func(w *World) {}),
		in(Slots, ForgetSlots, 7, "Slots: 2 hold one", func(w *World) { w.Restores = 1 }),
		in(Units, FreeChecks, 2, "G1: 2 admitted", func(w *World) { w.Clients = 1 }),
		in(Units, FreeReserves, 5, "G1: 2 admitted", func(w *World) {}),
		in(Units, ReserveNoStretch, 5, "G1: admitted in", func(w *World) { w.Windows, w.Steps, w.Jumps = 0, 1, []int{3000} }),
		in(Tokens, ForgetMeters, 3, "Debits: 2 served", func(w *World) { w.Restores = 1 }),
		in(Tokens, CutDebit, 3, "Debits: 4 served", func(w *World) { w.Changes, w.Limits, w.Debits = 1, []int{2}, []int{2} }),
		in(Tokens, RestartMeters, 4, "Debits: 3 served", func(w *World) { w.Changes, w.Limits = 1, []int{2} }),
	}
}
