package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/tkcoord/tkcoord/internal/bug"
	"github.com/tkcoord/tkcoord/jepsen/host"
)

// Options say where and with what a run is done.
type Options struct {
	Dir     string // of the run; made, and must not hold another run
	Node    string // tkcoord, built with its seams
	Client  string // tkjepsen, whose edge command the clients are
	Version string // of the source
	Bug     string // planted in both, for the report
	// KeepData keeps the nodes' data directories also if the run passes.
	KeepData bool
	// Progress is told what happens, line by line.
	Progress io.Writer
}

// Programs are built once and used by any number of runs.
type Programs struct{ Node, Client string }

// clientProgram is the package that clients are built from.
const clientProgram = "github.com/tkcoord/tkcoord/jepsen/cmd/tkjepsen"

// BuildPlanted builds the programs of a run with a bug into a directory. Nodes,
// clients and checkers have it alike, as they would if nobody had noticed.
func BuildPlanted(ctx context.Context, dir string, name bug.Name) (Programs, error) {
	p := Programs{Node: filepath.Join(dir, "tkcoord"), Client: filepath.Join(dir, "tkjepsen")}
	for _, b := range []struct{ pkg, out string }{{host.Program, p.Node}, {clientProgram, p.Client}} {
		err := host.Build(ctx, host.BuildOptions{
			Package: b.pkg, Tags: []string{"bugs"}, Out: b.out,
			LDFlags: "-X github.com/tkcoord/tkcoord/internal/bug.planted=" + string(name),
		})
		if err != nil {
			return p, err
		}
	}
	return p, nil
}

// prepare makes the directory of a run.
func (o *Options) prepare() error {
	if o.Node == "" || o.Client == "" {
		return errors.New("no programs to run")
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return err
	}
	o.Dir = dir
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return fmt.Errorf("%s is not empty: every run has a directory of its own", dir)
	}
	return nil
}
