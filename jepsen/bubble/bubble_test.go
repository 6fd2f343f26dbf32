package bubble

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

var (
	firstSeed = flag.Uint64("seed", 1, "first seed")
	seeds     = flag.Int("seeds", 0, "how many seeds; 0 is a few")
	trace     = flag.String("trace", "", "write what everybody logs in the last run to this file")
)

// few is what a plain run of all tests can afford.
const few = 4

// TestClusters runs a few seeds, or those of the flags.
func TestClusters(t *testing.T) {
	n := few
	if *seeds > 0 {
		n = *seeds
	}
	soak(t, n)
}

// TestSoak is for many: go test ./jepsen/bubble -run Soak -seeds 500 -timeout 0
func TestSoak(t *testing.T) {
	if *seeds == 0 {
		t.Skip("say how many with -seeds")
	}
	soak(t, *seeds)
}

func soak(t *testing.T, n int) {
	var all stats
	began := used()
	for i := range n {
		seed := *firstSeed + uint64(i)
		if testing.Verbose() {
			fmt.Fprintln(os.Stderr, "seed", seed) // also if it panics
		}
		c := inBubble(t, seed)
		all.add(c.stats)
		for _, v := range c.violations {
			t.Errorf("seed %d: %s", seed, v)
		}
		if len(c.violations) > 0 {
			t.Errorf("seed %d: again with: go test ./jepsen/bubble -run Clusters -seed %d -seeds 1 -trace FILE", seed, seed)
		}
		if len(c.violations) > 0 || testing.Verbose() {
			t.Logf("seed %d: %v", seed, c.stats)
		}
		if len(c.violations) > 0 {
			break
		}
	}
	took := used() - began
	t.Logf("%v; %.0f simulated seconds per CPU second", all, all.Simulated.Seconds()/took.Seconds())
}

// inBubble lives one seed. Files of a node are few and small: its names.
func inBubble(t *testing.T, seed uint64) (c *cluster) {
	t.Helper()
	dir := t.TempDir()
	var name string
	defer func() {
		if r := recover(); r != nil {
			c.remains(name, r)
		}
	}()
	synctest.Test(t, func(*testing.T) {
		name = bubbleName()
		c = newCluster(dir, seed)
		if *trace != "" {
			f, err := os.Create(*trace)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			c.lines.to = f
		}
		c.run()
		time.Sleep(time.Minute) // what only waits for its time to end, ends
	})
	return c
}

// forgotten are goroutines that raft leaves behind: those that wait for an answer
// that it forgot to give (hashicorp/raft#498), and a transfer of leadership to a
// server that it stopped replicating to.
var forgotten = []string{"raft.(*deferError).Error", "raft.(*Raft).leadershipTransfer", "raft.(*Raft).leaderLoop.func2", "synctest.Run"}

// remains judges why a bubble did not end: goroutines are left in it.
func (c *cluster) remains(name string, why any) {
	all := make([]byte, 16<<20)
	all = all[:runtime.Stack(all, true)]
	for g := range strings.SplitSeq(string(all), "\n\n") {
		head, stack, _ := strings.Cut(g, "\n")
		known := slices.ContainsFunc(forgotten, func(f string) bool { return strings.Contains(stack, f) })
		if strings.Contains(head, name+"]") || strings.Contains(head, name+",") {
			if c.stats.Unanswered++; !known {
				c.violations = append(c.violations, fmt.Sprintf("%v: %s", why, g))
			}
		}
	}
}

// bubbleName is what the header of a goroutine's stack says about its bubble.
func bubbleName() string {
	b := make([]byte, 200)
	head, _, _ := strings.Cut(string(b[:runtime.Stack(b, false)]), "]")
	return head[strings.Index(head, "synctest bubble"):]
}

// used is the processor time of this process.
func used() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
