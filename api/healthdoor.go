package api

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// A healthDoor serves grpc.health.v1.Health with the texts of the contract.
type healthDoor struct {
	*health.Server
	drain <-chan struct{} // closed when the node begins to shut down
}

// Check answers for the node as a whole (""), and for each service that is served
// now.
func (h *healthDoor) Check(ctx context.Context, req *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	res, err := h.Server.Check(ctx, req)
	// A service that was served and no longer is has the status SERVICE_UNKNOWN.
	if status.Code(err) == codes.NotFound || res.GetStatus() == grpc_health_v1.HealthCheckResponse_SERVICE_UNKNOWN {
		return nil, status.Error(codes.NotFound, fmt.Sprintf("unknown service %s", quoted(req.Service)))
	}
	return res, err
}

// Watch streams the status of a service, also of one that is not served, until the
// caller or the node ends it.
func (h *healthDoor) Watch(req *grpc_health_v1.HealthCheckRequest, stream grpc_health_v1.Health_WatchServer) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	watched := make(chan struct{})
	defer close(watched)
	go func() { // ends with the stream
		select {
		case <-h.drain:
			cancel()
		case <-watched:
		}
	}()
	err := h.Server.Watch(req, endingStream{stream, ctx})
	if stream.Context().Err() == nil && ctx.Err() != nil {
		return status.Error(codes.Unavailable, errNotServing.Error()+": it is shutting down")
	}
	return err
}

// An endingStream ends with another context.
type endingStream struct {
	grpc.ServerStreamingServer[grpc_health_v1.HealthCheckResponse]
	ctx context.Context
}

func (s endingStream) Context() context.Context { return s.ctx }
