package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
)

// maxAnswer bounds an answer: ten thousand policies with long names are 5 MB.
const maxAnswer = 64 << 20

// A link is the connection to one address. gRPC tells why a connection does not
// come up only in the text of an error, so the link notes it on the way.
type link struct {
	addr   string
	secure bool
	conn   *grpc.ClientConn

	mu      sync.Mutex // guards trouble
	trouble error      // the newest
}

// newLink returns a link that is not connected yet.
func newLink(addr string, creds credentials.TransportCredentials) (*link, error) {
	l := &link{addr: addr, secure: creds.Info().SecurityProtocol == "tls"}
	conn, err := grpc.NewClient("passthrough:///"+addr,
		grpc.WithTransportCredentials(watchedCreds{creds, l}),
		grpc.WithContextDialer(l.dial),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 5 * time.Second, Timeout: 2 * time.Second, PermitWithoutStream: true}),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: time.Minute}), // ready has the deadline
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)),
		grpc.WithDisableRetry(),
		grpc.WithDisableServiceConfig(),
	)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", addr, err)
	}
	l.conn = conn
	return l, nil
}

// ready waits until the link is connected, for at most d. A node whose process
// is stopped accepts connections and never gets ready.
func (l *link) ready(ctx context.Context, d time.Duration) error {
	limited, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	l.conn.Connect()
	for {
		switch s := l.conn.GetState(); s {
		case connectivity.Ready:
			return nil
		case connectivity.TransientFailure:
			return l.fault()
		default:
			switch {
			case l.conn.WaitForStateChange(limited, s):
			case errors.Is(ctx.Err(), context.Canceled):
				return errInterrupted
			default:
				return fmt.Errorf("no answer in %v", d.Round(time.Millisecond))
			}
		}
	}
}

// fault explains a connection that did not come up.
func (l *link) fault() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := errors.AsType[tls.RecordHeaderError](l.trouble); ok {
		return hint(errors.New("the node does not use TLS"), "leave out the --tls flags")
	}
	if _, ok := errors.AsType[x509.HostnameError](l.trouble); ok {
		return hint(plain(l.trouble), "the node's certificate has to list the address, see tkcoord cert node --host")
	}
	// A node that finds TLS where it wants none, or the reverse, hangs up. With
	// bytes of ours still unread, that is a reset.
	closed := l.trouble == nil || errors.Is(l.trouble, io.EOF) || errors.Is(l.trouble, syscall.ECONNRESET)
	switch {
	case closed && l.secure:
		return hint(errors.New("it closed the connection"), "it is no gRPC server, or refuses the certificate")
	case closed:
		return hint(errors.New("it does not speak plain gRPC"), "a node with TLS needs --tls-dir")
	}
	return plain(l.trouble)
}

// plain drops what an address's error says about itself: "dial tcp
// 127.0.0.1:7700: connect: connection refused" becomes "connection refused".
func plain(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return plain(op.Err)
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return errors.New(dns.Err)
	}
	for {
		inner, ok := err.(interface{ Unwrap() error })
		if !ok || inner.Unwrap() == nil {
			return err
		}
		err = inner.Unwrap()
	}
}

func (l *link) note(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.trouble = err
}

func (l *link) dial(ctx context.Context, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		l.note(err)
	}
	return conn, err
}

// watchedCreds notes why a handshake fails.
type watchedCreds struct {
	credentials.TransportCredentials
	link *link
}

func (w watchedCreds) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	c, info, err := w.TransportCredentials.ClientHandshake(ctx, authority, conn)
	if err != nil {
		w.link.note(err)
		return c, info, err
	}
	return watchedConn{c, w.link}, info, nil
}

func (w watchedCreds) Clone() credentials.TransportCredentials {
	return watchedCreds{w.TransportCredentials.Clone(), w.link}
}

// watchedConn notes why reading fails. With TLS 1.3 that is where a client
// learns that its certificate was refused.
type watchedConn struct {
	net.Conn
	link *link
}

func (w watchedConn) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if err != nil && !errors.Is(err, net.ErrClosed) { // that is gRPC giving up after another one
		w.link.note(err)
	}
	return n, err
}
