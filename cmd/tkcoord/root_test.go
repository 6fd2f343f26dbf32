package main

import (
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func TestCommandLines(t *testing.T) {
	tests := []struct {
		name string
		args string
		code int
		want string // in the one line on stderr
	}{
		{"unknown command", "statsu", exitUsage, `tkcoord: unknown command "statsu": did you mean status? (see tkcoord --help)`},
		{"unknown subcommand", "policy aply", exitUsage, `tkcoord: policy: unknown command "aply": did you mean apply? (see tkcoord policy --help)`},
		{"far from any", "policy xyzzy", exitUsage, `tkcoord: policy: unknown command "xyzzy" (see tkcoord policy --help)`},
		{"unknown flag", "status --lag", exitUsage, `tkcoord: status: unknown flag: --lag (see tkcoord status --help)`},
		{"bad duration", "status --timeout soon", exitUsage, `tkcoord: status: invalid argument "soon" for "--timeout" flag: `},
		{"no arguments wanted", "status n1", exitUsage, `tkcoord: status: got "n1", want no arguments`},
		{"too few arguments", "lease api", exitUsage, `tkcoord: lease: want POLICY and KEY, got "api"`},
		{"no argument", "member remove", exitUsage, `tkcoord: member remove: want one NODE, got no arguments`},
		{"all options at once", "status -o xml --timeout 0s --addr a:b:c,h:99999,:1 --tls-ca x", exitUsage,
			`tkcoord: status: --output: got "xml", want table or json; --timeout: got 0s, want 1ms to 1h; ` +
				`--addr: got "a:b:c", want HOST:PORT or HOST; --addr: got "h:99999", want a port from 1 to 65535; ` +
				`--addr: got ":1", want HOST:PORT or HOST; ` +
				`TLS needs --tls-ca, --tls-cert and --tls-key, or --tls-dir: --tls-cert and --tls-key missing (see tkcoord status --help)`},
		{"no address", "status --addr=", exitUsage, `tkcoord: status: --addr: want at least one address`},
		{"yaml is for policies", "status -o yaml", exitUsage, `--output: got "yaml", want table or json (see`},
		{"lease without want", "lease api k", exitUsage, `tkcoord: lease: --want is missing: how many credits?`},
		{"lease flags", "lease api k --want 5 --need 6 --hold -1s", exitUsage, `--need: got 6, want 0 to --want (5); --hold: got -1s,`},
		{"plan without file", "policy plan", exitUsage, `tkcoord: policy plan: --file is missing`},
		{"no such file", "policy plan -f /none", exitFailed, `tkcoord: policy plan: read the policies: open /none: no such file or directory`},
		{"no such directory", "status --tls-dir /none", exitFailed, `tkcoord: status: --tls-dir: open /none: no such file or directory`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := tkcoord(t, strings.Fields(tt.args)...)
			r.wants(t, tt.code, ".*"+regexp.QuoteMeta(tt.want)+".*\n")
			if r.stdout != "" {
				t.Errorf("stdout: %q, want none", r.stdout)
			}
		})
	}
}

func TestEnvironment(t *testing.T) {
	c := startCluster(t, 1).withPolicies(onePolicy)
	t.Setenv("TKCOORD_ADDR", refusing(t)+","+c.nodes[0].addr)
	t.Setenv("TKCOORD_OUTPUT", "json")
	r := tkcoord(t, "policy", "get")
	r.wants(t, exitDone, "")
	if !strings.HasPrefix(r.stdout, "{") {
		t.Errorf("TKCOORD_OUTPUT=json: got %s", r.stdout)
	}
	if r := tkcoord(t, "policy", "get", "-o", "table"); !strings.HasPrefix(r.stdout, "NAME") {
		t.Errorf("a flag must win over the environment: got %s", r.stdout)
	}
	t.Setenv("TKCOORD_TIMEOUT", "soon")
	tkcoord(t, "status").wants(t, exitUsage, `tkcoord: status: TKCOORD_TIMEOUT: invalid argument "soon" for "--timeout" flag: .*\n`)
}

func TestFullAddress(t *testing.T) {
	for addr, want := range map[string]string{
		"node1": "node1:7700", "node1:80": "node1:80", "10.0.0.1": "10.0.0.1:7700", " h:1 ": "h:1",
		"::1": "[::1]:7700", "[::1]": "[::1]:7700", "[::1]:80": "[::1]:80", "": "", ":80": "", "h:": "", "h:0": "", "http://h": "", "h:x": "",
	} {
		got, err := fullAddress(addr)
		if (err != nil) != (want == "") || err == nil && got != want {
			t.Errorf("fullAddress(%q) = %q, %v, want %q", addr, got, err, want)
		}
	}
}

// Help is complete: each command says what it does, and each one that does
// something shows how.
func TestHelp(t *testing.T) {
	root := newRootCommand(&cli{opts: defaultOptions()})
	var visit func(cmd *cobra.Command)
	visit = func(cmd *cobra.Command) {
		if cmd.Short == "" || cmd.Example == "" {
			t.Errorf("%s: no description or no example", cmd.CommandPath())
		}
		if !cmd.HasParent() {
			return
		}
		if cmd.Parent() == root && cmd.GroupID == "" {
			t.Errorf("%s is in no group", cmd.CommandPath())
		}
		r := tkcoord(t, append(strings.Fields(cmd.CommandPath())[1:], "--help")...)
		r.wants(t, exitDone, "")
		if !strings.Contains(r.stdout, "Examples:") {
			t.Errorf("%s --help: got %s", cmd.CommandPath(), r.stdout)
		}
		for _, sub := range cmd.Commands() {
			visit(sub)
		}
	}
	visit(root)
	for _, cmd := range root.Commands() {
		visit(cmd)
	}
	if r := tkcoord(t); r.code != exitDone || !strings.Contains(r.stdout, "Look after a cluster:") {
		t.Errorf("without arguments: %d, %s", r.code, r.stdout)
	}
	if r := tkcoord(t, "--version"); !strings.HasPrefix(r.stdout, "tkcoord ") {
		t.Errorf("--version: got %q", r.stdout)
	}
	if r := tkcoord(t, "completion", "bash"); r.code != exitDone || !strings.Contains(r.stdout, "tkcoord") {
		t.Errorf("completion bash: %d", r.code)
	}
}

func TestOneLine(t *testing.T) {
	if got := oneLine("a\nb\x1b[31m\tc\n"); got != "a; b\ufffd[31m\ufffdc" {
		t.Errorf("oneLine: got %q", got)
	}
}
