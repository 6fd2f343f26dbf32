package host

import (
	"fmt"
	"path/filepath"
	"sync"

	"github.com/tkcoord/tkcoord/jepsen/seam"
)

// An Edge is a host that runs a client of the cluster. What it runs is set with
// Run, before it is started.
type Edge struct {
	*Process
	Seam *seam.File // its clocks, if its program follows it
	Dir  string     // its own

	mu   sync.Mutex // guards argv
	argv func(life int) []string
}

func (c *Cluster) openEdge(i int) (*Edge, error) {
	name := fmt.Sprintf("e%d", i+1)
	p, err := c.net.edge(i, name)
	if err != nil {
		return nil, err
	}
	dir, err := c.hostDir(name)
	if err != nil {
		return nil, err
	}
	e := &Edge{Seam: seam.NewFile(filepath.Join(dir, "faults.json")), Dir: dir}
	e.argv = func(int) []string { return []string{"nothing to run was set for " + name} }
	e.Process, err = c.process(name, dir, p, e.command, nil)
	return e, err
}

// Run sets the command line of each life, counted from 0. An edge that was
// killed and is started again is another client, so it needs another name.
func (e *Edge) Run(argv func(life int) []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.argv = argv
}

func (e *Edge) command(life int) []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.argv(life)
}
