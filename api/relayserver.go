package api

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/transport"
	"google.golang.org/grpc/status"
)

// Relay serves tkcoord.v1.Relay: operations that other nodes pass on.
type Relay struct {
	tkcoordv1.UnimplementedRelayServer
	door  *door
	log   *slog.Logger
	drain <-chan struct{} // closed when the node begins to shut down
}

const (
	// relayedAtOnce bounds the requests of one stream that are carried out beside
	// each other. The asking node has fewer under way.
	relayedAtOnce = 16
	// longestRelayed bounds how long a request may take, whatever it asks for.
	longestRelayed = time.Minute
)

// Run carries out operations until the other node closes the stream or this one
// shuts down. Then it answers what it has begun, and nothing else, and ends the
// stream in good order: what was not answered was not begun.
func (r *Relay) Run(stream tkcoordv1.Relay_RunServer) error {
	var answering sync.WaitGroup
	var mu sync.Mutex // makes sending one at a time
	requests := make(chan *tkcoordv1.RunRequest)
	failed := make(chan error, 1)
	go func() { failed <- receiveAll(stream, requests) }() // ends with the stream
	slots := make(chan struct{}, relayedAtOnce)
	defer answering.Wait()
	for {
		select {
		case <-r.drain:
			return nil
		case <-failed:
			return nil // nobody is left to tell
		case slots <- struct{}{}:
		}
		select {
		case <-r.drain:
			return nil
		case <-failed:
			return nil
		case req := <-requests:
			answering.Go(func() {
				res := r.carryOut(stream.Context(), req)
				mu.Lock()
				defer mu.Unlock()
				if err := stream.Send(res); err != nil {
					r.log.Debug("answer not sent", "err", err)
				}
				<-slots
			})
		}
	}
}

// receiveAll passes on what arrives until the stream or its handler ends.
func receiveAll(stream tkcoordv1.Relay_RunServer, to chan<- *tkcoordv1.RunRequest) error {
	for {
		req, err := stream.Recv()
		if err != nil {
			return err
		}
		select {
		case to <- req:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

func (r *Relay) carryOut(ctx context.Context, req *tkcoordv1.RunRequest) *tkcoordv1.RunResponse {
	res := &tkcoordv1.RunResponse{Id: req.Id, Outcomes: make([]*tkcoordv1.Outcome, len(req.Operations))}
	ctx, cancel := context.WithTimeout(ctx, min(time.Duration(req.TimeoutMs)*time.Millisecond, longestRelayed))
	defer cancel()
	ops := req.Operations
	var err error
	if len(ops) > maxRelayed {
		err = &fsm.FieldError{Field: "operations", Value: "too many of them", Want: "at most 1024"}
		ops = nil
	}
	for i, v := range r.door.executeAll(ctx, ops) {
		if res.Outcomes[i] = v.out; v.err != nil {
			res.Outcomes[i] = &tkcoordv1.Outcome{Failure: r.failure(v.err)}
		}
	}
	for i := len(ops); i < len(req.Operations); i++ {
		res.Outcomes[i] = &tkcoordv1.Outcome{Failure: r.failure(err)}
	}
	return res
}

// failure translates an error for the node that asked.
func (r *Relay) failure(err error) *tkcoordv1.Failure {
	if errors.Is(err, transport.ErrNotProposed) {
		return &tkcoordv1.Failure{Code: uint32(status.Code(err)), Reason: ReasonNotLeader, Message: err.Error()}
	}
	err = toStatus(err, "", r.log)
	reason, _ := Reason(err)
	return &tkcoordv1.Failure{Code: uint32(status.Code(err)), Reason: reason, Message: status.Convert(err).Message()}
}
