package history

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tkcoord/tkcoord/escrow"
	"pgregory.net/rapid"
)

func create(t *testing.T, name string) (*Writer, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), FileName(name))
	w, err := Create(path, Head{Client: name, Role: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return w, path
}

func readBack(t *testing.T, path string) *Client {
	t.Helper()
	h, err := ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	if len(h) != 1 {
		t.Fatalf("%d clients, want 1", len(h))
	}
	return h[0]
}

func TestOperationsComeBack(t *testing.T) {
	w, path := create(t, "edge-1")
	key := w.Key("hot", "a")
	req := &Exchange{Edge: "edge-1", Incarnation: 7, Seq: 1, Asks: []Ask{{Key: key, Need: 3, Want: 8}}}
	reply := &Reply{Session: 1, Index: 12, Clock: 1000, Answers: []Answer{{Start: 0, End: 2000, Granted: 8, TTL: 999, Limit: 10, Left: 2}}}
	first := w.Call(Call{Kind: KindExchange, Target: "n1", Exchange: req})
	w.Return(Return{Op: first, At: Now(), Outcome: OK, Reply: reply})
	lost := w.Call(Call{Kind: KindExchange, Target: "n2", Exchange: req, Repeat: first})
	// The writer is not closed: that is what a kill leaves.
	c := readBack(t, path)
	if err := (History{c}).Validate(); err != nil || c.Complete {
		t.Fatalf("complete %v, %v", c.Complete, err)
	}
	if len(c.Ops) != 2 {
		t.Fatalf("%d operations, want 2", len(c.Ops))
	}
	if o := c.Ops[0]; o.Outcome != OK || !reflect.DeepEqual(o.Exchange, req) || !reflect.DeepEqual(o.Reply, reply) || o.Client != "edge-1" {
		t.Errorf("first operation came back as %+v", o)
	}
	if o := c.Ops[1]; o.Op != lost || o.Outcome != Info || o.Ended != Never || o.Repeat != first {
		t.Errorf("the operation without a return came back as %+v", o)
	}
	if got := c.Budget(key); got != (Budget{"hot", "a"}) {
		t.Errorf("key %d is %v", key, got)
	}
}

// TestSumsAreExact: whatever the order of instants and settling, the sums add up
// and the first and last instant of each budget and window survive.
func TestSumsAreExact(t *testing.T) {
	dir := t.TempDir()
	runs := 0
	rapid.Check(t, func(t *rapid.T) {
		runs++
		path := filepath.Join(dir, time.Now().Format("150405.000000000")+"-"+string(rune('a'+runs%26))+".jsonl")
		w, err := Create(path, Head{Client: "e"})
		if err != nil {
			t.Fatal(err)
		}
		type total struct {
			units, times int64
			first, last  Time
		}
		want := map[[2]string]total{}
		at := Now()
		for range rapid.IntRange(1, 60).Draw(t, "admissions") {
			at += Time(rapid.Int64Range(0, int64(2*Slot)).Draw(t, "later"))
			when := at - Time(rapid.Int64Range(0, int64(Slot)).Draw(t, "held up"))
			key, window := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "key"), rapid.SampledFrom([]int64{1000, 2000}).Draw(t, "window")
			n := rapid.Int64Range(1, 5).Draw(t, "n")
			w.Admit("p", key, window, n, when)
			id := [2]string{key, escrow.Window{Start: escrow.Millis(window)}.String()}
			s, seen := want[id]
			if !seen {
				s.first = when
			}
			want[id] = total{s.units + n, s.times + 1, min(s.first, when), max(s.last, when)}
			if rapid.Bool().Draw(t, "settle") {
				if err := w.Settle(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		c, err := Read(f)
		if err != nil {
			t.Fatal(err)
		}
		got := map[[2]string]total{}
		for _, a := range c.Admitted {
			id := [2]string{a.Budget.Key, escrow.Window{Start: a.Window}.String()}
			s, seen := got[id]
			if !seen {
				s.first = a.First
			}
			got[id] = total{s.units + int64(a.Units), s.times + a.Times, min(s.first, a.First), max(s.last, a.Last)}
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("sums are %v, want %v", got, want)
		}
	})
}

func TestUnplacedAdmissionHidesItsInstant(t *testing.T) {
	w, path := create(t, "e")
	w.Admit("p", "a", 1000, 1, 0)
	w.Deny("p", "a", "local", 2, Now())
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	c := readBack(t, path)
	if !c.Complete {
		t.Error("a record that was closed counts as incomplete")
	}
	if len(c.Admitted) != 1 || c.Admitted[0].Last != 0 || c.Admitted[0].Units != 1 {
		t.Errorf("admissions are %+v", c.Admitted)
	}
	if len(c.Denied) != 1 || c.Denied[0].Why != "local" || c.Denied[0].Units != 2 {
		t.Errorf("denials are %+v", c.Denied)
	}
}

const head = `{"head":{"version":1,"client":"c","role":"r","began":1}}` + "\n"

func TestReadRefuses(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"empty", "", "no head"},
		{"no head", `{"key":{"k":1,"policy":"p","name":"a"}}` + "\n", "first line"},
		{"two heads", head + head, "first line"},
		{"newer format", `{"head":{"version":2,"client":"c"}}` + "\n", "format 2"},
		{"unknown line", head + `{"what":{}}` + "\n", "unknown field"},
		{"empty line", head + `{}` + "\n", "nothing that is known"},
		{"return without a call", head + `{"ret":{"op":3,"at":5,"is":"ok"}}` + "\n", "was not called"},
		{"called twice", head + strings.Repeat(`{"call":{"op":3,"at":5,"kind":"x"}}`+"\n", 2), "called twice"},
		{"returns twice", head + `{"call":{"op":3,"at":5,"kind":"x"}}` + "\n" + strings.Repeat(`{"ret":{"op":3,"at":5,"is":"ok"}}`+"\n", 2), "returns twice"},
		{"key without a name", head + `{"adm":{"k":3,"w":1,"n":1,"c":1,"f":1,"l":1}}` + "\n", "no name"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Read(strings.NewReader(tt.text)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Read() = %v, want an error with %q", err, tt.want)
			}
		})
	}
	c, err := Read(strings.NewReader(head + `{"call":{"op":3,"at":5,"ki`))
	if err != nil || !c.Truncated || len(c.Ops) != 0 {
		t.Errorf("a line that a kill cut short: %+v, %v", c, err)
	}
}

func TestValidate(t *testing.T) {
	ok := `{"call":{"op":1,"at":10,"kind":"exchange","exchange":{"edge":"e","inc":1,"seq":1}}}` + "\n" + `{"ret":{"op":1,"at":20,"is":"ok","reply":{"session":1,"index":1,"clock":1}}}` + "\n"
	call := func(op, lane, at string) string {
		return `{"call":{"op":` + op + `,"lane":` + lane + `,"at":` + at + `,"kind":"exchange","exchange":{"edge":"e","inc":1,"seq":2}}}` + "\n"
	}
	for _, tt := range []struct{ name, text, want string }{
		{"good", ok, ""},
		{"an open operation ends its lane", ok + call("2", "0", "30") + call("3", "1", "31"), ""},
		{"overlap", ok + call("2", "0", "15"), "overlap"},
		{"after an open operation", ok + call("2", "0", "30") + call("3", "0", "31"), "overlap"},
		{"returns before it is called", call("2", "0", "30") + `{"ret":{"op":2,"at":29,"is":"fail"}}` + "\n", "from 30 to 29"},
		{"ok without a reply", call("2", "0", "30") + `{"ret":{"op":2,"at":31,"is":"ok"}}` + "\n", "no reply"},
		{"no such outcome", call("2", "0", "30") + `{"ret":{"op":2,"at":31,"is":"maybe"}}` + "\n", `outcome "maybe"`},
		{"more answers than asks", call("2", "0", "30") + `{"ret":{"op":2,"at":31,"is":"ok","reply":{"session":1,"index":1,"clock":1,"answers":[{}]}}}` + "\n", "1 answers to 0 asks"},
		{"sums below nothing", `{"key":{"k":1,"policy":"p","name":"a"}}` + "\n" + `{"adm":{"k":1,"w":1,"n":0,"c":1,"f":1,"l":1}}` + "\n", "admissions of p/a"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := Read(strings.NewReader(head + tt.text))
			if err != nil {
				t.Fatal(err)
			}
			err = (History{c}).Validate()
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("Validate() = %v, want %q", err, tt.want)
			}
		})
	}
}

func TestWallClock(t *testing.T) {
	w := WallClock{{Mono: 1000, Wall: 50_000, Within: 1}, {Mono: 2000, Wall: 51_000, Within: 1}, {Mono: 3000, Wall: 52_100, Within: 1}}
	for _, tt := range []struct {
		wall int64
		want Time
	}{{50_000, 1000}, {50_500, 1500}, {51_550, 2500}, {52_200, 3100}, {49_000, 0}} {
		if got := w.At(tt.wall); got != tt.want {
			t.Errorf("At(%d) = %d, want %d", tt.wall, got, tt.want)
		}
	}
	if got := w.Bend(); got != 102 {
		t.Errorf("Bend() = %d, want 102", got)
	}
	p := PairNow()
	if off := time.Duration(time.Now().UnixNano() - p.Wall); off < 0 || off > time.Minute {
		t.Errorf("the pair's wall clock is %v off", off)
	}
}
