package strategy

import (
	"bytes"
	"errors"
	"math"
	"testing"

	"pgregory.net/rapid"
)

// sampleStates are states of every kind, with a past where there is one.
func sampleStates(t testing.TB) (all []State) {
	const now = 1_700_000_000_000
	for _, p := range []Params{gcraOf(7, 60000, 3), bucketOf(4, 0.3), fixedOf(3, 60000), slidingOf(8, 60000, 6), logOf(8, 10000)} {
		var s State
		st := must(t, p)
		for i := range int64(3) {
			st.Check(&s, now+3333*i, float64(i+1)/2)
		}
		all = append(all, s)
	}
	l, err := NewLeakyBucket(3, 1000)
	if err != nil {
		t.Fatal(err)
	}
	var s State
	l.Check(&s, now, 2)
	return append(all, s, State{})
}

// FuzzDecode: what is read is written in the same way, and every strategy can
// work with it.
func FuzzDecode(f *testing.F) {
	for _, s := range sampleStates(f) {
		f.Add(s.Append(nil), int64(1_700_000_000_000), 1.0)
	}
	all := []Strategy{
		must(f, gcraOf(7, 60000, 3)), must(f, bucketOf(4, 0.3)), must(f, fixedOf(3, 60000)),
		must(f, slidingOf(8, 60000, 6)), must(f, logOf(8, 10000)), must(f, rollingOf(8, 10000, 3)),
	}
	f.Fuzz(func(t *testing.T, b []byte, now int64, cost float64) {
		s, rest, err := Decode(b)
		if err != nil {
			if !errors.Is(err, ErrTruncated) && !errors.Is(err, ErrCorrupt) || s != (State{}) || rest != nil {
				t.Fatalf("Decode = %+v, %x, %v", s, rest, err)
			}
			return
		}
		if again := append(s.Append(nil), rest...); !bytes.Equal(again, b) {
			t.Fatalf("%x was read as %+v and written as %x", b, s, again)
		}
		for _, st := range all {
			c := s.Clone()
			for _, d := range []Decision{st.Peek(&c, now), st.Check(&c, now, cost), st.Peek(&c, now)} {
				if d.Remaining < 0 || d.RetryAfter < 0 {
					t.Fatalf("%s: %+v", st.Name(), d)
				}
			}
			st.Forecast(&c, now, cost)
			if _, rest, err := Decode(c.Append(nil)); err != nil || len(rest) > 0 {
				t.Fatalf("%s leaves %+v, which is not read: %v", st.Name(), c, err)
			}
		}
	})
}

// TestDecodeRefuses: a state that is cut, or that has what no strategy leaves.
func TestDecodeRefuses(t *testing.T) {
	for _, s := range sampleStates(t) {
		b := s.Append(nil)
		for n := range len(b) {
			if _, _, err := Decode(b[:n]); !errors.Is(err, ErrTruncated) {
				t.Errorf("Decode of %d of %d bytes: %v, want %v", n, len(b), err, ErrTruncated)
			}
		}
	}
	double := func(x float64) string { return string(appendDouble(nil, x)) }
	for name, b := range map[string]string{
		"unknown kind":               "\x07\x01" + double(1),
		"expiry of a cold key":       "\x01\x00" + double(1),
		"expiry too far":             "\x01\x81\x80\x80\x80\x80\x80\x80\x80\x7f" + double(1),
		"expiry in too many bytes":   "\x01\x81\x00" + double(1),
		"expiry without end":         "\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01" + double(1),
		"NaN":                        "\x01\x01" + double(math.NaN()),
		"infinity":                   "\x01\x01" + double(math.Inf(1)),
		"negative arrival":           "\x01\x01" + double(-1),
		"minus zero":                 "\x01\x01" + double(math.Copysign(0, -1)),
		"instant with a fraction":    "\x02\x01" + double(1) + double(1.5),
		"bucket of no length":        "\x04\x01" + double(0) + double(0) + "\x01\x00" + double(1),
		"ring without buckets":       "\x04\x01" + double(5) + double(1) + "\x00",
		"ring that ends too late":    "\x04\x01" + double(5) + double(1) + "\x01\x06" + double(1),
		"ring that is too long":      "\x04\x01" + double(200000) + double(1) + "\x02\x00" + double(1) + "\xc0\x9a\x0c" + double(1),
		"bucket twice":               "\x04\x01" + double(5) + double(1) + "\x02\x05" + double(1) + "\x00" + double(1),
		"empty bucket":               "\x04\x01" + double(5) + double(1) + "\x01\x05" + double(0),
		"log without stamps":         "\x05\x01\x00",
		"instant twice":              "\x05\x01\x02\x05\x01\x00\x01",
		"instant without units":      "\x05\x01\x01\x05\x00",
		"units that overflow":        "\x05\x01\x02\x05\xff\xff\xff\xff\xff\xff\xff\x0f\x01\x01",
		"instant after all instants": "\x05\x01\x01\xff\xff\xff\xff\xff\xff\xff\x0f\x01",
		"more entries than may be":   "\x05\x01\x82\x80\x40" + string(make([]byte, 3<<20)),
	} {
		if s, _, err := Decode([]byte(b)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: Decode = %+v, %v, want %v", name, s, err, ErrCorrupt)
		}
	}
}

// TestPast: whatever is added and forgotten, a past has what is left, and little
// room beside it.
func TestPast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, want, before, next := &past{}, []entry(nil), uint64(0), uint64(0)
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			switch n := rapid.IntRange(-2, 40).Draw(t, "step"); {
			case n == -2:
				p.clear()
				want, before = nil, 0
			case n == -1:
				gone := rapid.IntRange(0, len(want)).Draw(t, "gone")
				p.forget(gone)
				if gone > 0 {
					before, want = want[gone-1].n, want[gone:]
				}
			default:
				for range n {
					next++
					p.add(entry{int64(next), next})
					want = append(want, entry{int64(next), next})
				}
			}
			c := p.clone()
			for _, got := range []*past{p, c} {
				if len(got.entries()) != len(want) || got.before != before {
					t.Fatalf("%+v, want %v after %d", got, want, before)
				}
				for i, e := range got.entries() {
					if e != want[i] {
						t.Fatalf("entry %d is %+v, want %+v", i, e, want[i])
					}
				}
			}
			c.add(entry{99, 99})
			if len(c.entries()) > 1 {
				c.entries()[0] = entry{}
			}
		}
	})
}

// TestPastReusesRoom: a list that is forgotten as fast as it grows stays where it is,
// and one that has shrunk gives its room back.
func TestPastReusesRoom(t *testing.T) {
	p := &past{}
	for i := range int64(1000) {
		p.add(entry{at: i})
	}
	at := int64(1000)
	slide := func() {
		p.forget(1)
		p.add(entry{at: at})
		at++
	}
	for range 3000 {
		slide()
	}
	place, room := &p.all[0], cap(p.all)
	for range 10_000 {
		slide()
	}
	if &p.all[0] != place || room > 4000 {
		t.Errorf("room for %d entries and then for %d elsewhere; 1000 are in use", room, cap(p.all))
	}
	p.forget(990)
	for range 20_000 {
		slide()
	}
	if cap(p.all) > keepRoom {
		t.Errorf("room for %d entries, of which 10 are left", cap(p.all))
	}
	for i := range int64(1000) {
		p.add(entry{at: at + i})
	}
	if p.clear(); cap(p.all) != 0 {
		t.Errorf("room for %d entries and none left", cap(p.all))
	}
}

// TestRestore: long traffic, of which much is forgotten, goes on after Decode as if
// nothing had been.
func TestRestore(t *testing.T) {
	for _, p := range []Params{gcraOf(7, 60000, 3), bucketOf(4, 0.3), fixedOf(3, 60000), slidingOf(8, 60000, 6), logOf(8, 60000)} {
		st, a := must(t, p), State{}
		for i := range int64(200) {
			now := 1_700_000_000_000 + 2477*i
			b, rest, err := Decode(a.Append(nil))
			if err != nil || len(rest) > 0 {
				t.Fatalf("%s, request %d: %x, %v", p.Name, i, rest, err)
			}
			want, got := st.Check(&a, now, 1), st.Check(&b, now, 1)
			if got != want || !bytes.Equal(a.Append(nil), b.Append(nil)) {
				t.Fatalf("%s, request %d: %+v after Decode, %+v without", p.Name, i, got, want)
			}
		}
	}
}

// Parameters of a sliding window were changed while its oldest and its newest
// bucket had a limit of about 2^53 between them each. The one bucket that they
// became was more than Decode took, so no snapshot with it could be restored.
func TestChangedRingIsReadBack(t *testing.T) {
	var s State
	must(t, slidingOf(MaxNumber, 1000, 10)).Check(&s, 0, MaxNumber)
	must(t, slidingOf(MaxNumber, 1000, 10)).Check(&s, 1099, MaxNumber/100*98)
	after := must(t, slidingOf(MaxNumber, 500, 1))
	if d := after.Check(&s, 1749, 1); !d.Allowed {
		t.Fatalf("%+v: the next line needs this admitted", d)
	}
	for range 3 {
		read, rest, err := Decode(s.Append(nil))
		if err != nil || len(rest) > 0 {
			t.Fatalf("Decode: %d bytes left, %v", len(rest), err)
		}
		if got, want := after.Peek(&read, 1900), after.Peek(&s, 1900); got != want {
			t.Errorf("Peek = %+v after reading back, %+v before", got, want)
		}
		s = read
	}
}
