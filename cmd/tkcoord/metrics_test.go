package main

import (
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
)

// Each series that docs/operations.md tells people to watch exists, and none
// shows a key.
func TestDocumentedMetrics(t *testing.T) {
	c := startReal(t, 1, onePerHour)
	const key = "customer-4711"
	if _, err := c.edge(0).Exchange(t.Context(), &tkcoordv1.ExchangeRequest{
		EdgeId: "edge-4712", Incarnation: 1, Seq: 1, Asks: []*tkcoordv1.Ask{{Policy: "p", Key: key, Need: 5, Want: 5}},
	}); err != nil {
		t.Fatal(err)
	}
	code, body := httpGet(t, c.members[0].addresses().HTTP, "/metrics")
	if code != http.StatusOK {
		t.Fatalf("%d: %s", code, body)
	}
	docs, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile("`(tkcoord_[a-z_]+)`").FindAllStringSubmatch(string(docs), -1)
	if len(names) < 5 {
		t.Errorf("only %d series are documented", len(names))
	}
	for _, n := range names {
		if !regexp.MustCompile(`(?m)^` + n[1] + `(_bucket)?(\{.*\})? `).MatchString(body) {
			t.Errorf("%s is documented and not there", n[1])
		}
	}
	for _, line := range []string{
		`tkcoord_policy_granted_total{policy="p"} 5`, `tkcoord_policy_outstanding{policy="p"} 5`, `tkcoord_policy_limit{policy="p"} 1000`,
		`tkcoord_node_ready 1`, `tkcoord_raft_leading 1`, `tkcoord_edges 1`, `tkcoord_alarms{kind="digest"} 0`,
	} {
		if !strings.Contains(body, "\n"+line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	if strings.Contains(body, "customer-") || strings.Contains(body, "edge-4712") {
		t.Error("a key or an edge is in the metrics")
	}
	if t.Failed() {
		for line := range strings.Lines(body) {
			if strings.HasPrefix(line, "tkcoord_") && !strings.Contains(line, "_bucket") {
				t.Log(strings.TrimSpace(line))
			}
		}
	}
}

// A node alone of three lives and is not ready; one that serves is both, and
// says so by gRPC too.
func TestHealth(t *testing.T) {
	alone := startAlone(t, 3)
	if code, body := httpGet(t, alone, "/healthz"); code != http.StatusOK || body != "ok\n" {
		t.Errorf("/healthz: %d, %q", code, body)
	}
	if code, body := httpGet(t, alone, "/readyz"); code != http.StatusServiceUnavailable || body != "the cluster has not been formed yet\n" {
		t.Errorf("/readyz: %d, %q", code, body)
	}
	c := startReal(t, 1, onePerHour)
	at := c.members[0].addresses()
	for _, path := range []string{"/healthz", "/readyz"} {
		if code, body := httpGet(t, at.HTTP, path); code != http.StatusOK || body != "ok\n" {
			t.Errorf("%s: %d, %q", path, code, body)
		}
	}
	if code, _ := httpGet(t, at.HTTP, "/debug/pprof/"); code != http.StatusNotFound {
		t.Errorf("profiles without being asked for: %d", code)
	}
	conn := dialPlain(t, at.GRPC)
	health := grpc_health_v1.NewHealthClient(conn)
	for _, service := range []string{"", tkcoordv1.Edge_ServiceDesc.ServiceName, tkcoordv1.Admin_ServiceDesc.ServiceName} {
		within(t, "health says that it serves", func() bool {
			res, err := health.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: service})
			return err == nil && res.Status == grpc_health_v1.HealthCheckResponse_SERVING
		})
	}
	stream, err := grpc_reflection_v1.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&grpc_reflection_v1.ServerReflectionRequest{MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{}}); err != nil {
		t.Fatal(err)
	}
	res, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	var services []string
	for _, s := range res.GetListServicesResponse().GetService() {
		services = append(services, s.Name)
	}
	if all := strings.Join(services, " "); !strings.Contains(all, "tkcoord.v1.Edge") || !strings.Contains(all, "tkcoord.v1.Admin") || !strings.Contains(all, "grpc.health.v1.Health") {
		t.Errorf("reflection lists %s", all)
	}
}
