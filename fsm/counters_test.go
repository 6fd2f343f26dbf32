package fsm

import (
	"fmt"
	"math"
	"math/big"
	"testing"

	"github.com/tkcoord/tkcoord/escrow"
	"pgregory.net/rapid"
)

// TestCountersDoNotOverflow: 2000 keys of an unlimited policy have a capacity of
// more than 63 bits. The sum once showed as a negative number.
func TestCountersDoNotOverflow(t *testing.T) {
	const keys = 2000
	j := newJournal(t, DefaultSettings(), fixed("unlimited", escrow.MaxCredits, 1000))
	x := &Exchange{EdgeID: "e", Incarnation: 1, Seq: 1}
	for i := range keys {
		x.Asks = append(x.Asks, Ask{Policy: "unlimited", Key: fmt.Sprint(i), Need: escrow.MaxCredits, Want: escrow.MaxCredits})
	}
	j.apply(x)
	_, all := j.m.Policies()
	c := all[0].Counters
	if c.LiveKeys != keys || c.LiveCapacity != math.MaxInt64 || c.LiveOut != math.MaxInt64 || c.GrantedTotal != math.MaxInt64 {
		t.Errorf("counters %+v, want %d keys and the rest at its largest", c, keys)
	}
	j.m = thaw(t, j.m.Freeze())
	j.now = 1000 // the windows end
	for range 64 {
		j.apply()
	}
	_, all = j.m.Policies()
	if c := all[0].Counters; c.LiveKeys != 0 || c.LiveCapacity != 0 || c.LiveOut != 0 {
		t.Errorf("counters %+v after the last window, want nothing live", c)
	}
}

func TestSumIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s sum
		want := new(big.Int)
		for _, n := range rapid.SliceOf(rapid.Int64Range(0, math.MaxInt64)).Draw(t, "numbers") {
			s.add(escrow.Credits(n))
			s.add(escrow.Credits(n))
			s.sub(escrow.Credits(n / 2))
			want.Add(want, new(big.Int).Sub(big.NewInt(n), big.NewInt(n/2)))
			want.Add(want, big.NewInt(n))
		}
		got := new(big.Int).Add(new(big.Int).Lsh(new(big.Int).SetUint64(s.hi), 64), new(big.Int).SetUint64(s.lo))
		if got.Cmp(want) != 0 {
			t.Fatalf("sum is %v, want %v", got, want)
		}
		if shown := big.NewInt(int64(s.credits())); want.IsInt64() && shown.Cmp(want) != 0 || !want.IsInt64() && s.credits() != math.MaxInt64 {
			t.Fatalf("credits() = %v of %v", shown, want)
		}
	})
}
