// Package edgehttp limits net/http handlers.
//
//	limit, err := edgehttp.New(e.Limiter("api"), edgehttp.DefaultOptions())
//	http.Handle("/", limit(handler))
package edgehttp

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/tkcoord/tkcoord/edge"
	"github.com/tkcoord/tkcoord/edge/clientip"
	"github.com/tkcoord/tkcoord/edge/headers"
)

// A Limiter decides on requests; *edge.Limiter is one.
type Limiter interface {
	Check(ctx context.Context, key string, n int64) (edge.Decision, error)
	Policy() string
}

// Options say how requests are counted and answered. Start from DefaultOptions.
type Options struct {
	// Key names the budget of a request, see ByClientIP.
	Key func(*http.Request) string
	// Cost is how many units a request takes; below 1 counts as 1.
	Cost func(*http.Request) int64
	// Emit sets the headers of Style on responses, and Retry-After on denials.
	Emit  bool
	Style headers.Style
	// PolicyName stands in the headers instead of the policy's own name.
	PolicyName string
	// OnLimited hears of each denial, and OnError of each request that could not
	// be decided. Either may be nil.
	OnLimited func(*http.Request, edge.Decision)
	OnError   func(*http.Request, error)
	// Limited answers a denied request, after the headers were set. Unavailable
	// answers one that could not be decided and may not pass. The defaults send
	// 429 and 503 with a line of JSON.
	Limited, Unavailable func(http.ResponseWriter, *http.Request, edge.Decision)
}

// DefaultOptions counts one unit per request and client address, and tells
// clients about it in the draft's headers.
func DefaultOptions() Options {
	return Options{
		Key: ByClientIP(clientip.Default()), Cost: func(*http.Request) int64 { return 1 },
		Emit: true, Style: headers.Draft,
		Limited: tooMany, Unavailable: unavailable,
	}
}

// ByClientIP keys requests by the address that they come from.
func ByClientIP(rule clientip.Rule) func(*http.Request) string {
	return func(r *http.Request) string { return rule.Key(r.RemoteAddr, r.Header.Values("X-Forwarded-For")) }
}

// Validate reports everything that is missing or out of range.
func (o *Options) Validate() error {
	var errs []error
	for _, f := range []struct {
		name    string
		missing bool
	}{
		{"Key", o.Key == nil}, {"Cost", o.Cost == nil}, {"Limited", o.Limited == nil}, {"Unavailable", o.Unavailable == nil},
	} {
		if f.missing {
			errs = append(errs, fmt.Errorf("%s: missing", f.name))
		}
	}
	if err := o.Style.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("Style: %w", err))
	}
	return errors.Join(errs...)
}

// New returns middleware that asks l about each request. A request that could
// not be decided passes if the edge's fail policy says so, and is answered by
// Unavailable otherwise.
func New(l Limiter, o Options) (func(http.Handler) http.Handler, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("limit requests: %w", err)
	}
	if o.PolicyName == "" {
		o.PolicyName = l.Policy()
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			d, err := l.Check(r.Context(), o.Key(r), o.Cost(r))
			if o.decided(w, r, d, err) {
				next.ServeHTTP(w, r)
			}
		})
	}, nil
}

// decided answers a request that must not pass, and reports whether it may.
func (o *Options) decided(w http.ResponseWriter, r *http.Request, d edge.Decision, err error) (pass bool) {
	if err != nil {
		if o.OnError != nil {
			o.OnError(r, err)
		}
		if !d.Allowed {
			o.Unavailable(w, r, d)
		}
		return d.Allowed
	}
	if o.Emit {
		for _, f := range o.Style.Of(d, o.PolicyName) {
			w.Header().Set(f.Name, f.Value)
		}
	}
	if d.Allowed {
		return true
	}
	if o.OnLimited != nil {
		o.OnLimited(r, d)
	}
	o.Limited(w, r, d)
	return false
}

func tooMany(w http.ResponseWriter, _ *http.Request, d edge.Decision) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusTooManyRequests)
	_, _ = fmt.Fprintf(w, `{"error":"Too Many Requests","retryAfterMs":%d}`, headers.RetryAfterMillis(d)) // the client may be gone
}

func unavailable(w http.ResponseWriter, _ *http.Request, _ edge.Decision) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = fmt.Fprint(w, `{"error":"rate limiter unavailable"}`) // the client may be gone
}
