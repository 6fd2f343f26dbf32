package main

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

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
	c := startReal(t, 3, onePerHour)
	var lead *devMember
	within(t, "a leader", func() bool { lead = c.leader(); return lead != nil })
	var clients []tkcoordv1.EdgeClient
	for i, m := range c.members {
		if m != lead {
			clients = append(clients, c.edge(i))
			continue
		}
		stream, err := c.edge(i).Watch(t.Context(), &tkcoordv1.WatchRequest{EdgeId: "e"})
		if err != nil {
			t.Fatal(err)
		}
		if first, err := stream.Recv(); err != nil || first.Leader.GetNodeId() != lead.id {
			t.Fatalf("watch: %v, %v; want %s as the leader", first, err, lead.id)
		}
		defer func() {
			var err error
			for err == nil {
				_, err = stream.Recv()
			}
			if reason, leader := api.Reason(err); status.Code(err) != codes.Unavailable || reason != api.ReasonNotServing || leader == "" || leader == lead.addresses().GRPC {
				t.Errorf("the stream ended with %v (reason %q, leader %q), want Unavailable and the new leader", err, reason, leader)
			}
		}()
	}
	lead.cancel()
	<-lead.ended
	// From here on the process would free its directory and exit.
	if l, ok := lead.proc.node.Leader(); !ok || l.ID == lead.id {
		t.Errorf("at its end the old leader knows of %+v, want the next one", l)
	}
	next := c.leader()
	if next == nil || next == lead {
		t.Fatalf("%v leads when the old leader has stopped", next)
	}
	for i, client := range clients {
		res, err := client.Exchange(t.Context(), &tkcoordv1.ExchangeRequest{
			EdgeId: "e", Incarnation: 1, Seq: uint64(i + 1), Asks: []*tkcoordv1.Ask{{Policy: "p", Key: "k", Need: int64(i + 1), Want: int64(i + 1)}},
		})
		if err != nil || res.Answers[0].Granted != int64(i+1) {
			t.Errorf("exchange: %v, %v; want a grant", res, err)
		}
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
	tkcoord(t, "lease", "api", "k", "--want", "5", "--addr", grpc).wants(t, exitDone, "")
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
