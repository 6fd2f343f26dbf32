package clock

// A State is a Source as plain values: what the explorer compares, stores and
// brings back. SourceOf(s.State()) behaves like s.
type State struct {
	Newest, Base Pair
	Leading      bool
	Slew         PPM
}

// A Pair is one point of the cluster clock as a process knows it: the state
// machine's clock, and the own monotonic clock when it showed that.
type Pair struct {
	Now Millis
	At  Nanos
}

// State returns the source as it is.
func (s *Source) State() State {
	return State{
		Newest: Pair{s.newest.now, s.newest.at}, Base: Pair{s.base.now, s.base.at},
		Leading: s.leading, Slew: s.slew,
	}
}

// SourceOf returns a source in a state.
func SourceOf(st State) Source {
	return Source{
		newest: pair{st.Newest.Now, st.Newest.At}, base: pair{st.Base.Now, st.Base.At},
		leading: st.Leading, slew: st.Slew,
	}
}
