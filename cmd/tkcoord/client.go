package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/tkcoord/tkcoord/api"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
)

// A client asks a cluster through any of its nodes. Safe for concurrent use.
type client struct {
	addrs   []string
	timeout time.Duration
	creds   credentials.TransportCredentials

	mu    sync.Mutex // guards links
	links map[string]*link
}

// connect settles the options of a command and returns the client they
// describe. It connects at the first call.
func (a *cli) connect(cmd *cobra.Command, forms ...string) (*client, error) {
	if err := a.opts.settle(cmd, forms...); err != nil {
		return nil, err
	}
	creds, err := a.opts.tls.credentials()
	if err != nil {
		return nil, err
	}
	return &client{addrs: a.opts.addrs, timeout: a.opts.timeout, creds: creds, links: make(map[string]*link)}, nil
}

// Close closes all connections.
func (c *client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for addr, l := range c.links {
		errs = append(errs, l.conn.Close())
		delete(c.links, addr)
	}
	return errors.Join(errs...)
}

// patience is how long one address may take to connect while others could be
// tried: at most two seconds, and little enough that all get their turn.
func (c *client) patience() time.Duration {
	return min(2*time.Second, c.timeout/time.Duration(max(2, len(c.addrs))))
}

// link returns the connected link to an address.
func (c *client) link(ctx context.Context, addr string) (*link, error) {
	c.mu.Lock()
	l := c.links[addr]
	if l == nil {
		var err error
		if l, err = newLink(addr, c.creds); err != nil {
			c.mu.Unlock()
			return nil, err
		}
		c.links[addr] = l
	}
	c.mu.Unlock()
	if err := l.ready(ctx, c.patience()); err != nil {
		c.mu.Lock()
		delete(c.links, addr)
		c.mu.Unlock()
		_ = l.conn.Close() // it never was one
		return nil, err
	}
	return l, nil
}

// An effect says what it means to make a call twice.
type effect int

const (
	repeats effect = iota // nothing: it only reads, or carries totals
	changes               // it may fail the second time because the first worked
)

// roundPause is how long a client waits for an election before it asks all
// addresses again.
const roundPause = 100 * time.Millisecond

// do makes one call with the client's timeout. Addresses that do not connect,
// or whose node says that it cannot serve, are passed over for the next one, and
// a leader that a node names is asked next. While nodes answer but none leads,
// all are asked again until the timeout.
//
// A connection that breaks during the call leaves open whether it took effect:
// a call that repeats is then made elsewhere, one that changes something fails
// with errUnknownOutcome.
func do[R any](ctx context.Context, c *client, e effect, f func(context.Context, grpc.ClientConnInterface) (R, error)) (R, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	var before error // of the last full round
	for {
		res, err := round(ctx, c, e, f)
		failed, none := errors.AsType[*nobody](err)
		if err != nil && (none || e == repeats) && ctx.Err() != nil && before != nil {
			return res, before // it says more than that time ran out
		}
		if !none || !failed.alive {
			return res, err
		}
		before = err
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				err = errInterrupted
			}
			return res, err
		case <-time.After(roundPause):
		}
	}
}

// round tries each address once. It returns *nobody if none took the call.
func round[R any](ctx context.Context, c *client, e effect, f func(context.Context, grpc.ClientConnInterface) (R, error)) (R, error) {
	var none R
	var failed nobody
	var tried []string
	for queue := slices.Clone(c.addrs); len(queue) > 0; {
		addr := queue[0]
		queue = queue[1:]
		if slices.Contains(tried, addr) {
			continue
		}
		tried = append(tried, addr)
		l, err := c.link(ctx, addr)
		if errors.Is(err, errInterrupted) {
			return none, err
		}
		if err != nil {
			failed.add(addr, err)
			continue
		}
		res, err := f(ctx, l.conn)
		if err == nil {
			return res, nil
		}
		reason, leader := api.Reason(err)
		took := reason == "" || reason == api.ReasonUnknown // perhaps
		code := status.Code(err)
		elsewhere := code == codes.Unavailable || code == codes.Unknown
		if !elsewhere || took && e == changes {
			return none, explain(ctx, addr, c.timeout, e, err)
		}
		failed.alive = failed.alive || reason != ""
		failed.add(addr, describe(err))
		if leader != "" {
			queue = slices.Insert(queue, 0, leader)
		}
	}
	return none, &failed
}

// nobody is the error of a call that no address took. Nothing was done, unless
// the call repeats.
type nobody struct {
	alive  bool // some node answered, and can do no more for now
	addrs  []string
	errors []error
}

func (n *nobody) add(addr string, err error) {
	n.addrs, n.errors = append(n.addrs, addr), append(n.errors, err)
}

func (n *nobody) Error() string {
	parts := make([]string, len(n.addrs))
	for i, addr := range n.addrs {
		parts[i] = fmt.Sprintf("%s: %v", addr, n.errors[i])
	}
	text := strings.Join(parts, ", ")
	if len(parts) > 1 {
		text = "no node answered: " + text
	}
	if _, hinted := errors.AsType[hinted](errors.Join(n.errors...)); !n.alive && !hinted {
		return text + " (is a node running there? --addr names others)"
	}
	return text
}

func (n *nobody) Unwrap() []error { return n.errors }
