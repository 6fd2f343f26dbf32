package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/tkcoord/tkcoord/policy"
)

//go:embed samples.throttlekit.yaml
var samplePolicies []byte

// devOptions are the settings of a development cluster.
type devOptions struct {
	nodes    int
	data     string
	basePort int
	policies string
	strict   bool
	verbose  bool
	doors    doorOptions
	demo     demoOptions
}

func newDevCommand(a *cli) *cobra.Command {
	o := devOptions{nodes: 3, basePort: 7700, doors: defaultDoorOptions(), demo: defaultDemoOptions()}
	cmd := &cobra.Command{
		Use:     "dev",
		Short:   "Run a whole cluster in one process, with sample policies",
		GroupID: groupNodes,
		Args:    wantArgs(0, 0, ""),
		Long: `Runs a cluster of one, three or five nodes in this process until Ctrl-C: real
gRPC, raft over mutually authenticated TLS with certificates made on the spot,
logs on disk, gossip and HTTP. gRPC itself is plaintext here and listens on
127.0.0.1 only, so that every command works without further flags.

With --demo a fleet of edges sends traffic, and a live view shows what is
admitted and denied. With --kill-leader the leader is killed again and again, and
the view shows that no limit is exceeded and nobody is denied because of it.`,
		Example: `  tkcoord dev
  tkcoord dev --nodes 5 --data ./cluster --policies limits.yaml
  tkcoord dev --demo --edges 20 --rate 5000 --kill-leader 5s`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.doors.resolveDoors(cmd.LocalFlags()); err != nil {
				return usageError{err}
			}
			if err := o.validate(); err != nil {
				return usageError{err}
			}
			return runDev(cmd.Context(), &o, a.stdout, a.stderr)
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.nodes, "nodes", o.nodes, "`number` of nodes: 1, 3 or 5")
	f.StringVar(&o.data, "data", "", "`directory` of the nodes' data, kept; the default is a temporary one")
	f.IntVar(&o.basePort, "base-port", o.basePort, "first `port`: node i uses four ports from base + 10·i; 0 picks free ones")
	f.StringVar(&o.policies, "policies", "", "`file` of policies instead of the samples")
	registerStrict(f, "strict-policies", &o.strict)
	f.BoolVar(&o.verbose, "verbose", false, "show the nodes' logs")
	o.doors.register(f)
	o.demo.register(f)
	return cmd
}

func (o *devOptions) validate() error {
	var errs []error
	if o.nodes != 1 && o.nodes != 3 && o.nodes != 5 {
		errs = append(errs, fmt.Errorf("--nodes: got %d, want 1, 3 or 5", o.nodes))
	}
	if o.basePort != 0 && (o.basePort < 1024 || o.basePort > 65_000) {
		errs = append(errs, fmt.Errorf("--base-port: got %d, want 0 or 1024 to 65000", o.basePort))
	}
	return errors.Join(append(errs, o.doors.validate(), o.demo.validate(o.nodes))...)
}

// runDev runs the cluster until ctx ends.
func runDev(ctx context.Context, o *devOptions, stdout, stderr io.Writer) (err error) {
	dir, cleanup, err := devDirectory(o.data)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cleanup()) }()
	log := slog.New(slog.DiscardHandler)
	if o.verbose {
		log = slog.New(slog.NewTextHandler(stderr, nil))
	}
	policies, err := devPolicies(o.policies, o.strict, stderr)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "starting %d node(s), data in %s\n", o.nodes, dir)
	c, err := openDevCluster(ctx, o, dir, policies, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if err := c.waitReady(ctx, 30*time.Second); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	c.introduce(stdout, policies)
	if o.demo.on {
		err = runDemo(ctx, &o.demo, c, policies, stdout)
	} else {
		select {
		case <-ctx.Done():
		case err = <-c.failed:
		}
	}
	fmt.Fprintln(stdout, "stopping")
	return err
}

// devDirectory returns the data directory and what to do with it at the end.
func devDirectory(dir string) (string, func() error, error) {
	if dir != "" {
		return dir, func() error { return nil }, os.MkdirAll(dir, 0o700)
	}
	dir, err := os.MkdirTemp("", "tkcoord-dev-")
	return dir, func() error { return os.RemoveAll(dir) }, err
}

func devPolicies(file string, strict bool, stderr io.Writer) ([]policy.Policy, error) {
	if file != "" {
		return readPolicies(file, strict, warnTo(stderr))
	}
	f, err := policy.Parse("samples.throttlekit.yaml", samplePolicies)
	if err != nil {
		return nil, fmt.Errorf("sample policies: %w", err)
	}
	return f.Policies, nil
}

// introduce says what runs where and what to try next.
func (c *devCluster) introduce(w io.Writer, policies []policy.Policy) {
	fmt.Fprintf(w, "\n%-6s %-22s %-22s %-22s %s\n", "node", "grpc", "raft (mTLS)", "gossip", "http")
	ready := "ready"
	for _, m := range c.members {
		a := m.addresses()
		fmt.Fprintf(w, "%-6s %-22s %-22s %-22s %s\n", m.id, a.GRPC, a.Raft, a.Gossip, a.HTTP)
		ready += fmt.Sprintf(" %s=grpc:%s,raft:%s,gossip:%s,http:%s", m.id, a.GRPC, a.Raft, a.Gossip, a.HTTP)
	}
	fmt.Fprint(w, "\npolicies:\n")
	for i := range policies {
		fmt.Fprintf(w, "  %-10s %s\n", policies[i].Name, describePolicy(&policies[i]))
	}
	addr := c.members[0].addresses().GRPC
	fmt.Fprintf(w, `
try, in another terminal:
  go run ./cmd/tkcoord status --addr %[1]s
%[2]s  go run ./cmd/tkcoord policy get --addr %[1]s
  curl http://%[3]s/metrics
Ctrl-C stops the cluster.

%[4]s
`, addr, suggestions(policies, addr), c.members[0].addresses().HTTP, ready)
}

// suggestions are commands to try, each with the first policy that it is for.
func suggestions(policies []policy.Policy, addr string) string {
	var b strings.Builder
	for _, s := range []struct {
		text string
		fits func(*policy.Policy) bool
	}{
		{"check %s some-key", func(p *policy.Policy) bool { return p.Kind == policy.Plain || p.Kind == policy.TwoTier }},
		{"lease %s some-key --want 10", leasable},
		{"debit %s some-key -n 1500", func(p *policy.Policy) bool { return p.Kind == policy.Meter }},
		{"admit %s some-key --hold 5s", func(p *policy.Policy) bool { return p.Kind == policy.Guarded }},
	} {
		for i := range policies {
			if s.fits(&policies[i]) {
				fmt.Fprintf(&b, "  go run ./cmd/tkcoord "+s.text+" --addr %s\n", policies[i].Name, addr)
				break
			}
		}
	}
	return b.String()
}

// leasable reports whether edges can have credits of a policy.
func leasable(p *policy.Policy) bool { return p.Ledger() && p.Kind != policy.Guarded }

// ports returns the addresses of node i.
func (o *devOptions) address(i, door int) string {
	port := 0
	if o.basePort != 0 {
		port = o.basePort + 10*i + door
	}
	return net.JoinHostPort("127.0.0.1", fmt.Sprint(port))
}

func nodeDir(dir, id string) string { return filepath.Join(dir, id) }
