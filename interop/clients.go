package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/tkcoord/tkcoord/jepsen/history"
)

// A client is somebody else's program or library that speaks the contract.
type client struct {
	name  string // short, as in policies.yaml
	title string
	needs string   // what of tools it cannot do without
	lacks []string // operations of the table that it does not have
	// noCases: it has none of them, only features.
	noCases bool
	lanes   []string // of shared traffic, by name
	// run does the job and tells of what happens, line by line, until it is done.
	run func(ctx context.Context, s *suite) error
}

var clients = []client{
	{
		name: "sync", title: "throttlekit-py", needs: "python", run: runPython("sync"),
		lanes: []string{"fixed window", "gcra", "meter", "spent locally", "leased by nodes", "federated check", "slots"},
	},
	{
		name: "async", title: "throttlekit-py, asyncio", needs: "python", run: runPython("async"),
		lanes: []string{"fixed window", "gcra", "meter", "reserved", "spent locally", "leased by nodes", "slots"},
	},
	{
		name: "web", title: "throttlekit-py, adapters", needs: "web", noCases: true, run: runPython("web"),
		lanes: []string{"fixed window"},
	},
	{
		name: "node", title: "grpc-js, public proto", needs: "node", run: runNode,
		lanes: []string{"fixed window", "gcra", "meter", "reserved", "leased by nodes", "federated check", "slots"},
	},
	{
		name: "grpcurl", title: "grpcurl, reflection", needs: "grpcurl", lacks: []string{"watch", "next"}, run: runGrpcurl,
		lanes: []string{"fixed window", "gcra", "meter", "reserved"},
	},
}

// Modes of a suite.
const (
	contract = "contract" // everything once or twice, on a healthy cluster
	failover = "failover" // over and over, beside shared traffic, until told to stop
)

// A job is what a suite is told to do.
type job struct {
	Client  string     `json:"client"`
	Mode    string     `json:"mode"`
	Targets []string   `json:"targets"` // all nodes, the one to begin with first
	Guarded string     `json:"guarded"` // the node that wants secrets
	Secret  string     `json:"secret"`
	Protos  string     `json:"protos"` // directory of the public contract's files
	Cases   []testCase `json:"cases"`
	Lanes   []lane     `json:"lanes"`
}

// A suite is one run of a client.
type suite struct {
	client *client
	job    job
	cases  []testCase // those of the job, with what is wanted
	tools  *tools
	log    string          // file for what it prints beside its lines
	stop   <-chan struct{} // closed when it is to come to an end

	mu      sync.Mutex // guards the rest
	calls   []*call
	tests   []*test
	version string
	answers int
	moved   chan struct{} // closed when answers grows
}

func newSuite(c *client, t *tools, j job, log string, stop <-chan struct{}) (*suite, error) {
	s := &suite{client: c, tools: t, log: log, stop: stop, moved: make(chan struct{})}
	j.Client = c.name
	j.Protos = "api/proto"
	j.Cases, j.Lanes = []testCase{}, []lane{}
	if !c.noCases {
		all, err := casesFor(c.name, c.lacks)
		if err != nil {
			return nil, err
		}
		s.cases, j.Cases = all, unanswered(all)
	}
	if j.Mode == failover {
		for _, name := range c.lanes {
			for _, l := range lanes {
				if l.Name == name {
					j.Lanes = append(j.Lanes, l)
				}
			}
		}
	}
	s.job = j
	return s, nil
}

// unanswered returns a table without what is wanted.
func unanswered(table []testCase) []testCase {
	table = slices.Clone(table)
	for i := range table {
		steps := slices.Clone(table[i].Steps)
		for k := range steps {
			steps[k].Want = nil
		}
		table[i].Steps = steps
	}
	return table
}

// tell takes a line.
func (s *suite) tell(l line) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case l.Call != nil:
		l.Call.client = s.client.name
		s.calls = append(s.calls, l.Call)
		if !l.Call.interrupted() {
			s.answers++
			close(s.moved)
			s.moved = make(chan struct{})
		}
	case l.Test != nil:
		l.Test.at = int64(history.Now())
		s.tests = append(s.tests, l.Test)
	case l.Version != "":
		s.version = l.Version
	}
}

// answered returns how many calls had an answer, and a channel that is closed when
// there are more.
func (s *suite) answered() (int, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.answers, s.moved
}

// script runs a suite that is a program: it gets the job on standard input, which is
// closed when it is to stop, and prints lines.
func (s *suite) script(ctx context.Context, env []string, name string, args ...string) (err error) {
	log, err := os.Create(s.log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	cmd := command(ctx, "", name, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = log
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	told := make(chan struct{})
	defer close(told)
	go func() {
		// Errors: the program has ended, which is noticed below.
		_ = json.NewEncoder(in).Encode(s.job)
		select {
		case <-s.stop:
		case <-told:
		}
		_ = in.Close()
	}()
	err = s.read(out)
	if werr := cmd.Wait(); werr != nil {
		b, _ := os.ReadFile(s.log)
		err = errors.Join(err, fmt.Errorf("%w: %s", werr, tail(b)))
	}
	return err
}

func (s *suite) read(out io.Reader) error {
	r := bufio.NewScanner(out)
	r.Buffer(nil, 4<<20)
	for r.Scan() {
		var l line
		if err := strict(r.Bytes(), &l); err != nil {
			_, _ = io.Copy(io.Discard, out)
			return fmt.Errorf("a line that is none, %.200q: %w", r.Bytes(), err)
		}
		s.tell(l)
	}
	return r.Err()
}

func runPython(kind string) func(context.Context, *suite) error {
	return func(ctx context.Context, s *suite) error {
		// Without byte code nothing is written beside the sources.
		return s.script(ctx, []string{"PYTHONDONTWRITEBYTECODE=1", "PYTHONUNBUFFERED=1"}, s.tools.python, filepath.Join("interop", "python", "suite.py"), kind)
	}
}

func runNode(ctx context.Context, s *suite) error {
	return s.script(ctx, []string{"INTEROP_MODULES=" + s.tools.node}, "node", filepath.Join("interop", "node", "suite.js"))
}
