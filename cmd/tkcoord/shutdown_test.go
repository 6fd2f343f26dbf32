package main

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tkcoord/tkcoord/api"
	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const onePerHour = `version: 1
limiters:
  p: {strategy: fixedWindow, limit: 1000, period: 1h}
`

// A leader that is told to stop is not gone before another node leads and
// grants. Streams end with a status that says whom to ask.
func TestGracefulStop(t *testing.T) {
	var nodes []*realNode
	policies := fileOf(t, "policies.yaml", onePerHour)
	for _, id := range []string{"n1", "n2", "n3"} {
		n := newNode(t, id, "e2e", 3, nodes...)
		n.cfg.node.Heartbeat = time.Second // on a busy machine leadership must not move by itself
		var err error
		if n.cfg.node.Policies, err = readPolicies(policies, true, func(string) {}); err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, n.start())
	}
	t.Cleanup(func() { stopAll(nodes) })
	for _, n := range nodes {
		within(t, "all are ready", func() bool { return n.node.Ready() == nil })
	}
	i := slices.IndexFunc(nodes, (*realNode).leads)
	lead, others := nodes[i], slices.Delete(slices.Clone(nodes), i, i+1)
	stream, err := tkcoordv1.NewEdgeClient(dialPlain(t, lead.cfg.grpc)).Watch(t.Context(), &tkcoordv1.WatchRequest{EdgeId: "e"})
	if err != nil {
		t.Fatal(err)
	}
	if first, err := stream.Recv(); err != nil || first.Leader.GetAddress() != lead.cfg.grpc {
		t.Fatalf("watch: %v, %v; want %s as the leader", first, err, lead.cfg.grpc)
	}
	lead.quit()
	// From here on the process would free its directory and exit.
	l, ok := lead.node.Leader()
	if !ok || l.Address == "" || l.Address == lead.cfg.grpc {
		t.Errorf("at its end the old leader knows of %+v, want the next one", l)
	}
	for err == nil {
		_, err = stream.Recv()
	}
	if reason, leader := api.Reason(err); status.Code(err) != codes.Unavailable || reason != api.ReasonNotServing || leader != l.Address {
		t.Errorf("the stream ended with %v (reason %q, leader %q), want Unavailable and the new leader %s", err, reason, leader, l.Address)
	}
	for i, n := range others {
		want := int64(i + 1)
		within(t, "the others grant", func() bool {
			res, err := tkcoordv1.NewEdgeClient(dialPlain(t, n.cfg.grpc)).Exchange(t.Context(), &tkcoordv1.ExchangeRequest{
				EdgeId: "e", Incarnation: 1, Seq: uint64(want), Asks: []*tkcoordv1.Ask{{Policy: "p", Key: "k", Need: want, Want: want}},
			})
			return err == nil && res.Answers[0].Granted == want
		})
	}
}

// Ctrl-C stops a development cluster, which leaves nothing behind.
func TestDevLeavesNothingBehind(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a process")
	}
	dir := t.TempDir()
	cmd, out := exec.Command(os.Args[0], "dev", "--base-port", "0"), &output{}
	cmd.Env = append(os.Environ(), asProgram+"=1", "TMPDIR="+dir)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	within(t, "the cluster is ready", func() bool { return strings.Contains(out.String(), "\nready n1=grpc:") })
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("%v, %v in the temporary directory while it runs, want one", entries, err)
	}
	grpc := regexp.MustCompile(`ready n1=grpc:([^,]+),`).FindStringSubmatch(out.String())[1]
	tkcoord(t, "status", "--addr", grpc).wants(t, exitDone, "")
	tkcoord(t, "lease", "login", "k", "--want", "5", "--addr", grpc).wants(t, exitDone, "")
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v:\n%s", err, out)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("it left %v, %v", entries, err)
	}
}
