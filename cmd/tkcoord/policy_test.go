package main

import (
	"context"
	"io"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/policy"
)

func TestPolicyGet(t *testing.T) {
	c := startCluster(t, 1).withPolicies(twoPolicies)
	c.on("lease", "api", "k", "--want", "40").wants(t, exitDone, "")
	t.Run("as a file", func(t *testing.T) {
		r := c.on("policy", "get")
		r.wants(t, exitDone, "")
		if r.stdout != twoPolicies {
			t.Errorf("got %s", r.stdout)
		}
	})
	t.Run("one", func(t *testing.T) {
		if r := c.on("policy", "get", "exports", "-o", "yaml"); strings.Contains(r.stdout, "api") || !strings.Contains(r.stdout, "exports") {
			t.Errorf("got %s", r.stdout)
		}
	})
	t.Run("counters", func(t *testing.T) {
		r := c.on("policy", "get", "--counters")
		r.wants(t, exitDone, "")
		c.golden(r, "policy-counters")
		if table := c.on("policy", "get", "-o", "table"); table.stdout != r.stdout {
			t.Errorf("-o table: got %s", table.stdout)
		}
	})
	t.Run("json", func(t *testing.T) { c.golden(c.on("policy", "get", "-o", "json"), "policy-get.json") })
	t.Run("unknown", func(t *testing.T) {
		c.on("policy", "get", "nope").wants(t, exitFailed, `tkcoord: policy get: unknown policy \(tkcoord policy get --counters lists the policies\)\n`)
	})
}

func TestPolicyPlan(t *testing.T) {
	c := startCluster(t, 1).withPolicies(onePolicy + "  old:\n    strategy: fixedWindow\n    limit: 1\n    period: 1s\n")
	file := fileOf(t, "limits.yaml", twoPolicies)
	t.Run("table", func(t *testing.T) {
		r := c.on("policy", "plan", "-f", file)
		r.wants(t, exitDone, "")
		c.golden(r, "policy-plan")
	})
	t.Run("prune", func(t *testing.T) {
		r := c.on("policy", "plan", "-f", file, "--prune", "--detailed-exitcode")
		r.wants(t, exitNo, "")
		c.golden(r, "policy-plan-prune")
	})
	t.Run("json", func(t *testing.T) {
		c.golden(c.on("policy", "plan", "-f", file, "--prune", "-o", "json"), "policy-plan.json")
	})
	t.Run("nothing", func(t *testing.T) {
		file := fileOf(t, "same.yaml", c.on("policy", "get").stdout)
		c.on("policy", "plan", "-f", file, "--detailed-exitcode").wants(t, exitDone, "")
	})
	t.Run("bad file", func(t *testing.T) {
		file := fileOf(t, "bad.yaml", strings.ReplaceAll(twoPolicies, "limit:", "limt:"))
		c.on("policy", "plan", "-f", file).wants(t, exitFailed,
			`(?:/.*/bad.yaml:\d+: config\.limiters\[.*\n){2,}tkcoord: policy plan: /.*/bad.yaml has \d+ problems\n`)
	})
	t.Run("a file of the contract", func(t *testing.T) {
		file := fileOf(t, "contract.yaml", strings.ReplaceAll(onePolicy, "version: 2", "version: 1\ncapture: {enabled: true}")+"    brust: 5\n")
		r := c.on("policy", "plan", "-f", file)
		r.wants(t, exitDone, `warning: /.*/contract.yaml:2: config.capture: has no effect here\n`+
			`warning: /.*/contract.yaml:8: config.limiters\[api\].brust: got an unknown key: did you mean burst\?\n`)
		c.on("policy", "plan", "-f", file, "--strict").wants(t, exitFailed,
			`/.*/contract.yaml:8: config.limiters\[api\].brust: got an unknown key: did you mean burst\?\ntkcoord: policy plan: /.*/contract.yaml has 1 problem\n`)
	})
	if v := c.machine.PolicyVersion(); v != 1 {
		t.Errorf("version %d after plans, want 1", v)
	}
}

func TestPolicyApply(t *testing.T) {
	c := startCluster(t, 1).withPolicies(onePolicy)
	file := fileOf(t, "limits.yaml", twoPolicies)
	addr := c.nodes[0].addr
	t.Run("not confirmed", func(t *testing.T) {
		for _, answer := range []string{"", "n\n", "\n"} {
			r := tkcoordStdin(t, terminal{strings.NewReader(answer)}, "policy", "apply", "-f", file, "--addr", addr)
			r.wants(t, exitFailed, `Apply this\? \[y/N\] \n?tkcoord: policy apply: not confirmed: nothing was changed\n`)
		}
	})
	t.Run("interrupted", func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		never, _ := io.Pipe()
		typing := terminal{readerFunc(func(p []byte) (int, error) { stop(); return never.Read(p) })}
		var stdout, stderr strings.Builder
		code := run(ctx, []string{"policy", "apply", "-f", file, "--addr", addr}, typing, &stdout, &stderr)
		result{code, stdout.String(), stderr.String()}.wants(t, exitFailed, `Apply this\? \[y/N\] \ntkcoord: policy apply: interrupted\n`)
	})
	t.Run("changed meanwhile", func(t *testing.T) {
		change := terminal{readerFunc(func(p []byte) (int, error) {
			c.must(fsm.Policies{Put: parse(t, strings.ReplaceAll(onePolicy, "100", "101"))})
			return copy(p, "y\n"), nil
		})}
		r := tkcoordStdin(t, change, "policy", "apply", "-f", file, "--addr", addr)
		r.wants(t, exitFailed, `Apply this\? \[y/N\] tkcoord: policy apply: nothing was applied: the policies changed meanwhile `+
			`\(the plan was made on version 1: run the command again for a new one\)\n`)
	})
	t.Run("confirmed", func(t *testing.T) {
		r := tkcoordStdin(t, terminal{strings.NewReader("Yes\n")}, "policy", "apply", "-f", file, "--addr", addr)
		r.wants(t, exitDone, `Apply this\? \[y/N\] `)
		c.golden(r, "policy-apply")
	})
	t.Run("again", func(t *testing.T) {
		r := tkcoordStdin(t, terminal{strings.NewReader("")}, "policy", "apply", "-f", file, "--addr", addr)
		r.wants(t, exitDone, "")
		if !strings.HasSuffix(r.stdout, "nothing to change\n") {
			t.Errorf("got %s", r.stdout)
		}
	})
	t.Run("from stdin, without a terminal", func(t *testing.T) {
		r := tkcoordStdin(t, strings.NewReader(onePolicy), "policy", "apply", "-f", "-", "--prune", "-o", "json", "--addr", addr)
		r.wants(t, exitDone, "")
		c.golden(r, "policy-apply.json")
	})
	t.Run("from a terminal", func(t *testing.T) {
		r := tkcoordStdin(t, terminal{strings.NewReader(onePolicy)}, "policy", "apply", "-f", "-", "--addr", addr)
		r.wants(t, exitUsage, `tkcoord: policy apply: -f - takes stdin, .*\n`)
	})
	t.Run("the null device is no terminal", func(t *testing.T) {
		null, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer null.Close()
		tkcoordStdin(t, null, "policy", "apply", "-f", file, "--addr", addr).wants(t, exitDone, "")
	})
}

// The connection breaks while the change is under way.
func TestPolicyApplyBroken(t *testing.T) {
	c := startCluster(t, 1)
	node := c.nodes[0]
	node.before = func(method string) {
		if method == "ApplyPolicies" {
			node.server.Stop()
		}
	}
	r := c.on("policy", "apply", "-f", fileOf(t, "limits.yaml", onePolicy))
	r.wants(t, exitFailed, `tkcoord: policy apply: .*: the outcome is not known: the change may have been made: .* \(run the command again: it applies what is missing\)\n`)
}

// Policies of every kind go to a cluster and come back as they were, and each can
// be shown in every form.
func TestPolicyEveryKind(t *testing.T) {
	c := startCluster(t, 1)
	const every = "../../policy/testdata/good/every-kind.yaml"
	c.on("policy", "apply", "-f", every, "--yes").wants(t, exitDone, "")
	c.on("policy", "plan", "-f", every, "--prune", "--detailed-exitcode").wants(t, exitDone, "")
	want, err := os.ReadFile(every + ".want")
	if err != nil {
		t.Fatal(err)
	}
	if r := c.on("policy", "get"); r.stdout != string(want) {
		t.Errorf("policy get: got %s", r.stdout)
	}
	c.golden(c.on("policy", "get", "--counters"), "policy-counters-kinds")
	c.golden(c.on("policy", "get", "bucket", "checkout", "global", "leased-2", "tokens", "-o", "json"), "policy-get-kinds.json")
}

// A node logs what is odd about its first policies, and starts.
func TestFirstPoliciesWarn(t *testing.T) {
	o := defaultServeOptions()
	o.data = t.TempDir()
	o.policies = fileOf(t, "limits.yaml", "limiters:\n  api: {strategy: gcra, limit: 5, period: 1s, brust: 5}\n")
	var b strings.Builder
	c, err := o.processConfig(textLog(&b))
	if err != nil || len(c.node.Policies) != 1 {
		t.Fatalf("policies %+v, %v", c.node.Policies, err)
	}
	if !strings.Contains(b.String(), "did you mean burst?") {
		t.Errorf("logged %s", &b)
	}
	o.strictPolicies = true
	if _, err := o.processConfig(textLog(&b)); err == nil || !strings.Contains(err.Error(), "did you mean burst?") {
		t.Errorf("with --strict-policies: %v", err)
	}
}

// The samples of dev have a policy for each command that it suggests, and one for
// its demo.
func TestSamplePolicies(t *testing.T) {
	all, err := devPolicies("", true, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(suggestions(all, "here"), "\n"); got != 4 {
		t.Errorf("suggestions:\n%s", suggestions(all, "here"))
	}
	for _, tc := range []struct{ name, want, problem string }{
		{"", "firehose", ""},
		{"leased", "leased", ""},
		{"api", "", `"api" is gcra 100 per 10s, burst 20, want a policy whose credits edges can lease`},
		{"checkout", "", "want a policy whose credits edges can lease"},
		{"tokens", "", "want a policy whose credits edges can lease"},
		{"nope", "", `no policy "nope"`},
	} {
		p, err := demoPolicy(tc.name, all)
		if p.Name != tc.want || (err == nil) != (tc.problem == "") || err != nil && !strings.Contains(err.Error(), tc.problem) {
			t.Errorf("demoPolicy(%q) = %q, %v, want %q, %s", tc.name, p.Name, err, tc.want, tc.problem)
		}
	}
}

func TestPolicyDelete(t *testing.T) {
	c := startCluster(t, 1).withPolicies(twoPolicies)
	c.on("policy", "delete", "api", "nope", "none").wants(t, exitFailed, `tkcoord: policy delete: no policy is named "nope" or "none" \(.*\)\n`)
	r := c.on("policy", "delete", "exports")
	r.wants(t, exitDone, "")
	c.golden(r, "policy-delete")
	if r := c.on("policy", "get"); strings.Contains(r.stdout, "exports") || !strings.Contains(r.stdout, "api") {
		t.Errorf("after: got %s", r.stdout)
	}
}

func parse(t testing.TB, file string) []policy.Policy {
	t.Helper()
	f, err := policy.Parse("test", []byte(file))
	if err != nil {
		t.Fatal(err)
	}
	return f.Policies
}

// A terminal is a stdin that a person could answer on.
type terminal struct{ io.Reader }

func (terminal) Stat() (fs.FileInfo, error) { return charDevice{}, nil }

type charDevice struct{ fs.FileInfo }

func (charDevice) Mode() fs.FileMode { return fs.ModeDevice | fs.ModeCharDevice }

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
