package strategy

// kind says which strategies can read a state.
type kind uint8

const (
	kindCold   kind = iota // no strategy: as if never used
	kindGCRA               // a: theoretical arrival time
	kindBucket             // a: tokens, b: instant of the last admission
	kindWindow             // a: start of the window, b: units admitted in it
	kindRing               // a: instant of the last admission, b: length of a bucket; past: buckets
	kindLog                // past: stamps
	kindLeaky              // a: instant at which the queue is empty
)

// A State is what one key has used under one strategy. The zero State is a cold
// key. It takes 40 bytes, and those of its past with the strategies that have
// one. Copies share the past: use Clone.
type State struct {
	exp  int64 // first instant at which it is as good as cold; 0: cold
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
