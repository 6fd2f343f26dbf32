// Package traffic is the load of a run: programs that use a cluster through its
// public doors and record what they do and see. A workload says which programs
// run, under which policies; each program is one process, driven by a Spec.
package traffic

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/jepsen/history"
	"github.com/tkcoord/tkcoord/jepsen/seam"
	"github.com/tkcoord/tkcoord/transport"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// A Spec says what one program does. Of Edge, Direct, Public and Admin one is set.
type Spec struct {
	Client    string   `json:"client"` // name of its record
	Identity  string   `json:"identity"`
	Seed      uint64   `json:"seed"`
	Addresses []string `json:"addresses"`
	Records   string   `json:"records"` // directory
	// FaultFile bends the program's clocks; empty for the machine's own.
	FaultFile string             `json:"fault_file,omitempty"`
	Rates     clock.Rates        `json:"rates"` // of the cluster
	TLS       transport.TLSFiles `json:"tls"`   // empty: plaintext

	Edge   *EdgeLoad   `json:"edge,omitempty"`
	Direct *DirectLoad `json:"direct,omitempty"`
	Public *PublicLoad `json:"public,omitempty"`
	Admin  *AdminLoad  `json:"admin,omitempty"`
}

// ReadSpec reads the spec of a program from a file and makes it that of a life of
// its process, counted from 0: later ones record under another name.
func ReadSpec(path string, life int) (Spec, error) {
	var s Spec
	data, err := os.ReadFile(path)
	if err != nil {
		return s, err
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return s, fmt.Errorf("%s: %w", path, err)
	}
	if life > 0 {
		s.Client = fmt.Sprintf("%s.%d", s.Client, life)
		s.Seed += uint64(life)
	}
	return s, nil
}

// Write writes the spec to a file.
func (s Spec) Write(path string) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}

// Run runs the program until ctx ends, then has it give back what it holds and
// close its record. started is called once its traffic begins.
func Run(ctx context.Context, s Spec, log *slog.Logger, started func()) error {
	role, run := s.program()
	if run == nil {
		return errors.New("the spec names no load")
	}
	clocks, stop, err := openClocks(s.FaultFile)
	if err != nil {
		return err
	}
	defer stop()
	w, err := history.Create(filepath.Join(s.Records, history.FileName(s.Client)), history.Head{Client: s.Client, Role: role, Edge: s.Identity})
	if err != nil {
		return err
	}
	r := &running{Spec: s, record: w, clocks: clocks, log: log, started: started}
	settled := make(chan struct{})
	sctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer close(settled)
		r.settle(sctx)
	}()
	err = run(ctx, r)
	cancel()
	<-settled
	return errors.Join(err, w.Close())
}

func (s *Spec) program() (role string, run func(context.Context, *running) error) {
	switch {
	case s.Edge != nil:
		return history.RoleEdge, runEdge
	case s.Direct != nil:
		return history.RoleDirect, runDirect
	case s.Public != nil:
		return history.RolePublic, runPublic
	case s.Admin != nil:
		return history.RoleAdmin, runAdmin
	}
	return "", nil
}

// A running program has its record and its clocks.
type running struct {
	Spec
	record  *history.Writer
	clocks  *clocks
	log     *slog.Logger
	started func()
}

// settle writes sums as their slots end. A record that cannot be written ends
// the program: a run without it would be judged by half.
func (r *running) settle(ctx context.Context) {
	t := time.NewTicker(history.Slot)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if err := r.record.Settle(); err != nil {
			r.log.Error("the record cannot be written", "err", err)
			os.Exit(1)
		}
	}
}

// credentials are those of the program's connections.
func (r *running) credentials() (credentials.TransportCredentials, error) {
	if r.TLS == (transport.TLSFiles{}) {
		return insecure.NewCredentials(), nil
	}
	t, err := r.TLS.Open(r.log)
	if err != nil {
		return nil, err
	}
	return t.Credentials(), nil
}

// dial connects to one node.
func (r *running) dial(address string) (*grpc.ClientConn, error) {
	creds, err := r.credentials()
	if err != nil {
		return nil, err
	}
	return grpc.NewClient("passthrough:///"+address, append(quickConnect(), grpc.WithTransportCredentials(creds))...)
}

// openClocks returns the program's clocks. stop ends following the fault file.
func openClocks(file string) (_ *clocks, stop func(), err error) {
	c := &clocks{monotonic: func() clock.Nanos { return clock.Nanos(history.Now()) }}
	if file == "" {
		return c, func() {}, nil
	}
	s, err := seam.Open(file)
	if err != nil {
		return nil, nil, err
	}
	c.monotonic, c.bent = s.Monotonic, true
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		err := s.Run(ctx)
		if err != nil {
			slog.Error("the fault file cannot be followed", "err", err)
			os.Exit(1)
		}
		ended <- err
	}()
	return c, func() { cancel(); <-ended }, nil
}
