package strategy

import "errors"

// Append appends the state to b. Equal states give equal bytes.
func (s *State) Append(b []byte) []byte { return append(b, byte(s.kind)) }

// Decode reads a state that Append wrote, and returns what follows it.
func Decode(b []byte) (State, []byte, error) {
	return State{}, nil, errors.New("not built yet")
}
