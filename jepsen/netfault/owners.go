package netfault

import (
	"maps"
	"net"
	"slices"
	"sync"
)

// Owners names the host that a connection on loopback comes from, by the process
// that made it. Source addresses would not tell: every process dials from
// 127.0.0.1 unless it binds first, which no program under test has reason to do.
// Safe for concurrent use.
type Owners struct {
	mu    sync.Mutex // guards the rest
	hosts map[int]string
}

// NewOwners knows no process.
func NewOwners() *Owners { return &Owners{hosts: make(map[int]string)} }

// Add says that a process is a host's.
func (o *Owners) Add(pid int, host string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.hosts[pid] = host
}

// Remove says that a process has ended.
func (o *Owners) Remove(pid int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.hosts, pid)
}

// Who returns the host at the other end, "" if it is no process that was added
// or has just gone.
func (o *Owners) Who(c net.Conn) string {
	o.mu.Lock()
	hosts := maps.Clone(o.hosts)
	o.mu.Unlock()
	pid, err := owner(c, slices.Sorted(maps.Keys(hosts)))
	if err != nil || pid == 0 {
		return ""
	}
	return hosts[pid]
}
