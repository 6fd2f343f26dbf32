package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/transport"
	"go.opentelemetry.io/otel"
)

// serveOptions are the settings of one node.
type serveOptions struct {
	nodeID, cluster, region, data string
	grpc, raft, gossip, http      string
	advertise                     string
	join                          []string
	expect                        int
	tls                           transport.TLSFiles
	policies                      string
	strictPolicies                bool
	insecure                      bool
	gossipKey                     string
	logLevel, logFormat           string
	profiles                      bool
	maxLease, sessionIdle         time.Duration
	drift, slew                   int64
	doors                         doorOptions
	otlp                          string
	tuning                        transport.NodeConfig
	faultOptions
}

func defaultServeOptions() serveOptions {
	host, _ := os.Hostname() // without one --node-id must be given
	host, _, _ = strings.Cut(strings.ToLower(host), ".")
	n := transport.DefaultNodeConfig()
	return serveOptions{
		nodeID: host, cluster: n.Cluster, region: n.Region, data: "tkcoord-data",
		grpc: "127.0.0.1:7700", raft: "127.0.0.1:7701", gossip: "127.0.0.1:7702", http: "127.0.0.1:7703",
		logLevel: "info", logFormat: "text", doors: defaultDoorOptions(),
		maxLease:    time.Duration(n.Settings.LongestLease) * time.Millisecond,
		sessionIdle: time.Duration(n.Settings.SessionIdle) * time.Millisecond,
		drift:       int64(n.Settings.Rates.Drift), slew: int64(n.Settings.Rates.Slew),
		tuning: n,
	}
}

func (o *serveOptions) register(f *pflag.FlagSet) {
	f.StringVar(&o.nodeID, "node-id", o.nodeID, "`name` of this node, unique in the cluster and the same at every start")
	f.StringVar(&o.cluster, "cluster", o.cluster, "`name` of the cluster; nodes of another one are refused")
	f.StringVar(&o.region, "region", o.region, "`name` of the region")
	f.StringVar(&o.data, "data", o.data, "`directory` of this node's log and snapshots")
	f.StringVar(&o.grpc, "grpc", o.grpc, "`address` for edges, operators and forwarding")
	f.StringVar(&o.raft, "raft", o.raft, "`address` for raft")
	f.StringVar(&o.gossip, "gossip", o.gossip, "`address` for gossip, TCP and UDP")
	f.StringVar(&o.http, "http", o.http, "`address` for /metrics, /healthz, /readyz")
	f.StringVar(&o.advertise, "advertise", "", "`host` that others reach this node at; needed when listening on all interfaces")
	f.StringSliceVar(&o.join, "join", nil, "gossip `addresses` of other nodes; any one that answers is enough")
	f.IntVar(&o.expect, "bootstrap-expect", 0, "form a new cluster once this `number` of nodes with the same value have found each other; 0 only joins")
	f.StringVar(&o.tls.Cert, "tls-cert", "", "`file` with this node's certificate; it must name the node, see docs/operations.md")
	f.StringVar(&o.tls.Key, "tls-key", "", "`file` with the key of this node's certificate")
	f.StringVar(&o.tls.CA, "tls-ca", "", "`file` with the certificates that nodes and clients are checked against")
	f.StringVar(&o.policies, "policies", "", "`file` of policies for a cluster that has never had any")
	registerStrict(f, "strict-policies", &o.strictPolicies)
	f.BoolVar(&o.insecure, "insecure", false, "listen beyond this machine without TLS: anyone who reaches the ports is trusted")
	o.doors.register(f)
	f.StringVar(&o.gossipKey, "gossip-key", "", "secret of 16, 24 or 32 bytes, base64, that encrypts gossip")
	f.BoolVar(&o.profiles, "pprof", false, "serve profiles at /debug/pprof/ of the HTTP address")
	f.StringVar(&o.otlp, "otlp-endpoint", "", "`URL` that metrics and traces are sent to by OTLP over gRPC, such as http://127.0.0.1:4317; the standard variables OTEL_EXPORTER_OTLP_ENDPOINT and so on work, too")
	f.StringVar(&o.logLevel, "log-level", o.logLevel, "debug, info, warn or error")
	f.StringVar(&o.logFormat, "log-format", o.logFormat, "text or json")
	f.DurationVar(&o.maxLease, "max-lease-ttl", o.maxLease, "longest time an edge may spend a grant without renewing it; fixed when the cluster is formed")
	f.DurationVar(&o.sessionIdle, "session-idle", o.sessionIdle, "how long an edge may be silent before its session ends; fixed when the cluster is formed")
	f.Int64Var(&o.drift, "clock-drift-ppm", o.drift, "how far any machine's clock rate may be off; fixed when the cluster is formed")
	f.Int64Var(&o.slew, "clock-slew-ppm", o.slew, "how fast the cluster clock follows the wall clocks; fixed when the cluster is formed")
	f.DurationVar(&o.tuning.Heartbeat, "heartbeat", o.tuning.Heartbeat, "time without a leader's heartbeat after which nodes elect; a failover takes about twice this")
	f.DurationVar(&o.tuning.Tick, "tick", o.tuning.Tick, "longest silence of the log under a leader")
	f.Uint64Var(&o.tuning.SnapshotThreshold, "snapshot-threshold", o.tuning.SnapshotThreshold, "entries after which a snapshot is taken")
	f.Uint64Var(&o.tuning.TrailingLogs, "trailing-logs", o.tuning.TrailingLogs, "entries kept after a snapshot for nodes that are behind")
	f.DurationVar(&o.tuning.SnapshotInterval, "snapshot-interval", o.tuning.SnapshotInterval, "how often the threshold is checked")
	f.DurationVar(&o.tuning.DigestEvery, "digest-every", o.tuning.DigestEvery, "how often all replicas are compared; 0 never")
	f.DurationVar(&o.tuning.DeadAfter, "dead-after", o.tuning.DeadAfter, "how long a node must be gone before it is removed from the cluster")
	f.IntVar(&o.tuning.Proposer.InFlight, "proposals-in-flight", o.tuning.Proposer.InFlight, "log entries on their way at once")
	f.IntVar(&o.tuning.Proposer.MaxCommands, "batch-commands", o.tuning.Proposer.MaxCommands, "most commands in one log entry")
}

// validate reports every setting that is out of range.
func (o *serveOptions) validate() error {
	var errs []error
	want := func(ok bool, flag string, value any, text string) {
		if !ok {
			errs = append(errs, fmt.Errorf("--%s: got %v, want %s", flag, value, text))
		}
	}
	const label = "1 to 63 lower-case letters, digits and inner hyphens"
	want(validName(o.nodeID), "node-id", fmt.Sprintf("%q", o.nodeID), label)
	want(validName(o.cluster), "cluster", fmt.Sprintf("%q", o.cluster), label)
	want(validName(o.region), "region", fmt.Sprintf("%q", o.region), label)
	want(o.data != "", "data", `""`, "a directory")
	voters := transport.DefaultMembershipConfig().MaxVoters
	want(o.expect >= 0 && o.expect <= voters, "bootstrap-expect", o.expect, fmt.Sprintf("0 to %d", voters))
	key, err := base64.StdEncoding.DecodeString(o.gossipKey)
	want(err == nil && slices.Contains([]int{0, 16, 24, 32}, len(key)), "gossip-key", "a secret", "16, 24 or 32 bytes in base64")
	want(o.maxLease >= 100*time.Millisecond && o.maxLease <= 24*time.Hour, "max-lease-ttl", o.maxLease, "100ms to 24h")
	want(o.sessionIdle >= 2*o.maxLease && o.sessionIdle <= 30*24*time.Hour, "session-idle", o.sessionIdle, "twice --max-lease-ttl to 720h")
	want(o.drift >= 0 && o.drift <= int64(clock.MaxRate), "clock-drift-ppm", o.drift, fmt.Sprintf("0 to %d", clock.MaxRate))
	want(o.slew >= 0 && o.slew <= int64(clock.MaxRate), "clock-slew-ppm", o.slew, fmt.Sprintf("0 to %d", clock.MaxRate))
	t := &o.tuning
	want(t.Heartbeat >= 50*time.Millisecond && t.Heartbeat <= 30*time.Second, "heartbeat", t.Heartbeat, "50ms to 30s")
	want(t.Tick >= 10*time.Millisecond && t.Tick <= 10*time.Second, "tick", t.Tick, "10ms to 10s")
	want(t.SnapshotThreshold >= 8, "snapshot-threshold", t.SnapshotThreshold, "at least 8")
	want(t.SnapshotInterval >= 50*time.Millisecond, "snapshot-interval", t.SnapshotInterval, "at least 50ms")
	want(t.DigestEvery == 0 || t.DigestEvery >= time.Second, "digest-every", t.DigestEvery, "0 or at least 1s")
	want(t.DeadAfter >= time.Second, "dead-after", t.DeadAfter, "at least 1s")
	want(t.Proposer.InFlight >= 1 && t.Proposer.InFlight <= 64, "proposals-in-flight", t.Proposer.InFlight, "1 to 64")
	want(t.Proposer.MaxCommands >= 1 && t.Proposer.MaxCommands <= 4096, "batch-commands", t.Proposer.MaxCommands, "1 to 4096")
	want(slices.Contains([]string{"text", "json"}, o.logFormat), "log-format", o.logFormat, "text or json")
	var level slog.Level
	want(level.UnmarshalText([]byte(o.logLevel)) == nil, "log-level", o.logLevel, "debug, info, warn or error")
	_, err = newOTLPConfig(o.otlp, os.Getenv)
	errs = append(errs, o.doors.validate(), err)
	secure := o.tls != transport.TLSFiles{}
	if secure {
		errs = append(errs, o.tls.Validate())
	}
	for _, l := range []struct{ flag, at string }{{"grpc", o.grpc}, {"raft", o.raft}, {"gossip", o.gossip}, {"http", o.http}} {
		errs = append(errs, o.validateListener(l.flag, l.at, secure))
	}
	return errors.Join(errs...)
}

// validateListener refuses addresses beyond this machine without TLS, and
// addresses that nobody could be told.
func (o *serveOptions) validateListener(flag, address string, secure bool) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("--%s: got %q, want HOST:PORT: %w", flag, address, err)
	}
	ip := net.ParseIP(host)
	switch {
	case (host == "" || ip != nil && ip.IsUnspecified()) && o.advertise == "" && flag != "http":
		return fmt.Errorf("--%s: got %q, which listens everywhere: say with --advertise where others reach this node", flag, address)
	case host != "localhost" && (ip == nil || !ip.IsLoopback()) && !secure && !o.insecure && flag != "http":
		return fmt.Errorf("--%s: %q is reachable from other machines: give --tls-cert, --tls-key and --tls-ca, or --insecure if everyone who reaches it may change limits", flag, address)
	}
	return nil
}

// validName reports whether a name can be a label of a DNS name: certificates
// carry it as one.
func validName(s string) bool {
	return s != "" && len(s) <= 63 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == "" && s[0] != '-' && s[len(s)-1] != '-'
}

func newServeCommand(a *cli) *cobra.Command {
	o := defaultServeOptions()
	var file string
	cmd := &cobra.Command{
		Use:     "serve",
		Short:   "Run one node",
		GroupID: groupNodes,
		Args:    wantArgs(0, 0, ""),
		Long: `Runs one node until it is told to stop (Ctrl-C or SIGTERM), which it does after
handing leadership over.

Each setting can be given as a flag, as a variable (TKCOORD_NODE_ID for
--node-id), or in the file named by --config (node-id: a). A flag wins over the
variable, the variable over the file, the file over the default.

Three or five nodes started with the same --bootstrap-expect and --join find
each other and form one cluster. A node that was a member rejoins from its
--data directory, whatever these flags say.`,
		Example: `  tkcoord serve --node-id a --bootstrap-expect 1
  tkcoord serve --config /etc/tkcoord/node.yaml
  tkcoord serve --node-id a --bootstrap-expect 3 --join 10.0.0.1:7702,10.0.0.2:7702,10.0.0.3:7702 \
      --grpc 10.0.0.1:7700 --raft 10.0.0.1:7701 --gossip 10.0.0.1:7702 --http 10.0.0.1:7703 \
      --tls-cert a.pem --tls-key a-key.pem --tls-ca ca.pem --policies limits.yaml`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := resolve(cmd.LocalFlags(), file, os.Getenv); err != nil {
				return usageError{err}
			}
			if err := o.validate(); err != nil {
				return usageError{err}
			}
			return serve(cmd.Context(), &o, a.stdout, a.stderr)
		},
	}
	o.register(cmd.Flags())
	cmd.Flags().StringVar(&file, "config", "", "YAML `file` with settings")
	registerFaults(cmd.Flags(), &o)
	return cmd
}

// serve runs a node until ctx ends or it must stop by itself.
func serve(ctx context.Context, o *serveOptions, stdout, stderr io.Writer) error {
	log := newLogger(stderr, o.logLevel, o.logFormat).With("node", o.nodeID)
	c, err := o.processConfig(log)
	if err != nil {
		return err
	}
	if c.otlp, err = newOTLPConfig(o.otlp, os.Getenv); err != nil {
		return err
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("telemetry not sent", "err", err) })) // the exporters know no other way
	c.node.Fatal = func(err error) {
		log.Error("node stops for good", "err", err)
		os.Exit(exitFailed) // NB: raft must not run on without its store
	}
	p, err := openProcess(c)
	if err != nil {
		return err
	}
	o.doors.warn(log, o.tls == transport.TLSFiles{}, !p.local())
	at := p.node.Addresses()
	where := fmt.Sprintf("node=%s grpc=%s raft=%s gossip=%s http=%s", o.nodeID, at.GRPC, at.Raft, at.Gossip, at.HTTP)
	fmt.Fprintln(stdout, "listening", where)
	running, ended := context.WithCancel(ctx)
	var saying sync.WaitGroup
	saying.Go(func() {
		if p.waitReady(running) == nil {
			fmt.Fprintln(stdout, "ready", where)
		}
	})
	err = p.Run(ctx)
	ended()
	saying.Wait()
	return errors.Join(err, p.Close())
}

// processConfig turns checked settings into the configuration of a process.
func (o *serveOptions) processConfig(log *slog.Logger) (processConfig, error) {
	n := o.tuning
	n.ID, n.Cluster, n.Region, n.Version, n.DataDir = o.nodeID, o.cluster, o.region, buildVersion(), o.data
	n.BootstrapExpect = o.expect
	n.Settings.LongestLease = clock.Millis(o.maxLease.Milliseconds())
	n.Settings.SessionIdle = clock.Millis(o.sessionIdle.Milliseconds())
	n.Settings.Rates = clock.Rates{Drift: clock.PPM(o.drift), Slew: clock.PPM(o.slew)}
	n.Log = log
	n.Gossip.Bind, n.Gossip.Join = o.gossip, o.join
	if net.ParseIP(o.advertise) != nil { // of a name, gossip finds the address itself
		_, port, err := net.SplitHostPort(o.gossip)
		if err != nil {
			return processConfig{}, fmt.Errorf("--gossip: %w", err)
		}
		n.Gossip.Advertise = net.JoinHostPort(o.advertise, port)
	}
	var err error
	if n.Gossip.SecretKey, err = base64.StdEncoding.DecodeString(o.gossipKey); err != nil {
		return processConfig{}, fmt.Errorf("--gossip-key: %w", err)
	}
	if o.policies != "" {
		warn := func(text string) { log.Warn("policy file", "warning", text) }
		if n.Policies, err = readPolicies(o.policies, o.strictPolicies, warn); err != nil {
			return processConfig{}, err
		}
		if size := len(fsm.Encode(fsm.Policies{Put: n.Policies})); size > n.Proposer.MaxBytes {
			return processConfig{}, fmt.Errorf("--policies: %s: %d policies take %d bytes, more than the %d of one log entry: start with fewer and apply the rest later", o.policies, len(n.Policies), size, n.Proposer.MaxBytes)
		}
	}
	if err := injectFaults(o, &n); err != nil {
		return processConfig{}, err
	}
	c := processConfig{node: n, grpc: o.grpc, raft: o.raft, http: o.http, advertise: o.advertise, profiles: o.profiles, doors: o.doors, log: log}
	if (o.tls != transport.TLSFiles{}) {
		if c.doorTLS, err = o.tls.Open(log); err != nil {
			return processConfig{}, err
		}
		c.node.TLS = c.doorTLS
	}
	return c, nil
}

func newLogger(w io.Writer, level, format string) *slog.Logger {
	var l slog.Level
	_ = l.UnmarshalText([]byte(level)) // checked by validate
	o := &slog.HandlerOptions{Level: l}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}
