package escrow

import "testing"

func TestMeter(t *testing.T) {
	var m Meter
	for i, d := range []struct {
		budget, tokens Credits
		ok             bool
		served         Credits
	}{
		{10, 9, true, 9},
		{10, 1, true, 10},
		{10, 1, false, 10},
		{11, MaxCredits, true, 10 + MaxCredits}, // crosses, in full
		{MaxCredits, MaxCredits, false, 10 + MaxCredits},
	} {
		if ok := m.Debit(d.budget, d.tokens); ok != d.ok || m.Served != d.served {
			t.Errorf("debit %d: %v, served %d; want %v, %d", i, ok, m.Served, d.ok, d.served)
		}
	}
	m = Meter{Served: MaxCredits - 1}
	if !m.Debit(MaxCredits, MaxCredits) || m.Served != 2*MaxCredits-1 {
		t.Errorf("the largest debit on the largest budget: served %d", m.Served)
	}
}
