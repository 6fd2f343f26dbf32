package policy

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tkcoord/tkcoord/escrow"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestParseGood compares what good files say with the canonical form of it.
func TestParseGood(t *testing.T) {
	for _, name := range inputs(t, "good") {
		t.Run(filepath.Base(name), func(t *testing.T) {
			f, err := Parse(filepath.Base(name), read(t, name))
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name+".want", string(Format(f.Policies)))
			for _, p := range f.Policies {
				if err := p.Validate(); err != nil {
					t.Errorf("%s: %v", p.Name, err)
				}
			}
		})
	}
}

// TestParseBad compares every message about bad files.
func TestParseBad(t *testing.T) {
	for _, name := range inputs(t, "bad") {
		t.Run(filepath.Base(name), func(t *testing.T) {
			f, err := Parse(filepath.Base(name), read(t, name))
			problems, ok := errors.AsType[*Problems](err)
			if !ok {
				t.Fatalf("Parse = %+v, %v, want *Problems", f, err)
			}
			golden(t, name+".want", problems.Error()+"\n")
			if f.Policies != nil {
				t.Errorf("a bad file gave policies: %+v", f.Policies)
			}
		})
	}
}

// inputs returns the policy files in a directory of testdata.
func inputs(t testing.TB, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join("testdata", dir, "*.*"))
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, n := range names {
		if !strings.HasSuffix(n, ".want") {
			files = append(files, n)
		}
	}
	if len(files) == 0 {
		t.Fatalf("no files in testdata/%s", dir)
	}
	return files
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// golden compares got with a file.
func golden(t *testing.T, name, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	gots, wants := strings.Split(got, "\n"), strings.Split(string(read(t, name)), "\n")
	for i := range max(len(gots), len(wants)) {
		if i >= len(gots) || i >= len(wants) || gots[i] != wants[i] {
			t.Errorf("differs from %s in line %d; got\n%s", name, i+1, strings.Join(gots[min(i, len(gots)):], "\n"))
			return
		}
	}
}

func TestParseValues(t *testing.T) {
	window := func(period escrow.Millis) Policy {
		return Policy{Name: "a", Strategy: FixedWindow, Limit: 5, Cadence: escrow.Cadence{Kind: escrow.Fixed, Period: period}, MaxKeys: DefaultMaxKeys}
	}
	quota := func(c escrow.Cadence) Policy {
		return Policy{Name: "a", Strategy: Quota, Limit: 5, Cadence: c, MaxKeys: DefaultMaxKeys}
	}
	const fixed = "strategy: quota, limit: 5, resetCadence: fixed, "
	const calendar = "strategy: quota, limit: 5, resetCadence: calendar-"
	for _, tc := range []struct {
		name, spec string
		want       Policy
	}{
		{"period is ms without a unit", `strategy: fixedWindow, limit: 5, period: 250`, window(250)},
		{"also as a string", `strategy: fixedWindow, limit: 5, period: "250"`, window(250)},
		{"hours", `strategy: fixedWindow, limit: 5, period: 1.5h`, window(5_400_000)},
		{"white space", `strategy: fixedWindow, limit: 5, period: "  2 d  "`, window(172_800_000)},
		{"exact where doubles are not", `strategy: fixedWindow, limit: 5, period: 0.07s`, window(70)},
		{"leading zeros of a duration", `strategy: fixedWindow, limit: 5, period: 010s`, window(10_000)},
		{"longest", `strategy: fixedWindow, limit: 5, period: 3660d`, window(escrow.MaxPeriod)},
		{"shortest", `strategy: fixedWindow, limit: 5, windowMs: 1`, window(1)},
		{"exponent", `strategy: fixedWindow, limit: 0.5e1, windowMs: 6E+4`, window(60_000)},
		{"anchor beyond the period", fixed + `period: 7s, anchor: 7500`, quota(escrow.Cadence{Kind: escrow.Fixed, Period: 7000, Anchor: 500})},
		{"anchor before 1970", fixed + `periodMs: 7000, anchor: -6500`, quota(escrow.Cadence{Kind: escrow.Fixed, Period: 7000, Anchor: 500})},
		{"week starts on Monday", calendar + `week`, quota(escrow.Cadence{Kind: escrow.CalendarWeek, WeekStart: 1})},
		{"or on Sunday", calendar + `week, weekStartsOn: 0`, quota(escrow.Cadence{Kind: escrow.CalendarWeek})},
		{"offset", calendar + `day, offsetMinutes: -840`, quota(escrow.Cadence{Kind: escrow.CalendarDay, OffsetMinutes: -840})},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, err := Parse("f", []byte("limiters:\n  a: {"+tc.spec+"}\n"))
			if err != nil || len(f.Policies) != 1 || f.Policies[0] != tc.want {
				t.Errorf("Parse = %+v, %v, want %+v", f.Policies, err, tc.want)
			}
		})
	}
}

// TestParseLimits: what is too large is refused as a whole, with one problem.
func TestParseLimits(t *testing.T) {
	many := "limiters:\n"
	for i := range MaxPolicies + 1 {
		many += fmt.Sprintf("  p%d: {}\n", i)
	}
	for _, tc := range []struct{ name, text, want string }{
		{"size", strings.Repeat("#", MaxFileSize+1), "f: got 4194305 bytes: at most 4194304 are allowed"},
		{"policies", many, "f:1: limiters: got 10001 policies: at most 10000 are allowed"},
		{"a name", "limiters:\n  a" + strings.Repeat("é", 128) + ": {strategy: fixedWindow, limit: 1, period: 1s}",
			`f:2: limiters."a` + strings.Repeat("é", 31) + `...": a name must have 1 to 256 bytes, this one has 257`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := Parse("f", []byte(tc.text)); err == nil || err.Error() != tc.want {
				t.Errorf("Parse: %v, want %s", err, tc.want)
			}
		})
	}
}

// FuzzParse: whatever the bytes, the answer is problems with their places, or
// valid policies that survive being written and read again.
func FuzzParse(f *testing.F) {
	for _, dir := range []string{"good", "bad"} {
		for _, name := range inputs(f, dir) {
			f.Add(read(f, name))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Parse("f", data)
		if err != nil {
			problems, ok := errors.AsType[*Problems](err)
			if !ok || len(problems.List) == 0 || len(problems.List) > MaxProblems {
				t.Fatalf("Parse: %v, want *Problems with 1 to %d entries", err, MaxProblems)
			}
			for _, p := range problems.List {
				if p.Message == "" || len(p.String()) > 8000 || p.Line < 0 || p.Line > 1+len(data) {
					t.Fatalf("bad problem %+v", p)
				}
			}
			return
		}
		for i, p := range file.Policies {
			if err := p.Validate(); err != nil {
				t.Fatalf("%+v: %v", p, err)
			}
			if i > 0 && file.Policies[i-1].Name >= p.Name {
				t.Fatalf("%q comes before %q", file.Policies[i-1].Name, p.Name)
			}
		}
		checkRoundTrip(t, file.Policies)
	})
}
