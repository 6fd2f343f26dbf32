package netfault

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// RelayConfig says which door of which host a relay stands in front of.
type RelayConfig struct {
	Table  *Table
	To     string // host behind the relay
	Class  Class
	Listen string // host:port that others are told
	Target string // host:port that the host listens on
	// Who names the host that a connection comes from, "" if it is none of the
	// cluster. It is called once for each connection.
	Who func(net.Conn) string
	// Seed makes the jitter.
	Seed uint64
}

// maxRelayed bounds the connections of one relay; more are refused.
const maxRelayed = 1024

// A Relay passes the connections to one door of a host on loopback through the
// table. What one end sends is held while its flow is cut, and arrives after the
// cut unless an end gave up, as with TCP over a link that comes back. That a
// cut keeps a connection from being made shows as a connection that stays
// silent: a relay cannot leave a SYN unanswered.
type Relay struct {
	cfg      RelayConfig
	listener net.Listener
	slots    chan struct{} // one token per connection
}

// ListenRelay opens the listener. Run serves it.
func ListenRelay(c RelayConfig) (*Relay, error) {
	l, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("relay to %s, %v: %w", c.To, c.Class, err)
	}
	return &Relay{cfg: c, listener: l, slots: make(chan struct{}, maxRelayed)}, nil
}

// Addr is what others are told.
func (r *Relay) Addr() net.Addr { return r.listener.Addr() }

// Run relays until ctx ends. Then it closes the listener and all connections.
func (r *Relay) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var conns sync.WaitGroup
	defer conns.Wait()
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = r.listener.Close() })
	defer stop()
	for {
		c, err := r.listener.Accept()
		switch {
		case ctx.Err() != nil:
			if c != nil {
				_ = c.Close()
			}
			return nil
		case err != nil:
			return fmt.Errorf("relay to %s, %v: %w", r.cfg.To, r.cfg.Class, err)
		}
		select {
		case r.slots <- struct{}{}:
			conns.Go(func() {
				defer func() { <-r.slots }()
				r.serve(ctx, c.(*net.TCPConn))
			})
		default:
			reset(c.(*net.TCPConn))
		}
	}
}

// Close closes a relay whose Run was not called.
func (r *Relay) Close() error {
	if err := r.listener.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

const dialTimeout = 5 * time.Second

// serve relays one connection until both directions ended.
func (r *Relay) serve(ctx context.Context, from *net.TCPConn) {
	who := r.cfg.Who(from)
	there := r.cfg.Table.Link(Flow{who, r.cfg.To, r.cfg.Class})
	back := r.cfg.Table.Link(Flow{r.cfg.To, who, r.cfg.Class})
	to, err := r.dial(ctx, there, back)
	if err != nil {
		back.wait(ctx) // a refusal is an answer too
		reset(from)
		return
	}
	stop := context.AfterFunc(ctx, func() { reset(from); reset(to) })
	defer stop()
	var both sync.WaitGroup
	rng := linkRand(r.cfg.Seed, there.Flow())
	forth := newPipe(there, from, to, rng.Uint64())
	answers := newPipe(back, to, from, rng.Uint64())
	both.Go(func() { forth.run(ctx) })
	both.Go(func() { answers.run(ctx) })
	both.Wait()
	_, _ = from.Close(), to.Close()
}

// dial connects to the host once neither direction is cut: a handshake needs
// both.
func (r *Relay) dial(ctx context.Context, there, back *Link) (*net.TCPConn, error) {
	for {
		if !there.wait(ctx) || !back.wait(ctx) {
			return nil, ctx.Err()
		}
		if !there.Effect().Cut {
			break
		}
	}
	d := net.Dialer{Timeout: dialTimeout}
	c, err := d.DialContext(ctx, "tcp", r.cfg.Target)
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// wait returns true once the link is not cut, false if ctx ended before.
func (l *Link) wait(ctx context.Context) bool {
	for held := false; ; held = true {
		changed := l.table.Changed() // NB: before the effect is read
		if !l.Effect().Cut {
			return ctx.Err() == nil
		}
		if !held {
			l.delayed.Add(1)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// reset closes a connection in a way that the other end takes for a failure.
func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}
