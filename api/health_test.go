package api

import (
	"context"
	"slices"
	"testing"

	"github.com/tkcoord/tkcoord/api/throttlekitv1"
	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
)

const withoutFederated = `version: 1
limiters:
  window: { strategy: fixedWindow, limit: 5, period: 10s }
`

// The health service knows the services that are served. Fleet is one of them while
// some policy is federated; without one its calls go nowhere.
func TestHealth(t *testing.T) {
	n := startNodes(t, 1, withoutFederated, func(c *Config) { c.Monitor = false }).nodes[0]
	h := grpc_health_v1.NewHealthClient(n.conn)
	check := func(service string) (grpc_health_v1.HealthCheckResponse_ServingStatus, error) {
		res, err := h.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: service})
		return res.GetStatus(), err
	}
	serves := func(service string) {
		t.Helper()
		within(t, "health of "+service, func() bool {
			s, err := check(service)
			return err == nil && s == grpc_health_v1.HealthCheckResponse_SERVING
		})
	}
	unknown := func(service, text string) {
		t.Helper()
		if _, err := check(service); status.Code(err) != codes.NotFound || status.Convert(err).Message() != text {
			t.Errorf("health of %q: %v, want NotFound: %s", service, err, text)
		}
	}
	serves("")
	serves("throttlekit.v1.RateLimiter")
	unknown("throttlekit.v1.Fleet", `unknown service "throttlekit.v1.Fleet"`)
	unknown("throttlekit.v1.Monitor", `unknown service "throttlekit.v1.Monitor"`)
	unknown("no\"ne", `unknown service "no\"ne"`)
	reserve := func() codes.Code {
		_, err := n.fleetClient().Reserve(t.Context(), &throttlekitv1.ReserveRequest{Policy: "later"})
		return status.Code(err)
	}
	if c := reserve(); c != codes.Unimplemented {
		t.Errorf("Reserve without a federated policy: %v", c)
	}
	watch := watchHealth(t, h, "throttlekit.v1.Fleet")
	if s := <-watch; s != grpc_health_v1.HealthCheckResponse_SERVICE_UNKNOWN {
		t.Errorf("the first message about a service that is not served: %v", s)
	}
	version, err := n.adminClient().ApplyPolicies(t.Context(), &tkcoordv1.ApplyPoliciesRequest{Put: []*tkcoordv1.Policy{PolicyToWire(parseOne(t, `version: 1
limiters:
  later:
    strategy: fixedWindow
    limit: 5
    period: 10s
    federated: { batch: 1 }
`))}})
	if err != nil {
		t.Fatal(err)
	}
	if s := <-watch; s != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("the next message once it is: %v", s)
	}
	serves("throttlekit.v1.Fleet")
	if c := reserve(); c != codes.OK {
		t.Errorf("Reserve with a federated policy: %v", c)
	}
	if _, err := n.adminClient().ApplyPolicies(t.Context(), &tkcoordv1.ApplyPoliciesRequest{Delete: []string{"later"}, ExpectVersion: version.Version}); err != nil {
		t.Fatal(err)
	}
	if s := <-watch; s != grpc_health_v1.HealthCheckResponse_SERVICE_UNKNOWN {
		t.Errorf("the message after the policy went: %v", s)
	}
	unknown("throttlekit.v1.Fleet", `unknown service "throttlekit.v1.Fleet"`)
}

// watchHealth sends on what a stream brings until the test ends.
func watchHealth(t *testing.T, h grpc_health_v1.HealthClient, service string) <-chan grpc_health_v1.HealthCheckResponse_ServingStatus {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := h.Watch(ctx, &grpc_health_v1.HealthCheckRequest{Service: service})
	if err != nil {
		t.Fatal(err)
	}
	out, ended := make(chan grpc_health_v1.HealthCheckResponse_ServingStatus, 16), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			res, err := stream.Recv()
			if err != nil {
				return
			}
			out <- res.Status
		}
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return out
}

// A stream that nobody ends does not keep a node from shutting down.
func TestHealthWatchEndsWithTheNode(t *testing.T) {
	n := startNodes(t, 1, withoutFederated, nil).nodes[0]
	stream, err := grpc_health_v1.NewHealthClient(n.conn).Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	close(n.drain) // as the shutdown does first
	for err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.Unavailable {
		t.Errorf("the stream ended with %v, want Unavailable", err)
	}
	n.drain = make(chan struct{}) // so that the shutdown can close it
}

func TestReflection(t *testing.T) {
	n := startNodes(t, 1, withoutFederated, nil).nodes[0]
	stream, err := grpc_reflection_v1.NewServerReflectionClient(n.conn).ServerReflectionInfo(t.Context())
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
	var names []string
	for _, s := range res.GetListServicesResponse().GetService() {
		names = append(names, s.Name)
	}
	for _, want := range []string{"throttlekit.v1.RateLimiter", "throttlekit.v1.Fleet", "throttlekit.v1.Monitor", "grpc.health.v1.Health"} {
		if !slices.Contains(names, want) {
			t.Errorf("reflection lists %v, which lacks %s", names, want)
		}
	}
}
