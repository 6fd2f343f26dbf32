package main

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/policy"
	"github.com/tkcoord/tkcoord/transport"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// A realCluster is nodes in this process, as `tkcoord dev` runs them.
type realCluster struct {
	*devCluster
	t   testing.TB
	log *output
}

func startReal(t testing.TB, nodes int, policies string) *realCluster {
	t.Helper()
	f, err := policy.Parse("test", []byte(policies))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &realCluster{t: t, log: &output{}}
	if c.devCluster, err = openDevCluster(ctx, &devOptions{nodes: nodes}, t.TempDir(), f.Policies, textLog(c.log)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := c.close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if t.Failed() {
			t.Logf("the nodes said:\n%s", c.log)
		}
	})
	if err := c.waitReady(t.Context(), patience); err != nil {
		t.Fatal(err)
	}
	return c
}

func textLog(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

// dialPlain returns a connection to a node without TLS.
func dialPlain(t testing.TB, address string, opts ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	opts = append(opts, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithConnectParams(quickReconnect))
	conn, err := grpc.NewClient("passthrough:///"+address, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func (c *realCluster) edge(i int) tkcoordv1.EdgeClient {
	return tkcoordv1.NewEdgeClient(dialPlain(c.t, c.members[i].addresses().GRPC))
}

func (c *realCluster) admin(i int) tkcoordv1.AdminClient {
	return tkcoordv1.NewAdminClient(dialPlain(c.t, c.members[i].addresses().GRPC))
}

func dialTLS(t testing.TB, address string, cfg *tls.Config) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(credentials.NewTLS(cfg)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// strangersCertificate is one of another authority.
func strangersCertificate(t testing.TB) transport.TLSFiles {
	t.Helper()
	dir := t.TempDir()
	if err := transport.WriteCA(dir, time.Hour); err != nil {
		t.Fatal(err)
	}
	f, err := transport.IssueClient(transport.CertRequest{Dir: dir, Cluster: "e2e", Name: "edge", Validity: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return f
}
