package policy

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tkcoord/tkcoord/concurrency"
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/strategy"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestParseGood compares what good files say, in the canonical form of it, and
// what is remarked about them.
func TestParseGood(t *testing.T) {
	for _, name := range inputs(t, "good") {
		t.Run(filepath.Base(name), func(t *testing.T) {
			f, err := Parse(filepath.Base(name), read(t, name))
			if err != nil {
				t.Fatal(err)
			}
			got := string(Format(f.Policies))
			if len(f.Warnings.List) > 0 {
				got += "---\n" + f.Warnings.Error() + "\n"
			}
			golden(t, name+".want", got)
			for _, p := range f.Policies {
				if err := p.Validate(); err != nil {
					t.Errorf("%s: %v", p.Name, err)
				}
			}
			checkStrictness(t, read(t, name))
		})
	}
}

// TestParseBad compares every message about bad files. Those that only a strict
// reading gives are marked, and if it gives no others, what the file means
// otherwise follows.
func TestParseBad(t *testing.T) {
	for _, name := range inputs(t, "bad") {
		t.Run(filepath.Base(name), func(t *testing.T) {
			data := read(t, name)
			f, err := ParseStrict(filepath.Base(name), data)
			problems, ok := errors.AsType[*Problems](err)
			if !ok {
				t.Fatalf("Parse = %+v, %v, want *Problems", f, err)
			}
			if f.Policies != nil {
				t.Errorf("a bad file gave policies: %+v", f.Policies)
			}
			f, err = Parse(filepath.Base(name), data)
			anyway := ""
			if err != nil {
				anyway = err.Error() + "\n"
			}
			got := ""
			for line := range strings.Lines(problems.Error() + "\n") {
				if !strings.Contains(anyway, line) {
					got += "strict: "
				}
				got += line
			}
			if err == nil {
				got += "---\n" + string(Format(f.Policies))
			}
			golden(t, name+".want", got)
			checkStrictness(t, data)
		})
	}
}

// checkStrictness: a strict reading gives the same policies or problems, and at
// least those that are problems anyway. What it adds are the warnings.
func checkStrictness(t testing.TB, data []byte) {
	t.Helper()
	f, err := Parse("f", data)
	strict, serr := ParseStrict("f", data)
	switch {
	case err != nil && serr == nil:
		t.Errorf("%v is no problem if the file is read strictly", err)
	case err == nil && serr == nil && !slices.Equal(f.Policies, strict.Policies):
		t.Errorf("read strictly %+v, else %+v", strict.Policies, f.Policies)
	case err == nil && serr != nil:
		if left := len(f.Warnings.List) + f.Warnings.More; left < len(serr.(*Problems).List) {
			t.Errorf("%d warnings become %v", left, serr)
		}
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
	rate := func(p strategy.Params) Policy {
		return Policy{Name: "a", Strategy: p.Name, Rate: p, MaxKeys: DefaultMaxKeys}
	}
	leased := func(tier Tier) Policy {
		p := window(1000)
		p.Kind, p.Tier = TwoTier, tier
		return p
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
		{"exact where doubles are not", `strategy: fixedWindow, limit: 5, period: 1.005s`, window(1005)},
		{"leading zeros of a duration", `strategy: fixedWindow, limit: 5, period: 010s`, window(10_000)},
		{"longest", `strategy: fixedWindow, limit: 5, period: 3660d`, window(escrow.MaxPeriod)},
		{"shortest", `strategy: fixedWindow, limit: 5, windowMs: 1`, window(1)},
		{"exponent", `strategy: fixedWindow, limit: 0.5e1, windowMs: 6E+4`, window(60_000)},
		{"period wins", `strategy: fixedWindow, limit: 5, period: 1s, windowMs: 5`, window(1000)},
		{"the floor of a limit", `strategy: fixedWindow, limit: 5.999, period: 1s`, window(1000)},
		{"anchor beyond the period", fixed + `period: 7s, anchor: 7500`, quota(escrow.Cadence{Kind: escrow.Fixed, Period: 7000, Anchor: 500})},
		{"anchor before 1970", fixed + `periodMs: 7000, anchor: -6500`, quota(escrow.Cadence{Kind: escrow.Fixed, Period: 7000, Anchor: 500})},
		{"week starts on Monday", calendar + `week`, quota(escrow.Cadence{Kind: escrow.CalendarWeek, WeekStart: 1})},
		{"or on Sunday", calendar + `week, weekStartsOn: 0`, quota(escrow.Cadence{Kind: escrow.CalendarWeek})},
		{"offset", calendar + `day, offsetMinutes: -840`, quota(escrow.Cadence{Kind: escrow.CalendarDay, OffsetMinutes: -840})},
		{"a rate has the period of doubles", `strategy: gcra, limit: 0.5, burst: 1, period: 1.005s`,
			rate(strategy.Params{Name: GCRA, Limit: 0.5, Period: 1004.9999999999999, Burst: 1})},
		{"the burst is the limit", `strategy: gcra, limit: 5, periodMs: 7, windowMs: 8`, rate(strategy.Params{Name: GCRA, Limit: 5, Period: 7, Burst: 5})},
		{"windowMs is the last choice", `strategy: gcra, limit: 5, windowMs: 8`, rate(strategy.Params{Name: GCRA, Limit: 5, Period: 8, Burst: 5})},
		{"ten buckets", `strategy: slidingWindow, limit: 5, windowMs: 8`, rate(strategy.Params{Name: SlidingWindow, Limit: 5, Period: 8, Buckets: 10})},
		{"rolling", `strategy: quota, limit: 5, resetCadence: rolling, period: 8`, rate(strategy.Params{Name: Quota, Rolling: true, Limit: 5, Period: 8, Buckets: 10})},
		{"modes without batches have none", `strategy: fixedWindow, limit: 5, period: 1s, twoTier: {mode: cached-deny, batch: 5, lowWater: 1}`, leased(Tier{Mode: CachedDeny})},
		{"leased is the default", `strategy: fixedWindow, limit: 5, period: 1s, twoTier: {batch: 5.5, windowCoupled: true}`, leased(Tier{Mode: Leased, Batch: 5, WindowCoupled: true})},
		{"nearly never is not never", `strategy: fixedWindow, limit: 5, period: 1s, twoTier: {batch: 5, returnIdleAfterMs: 0.5}`, leased(Tier{Mode: Leased, Batch: 5, ReturnIdleAfter: 1})},
		{"a federated sliding window counts in fixed ones", `strategy: slidingWindow, limit: 5, period: 1s, buckets: 5, federated: {}`,
			Policy{Name: "a", Kind: Federated, Strategy: SlidingWindow, Limit: 5, Cadence: escrow.Cadence{Kind: escrow.Fixed, Period: 1000}, Batch: 16, MaxKeys: DefaultMaxKeys}},
		{"a federated quota has no anchor", fixed + `period: 1s, anchor: 500, federated: {batch: 5}`,
			Policy{Name: "a", Kind: Federated, Strategy: Quota, Limit: 5, Cadence: escrow.Cadence{Kind: escrow.Fixed, Period: 1000}, Batch: 5, MaxKeys: DefaultMaxKeys}},
		{"the keys of a meter", `maxKeys: 5, tokenBudget: {budget: 7.5, windowMs: 1000, maxKeys: 9}`,
			Policy{Name: "a", Kind: Meter, Meter: TokenBudget, Limit: 7, Cadence: escrow.Cadence{Kind: escrow.Fixed, Period: 1000}, MaxKeys: 9}},
		{"the estimate starts at minLimit", `concurrency: {minLimit: 7}`, Policy{Name: "a", Kind: Guarded, MaxKeys: DefaultMaxKeys, Guard: concurrency.Config{
			MinLimit: 7, MaxLimit: 512, InitialLimit: 7, Algorithm: concurrency.Gradient2, RTTWindow: 100, Smoothing: 0.2, Tolerance: 2, BackoffRatio: 0.9,
		}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, err := Parse("f", []byte(blockStyle("limiters:\n  a: {"+tc.spec+"}\n")))
			if err != nil || len(f.Policies) != 1 || f.Policies[0] != tc.want {
				t.Errorf("Parse = %+v, %v, want %+v", f.Policies, err, tc.want)
			}
		})
	}
}

// blockStyle puts the last map in braces on a line of its own, as the contract's
// subset of YAML wants it if it is nested.
func blockStyle(file string) string {
	outer, inner, nested := strings.Cut(file, ": {")
	if !nested || !strings.Contains(inner, ": {") {
		return file
	}
	inner = strings.TrimSuffix(strings.TrimSpace(inner), "}")
	rest, block, _ := strings.Cut(inner, ": {")
	keys := strings.Split(rest, ", ")
	return outer + ":\n    " + strings.Join(keys, "\n    ") + ": {" + block + "\n"
}

// TestParseLimits: what is too large is refused as a whole, with one problem.
func TestParseLimits(t *testing.T) {
	many := "limiters:\n"
	for i := range MaxPolicies + 1 {
		many += fmt.Sprintf("  p%d: {}\n", i)
	}
	for _, tc := range []struct{ name, text, want string }{
		{"size", strings.Repeat("#", MaxFileSize+1), "f: got 4194305 bytes: at most 4194304 are allowed"},
		{"policies", many, "f:1: config.limiters: got 10001 policies: at most 10000 are allowed"},
		{"a name", "limiters:\n  a" + strings.Repeat("é", 128) + ": {strategy: fixedWindow, limit: 1, period: 1s}",
			`f:2: config.limiters["a` + strings.Repeat("é", 31) + `..."]: a name must have 1 to 256 bytes, this one has 257`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := Parse("f", []byte(tc.text)); err == nil || err.Error() != tc.want {
				t.Errorf("Parse: %v, want %s", err, tc.want)
			}
		})
	}
}

// TestParseManyKeys: a file full of nonsense takes no longer than one of policies.
func TestParseManyKeys(t *testing.T) {
	var b strings.Builder
	b.WriteString("limiters:\n  a:\n    strategy: gcra\n    limit: 5\n    period: 1s\n")
	for i := range 250_000 {
		fmt.Fprintf(&b, "    k%d: 1\n", i)
	}
	f, err := Parse("f", []byte(b.String()))
	if err != nil || len(f.Warnings.List) != MaxProblems || f.Warnings.More != 250_000-MaxProblems {
		t.Errorf("%d warnings and %d more, %v", len(f.Warnings.List), f.Warnings.More, err)
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
		checkStrictness(t, data)
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
