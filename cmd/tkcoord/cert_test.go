package main

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/tkcoord/tkcoord/transport"
	"google.golang.org/grpc"
)

// What the commands write is enough for a node and its client.
func TestCert(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "certs")
	q := regexp.QuoteMeta(dir)
	tkcoord(t, "cert", "node", "n1", "--dir", dir).wants(t, exitFailed,
		`tkcoord: cert node: .*no such file or directory.* \(make an authority first: tkcoord cert ca --dir `+q+`\)\n`)
	tkcoord(t, "cert", "ca", "--dir", dir).wants(t, exitDone, "")
	tkcoord(t, "cert", "ca", "--dir", dir).wants(t, exitFailed, `tkcoord: cert ca: certificate authority in `+q+`: file already exists \(.*\)\n`)
	r := tkcoord(t, "cert", "node", "n1", "--dir", dir, "--host", "127.0.0.9,db", "--cluster", "demo", "-o", "json")
	r.wants(t, exitDone, "")
	if want := "{\n  \"cert\": \"" + dir + "/node-n1.pem\",\n  \"key\": \"" + dir + "/node-n1-key.pem\"\n}\n"; r.stdout != want {
		t.Errorf("got %s, want %s", r.stdout, want)
	}
	node, err := transport.TLSFiles{CA: dir + "/ca.pem", Cert: dir + "/node-n1.pem", Key: dir + "/node-n1-key.pem"}.Open(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := startCluster(t, 1, grpc.Creds(node.Credentials())).withPolicies(onePolicy)
	c.on("status", "--tls-dir", dir).wants(t, exitFailed, `tkcoord: status: --tls-dir: `+q+` has no client.pem\n`)
	r = tkcoord(t, "cert", "client", "ops", "--dir", dir)
	r.wants(t, exitDone, "")
	if want := "wrote " + dir + "/client-ops.pem and " + dir + "/client-ops-key.pem\n"; r.stdout != want {
		t.Errorf("got %q, want %q", r.stdout, want)
	}
	c.on("status", "--tls-dir", dir).wants(t, exitDone, "")
	c.on("check", "--local", "api", "a", "--tls-dir", dir).wants(t, exitDone, "")

	tkcoord(t, "cert", "client", "dev", "--dir", dir).wants(t, exitDone, "")
	c.on("status", "--tls-dir", dir).wants(t, exitFailed, `.* has several client certificates \(client-dev.pem, client-ops.pem\): choose with --tls-cert\n`)
	c.on("status", "--tls-dir", dir, "--tls-cert", dir+"/client-dev.pem").wants(t, exitDone, "")
	for _, f := range []string{"", "-key"} {
		if err := os.Rename(dir+"/client-dev"+f+".pem", dir+"/client"+f+".pem"); err != nil {
			t.Fatal(err)
		}
	}
	c.on("status", "--tls-dir", dir).wants(t, exitDone, "")

	tkcoord(t, "cert", "client", "A B", "--dir", dir).wants(t, exitFailed, `tkcoord: cert client: name "A B": use lower-case letters.*\n`)
	tkcoord(t, "cert", "ca", "--days", "0").wants(t, exitUsage, `tkcoord: cert ca: --days: got 0, .*\n`)
}
