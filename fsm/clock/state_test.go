package clock

import "testing"

func TestSourceOfItsState(t *testing.T) {
	var s Source
	s.Note(1000, 5)
	s.Note(1010, 9_000_000)
	s.Lead()
	s.Steer(400, 500, 12_345_678)
	s.Note(1011, 13_000_000)
	if got := SourceOf(s.State()); got != s {
		t.Errorf("SourceOf(%+v) = %+v, want %+v", s.State(), got, s)
	}
}
