package nemesis

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestNames(t *testing.T) {
	seen := make(map[string]bool)
	for _, n := range All() {
		if seen[n.Name] || n.About == "" || n.Start == nil || n.Family() == n.Name || strings.ContainsAny(n.Name, "+ ,") {
			t.Errorf("nemesis %q is not fit for the list", n.Name)
		}
		seen[n.Name] = true
	}
	if n, ok := Find("kill-leader+link-loss"); !ok || n.Name != "kill-leader+link-loss" || len(n.Needs) != 1 {
		t.Errorf("Find of a combination = %+v, %t", n, ok)
	}
	for _, name := range []string{"", "kill", "kill-leader+", "+"} {
		if n, ok := Find(name); ok {
			t.Errorf("Find(%q) = %s", name, n.Name)
		}
	}
}

func TestDraw(t *testing.T) {
	all := All()
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		count, most := rapid.IntRange(0, 40).Draw(t, "count"), rapid.IntRange(1, 4).Draw(t, "most")
		drawn := Draw(seed, all, count, most)
		again := Draw(seed, all, count, most)
		var singles []string
		for i, n := range drawn {
			if n.Name != again[i].Name {
				t.Fatalf("seed %d draws %s, then %s", seed, n.Name, again[i].Name)
			}
			parts := strings.Split(n.Name, "+")
			var families []string
			broken := false
			for _, name := range parts {
				p, _ := Find(name)
				families = append(families, p.Family())
				if p.Alone && len(parts) > 1 {
					t.Fatalf("%s: %s leaves nothing to others", n.Name, name)
				}
				if broken && !p.Breaks {
					t.Fatalf("%s: %s starts when there may be no leader", n.Name, name)
				}
				broken = broken || p.Breaks
			}
			slices.Sort(families)
			if len(parts) > most || len(slices.Compact(families)) != len(parts) {
				t.Fatalf("%s: want at most %d parts, of different families", n.Name, most)
			}
			singles = append(singles, parts...)
		}
		if len(drawn) != count {
			t.Fatalf("%d drawn, want %d", len(drawn), count)
		}
		if most == 1 && count >= len(all) {
			slices.Sort(singles[:len(all)])
			if len(slices.Compact(singles[:len(all)])) != len(all) {
				t.Fatal("a nemesis was drawn again before all had been")
			}
		}
	})
}

func TestDrawFromFew(t *testing.T) {
	one, _ := Find("kill-one")
	for _, n := range Draw(1, []Nemesis{one}, 3, 3) {
		if n.Name != "kill-one" {
			t.Errorf("drawn %s from a list of kill-one", n.Name)
		}
	}
	if got := Draw(1, nil, 3, 3); got != nil {
		t.Errorf("drawn %v from nothing", got)
	}
}

func TestJump(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	var small, large, back int
	for range 10_000 {
		j := jump(rng)
		if size := max(j, -j); size < 11 || size > 288_000 {
			t.Fatalf("a clock jumps by %d ms, want 11 ms to 288 s", j)
		} else if size < 100 {
			small++
		} else if size > 30_000 {
			large++
		}
		if j < 0 {
			back++
		}
	}
	if small < 1000 || large < 1000 || back < 4000 || back > 6000 {
		t.Errorf("of 10000 jumps %d are small, %d large, %d backwards", small, large, back)
	}
}

func TestRateWithin(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	extremes := 0
	for range 1000 {
		r := rateWithin(rng, 500)
		if r < -500 || r > 500 {
			t.Fatalf("a clock drifts by %d ppm, want at most 500", r)
		}
		if r == 500 || r == -500 {
			extremes++
		}
	}
	if extremes < 400 || extremes > 600 {
		t.Errorf("%d of 1000 rates are extremes, want about half", extremes)
	}
	if got := rateWithin(rng, 0); got != 0 {
		t.Errorf("a clock that must not drift drifts by %d ppm", got)
	}
}
