package strategy

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/tkcoord/tkcoord/escrow"
)

var update = flag.Bool("update", false, "write the answers in testdata anew, from the model in contract_test.go")

// TestGolden holds the package and the model against the files in testdata, which
// say how they are read.
func TestGolden(t *testing.T) {
	for _, name := range []Name{GCRA, TokenBucket, FixedWindow, SlidingWindow, SlidingWindowLog, Quota} {
		t.Run(string(name), func(t *testing.T) { golden(t, filepath.Join("testdata", string(name)+".txt")) })
	}
}

func golden(t *testing.T, path string) {
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var (
		out  bytes.Buffer
		sect *section
		rows int
	)
	for i, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
		switch row, comment, _ := strings.Cut(line, "#"); {
		case strings.TrimSpace(row) == "":
			fmt.Fprintln(&out, line)
		case strings.Contains(row, "t0="):
			if sect, err = openSection(row); err != nil {
				t.Fatalf("%s:%d: %v", path, i+1, err)
			}
			fmt.Fprintln(&out, line)
		default:
			rows++
			got, want, recorded, err := sect.row(row)
			if err != nil {
				t.Fatalf("%s:%d: %v", path, i+1, err)
			}
			if got != want {
				t.Errorf("%s:%d: the package answers\n\t%s\nthe contract\n\t%s", path, i+1, got, want)
			}
			if recorded != want && !*update {
				t.Errorf("%s:%d: the file has\n\t%s\nthe contract\n\t%s", path, i+1, recorded, want)
			}
			if comment != "" {
				want = fmt.Sprintf("%-82s #%s", want, comment)
			}
			fmt.Fprintln(&out, want)
		}
	}
	if rows < 50 {
		t.Errorf("%s has %d rows, want 50 or more", path, rows)
	}
	if *update {
		if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// A section is one key under one strategy.
type section struct {
	t0       int64
	strategy Strategy
	state    State
	model    model
}

var kindOf = map[string]escrow.Kind{
	"fixed": escrow.Fixed, "calendar-day": escrow.CalendarDay,
	"calendar-week": escrow.CalendarWeek, "calendar-month": escrow.CalendarMonth,
}

func openSection(row string) (*section, error) {
	p, t0, err := parseParams(row)
	if err != nil {
		return nil, err
	}
	st, err := New(p)
	if err != nil {
		return nil, err
	}
	return &section{t0: t0, strategy: st, model: newModel(p)}, nil
}

func parseParams(row string) (p Params, t0 int64, err error) {
	fields := strings.Fields(row)
	p.Name = Name(fields[0])
	for _, f := range fields[1:] {
		key, value, _ := strings.Cut(f, "=")
		if key == "resetCadence" {
			p.Rolling, p.Cadence.Kind = value == "rolling", kindOf[value]
			continue
		}
		x, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return p, 0, err
		}
		switch key {
		case "limit":
			p.Limit = x
		case "period":
			if p.Cadence.Kind == escrow.Fixed {
				p.Cadence.Period = escrow.Millis(x)
			} else {
				p.Period = x
			}
		case "burst":
			p.Burst = x
		case "capacity":
			p.Capacity = x
		case "refillPerSec":
			p.RefillPerSec = x
		case "buckets":
			p.Buckets = int(x)
		case "anchor":
			p.Cadence.Anchor = escrow.Millis(x)
		case "offsetMinutes":
			p.Cadence.OffsetMinutes = int32(x)
		case "weekStartsOn":
			p.Cadence.WeekStart = int32(x)
		case "t0":
			t0 = int64(x)
		default:
			return p, 0, fmt.Errorf("unknown parameter %q", key)
		}
	}
	return p, t0, nil
}

// row answers one row with the package and with the model, and returns the answer
// that the file has.
func (s *section) row(row string) (got, want, recorded string, err error) {
	op, answer, _ := strings.Cut(row, "=")
	f := strings.Fields(op)
	if len(f) < 2 || f[0] != "peek" && len(f) < 3 {
		return "", "", "", fmt.Errorf("row %q: want check, peek or forecast, an instant, and a cost", row)
	}
	after, err := strconv.ParseInt(f[1], 10, 64)
	if err != nil {
		return "", "", "", err
	}
	cost := 1.0
	if len(f) > 2 {
		if cost, err = strconv.ParseFloat(f[2], 64); err != nil {
			return "", "", "", err
		}
	}
	now, head := s.t0+after, fmt.Sprintf("%-8s %12s %6s = ", f[0], f[1], strings.Join(f[2:], " "))
	instant, price := dbl(float64(now)), dbl(cost)
	switch f[0] {
	case "check":
		got, want = s.decision(s.strategy.Check(&s.state, now, cost)), s.decision(s.model.check(instant, price))
	case "peek":
		got, want = s.decision(s.strategy.Peek(&s.state, now)), s.decision(s.model.peek(instant))
	case "forecast":
		got, want = s.forecast(s.strategy.Forecast(&s.state, now, cost)), s.forecast(s.model.forecast(instant, price))
	default:
		err = fmt.Errorf("unknown operation %q", f[0])
	}
	words := strings.Join(strings.Fields(answer), " ")
	if recorded = head + words; strings.Join(strings.Fields(want), " ") == words {
		recorded = head + want
	}
	return head + got, head + want, recorded, err
}

func (s *section) decision(d Decision) string {
	word := map[bool]string{true: "allow", false: "deny"}[d.Allowed]
	return fmt.Sprintf("%-5s of %d: %d left, reset %+d, retry %d", word, d.Limit, d.Remaining, d.ResetAt-s.t0, d.RetryAfter)
}

func (s *section) forecast(f Forecast) string {
	return fmt.Sprintf("spend %d, next %+d, full %+d", f.SpendableNow, f.NextReplenishAt-s.t0, f.FullAt-s.t0)
}
