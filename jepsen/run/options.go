package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

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

// Build builds the programs of a run into a directory, with a planted bug if tags
// name one. The nodes and the clients have it alike.
func Build(ctx context.Context, dir string, race bool, tags ...string) (Programs, error) {
	p := Programs{Node: filepath.Join(dir, "tkcoord"), Client: filepath.Join(dir, "tkjepsen")}
	for _, b := range []struct{ pkg, out string }{
		{host.Program, p.Node}, {"github.com/tkcoord/tkcoord/jepsen/cmd/tkjepsen", p.Client},
	} {
		if err := host.Build(ctx, host.BuildOptions{Package: b.pkg, Tags: tags, Race: race, Out: b.out}); err != nil {
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
