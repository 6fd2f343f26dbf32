package host

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// quotaPeriod is the kernel's default, in microseconds: a process that has used
// up its share waits for the rest of it.
const quotaPeriod = 100_000

// A Quota bounds the processor time of the processes of one run: a control group
// for each, of version 1 or 2, next to the harness's own. Safe for concurrent
// use.
type Quota struct {
	base  string // directory that groups are made in
	limit string // the file that bounds a group
	run   string

	mu     sync.Mutex // guards the rest
	groups map[string]string
}

// OpenQuota finds the control groups of this machine, and fails if none can be
// made and bounded.
func OpenQuota(runID string) (*Quota, error) {
	base, limit, err := findGroups()
	if err != nil {
		return nil, err
	}
	q := &Quota{base: base, limit: limit, run: runID, groups: make(map[string]string)}
	return q, errors.Join(q.Set("probe", 0.5), q.Close())
}

// Names of the file that bounds a group, by version of the control groups.
const (
	limitV1 = "cpu.cfs_quota_us"
	limitV2 = "cpu.max"
)

// findGroups returns where groups with a processor quota can be made. The
// controller is never switched on for groups that are not ours.
func findGroups() (base, limit string, err error) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return "", "", fmt.Errorf("control groups: %w", err)
	}
	for s := bufio.NewScanner(strings.NewReader(string(mounts))); s.Scan(); {
		f := strings.Fields(s.Text()) // device, directory, type, options
		if len(f) < 4 {
			continue
		}
		switch controllers := strings.Split(f[3], ","); {
		case f[2] == "cgroup" && slices.Contains(controllers, "cpu"):
			return ownGroup(f[1], "cpu"), limitV1, nil
		case f[2] == "cgroup2":
			given, err := os.ReadFile(filepath.Join(f[1], "cgroup.subtree_control"))
			if err == nil && slices.Contains(strings.Fields(string(given)), "cpu") {
				return f[1], limitV2, nil
			}
		}
	}
	return "", "", errors.New("no control groups with the cpu controller are mounted")
}

// ownGroup returns the directory of the harness's own group, so that the
// processes of a run stay within its bounds.
func ownGroup(mount, controller string) string {
	data, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return mount
	}
	for s := bufio.NewScanner(strings.NewReader(string(data))); s.Scan(); {
		f := strings.SplitN(s.Text(), ":", 3) // number, controllers, path
		if len(f) == 3 && slices.Contains(strings.Split(f[1], ","), controller) {
			if dir := filepath.Join(mount, f[2]); isDir(dir) {
				return dir
			}
		}
	}
	return mount
}

func isDir(path string) bool {
	i, err := os.Stat(path)
	return err == nil && i.IsDir()
}

// Add puts a process of a host into the host's group.
func (q *Quota) Add(host string, pid int) error {
	dir, err := q.group(host)
	if err != nil {
		return err
	}
	return writeGroup(dir, "cgroup.procs", strconv.Itoa(pid))
}

// Set bounds a host's processes to a share of one processor, 0 for no bound.
func (q *Quota) Set(host string, share float64) error {
	dir, err := q.group(host)
	if err != nil {
		return err
	}
	micros := int(share * quotaPeriod)
	switch {
	case q.limit == limitV1 && share > 0:
		return writeGroup(dir, limitV1, strconv.Itoa(max(1000, micros))) // the kernel refuses less
	case q.limit == limitV1:
		return writeGroup(dir, limitV1, "-1")
	case share > 0:
		return writeGroup(dir, limitV2, fmt.Sprintf("%d %d", max(1000, micros), quotaPeriod))
	default:
		return writeGroup(dir, limitV2, "max")
	}
}

// group returns the directory of a host's group, which it makes if need be.
func (q *Quota) group(host string) (string, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if dir := q.groups[host]; dir != "" {
		return dir, nil
	}
	dir := filepath.Join(q.base, Prefix+q.run+"-"+host)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", fmt.Errorf("control group of %s: %w", host, err)
	}
	q.groups[host] = dir
	return dir, nil
}

func writeGroup(dir, file, value string) error {
	if err := os.WriteFile(filepath.Join(dir, file), []byte(value), 0); err != nil {
		return fmt.Errorf("control group: write %s: %w", value, err)
	}
	return nil
}

// Close removes the groups. Their processes must have ended.
func (q *Quota) Close() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	var errs []error
	for host, dir := range q.groups {
		if err := removeGroup(dir); err != nil {
			errs = append(errs, fmt.Errorf("control group of %s: %w", host, err))
			continue
		}
		delete(q.groups, host)
	}
	return errors.Join(errs...)
}

// removeGroup removes an empty group. The kernel may need a moment for a process
// that has just been waited for.
func removeGroup(dir string) error {
	var err error
	for range 100 {
		if err = os.Remove(dir); !errors.Is(err, syscall.EBUSY) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
