package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tkcoord/tkcoord/api"
	"github.com/tkcoord/tkcoord/transport"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestUnreachable(t *testing.T) {
	refused, mute := refusing(t), silent(t)
	tests := []struct {
		name, addr, want string
	}{
		{"refused", refused, refused + `: connection refused \(is a node running there\? --addr names others\)`},
		{"two", refused + "," + mute, `no node answered: ` + refused + `: connection refused, ` + mute + `: no answer in 200ms \(is .*`},
		{"unknown host", "host.invalid", `host.invalid:7700: .*`},
	}
	for _, tt := range tests {
		for _, args := range []string{"status", "policy get", "policy delete x", "digest", "lease a b --want 1", "member transfer"} {
			t.Run(tt.name+" "+args, func(t *testing.T) {
				start := time.Now()
				command, _, _ := strings.Cut(args, " a b")
				command = strings.TrimSuffix(command, " x")
				r := tkcoord(t, append(strings.Fields(args), "--addr", tt.addr, "--timeout", "400ms")...)
				r.wants(t, exitFailed, "tkcoord: "+command+": "+tt.want+"\n")
				if took := time.Since(start); took > 2*time.Second {
					t.Errorf("took %v", took)
				}
			})
		}
	}
}

func TestFailOver(t *testing.T) {
	c := startCluster(t, 3).withPolicies(onePolicy)
	get := func(addrs ...string) result {
		t.Helper()
		return tkcoord(t, "policy", "get", "api", "--timeout", "2s", "--addr", strings.Join(addrs, ","))
	}
	t.Run("to the next address", func(t *testing.T) {
		get(refusing(t), c.nodes[0].addr).wants(t, exitDone, "")
		get(silent(t), c.nodes[0].addr).wants(t, exitDone, "")
	})
	t.Run("to the leader that a follower names", func(t *testing.T) {
		get(c.nodes[2].addr).wants(t, exitDone, "")
	})
	t.Run("across an election", func(t *testing.T) {
		c.set(func() { c.leader = -1 })
		time.AfterFunc(250*time.Millisecond, func() { c.set(func() { c.leader = 2 }) })
		get(c.nodes[1].addr, c.nodes[2].addr).wants(t, exitDone, "")
	})
	t.Run("without a leader", func(t *testing.T) {
		c.set(func() { c.leader = -1 })
		defer c.set(func() { c.leader = 0 })
		r := tkcoord(t, "policy", "get", "--timeout", "250ms", "--addr", c.nodes[0].addr)
		r.wants(t, exitFailed, "tkcoord: policy get: "+c.nodes[0].addr+": not the leader\n")
		c.set(func() {
			if c.nodes[0].calls < 2 {
				t.Error("the node was not asked again")
			}
		})
	})
	t.Run("interrupted", func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, stop)
		var stdout, stderr strings.Builder
		code := run(ctx, []string{"policy", "get", "--addr", silent(t)}, nil, &stdout, &stderr)
		result{code, stdout.String(), stderr.String()}.wants(t, exitFailed, "tkcoord: policy get: interrupted\n")
	})
}

// What a node answers to a change decides whether it is made again elsewhere.
func TestOutcomes(t *testing.T) {
	lost := status.Error(codes.Unavailable, "connection reset")
	unknown := withDetail(codes.Unknown, "leadership lost", &errdetails.ErrorInfo{Reason: api.ReasonUnknown, Domain: api.Domain})
	overloaded := withDetail(codes.ResourceExhausted, "queue is full", &errdetails.ErrorInfo{Reason: api.ReasonOverloaded, Domain: api.Domain})
	serving := withDetail(codes.Unavailable, "this node does not serve", &errdetails.ErrorInfo{Reason: api.ReasonNotServing, Domain: api.Domain})
	tests := []struct {
		name    string
		err     error
		effect  effect
		want    string // of the error; empty: the second node served it
		unknown bool
	}{
		{"broken, repeats", lost, repeats, "", false},
		{"broken, changes", lost, changes, "A: the outcome is not known: the change may have been made: connection reset", true},
		{"unknown, repeats", unknown, repeats, "", false},
		{"unknown, changes", unknown, changes, "A: the outcome is not known: the change may have been made: leadership lost", true},
		{"does not serve, changes", serving, changes, "", false},
		{"overloaded", overloaded, repeats, "queue is full (try again later)", false},
		{"internal", status.Error(codes.Internal, "internal error, see the node's log"), changes, "internal error, see the node's log", false},
		{"empty", status.Error(codes.Aborted, ""), repeats, "Aborted", false},
		{"not allowed", status.Error(codes.PermissionDenied, "nodes only"), repeats, "not allowed: nodes only", false},
		{"too old", status.Error(codes.Unimplemented, "unknown method"), repeats, "A: the node does not know this call (is its version older than " + buildVersion() + "?)", false},
		{"late, repeats", status.Error(codes.DeadlineExceeded, "x"), repeats, "A: no answer in 1s (--timeout allows more)", false},
		{"late, changes", status.Error(codes.DeadlineExceeded, "x"), changes, "A: the outcome is not known: the change may have been made: no answer in time", true},
	}
	c := startCluster(t, 2)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cl := newTestClient(t, time.Second, c.addrs()...)
			first := true
			_, err := do(t.Context(), cl, tt.effect, func(context.Context, grpc.ClientConnInterface) (int, error) {
				if first {
					first = false
					return 0, tt.err
				}
				return 1, nil
			})
			got := ""
			if err != nil {
				got = strings.ReplaceAll(err.Error(), c.nodes[0].addr, "A")
			}
			if got != tt.want || errors.Is(err, errUnknownOutcome) != tt.unknown {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func newTestClient(t testing.TB, timeout time.Duration, addrs ...string) *client {
	creds, err := tlsFlags{}.credentials()
	if err != nil {
		t.Fatal(err)
	}
	c := &client{addrs: addrs, timeout: timeout, creds: creds, links: make(map[string]*link)}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	if err := transport.WriteCA(dir, time.Hour); err != nil {
		t.Fatal(err)
	}
	req := transport.CertRequest{Dir: dir, Cluster: "demo", Name: "n1", Validity: time.Hour}
	node, err := transport.IssueNode(req)
	if err != nil {
		t.Fatal(err)
	}
	req.Name = "ops"
	if _, err := transport.IssueClient(req); err != nil {
		t.Fatal(err)
	}
	open, err := node.Open(nil)
	if err != nil {
		t.Fatal(err)
	}
	secure := startCluster(t, 1, grpc.Creds(open.Credentials())).nodes[0].addr
	plaintext := startCluster(t, 1).nodes[0].addr
	stranger := t.TempDir()
	if err := transport.WriteCA(stranger, time.Hour); err != nil {
		t.Fatal(err)
	}
	req.Dir = stranger
	if _, err := transport.IssueClient(req); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, addr string
		flags      string
		want       string // empty: it works
	}{
		{"directory", secure, "--tls-dir " + dir, ""},
		{"files", secure, "--tls-ca " + dir + "/ca.pem --tls-cert " + dir + "/client-ops.pem --tls-key " + dir + "/client-ops-key.pem", ""},
		{"plaintext client", secure, "", `it does not speak plain gRPC \(a node with TLS needs --tls-dir\)`},
		{"plaintext node", plaintext, "--tls-dir " + dir, `the node does not use TLS \(leave out the --tls flags\)`},
		{"other authority", secure, "--tls-dir " + stranger, `tls: failed to verify certificate: x509: certificate signed by unknown authority.*|x509: certificate signed by unknown authority.*`},
		{"certificate refused", secure, "--tls-ca " + dir + "/ca.pem --tls-cert " + stranger + "/client-ops.pem --tls-key " + stranger + "/client-ops-key.pem", `tls: unknown certificate authority.*|it closed the connection.*`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := tkcoord(t, append(strings.Fields(tt.flags), "status", "--timeout", "3s", "--addr", tt.addr)...)
			if tt.want == "" {
				r.wants(t, exitDone, "")
				return
			}
			r.wants(t, exitFailed, "tkcoord: status: "+regexp.QuoteMeta(tt.addr)+": (?:"+tt.want+")\n")
		})
	}
}

func TestFault(t *testing.T) {
	cert := &x509.Certificate{DNSNames: []string{"n1.demo.tkcoord"}}
	tests := []struct {
		name   string
		secure bool
		err    error
		want   string
	}{
		{"address not listed", true, &tls.CertificateVerificationError{Err: x509.HostnameError{Certificate: cert, Host: "db"}},
			"x509: certificate is valid for n1.demo.tkcoord, not db (the node's certificate has to list the address, see tkcoord cert node --host)"},
		{"closed", true, io.EOF, "it closed the connection (it is no gRPC server, or refuses the certificate)"},
		{"reset", false, &net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ECONNRESET)}, "it does not speak plain gRPC (a node with TLS needs --tls-dir)"},
		{"unreachable", false, &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.EHOSTUNREACH)}, "no route to host"},
		{"no such host", false, &net.OpError{Op: "dial", Err: &net.DNSError{Name: "db", Err: "no such host"}}, "no such host"},
	}
	for _, tt := range tests {
		if got := (&link{secure: tt.secure, trouble: tt.err}).fault(); got.Error() != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}
