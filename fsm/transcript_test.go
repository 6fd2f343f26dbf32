package fsm

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/tkcoord/tkcoord/fsm/clock"
)

var update = flag.Bool("update", false, "rewrite the transcripts in testdata")

// TestTranscripts runs the commands in testdata/*.txt and compares what the
// machine answers with what the file says. A file is a story:
//
//	# a comment
//	@STAMP COMMAND       one log entry; transcript_commands_test.go has the commands
//	& COMMAND            one more command in the entry above
//	@STAMP ticks N       N entries without a command, which sweep
//	state                shows the whole state
//	restore              goes on with a machine that was restored from a snapshot
//	peek POLICY/KEY [at NOW]               asks the machine beside the log
//	forecast POLICY/KEY COST [at NOW]
//
// Answers are indented. With -update they are written anew; review the diff as
// code.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			got := runTranscript(t, string(want))
			if *update {
				if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(want) {
				t.Errorf("%s: %s", name, firstDifference(got, string(want)))
			}
		})
	}
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(g), len(w)) {
		if i >= len(g) || i >= len(w) || g[i] != w[i] {
			at := func(l []string) string {
				if i < len(l) {
					return l[i]
				}
				return "(the end)"
			}
			return fmt.Sprintf("line %d:\n got %s\nwant %s", i+1, at(g), at(w))
		}
	}
	return "no difference"
}

// A transcript is one run. The shadow applies the same entries without building
// results and must stay byte-equal.
type transcript struct {
	t         testing.TB
	m, shadow *Machine
	index     uint64
	out       strings.Builder
}

func runTranscript(t testing.TB, text string) string {
	tr := &transcript{t: t, m: New(), shadow: New()}
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i := 0; i < len(lines); {
		line := lines[i]
		i++
		if strings.HasPrefix(line, "    ") {
			continue // an answer of the run before
		}
		fmt.Fprintln(&tr.out, line)
		switch {
		case line == "state":
			tr.print(describeState(tr.m))
		case line == "restore":
			tr.restore()
		case strings.HasPrefix(line, "peek ") || strings.HasPrefix(line, "forecast "):
			tr.print([]string{askBeside(t, tr.m, line)})
		case strings.HasPrefix(line, "@"):
			stamp, first, _ := strings.Cut(line[1:], " ")
			commands := []string{first}
			for ; i < len(lines) && strings.HasPrefix(lines[i], "& "); i++ {
				fmt.Fprintln(&tr.out, lines[i])
				commands = append(commands, lines[i][2:])
			}
			at, err := strconv.ParseInt(stamp, 10, 64)
			if err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			var ticks int
			if n, _ := fmt.Sscanf(first, "ticks %d", &ticks); n == 1 {
				for range ticks - 1 {
					tr.entry(clock.Millis(at), nil)
				}
				commands = nil
			}
			tr.print(tr.entry(clock.Millis(at), commands))
		case line != "" && !strings.HasPrefix(line, "#"):
			t.Fatalf("line %d is no command: %q", i, line)
		}
	}
	return tr.out.String()
}

func (tr *transcript) print(lines []string) {
	for _, l := range lines {
		fmt.Fprintln(&tr.out, "    "+l)
	}
}

// entry applies one entry and describes its outcome. After an entry that halts
// the story goes on from the state before it.
func (tr *transcript) entry(stamp clock.Millis, commands []string) []string {
	entry, cmds := parseEntry(tr.t, stamp, commands)
	before := tr.m.Freeze()
	out, err := tr.m.Apply(tr.index+1, entry, true)
	if err != nil {
		tr.m, tr.shadow = thaw(tr.t, before), thaw(tr.t, before)
		return []string{"halts: " + err.Error()}
	}
	tr.index++
	if _, err := tr.shadow.Apply(tr.index, entry, false); err != nil {
		tr.t.Fatalf("only without results: %v", err)
	}
	if err := tr.m.Check(); err != nil {
		tr.t.Fatalf("after %q: %v", commands, err)
	}
	if a, b := tr.m.Freeze().Digest(), tr.shadow.Freeze().Digest(); a != b {
		tr.t.Fatalf("after %q: digests differ with and without results", commands)
	}
	return describeOutcome(stamp, cmds, out)
}

func (tr *transcript) restore() {
	digest := tr.m.Freeze().Digest()
	tr.m = thaw(tr.t, tr.m.Freeze())
	if tr.m.Freeze().Digest() != digest {
		tr.t.Fatal("the restored machine differs")
	}
	tr.print([]string{"byte-equal"})
}

// thaw returns a machine restored from a view.
func thaw(t testing.TB, v *View) *Machine {
	t.Helper()
	var buf bytes.Buffer
	if _, err := v.WriteTo(&buf); err != nil {
		t.Fatal(err)
	}
	m, err := Restore(&buf)
	if err != nil {
		t.Fatal(err)
	}
	return m
}
