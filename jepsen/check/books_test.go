package check

import (
	"strings"
	"testing"

	"github.com/anishathalye/porcupine"
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/fsm/clock"
)

// A line of a ledger: an ask by a holder at a time, and the answer it got.
type entered struct {
	now                        clock.Millis
	holder                     escrow.HolderID
	window                     clock.Millis
	used, returned, need, want escrow.Credits
	start, end                 clock.Millis
	granted, left, limit       escrow.Credits
	ttl, retry                 clock.Millis
	repeated                   bool
}

func (l entered) settle(b *books, index uint64) {
	e := &effect{index: index, now: l.now, cmd: &fsm.Exchange{EdgeID: "e"}, result: fsm.Result{Session: l.holder}}
	b.settle(e, &fsm.Ask{Policy: "p", Key: "a", Window: l.window, Used: l.used, Returned: l.returned, Need: l.need, Want: l.want},
		&fsm.Answer{Window: escrow.Window{Start: l.start, End: l.end}, Granted: l.granted, Left: l.left, Limit: l.limit, TTL: l.ttl, Retry: l.retry}, l.repeated)
}

// TestBooks holds the second ledger to the contract: answers that it allows, and
// for each rule one that breaks it.
func TestBooks(t *testing.T) {
	first := entered{now: 1100, holder: 1, need: 4, want: 6, start: 1000, end: 2000, granted: 6, left: 4, limit: 10, ttl: 899}
	for _, tt := range []struct {
		name    string
		entries []entered
		want    string // in the problem, "" if all is well
	}{
		{"granted as wished", []entered{first}, ""},
		{"granted as needed", []entered{{now: 1100, holder: 1, need: 4, want: 6, start: 1000, end: 2000, granted: 4, left: 6, limit: 10, ttl: 899}}, ""},
		{"asked again", []entered{first, {now: 1200, holder: 1, need: 4, want: 6, start: 1000, end: 2000, granted: 6, left: 4, limit: 10, ttl: 799, repeated: true}}, ""},
		{"refused for want of credits", []entered{first, {now: 1200, holder: 2, need: 5, want: 5, start: 1000, end: 2000, granted: 4, left: 0, limit: 10, ttl: 799, retry: 800}}, ""},
		{"returned and granted to another", []entered{
			first, {now: 1200, holder: 1, window: 1000, used: 2, returned: 4, start: 1000, end: 2000, granted: 6, left: 8, limit: 10, ttl: 799},
			{now: 1300, holder: 2, need: 8, want: 8, start: 1000, end: 2000, granted: 8, left: 0, limit: 10, ttl: 699},
		}, ""},
		{"the next window", []entered{first, {now: 2000, holder: 1, window: 1000, used: 6, need: 7, want: 7, start: 2000, end: 3000, granted: 1, left: 9, limit: 10, ttl: 999}}, ""},
		{"a question opens nothing", []entered{
			{now: 1100, holder: 1, start: 1000, end: 2000, left: 10, limit: 10, ttl: 899},
			{now: 1500, holder: 1, need: 1, want: 1, start: 1500, end: 2500, granted: 1, left: 9, limit: 10, ttl: 999},
		}, ""},
		{"more than was wished", []entered{{now: 1100, holder: 1, need: 4, want: 6, start: 1000, end: 2000, granted: 7, left: 3, limit: 10, ttl: 899}}, "was raised to 7"},
		{"granted twice on repeat", []entered{first, {now: 1200, holder: 1, need: 4, want: 6, start: 1000, end: 2000, granted: 10, left: 0, limit: 10, ttl: 799, repeated: true}}, "by a request that had taken effect before"},
		{"less than was needed", []entered{{now: 1100, holder: 1, need: 4, want: 6, start: 1000, end: 2000, granted: 3, left: 7, limit: 10, ttl: 899, retry: 900}}, "got 3 although 10 were free"},
		{"a grant falls", []entered{first, {now: 1200, holder: 1, start: 1000, end: 2000, granted: 5, left: 5, limit: 10, ttl: 799}}, "fell from 6 to 5"},
		{"what was used is forgotten", []entered{first, {now: 1200, holder: 2, need: 10, want: 10, start: 1000, end: 2000, granted: 10, left: 0, limit: 10, ttl: 799}}, "given 10 more while 4 of 10 were free"},
		{"used more than granted", []entered{first, {now: 1200, holder: 1, window: 1000, used: 5, returned: 2, start: 1000, end: 2000, granted: 6, left: 6, limit: 10, ttl: 799}}, "reported used 5 + returned 2"},
		{"says that more is left", []entered{{now: 1100, holder: 1, need: 4, want: 6, start: 1000, end: 2000, granted: 6, left: 5, limit: 10, ttl: 899}}, "says that 5 are left"},
		{"says another limit", []entered{{now: 1100, holder: 1, need: 4, want: 6, start: 1000, end: 2000, granted: 6, left: 5, limit: 11, ttl: 899}}, "says that the limit is 11"},
		{"refused and not told", []entered{{now: 1100, holder: 1, need: 12, want: 12, start: 1000, end: 2000, granted: 10, left: 0, limit: 10, ttl: 899}}, "retry after 0 ms"},
		{"a ttl to the very end", []entered{{now: 1100, holder: 1, need: 4, want: 6, start: 1000, end: 2000, granted: 6, left: 4, limit: 10, ttl: 900}}, "a ttl of 900 ms"},
		{"a ttl beyond the longest lease", []entered{{now: 1100, holder: 1, need: 4, want: 6, start: 1000, end: 9000, granted: 6, left: 4, limit: 10, ttl: 5001}}, "want at most 5000"},
		{"a window that is over", []entered{{now: 2000, holder: 1, need: 4, want: 6, start: 1000, end: 2000, granted: 6, left: 4, limit: 10}}, "is about window [1000, 2000)"},
		{"a window that begins too early", []entered{first, {now: 1500, holder: 1, need: 1, want: 1, start: 1500, end: 2500, granted: 1, left: 9, limit: 10, ttl: 999}}, "has ended"},
		{"an end that moves", []entered{first, {now: 1200, holder: 1, start: 1000, end: 1900, granted: 6, left: 4, limit: 10, ttl: 699}}, "ends at 1900, and at 2000"},
		{"older than the totals", []entered{{now: 1100, holder: 1, window: 1500, start: 1000, end: 2000, left: 10, limit: 10, ttl: 899}}, "the later one of 1500"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBooks()
			b.longest, b.limits["p"] = 5000, 10
			for i, l := range tt.entries {
				b.end(l.now, uint64(i+1), 0)
				l.settle(b, uint64(i+1))
			}
			text := ""
			for _, p := range append(append(b.conserve.list, b.repeat.list...), b.clock.list...) {
				text += p.Text + "\n"
			}
			if tt.want == "" && text != "" || !strings.Contains(text, tt.want) {
				t.Errorf("want %q, got %q", tt.want, text)
			}
			if wantRepeat := strings.Contains(tt.want, "by a request"); wantRepeat != (b.repeat.found > 0) {
				t.Errorf("%d problems are blamed on repeats", b.repeat.found)
			}
		})
	}
}

// TestLedgerModel gives porcupine small histories by hand.
func TestLedgerModel(t *testing.T) {
	id := WindowID{cell, 1000}
	op := func(client int, call, ret int64, in linearOp, out linearAnswer) porcupine.Operation {
		in.cell = id
		out.limit = 10
		return porcupine.Operation{ClientId: client, Call: call, Return: ret, Input: in, Output: out}
	}
	take := func(h escrow.HolderID, n escrow.Credits) linearOp { return linearOp{holder: h, need: n, want: n} }
	give := func(h escrow.HolderID, n escrow.Credits) linearOp { return linearOp{holder: h, returned: n} }
	for _, tt := range []struct {
		name string
		h    []porcupine.Operation
		want porcupine.CheckResult
	}{
		{"one after the other", []porcupine.Operation{
			op(0, 0, 10, take(1, 6), linearAnswer{granted: 6, left: 4}), op(1, 20, 30, take(2, 6), linearAnswer{granted: 4, left: 0}),
			op(0, 40, 50, give(1, 5), linearAnswer{granted: 6, left: 5}), op(1, 60, 70, take(2, 6), linearAnswer{granted: 6, left: 3}),
		}, porcupine.Ok},
		{"the answers tell the order", []porcupine.Operation{
			op(0, 0, 50, take(1, 6), linearAnswer{granted: 4, left: 0}), op(1, 0, 50, take(2, 6), linearAnswer{granted: 6, left: 4}),
		}, porcupine.Ok},
		{"the times forbid that order", []porcupine.Operation{
			op(0, 0, 10, take(1, 6), linearAnswer{granted: 4, left: 0}), op(1, 20, 30, take(2, 6), linearAnswer{granted: 6, left: 4}),
		}, porcupine.Illegal},
		{"more than there was", []porcupine.Operation{
			op(0, 0, 10, take(1, 6), linearAnswer{granted: 6, left: 4}), op(1, 20, 30, take(2, 6), linearAnswer{granted: 6, left: 0}),
		}, porcupine.Illegal},
		{"a stale read", []porcupine.Operation{
			op(0, 0, 10, take(1, 6), linearAnswer{granted: 6, left: 4}), op(1, 20, 30, linearOp{holder: 2}, linearAnswer{left: 10}),
		}, porcupine.Illegal},
		{"a repeat, which changes nothing", []porcupine.Operation{
			op(0, 0, 10, take(1, 6), linearAnswer{granted: 6, left: 4}), op(1, 20, 30, take(1, 6), linearAnswer{granted: 6, left: 4}),
		}, porcupine.Ok},
		{"a return that nobody made", []porcupine.Operation{
			op(0, 0, 10, take(1, 6), linearAnswer{granted: 6, left: 4}), op(1, 20, 30, give(1, 7), linearAnswer{granted: 6, left: 10}),
		}, porcupine.Illegal},
		{"resolved from the log", []porcupine.Operation{
			op(0, 0, 1<<62, take(1, 6), linearAnswer{granted: 6, left: 4, resolved: true}), op(1, 20, 30, take(2, 6), linearAnswer{granted: 4, left: 0}),
		}, porcupine.Ok},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := porcupine.CheckOperationsTimeout(ledgerModel(), tt.h, linearTime); got != tt.want {
				t.Errorf("porcupine says %v, want %v", got, tt.want)
			}
		})
	}
}

func TestScanLog(t *testing.T) {
	log := "level=INFO msg=started\nlevel=ERROR msg=\"store failed\"\nlevel=INFO msg=x\npanic: oh\n\ngoroutine 1 [running]:\nlevel=INFO msg=y\nWARNING: DATA RACE\n"
	got, err := ScanLog("n1", strings.NewReader(log))
	if err != nil || len(got) != 3 {
		t.Fatalf("ScanLog() = %+v, %v", got, err)
	}
	if got[0].N != 2 || got[1].N != 4 || len(got[1].More) != 2 || got[2].N != 8 {
		t.Errorf("ScanLog() = %+v", got)
	}
}
