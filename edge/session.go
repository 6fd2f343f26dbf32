package edge

import (
	"math"
	"time"

	"github.com/tkcoord/tkcoord/fsm/clock"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// What a status may say in its ErrorInfo.
const (
	domain             = "tkcoord"
	reasonSessionEnded = "SESSION_ENDED"
	reasonEdgeReplaced = "EDGE_REPLACED"
)

// why returns the reason in a status's ErrorInfo, "" if it has none of ours, and
// the address of the leader if it names one.
func why(err error) (reason, leader string) {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.Domain == domain {
			return info.Reason, info.Metadata["leader"]
		}
	}
	return "", ""
}

// sessionOver handles a refusal of the session and reports whether err was one.
// Call it with mu held.
func (e *Edge) sessionOver(err error, now clock.Nanos) bool {
	if status.Code(err) != codes.Aborted {
		return false
	}
	e.sessionsEnded++
	if reason, _ := why(err); reason == reasonEdgeReplaced {
		e.replaced(err, now)
		return true
	}
	e.log.Warn("session ended, starting a new one", "err", err)
	e.startOver()
	return true
}

// takeOverPause is how long an edge leaves its name to another process after it
// took it back once.
const takeOverPause = time.Minute

// replaced handles that another incarnation has this edge's name now. That may
// be the first message of a process that is long dead: then taking the name back
// costs one session, and that is all. Two running processes cannot be told from
// that at first. They take the name from each other, each at most once per
// takeOverPause, and say so each time.
func (e *Edge) replaced(err error, now clock.Nanos) {
	pause := e.tookOverAt + clock.Nanos(takeOverPause) - now
	switch {
	case e.retiring:
		e.startOver() // what it held stays counted: nobody takes it back
	case e.tookOverAt == 0 || pause <= 0:
		e.log.Error("another process has taken this edge_id: taking it back as a new holder", "err", err)
		e.takeOver(now)
	default:
		e.log.Error("two processes run with this edge_id: this one spends what it holds, then denies, and takes the edge_id back later",
			"after", time.Duration(pause), "err", err)
		e.outcast.Store(int64(now + pause))
		e.turnAway()
	}
}

// takeOver makes the edge a new holder under its old name.
func (e *Edge) takeOver(now clock.Nanos) {
	e.outcast.Store(0)
	e.tookOverAt = max(now, 1)
	e.startOver()
	e.incarnation = randomIncarnation()
}

// turnAway answers everybody who waits for an answer while another process has
// the name. Call it after outcast was set, so that nobody new comes to wait.
func (e *Edge) turnAway() {
	for {
		e.pending = e.queue.drain(e.pending)
		if len(e.pending) == 0 {
			return
		}
		keys := e.pending
		e.pending = nil
		for _, k := range keys {
			k.state.Store(flying) // a waiter that comes late makes it again
			k.wake(ErrReplaced, math.MaxInt64)
			e.land(k, false)
		}
	}
}

// startOver drops every lease and opens a new session with the next exchange,
// as a new holder without totals.
func (e *Edge) startOver() {
	e.session = 0
	for _, k := range e.due {
		k.place = 0
	}
	e.due = nil
	e.everyKey(func(k *Key) {
		e.replace(k, nil)
		k.verdict.Store(nil)
		k.quiet.Store(0)
		k.low.Store(-1)
		k.account = account{size: k.size, local: k.local}
		k.state.CompareAndSwap(held, clean)
	})
}

// halt ends all asking for good and answers everybody who waits. Credits in hand
// can still be spent.
func (e *Edge) halt(err error) {
	if e.stop.CompareAndSwap(nil, &err) {
		close(e.halted)
		e.cancel()
	}
}

// everyKey calls f for each key of each limiter.
func (e *Edge) everyKey(f func(*Key)) {
	e.tables.Lock()
	defer e.tables.Unlock()
	for _, l := range e.limiters {
		l.keys.each(func(k *Key) bool {
			f(k)
			return true
		})
	}
}

// policiesAt notes the version of the policies. If it is new, what was refused
// before is asked about again: the keys of the policies that are named, or all
// keys if none is. Call it with mu held.
func (e *Edge) policiesAt(version uint64, names []string) {
	known := e.policies
	if version <= known {
		return
	}
	e.policies = version
	if known == 0 {
		return
	}
	e.tables.Lock()
	defer e.tables.Unlock()
	if len(names) == 0 {
		for _, l := range e.limiters {
			l.forgetRefusals()
		}
	}
	for _, n := range names {
		if l, ok := e.limiters[n]; ok {
			l.forgetRefusals()
		}
	}
}

func (l *Limiter) forgetRefusals() {
	l.unknown.Store(0)
	l.limit.Store(0)
	l.keys.each(func(k *Key) bool {
		k.quiet.Store(0)
		k.refusals = 0
		return true
	})
}
