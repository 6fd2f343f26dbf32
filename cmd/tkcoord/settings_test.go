package main

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

// A flag wins over the variable, that over the file, the file over the default.
func TestSettingsPrecedence(t *testing.T) {
	file := fileOf(t, "node.yaml", "heartbeat: 400ms\nnode_id: from-file\njoin: [f1:1, f2:2]\ninsecure: true\nbootstrap-expect: 3\n")
	env := map[string]string{"TKCOORD_HEARTBEAT": "500ms", "TKCOORD_JOIN": "e1:1,e2:2", "TKCOORD_NODE_ID": "from-env"}
	type set struct {
		heartbeat time.Duration
		id        string
		join      []string
		insecure  bool
		expect    int
	}
	tests := []struct {
		name string
		args string
		file string
		env  map[string]string
		want set
	}{
		{"default", "", "", nil, set{defaultServeOptions().tuning.Heartbeat, defaultServeOptions().nodeID, nil, false, 0}},
		{"file", "", file, nil, set{400 * time.Millisecond, "from-file", []string{"f1:1", "f2:2"}, true, 3}},
		{"variable", "", file, env, set{500 * time.Millisecond, "from-env", []string{"e1:1", "e2:2"}, true, 3}},
		{"flag", "--heartbeat 600ms --node-id flag --join a:1 --join b:2 --insecure=false --bootstrap-expect 1", file, env,
			set{600 * time.Millisecond, "flag", []string{"a:1", "b:2"}, false, 1}},
		{"flag with the default's value", "--heartbeat " + defaultServeOptions().tuning.Heartbeat.String(), file, env, set{defaultServeOptions().tuning.Heartbeat, "from-env", []string{"e1:1", "e2:2"}, true, 3}},
		{"file named by a variable", "", "", map[string]string{"TKCOORD_CONFIG": file}, set{400 * time.Millisecond, "from-file", []string{"f1:1", "f2:2"}, true, 3}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := defaultServeOptions()
			flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
			o.register(flags)
			flags.String("config", "", "")
			if err := flags.Parse(strings.Fields(tt.args)); err != nil {
				t.Fatal(err)
			}
			if err := resolve(flags, tt.file, func(k string) string { return tt.env[k] }); err != nil {
				t.Fatal(err)
			}
			if got := (set{o.tuning.Heartbeat, o.nodeID, o.join, o.insecure, o.expect}); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

// What is wrong with the settings is all said at once, before anything is opened.
func TestSettingsRefused(t *testing.T) {
	bad := fileOf(t, "bad.yaml", "node-id: a\nheart-beat: 1s\nconfig: x\nraft: {a: b}\nnode_id: b\ntick: soon\nbootstrap-expect: many\n")
	tests := []struct {
		name string
		args string
		want []string // in the one line on stderr
	}{
		{"file", "--config " + bad, []string{
			bad + `:2: unknown setting "heart-beat"`, bad + `:3: unknown setting "config"`, bad + `:4: raft: want a single value or a list`,
			bad + `:5: node-id is set in line 1 already`, `tick: "soon": `, `bootstrap-expect: "many": `}},
		{"no such file", "--config /none", []string{"open /none: no such file"}},
		{"a list for a file", "--config " + fileOf(t, "list.yaml", "- a\n- b\n"), []string{"list.yaml:1: want a mapping"}},
		{"no YAML", "--config " + fileOf(t, "no.yaml", "a: [\n"), []string{"no.yaml: yaml:"}},
		{"values", "--node-id A --cluster x.y --region _ --data= --bootstrap-expect 7 --heartbeat 1ms --max-lease-ttl 1s --session-idle 1s --clock-drift-ppm -1 " +
			"--batch-commands 0 --log-level loud --log-format xml --gossip-key nokey --digest-every 1ms --grpc nowhere", []string{
			`--node-id: got "A", want 1 to 63`, `--cluster: got "x.y"`, `--region: got "_"`, `--data: got ""`, `--bootstrap-expect: got 7, want 0 to 5`,
			`--heartbeat: got 1ms`, `--session-idle: got 1s`, `--clock-drift-ppm: got -1`, `--batch-commands: got 0`, `--log-level: got loud`,
			`--log-format: got xml`, `--gossip-key: got a secret, want 16, 24 or 32 bytes in base64`, `--digest-every: got 1ms`, `--grpc: got "nowhere", want HOST:PORT`}},
		{"reachable without TLS", "--node-id a --grpc 10.0.0.1:7700 --raft node.example:7701 --gossip 0.0.0.0:7702 --advertise 10.0.0.1", []string{
			`--grpc: "10.0.0.1:7700" is reachable from other machines: give --tls-cert`, `--raft: "node.example:7701" is reachable`, `--gossip: "0.0.0.0:7702" is reachable`}},
		{"everywhere without a name", "--node-id a --insecure --grpc :7700 --raft [::]:7701", []string{
			`--grpc: got ":7700", which listens everywhere: say with --advertise`, `--raft: got "[::]:7701", which listens everywhere`}},
		{"half of TLS", "--node-id a --tls-cert x.pem", []string{"TLS needs a certificate and its key"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := tkcoord(t, append([]string{"serve"}, strings.Fields(tt.args)...)...)
			if r.code != exitUsage || strings.Count(r.stderr, "\n") != 1 {
				t.Errorf("exit code %d, want %d and one line on stderr", r.code, exitUsage)
			}
			for _, want := range tt.want {
				if !strings.Contains(r.stderr, want) {
					t.Errorf("it does not say: %s", want)
				}
			}
			if t.Failed() {
				t.Logf("stderr: %s", r.stderr)
			}
		})
	}
	t.Run("variables", func(t *testing.T) {
		t.Setenv("TKCOORD_TICK", "soon")
		t.Setenv("TKCOORD_BOOTSTRAP_EXPECT", "many")
		tkcoord(t, "serve").wants(t, exitUsage, `tkcoord: serve: .*TKCOORD_BOOTSTRAP_EXPECT="many": .*TKCOORD_TICK="soon": .*\n`)
	})
}

// Policies that do not fit into the log are refused before a cluster is founded
// with them.
func TestFirstPoliciesTooLarge(t *testing.T) {
	var b strings.Builder
	b.WriteString("version: 1\nlimiters:\n")
	for i := range 3000 {
		fmt.Fprintf(&b, "  %0200d: {strategy: fixedWindow, limit: 1, period: 1s}\n", i)
	}
	file := fileOf(t, "many.yaml", b.String())
	r := tkcoord(t, "serve", "--node-id", "a", "--data", t.TempDir(), "--policies", file)
	r.wants(t, exitFailed, `tkcoord: serve: --policies: `+regexp.QuoteMeta(file)+`: 3000 policies take \d+ bytes, more than the 524288 of one log entry: .*\n`)
}

// Others are told the advertised address of each door, gossip included.
func TestAdvertised(t *testing.T) {
	o := defaultServeOptions()
	o.nodeID, o.data, o.advertise, o.insecure = "a", t.TempDir(), "127.0.0.1", true
	o.grpc, o.raft, o.gossip, o.http = "0.0.0.0:0", "0.0.0.0:0", "0.0.0.0:0", "0.0.0.0:0"
	if err := o.validate(); err != nil {
		t.Fatal(err)
	}
	c, err := o.processConfig(textLog(t.Output()))
	if err != nil {
		t.Fatal(err)
	}
	p, err := openProcess(c)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	at := p.node.Addresses()
	for door, address := range map[string]string{"gRPC": at.GRPC, "raft": at.Raft, "gossip": at.Gossip, "HTTP": at.HTTP} {
		if !regexp.MustCompile(`^127\.0\.0\.1:[1-9]\d*$`).MatchString(address) {
			t.Errorf("%s is advertised at %s", door, address)
		}
	}
}
