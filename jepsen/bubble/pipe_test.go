package bubble

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// A pipe is one direction of a connection. Bytes arrive in order, after the
// delay of their link; while the link is cut they wait, as TCP has them wait,
// and while the receiver does not read so does the sender.
//
// Waiting is by a sync.Cond: to a bubble that is idleness, so time goes on.
type pipe struct {
	net      *network
	from, to string // hosts

	mu        sync.Mutex // guards the rest
	change    *sync.Cond
	segments  []segment
	size      int
	closed    bool // by the sender, after what is in segments
	deaf      bool // closed by the receiver
	gone      error
	back      *pipe // the other direction
	readUntil deadline
	sendUntil deadline
}

type segment struct {
	data []byte
	at   time.Time
}

// A deadline is zero for none.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

// window is how many bytes may be on their way.
const window = 256 << 10

// newPipes returns the two directions of a connection.
func newPipes(n *network, from, to string) (there, back *pipe) {
	there, back = &pipe{net: n, from: from, to: to}, &pipe{net: n, from: to, to: from}
	there.change, back.change = sync.NewCond(&there.mu), sync.NewCond(&back.mu)
	there.back, back.back = back, there
	return there, back
}

func (p *pipe) wake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.change.Broadcast()
}

// set changes a deadline of p.
func (p *pipe) set(d *deadline, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	if d.at = at; !at.IsZero() {
		d.timer = time.AfterFunc(time.Until(at), p.wake)
	}
	p.change.Broadcast()
}

func (d *deadline) over() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func (p *pipe) read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch {
		case p.gone != nil:
			return 0, p.gone
		case p.deaf:
			return 0, net.ErrClosed
		case p.readUntil.over():
			return 0, os.ErrDeadlineExceeded
		case len(b) == 0:
			return 0, nil
		case p.arrived():
			return p.take(b), nil
		case p.closed && len(p.segments) == 0:
			return 0, io.EOF
		}
		p.change.Wait()
	}
}

// arrived reports whether the first segment has. mu is held.
func (p *pipe) arrived() bool {
	return len(p.segments) > 0 && !time.Now().Before(p.segments[0].at) && !p.net.isCut(p.from, p.to)
}

func (p *pipe) take(b []byte) (n int) {
	for n < len(b) && len(p.segments) > 0 && !time.Now().Before(p.segments[0].at) {
		s := &p.segments[0]
		k := copy(b[n:], s.data)
		n += k
		if s.data = s.data[k:]; len(s.data) == 0 {
			p.segments = p.segments[1:]
		}
	}
	p.size -= n
	p.change.Broadcast()
	return n
}

func (p *pipe) write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch {
		case p.gone != nil:
			return 0, p.gone
		case p.closed:
			return 0, net.ErrClosed
		case p.sendUntil.over():
			return 0, os.ErrDeadlineExceeded
		case p.size == 0 || p.size+len(b) <= window:
			p.send(b)
			return len(b), nil
		}
		p.change.Wait()
	}
}

// send puts bytes on their way. mu is held.
func (p *pipe) send(b []byte) {
	at := time.Now().Add(p.net.delay(p.from, p.to))
	if p.deaf { // the sender learns it when its segment has been there
		time.AfterFunc(time.Until(at), p.refuse)
		return
	}
	if n := len(p.segments); n > 0 && at.Before(p.segments[n-1].at) {
		at = p.segments[n-1].at
	}
	p.segments = append(p.segments, segment{append([]byte(nil), b...), at})
	p.size += len(b)
	time.AfterFunc(time.Until(at), p.wake)
}

// refuse tells the sender that nobody listens, if it can be told.
func (p *pipe) refuse() {
	if !p.net.isCut(p.from, p.to) && !p.net.isCut(p.to, p.from) {
		p.fail(syscall.ECONNRESET)
		p.back.fail(syscall.ECONNRESET)
	}
}

// leave closes the receiving side.
func (p *pipe) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deaf, p.segments, p.size = true, nil, 0
	p.change.Broadcast()
}

// end closes the sending side.
func (p *pipe) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.change.Broadcast()
}

// fail ends both sides at once.
func (p *pipe) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone == nil {
		p.gone = err
	}
	p.segments = nil
	p.change.Broadcast()
}

// A conn is one end of a connection.
type conn struct {
	in, out       *pipe
	local, remote address
	once          sync.Once
}

type address string

func (address) Network() string  { return "tcp" }
func (a address) String() string { return string(a) }

func (c *conn) Read(b []byte) (int, error)  { return c.in.read(b) }
func (c *conn) Write(b []byte) (int, error) { return c.out.write(b) }

// Close implements net.Conn: what was written still arrives, and what the other
// end writes from now on is answered by a reset.
func (c *conn) Close() error {
	c.once.Do(func() {
		c.out.end()
		c.in.leave()
		c.in.net.forget(c)
	})
	return nil
}

// reset is the end of a connection whose other end's host is gone.
func (c *conn) reset() {
	c.in.fail(syscall.ECONNRESET)
	c.out.fail(syscall.ECONNRESET)
	c.in.net.forget(c)
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }

func (c *conn) SetDeadline(t time.Time) error {
	c.in.set(&c.in.readUntil, t)
	c.out.set(&c.out.sendUntil, t)
	return nil
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.in.set(&c.in.readUntil, t)
	return nil
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.out.set(&c.out.sendUntil, t)
	return nil
}
