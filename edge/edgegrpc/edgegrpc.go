// Package edgegrpc limits gRPC servers: calls, and streams when they open.
package edgegrpc

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tkcoord/tkcoord/edge"
	"github.com/tkcoord/tkcoord/edge/clientip"
	"github.com/tkcoord/tkcoord/edge/headers"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

// A Limiter decides on calls; *edge.Limiter is one.
type Limiter interface {
	Check(ctx context.Context, key string, n int64) (edge.Decision, error)
	Policy() string
}

// Options say how calls are counted and answered. Start from DefaultOptions.
// method is the full name, /package.Service/Method.
type Options struct {
	// Key names the budget of a call, see ByPeer.
	Key func(ctx context.Context, method string) string
	// Cost is how many units a call takes; below 1 counts as 1.
	Cost func(ctx context.Context, method string) int64
	// Emit sends the headers of Style as response metadata, in lower case.
	Emit  bool
	Style headers.Style
	// PolicyName stands in the headers instead of the policy's own name.
	PolicyName string
	// OnLimited hears of each denial, and OnError of each call that could not be
	// decided. Either may be nil.
	OnLimited func(ctx context.Context, method string, d edge.Decision)
	OnError   func(ctx context.Context, method string, err error)
}

// DefaultOptions counts one unit per call and peer address, and tells clients
// about it in the draft's headers.
func DefaultOptions() Options {
	return Options{
		Key: ByPeer(clientip.Default()), Cost: func(context.Context, string) int64 { return 1 },
		Emit: true, Style: headers.Draft,
	}
}

// ByPeer keys calls by the address that they come from. Forwarded addresses are
// taken from the request metadata x-forwarded-for if the rule trusts proxies.
func ByPeer(rule clientip.Rule) func(context.Context, string) string {
	return func(ctx context.Context, _ string) string {
		address := ""
		if p, ok := peer.FromContext(ctx); ok && p.Addr != nil {
			address = p.Addr.String()
		}
		return rule.Key(address, metadata.ValueFromIncomingContext(ctx, "x-forwarded-for"))
	}
}

// Validate reports everything that is missing or out of range.
func (o *Options) Validate() error {
	var errs []error
	if o.Key == nil {
		errs = append(errs, errors.New("Key: missing"))
	}
	if o.Cost == nil {
		errs = append(errs, errors.New("Cost: missing"))
	}
	if err := o.Style.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("Style: %w", err))
	}
	return errors.Join(errs...)
}

// An Interceptor asks a limiter about calls. Its methods Unary and Stream are
// server interceptors.
type Interceptor struct {
	limiter Limiter
	o       Options
}

// New returns an interceptor. A call that could not be decided passes if the
// edge's fail policy says so, and fails with UNAVAILABLE otherwise.
func New(l Limiter, o Options) (*Interceptor, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("limit calls: %w", err)
	}
	if o.PolicyName == "" {
		o.PolicyName = l.Policy()
	}
	return &Interceptor{l, o}, nil
}

// Unary is a grpc.UnaryServerInterceptor.
func (i *Interceptor) Unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	err := i.admit(ctx, info.FullMethod, func(md metadata.MD) error { return grpc.SetHeader(ctx, md) })
	if err != nil {
		return nil, err
	}
	return next(ctx, req)
}

// Stream is a grpc.StreamServerInterceptor.
func (i *Interceptor) Stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if err := i.admit(stream.Context(), info.FullMethod, stream.SetHeader); err != nil {
		return err
	}
	return next(srv, stream)
}

// admit returns the status of a call that must not pass.
func (i *Interceptor) admit(ctx context.Context, method string, setHeader func(metadata.MD) error) error {
	d, err := i.limiter.Check(ctx, i.o.Key(ctx, method), i.o.Cost(ctx, method))
	if err != nil {
		if i.o.OnError != nil {
			i.o.OnError(ctx, method, err)
		}
		if d.Allowed {
			return nil
		}
		return status.Error(codes.Unavailable, "rate limiter unavailable")
	}
	if i.o.Emit {
		md := metadata.MD{}
		for _, f := range i.o.Style.Of(d, i.o.PolicyName) {
			md.Append(f.Name, f.Value) // in lower case
		}
		_ = setHeader(md) // fails if the handler has sent headers already; they are advice
	}
	if d.Allowed {
		return nil
	}
	if i.o.OnLimited != nil {
		i.o.OnLimited(ctx, method, d)
	}
	return refusal(d)
}

// refusal is the status of a denied call. Clients that know RetryInfo find the
// delay there as well.
func refusal(d edge.Decision) error {
	ms := headers.RetryAfterMillis(d)
	s := status.Newf(codes.ResourceExhausted, "rate limit exceeded; retry after %dms", ms)
	if with, err := s.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(time.Duration(ms) * time.Millisecond)}); err == nil {
		s = with
	}
	return s.Err()
}
