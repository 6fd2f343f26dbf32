package escrow

import (
	"testing"

	"pgregory.net/rapid"
)

func TestLedgerConserves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := Open(Window{0, 50}, Credits(rapid.Int64Range(0, 100).Draw(t, "capacity")))
		holder := rapid.Custom(func(t *rapid.T) HolderID { return HolderID(rapid.Uint64Range(1, 20).Draw(t, "h")) })
		total := rapid.Custom(func(t *rapid.T) Credits { return Credits(rapid.Int64Range(0, 120).Draw(t, "total")) })
		granted, used := map[HolderID]Credits{}, map[HolderID]Credits{}
		var taken, given Credits
		t.Repeat(map[string]func(*rapid.T){
			"grant": func(t *rapid.T) {
				h, want := holder.Draw(t, "h"), total.Draw(t, "want")
				left := l.Left()
				g := l.Grant(h, want)
				if again := l.Grant(h, want); again != g {
					t.Fatalf("Grant(%d, %d) = %d, then %d: not idempotent", h, want, g, again)
				}
				if rise := g - granted[h]; rise < 0 || rise > left || rise != min(max(0, want-granted[h]), left) {
					t.Fatalf("Grant(%d, %d) rose from %d to %d with %d left", h, want, granted[h], g, left)
				}
				granted[h] = g
			},
			"report": func(t *rapid.T) { // perhaps more than held: that must be refused
				h, r, u := holder.Draw(t, "h"), total.Draw(t, "returned"), total.Draw(t, "used")
				before, _ := l.Of(h)
				err := l.Report(h, r, u)
				after, _ := l.Of(h)
				fits := max(r, before.Returned)+max(u, before.Used) <= before.Granted
				if fits != (err == nil) {
					t.Fatalf("Report(%d, %d, %d) on %+v: %v", h, r, u, before, err)
				}
				if err != nil && before != after {
					t.Fatalf("a refused report changed %+v to %+v", before, after)
				}
				if after.Used < used[h] || after.Returned < before.Returned {
					t.Fatalf("totals ran backwards: %+v after %+v", after, before)
				}
				used[h] = after.Used
			},
			"take": func(t *rapid.T) {
				n, left := 1+total.Draw(t, "n"), l.Left()
				if ok := l.Take(n); ok != (n <= left) {
					t.Fatalf("Take(%d) = %v with %d left", n, ok, left)
				} else if ok {
					taken += n
				}
			},
			"give": func(t *rapid.T) {
				n, left := 1+total.Draw(t, "n"), l.Left()
				got := l.Give(n)
				if got != min(n, left) {
					t.Fatalf("Give(%d) = %d with %d left", n, got, left)
				}
				given += got
			},
			"load": func(t *rapid.T) {
				c := Open(l.Window(), l.Peak())
				l.Each(func(h HolderID, a Allotment) {
					if err := c.Load(h, a); err != nil {
						t.Fatal(err)
					}
				})
				if err := c.LoadUnheld(l.Unheld()); err != nil {
					t.Fatal(err)
				}
				if c.Out() != l.Out() || c.Used() != l.Used() || c.LoadUnheld(0, c.Peak()-c.Out()+1) == nil || c.LoadUnheld(-1, 0) == nil {
					t.Fatalf("%+v was loaded from %+v", c, l)
				}
				c.SetCapacity(l.Capacity())
				l = c
			},
			"capacity": func(t *rapid.T) {
				before := l.Out()
				l.SetCapacity(total.Draw(t, "capacity"))
				if l.Out() != before {
					t.Fatalf("changing the capacity changed what is out from %d to %d", before, l.Out())
				}
			},
			"clone": func(t *rapid.T) {
				c := l.Clone()
				c.SetCapacity(1000)
				c.Grant(holder.Draw(t, "h"), 500)
			},
			"": func(t *rapid.T) { // after every step
				if err := l.Check(); err != nil {
					t.Fatal(err)
				}
				if a, b := l.Unheld(); a != taken || b != given {
					t.Fatalf("taken %d, given %d; want %d, %d", a, b, taken, given)
				}
				lent := given > 0
				l.Each(func(_ HolderID, a Allotment) { lent = lent || a.Granted > a.Returned })
				if l.Lent() != lent {
					t.Fatalf("Lent() = %v of %+v", !lent, l)
				}
			},
		})
	})
}

func TestTarget(t *testing.T) {
	for _, tc := range []struct {
		name       string
		capacity   Credits
		others     []Credits // granted to holders 2, 3, ...
		need, want Credits
		target     Credits
	}{
		{"plenty: the wish", 1000, nil, 1, 100, 100},
		{"alone: half stays free", 100, nil, 1, 100, 50},
		{"one of two: a third", 100, []Credits{10}, 1, 100, 30},
		{"a need beats the share", 100, nil, 80, 80, 80},
		{"last credit", 100, []Credits{99}, 1, 50, 1},
		{"nothing left", 100, []Credits{100}, 1, 50, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := Open(Window{0, 1000}, tc.capacity)
			for i, g := range tc.others {
				l.Grant(HolderID(i+2), g)
			}
			got := l.Target(1, tc.need, tc.want)
			if got != tc.target {
				t.Fatalf("Target(1, %d, %d) = %d, want %d", tc.need, tc.want, got, tc.target)
			}
			l.Grant(1, got)
			if again := l.Target(1, tc.need, tc.want); again != got && l.Left() > 0 {
				t.Fatalf("after the grant Target = %d, want %d again", again, got)
			}
		})
	}
}
