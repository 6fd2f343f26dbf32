package strategy

// kind says which strategies can read a state.
type kind uint8

// The kinds, with what they keep in a State. They are written to snapshots:
// never renumber.
const (
	kindCold   kind = 0 // no strategy: as if never used
	kindGCRA   kind = 1 // a: theoretical arrival time
	kindBucket kind = 2 // a: tokens, b: instant of the last admission
	kindWindow kind = 3 // a: start of the window, b: units admitted in it
	kindRing   kind = 4 // a: instant of the last admission, b: length of a bucket; past: buckets by tick
	kindLog    kind = 5 // past: admissions by instant
	kindLeaky  kind = 6 // a: instant at which the queue is empty
)

// A State is what one key has used under one strategy. The zero State is a cold
// key. It takes 40 bytes; with strategies that have a past about 100, and 16 to 64
// for each bucket in use, or for each ms in which a log admitted. Copies share the
// past: use Clone.
type State struct {
	exp  int64 // first instant at which it is as good as cold; 0: it is cold
	a, b float64
	past *past // nil unless the kind has one
	kind kind
}

// Expires returns the first instant at which the state is as good as cold, 0 if
// it is cold.
func (s *State) Expires() int64 { return s.exp }

// live reports whether the state is one of a kind and has not expired.
func (s *State) live(k kind, now int64) bool { return s.kind == k && now < s.exp }

// Clone returns a copy that shares nothing.
func (s *State) Clone() State {
	c := *s
	if s.past != nil {
		c.past = s.past.clone()
	}
	return c
}

// history returns the state's past to be written to: what it has if it is live,
// an empty one otherwise.
func (s *State) history(live bool) *past {
	if s.past == nil {
		s.past = &past{}
	} else if !live {
		s.past.clear()
	}
	return s.past
}
