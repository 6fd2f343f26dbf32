package host

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
)

// Prefix begins the name of everything outside the run's directory that a run
// makes, followed by the run's identity and a dash.
const Prefix = "tk-"

// NewRunID returns an identity for a run of this process: the process, when it
// was started, and a random part, so that leftovers tell whether their run is
// still under way. On systems without /proc they never do.
func NewRunID() string {
	return fmt.Sprintf("%d.%s.%04x", os.Getpid(), startTime(os.Getpid()), rand.N(1<<16))
}

// runOf returns the run that something was made by, by its name.
func runOf(name string) (id string, ok bool) {
	rest, ok := strings.CutPrefix(name, Prefix)
	id, _, dash := strings.Cut(rest, "-")
	return id, ok && dash && strings.Count(id, ".") == 2
}

// underWay reports whether the process that a run belongs to still lives. A
// process that has got the number of one that died was started later.
func underWay(id string) bool {
	var pid int
	var start, random string
	if n, _ := fmt.Sscanf(strings.ReplaceAll(id, ".", " "), "%d %s %s", &pid, &start, &random); n != 3 {
		return true // nothing that NewRunID made: hands off
	}
	return startTime(pid) == start
}

// startTime returns when a process was started, in the kernel's ticks since
// boot, or "gone".
func startTime(pid int) string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "gone"
	}
	// The name is in parentheses and may hold anything; start time is field 22,
	// the twentieth after it.
	text := string(data)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 20 {
		return "gone"
	}
	return fields[19]
}
