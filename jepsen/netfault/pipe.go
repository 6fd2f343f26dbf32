package netfault

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"time"
)

const (
	// pieceSize is the most that is read from a connection at once.
	pieceSize = 16 << 10
	// maxPieces bounds what is under way in one direction of a connection, to
	// 1 MiB. Beyond it the sender has to wait, as with a full TCP window.
	maxPieces = 64
)

// A pipe copies one direction of a connection as a link says. The bytes keep
// their order, and so does the end of them.
type pipe struct {
	link     *Link
	from, to *net.TCPConn
	rng      *rand.Rand

	pieces chan piece
	due    time.Time // of the newest piece
	free   time.Time // when the capacity is next unused
}

// A piece is something read. The last one has no bytes, and says how it ended.
type piece struct {
	due   time.Time
	bytes []byte
	end   error
}

func newPipe(l *Link, from, to *net.TCPConn, seed uint64) *pipe {
	return &pipe{link: l, from: from, to: to, rng: rand.New(rand.NewPCG(seed, 0)), pieces: make(chan piece, maxPieces)}
}

// run copies until the connection ends and that was passed on, or ctx ends.
func (p *pipe) run(ctx context.Context) {
	go p.read(ctx)
	for piece := range p.pieces {
		if !p.reach(ctx, piece.due) {
			break
		}
		if piece.end != nil {
			p.pass(piece.end)
			break
		}
		if _, err := p.to.Write(piece.bytes); err != nil {
			_ = p.to.Close() // the other direction notices, and passes it on when its link lets it
			break
		}
		p.link.passed.Add(1)
	}
	for range p.pieces { // until read has ended
	}
}

// read takes pieces from the connection until it ends.
func (p *pipe) read(ctx context.Context) {
	defer close(p.pieces)
	buf := make([]byte, pieceSize)
	for {
		n, err := p.from.Read(buf)
		now := time.Now()
		if n > 0 && !p.put(ctx, piece{due: p.arrival(now, n), bytes: append([]byte(nil), buf[:n]...)}) {
			return
		}
		if err != nil {
			p.put(ctx, piece{due: p.arrival(now, 0), end: err})
			return
		}
	}
}

func (p *pipe) put(ctx context.Context, piece piece) bool {
	select {
	case p.pieces <- piece:
		return true
	case <-ctx.Done():
		return false
	}
}

// arrival returns when bytes that were sent now arrive: never before earlier
// ones.
func (p *pipe) arrival(now time.Time, size int) time.Time {
	e := p.link.Effect()
	due := now.Add(e.Delay)
	if e.Jitter > 0 {
		due = due.Add(time.Duration(p.rng.Int64N(int64(e.Jitter))))
	}
	if e.BytesPerSecond > 0 {
		if p.free.Before(now) {
			p.free = now
		}
		p.free = p.free.Add(transmission(size, e.BytesPerSecond))
		due = due.Add(p.free.Sub(now))
	}
	if due.Before(p.due) {
		due = p.due
	}
	p.due = due
	return due
}

// reach waits until a piece is due and the link is not cut. It reports false if
// ctx ended before.
func (p *pipe) reach(ctx context.Context, due time.Time) bool {
	if wait := time.Until(due); wait > 0 {
		p.link.delayed.Add(1)
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return false
		}
	}
	return p.link.wait(ctx)
}

// pass lets the receiver know how the sender ended.
func (p *pipe) pass(end error) {
	if errors.Is(end, io.EOF) {
		_ = p.to.CloseWrite()
		return
	}
	reset(p.to)
}
