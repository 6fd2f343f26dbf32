package report

import (
	"bytes"
	"encoding/json"
	"flag"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tkcoord/tkcoord/jepsen/check"
)

var update = flag.Bool("update", false, "write the golden page anew")

const (
	stored = "../check/testdata/run"
	golden = "testdata/report.html"
)

func load(t *testing.T) (*check.Case, []check.Verdict) {
	t.Helper()
	x, err := check.Load(stored)
	if err != nil {
		t.Fatal(err)
	}
	return x, check.Judge(x)
}

// TestPage compares the page of the stored run, without porcupine's view, with
// the one that was looked at.
func TestPage(t *testing.T) {
	x, verdicts := load(t)
	got, err := Page(x, NewResult(x, verdicts), View{})
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		g, w := strings.Split(string(got), "\n"), strings.Split(string(want), "\n")
		for i := range min(len(g), len(w)) {
			if g[i] != w[i] {
				t.Fatalf("line %d of the page:\n got %.500s\nwant %.500s", i+1, g[i], w[i])
			}
		}
		t.Fatalf("the page has %d lines, want %d", len(g), len(w))
	}
}

// TestPageIsSelfContained: nothing is fetched from anywhere.
func TestPageIsSelfContained(t *testing.T) {
	x, verdicts := load(t)
	page, err := Page(x, NewResult(x, verdicts), View{})
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"src=", "href=", "url(", "@import", "fetch("} {
		if bytes.Contains(page, []byte(part)) {
			t.Errorf("the page holds %q", part)
		}
	}
}

func TestWrite(t *testing.T) {
	x, verdicts := load(t)
	dir := t.TempDir()
	for range 2 { // judging again replaces what was there
		r, err := Write(dir, x, verdicts)
		if err != nil {
			t.Fatal(err)
		}
		if want := []string{"I1 limit", "I3 acknowledged", "I12 logs", "linearizable"}; r.OK || !slices.Equal(r.Failed(), want) {
			t.Errorf("OK %v, failed %q, want %q", r.OK, r.Failed(), want)
		}
	}
	data, err := os.ReadFile(filepath.Join(dir, ResultFile))
	if err != nil {
		t.Fatal(err)
	}
	var back Result
	if err := json.Unmarshal(data, &back); err != nil || back.OK || back.Seed != 7 || len(back.Verdicts) != len(verdicts) {
		t.Errorf("result.json holds %+v, %v", back, err)
	}
	page, err := os.ReadFile(filepath.Join(dir, PageFile))
	if err != nil || !bytes.Contains(page, []byte("Porcupine: cell/a in window")) {
		t.Errorf("the page lacks porcupine's view: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, PorcupineFile)); err != nil {
		t.Error(err)
	}
}

func TestNiceStep(t *testing.T) {
	for _, tt := range []struct{ v, want float64 }{{0, 1}, {0.3, 0.5}, {1, 1}, {1.1, 2}, {3, 5}, {7, 10}, {1200, 2000}, {5000, 5000}} {
		if got := niceStep(tt.v); math.Abs(got-tt.want) > 1e-9*tt.want {
			t.Errorf("niceStep(%v) = %v, want %v", tt.v, got, tt.want)
		}
	}
}

func TestShort(t *testing.T) {
	for _, tt := range []struct {
		v    float64
		want string
	}{{0, "0"}, {0.1, "0.1"}, {1500, "1500"}, {15_000, "15k"}, {2_500_000, "2.5M"}} {
		if got := short(tt.v); got != tt.want {
			t.Errorf("short(%v) = %q, want %q", tt.v, got, tt.want)
		}
	}
}
