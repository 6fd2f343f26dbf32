package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	"github.com/tkcoord/tkcoord/transport"
)

// httpHandler serves what operators and their tools ask a node over HTTP:
//
//	/metrics  Prometheus
//	/healthz  200 while the process lives and its state machine runs; /health, too
//	/readyz   200 while the node should be sent traffic, else 503 and why
//	/debug/pprof/  profiles, if they are switched on
//
// What is not there, and methods other than GET, are answered as the ThrottleKit
// contract does.
func httpHandler(n *transport.Node, metrics http.Handler, profiles bool) http.Handler {
	mux := http.NewServeMux()
	if profiles {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	alive := func(w http.ResponseWriter, _ *http.Request) { verdict(w, n.Replica().Halted()) }
	mux.Handle("GET /metrics", metrics)
	mux.HandleFunc("GET /healthz", alive)
	mux.HandleFunc("GET /health", alive)
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { verdict(w, n.Ready()) })
	mux.HandleFunc("/", func(w http.ResponseWriter, req *http.Request) {
		if req.Method != http.MethodGet && req.Method != http.MethodHead {
			plainText(w, http.StatusMethodNotAllowed, "method not allowed")
			return
		}
		plainText(w, http.StatusNotFound, "not found (try /metrics or /healthz)")
	})
	return mux
}

func plainText(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	fmt.Fprintln(w, text)
}

// A scrape writes what a node shows to Prometheus.
type scrape struct {
	contract func(io.Writer) error // the contract's own series, which come first; may be nil
	rest     prometheus.Gatherer
	log      *slog.Logger
}

// ServeHTTP implements http.Handler. The format is the text of version 0.0.4,
// whatever the client would take.
func (s *scrape) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	var b bytes.Buffer // so that a failure can still be told
	if err := s.write(&b); err != nil {
		s.log.Error("metrics not shown", "err", err)
		plainText(w, http.StatusInternalServerError, "internal error, see the node's log")
		return
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = b.WriteTo(w) // a client that went away
}

func (s *scrape) write(w io.Writer) error {
	if s.contract != nil {
		if err := s.contract(w); err != nil {
			return err
		}
	}
	families, err := s.rest.Gather()
	if err != nil {
		return err
	}
	enc := expfmt.NewEncoder(w, expfmt.NewFormat(expfmt.TypeTextPlain))
	for _, f := range families {
		if err := enc.Encode(f); err != nil {
			return err
		}
	}
	return nil
}

func verdict(w http.ResponseWriter, err error) {
	if err != nil {
		plainText(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	plainText(w, http.StatusOK, "ok")
}

// serveHTTP serves until ctx ends, then lets requests under way finish.
func serveHTTP(ctx context.Context, l net.Listener, h http.Handler) error {
	s := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, MaxHeaderBytes: 64 << 10}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		quit, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		_ = s.Shutdown(quit) // what is still open is cut off by the process's end
	})
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTP on %s: %w", l.Addr(), err)
	}
	<-ended
	return nil
}
