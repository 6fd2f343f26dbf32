package api

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tkcoord/tkcoord/api/throttlekitv1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// contractPolicies are of every kind and shape that there is.
const contractPolicies = `version: 1
limiters:
  bucket: { strategy: tokenBucket, capacity: 4, refillPerSec: 2 }
  spaced: { strategy: gcra, limit: 10, period: 10s, burst: 3 }
  window: { strategy: fixedWindow, limit: 5, period: 10s }
  strict:
    strategy: fixedWindow
    limit: 5
    period: 10s
    twoTier: { mode: strict }
  cached:
    strategy: fixedWindow
    limit: 5
    period: 10s
    twoTier: { mode: cached-deny }
  leased:
    strategy: fixedWindow
    limit: 50
    period: 10s
    twoTier: { batch: 10, windowCoupled: true }
  global:
    strategy: fixedWindow
    limit: 20
    period: 10s
    federated: { batch: 4 }
  other:
    strategy: fixedWindow
    limit: 7
    period: 1m
    federated: { batch: 1 }
  tokens:
    tokenBudget: { budget: 100, windowMs: 60000 }
  fleet:
    fleetBudget: { budget: 1000, windowMs: 60000 }
  few: { strategy: fixedWindow, limit: 5, period: 10s, maxKeys: 2 }
  slots:
    concurrency: { minLimit: 2, maxLimit: 2 }
  both:
    strategy: fixedWindow
    limit: 2
    period: 10s
    concurrency: { minLimit: 4, maxLimit: 4 }
`

// The file testdata/calls.txt is a script of calls with the replies that they get,
// to the letter: wrappers and defaults included. The clocks stand still between
// them. A follower gives the same replies as the leader.
func TestCalls(t *testing.T) {
	t.Run("one node", func(t *testing.T) {
		c := startNodes(t, 1, contractPolicies, nil)
		runScript(t, c.nodes[0], *update)
	})
	t.Run("a follower of three", func(t *testing.T) {
		c := startNodes(t, 3, contractPolicies, nil)
		runScript(t, c.follower(), false)
	})
}

const scriptFile = "testdata/calls.txt"

// runScript makes the calls of the script at a node and compares the replies.
func runScript(t *testing.T, n *testNode, update bool) {
	data, err := os.ReadFile(scriptFile)
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	p := player{node: n, leases: map[string]string{}}
	for line := range strings.Lines(string(data)) {
		if strings.HasPrefix(line, "  ") {
			continue // a reply
		}
		got.WriteString(line)
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			got.WriteString(p.play(t, line))
		}
	}
	if update {
		if err := os.WriteFile(scriptFile, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	compareLines(t, got.String(), string(data))
}

// compareLines reports lines that differ.
func compareLines(t *testing.T, got, want string) {
	t.Helper()
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	call := ""
	for i := range max(len(g), len(w)) {
		var a, b string
		if i < len(g) {
			a = g[i]
		}
		if i < len(w) {
			b = w[i]
		}
		if !strings.HasPrefix(a, "  ") {
			call = a
		}
		if a != b {
			t.Errorf("%s:%d: %s\n got %s\nwant %s", scriptFile, i+1, call, strings.TrimSpace(a), strings.TrimSpace(b))
		}
	}
}

// A player makes calls and remembers the slots it has: they are called L1, L2, ...
// in the script.
type player struct {
	node   *testNode
	leases map[string]string // by id
}

var leaseIDs = regexp.MustCompile(`[0-9a-f]+-[0-9a-f]{32}`)

// play makes one call, METHOD and a request in JSON, and returns the reply, indented.
// "pass 1s" moves the clock instead.
func (p *player) play(t *testing.T, line string) string {
	t.Helper()
	method, arg, _ := strings.Cut(line, " ")
	if method == "pass" {
		d, err := time.ParseDuration(arg)
		if err != nil {
			t.Fatal(err)
		}
		p.node.of.pass(d)
		return ""
	}
	for id, name := range p.leases {
		arg = strings.ReplaceAll(arg, `"`+name+`"`, `"`+id+`"`)
	}
	service := throttlekitv1.RateLimiter_ServiceDesc.ServiceName
	if method == "Reserve" {
		service = throttlekitv1.Fleet_ServiceDesc.ServiceName
	}
	req, res := newMessage(t, method+"Request"), newMessage(t, method+"Response")
	if err := protojson.Unmarshal([]byte(arg), req); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	if err := p.node.conn.Invoke(t.Context(), "/"+service+"/"+method, req, res); err != nil {
		s := status.Convert(err)
		return fmt.Sprintf("  %s: %s\n", s.Code(), s.Message())
	}
	text := leaseIDs.ReplaceAllStringFunc(compact(t, res), func(id string) string {
		if p.leases[id] == "" {
			p.leases[id] = fmt.Sprintf("L%d", len(p.leases)+1)
		}
		return p.leases[id]
	})
	return "  " + text + "\n"
}

func newMessage(t *testing.T, name string) proto.Message {
	t.Helper()
	m, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName("throttlekit.v1." + name))
	if err != nil {
		t.Fatal(err)
	}
	return m.New().Interface()
}

// compact writes a message as JSON with all its fields, in one line.
func compact(t *testing.T, m proto.Message) string {
	t.Helper()
	b, err := protojson.MarshalOptions{EmitUnpopulated: true, UseProtoNames: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := json.Compact(&out, b); err != nil { // protojson's blanks differ from build to build
		t.Fatal(err)
	}
	return out.String()
}
