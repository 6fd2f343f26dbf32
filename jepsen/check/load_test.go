package check

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/tkcoord/tkcoord/jepsen/history"
)

var update = flag.Bool("update", false, "make the stored run in testdata anew")

// stored is a run that breaks two rules: it admits a unit too many, and a read
// misses what was acknowledged before it.
const stored = "testdata/run"

// TestLoad judges the stored run.
func TestLoad(t *testing.T) {
	if *update {
		p := newPlay(t)
		p.early("e2", 41)
		p.op("d2", 0).Reply.Answers[0] = p.op("d1", 0).Reply.Answers[0]
		p.meta.Name, p.meta.Seed, p.meta.Workload = "by hand", 7, "hot"
		p.meta.Version, p.meta.Command = "v0", "tkjepsen run --seed 7"
		p.meta.Started = time.UnixMilli(wallZero / 1e6).UTC()
		p.meta.Setup = map[string]string{"heartbeat": "300ms"}
		save(t, p, stored)
	}
	x, err := Load(stored)
	if err != nil {
		t.Fatal(err)
	}
	names, text := failing(t, x)
	if want := []string{"I1 limit", "I3 acknowledged", "I12 logs", "linearizable"}; !slices.Equal(names, want) {
		t.Errorf("the stored run fails %q, want %q:\n%s", names, want, text)
	}
	if len(x.Faults) != 1 || x.Faults[0].Nemesis != "pause" || x.Faults[0].To == history.Never {
		t.Errorf("its faults are %+v", x.Faults)
	}
}

func TestLoadNothing(t *testing.T) {
	if x, err := Load(t.TempDir()); err == nil {
		t.Errorf("an empty directory is the run %+v", x.Meta)
	}
}

// save writes a play to the directory of a run.
func save(t testing.TB, p *play, dir string) {
	t.Helper()
	x := p.finish()
	for _, sub := range []string{ClientsDir, filepath.Join(HostsDir, "n1")} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write := func(name string, values ...any) {
		var text []byte
		for _, v := range values {
			data, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			text = append(append(text, data...), '\n')
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(MetaFile, x.Meta)
	var events []any
	for _, f := range p.faults {
		events = append(events, Event{At: f.From, Nemesis: f.Nemesis, Phase: PhaseStart, Targets: f.Targets}, Event{At: f.To, Nemesis: f.Nemesis, Phase: PhaseStop})
	}
	write(EventsFile, events...)
	for _, c := range p.order {
		write(filepath.Join(ClientsDir, history.FileName(c.Client)), clientLines(c)...)
	}
	if err := p.log.Save(filepath.Join(dir, LogFile)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, HostsDir, "n1", OutputFile), []byte("ready\nlevel=ERROR msg=\"by hand\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}

// clientLines puts a client into the lines of its file.
func clientLines(c *history.Client) []any {
	lines := []any{map[string]any{"head": c.Head}}
	for k := 1; k <= len(c.Names); k++ {
		lines = append(lines, map[string]any{"key": history.KeyName{Key: k, Policy: c.Names[k].Policy, Name: c.Names[k].Key}})
	}
	for i := range c.Ops {
		o := &c.Ops[i]
		lines = append(lines, map[string]any{"call": o.Call},
			map[string]any{"ret": history.Return{Op: o.Op, At: o.Ended, Outcome: o.Outcome, Reply: o.Reply}})
	}
	for _, a := range c.Admitted {
		lines = append(lines, map[string]any{"adm": a.Admitted})
	}
	for _, d := range c.Denied {
		lines = append(lines, map[string]any{"den": d.Denied})
	}
	return append(lines, map[string]any{"end": c.Began})
}
