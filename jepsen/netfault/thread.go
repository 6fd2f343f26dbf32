package netfault

import (
	"errors"
	"runtime"
	"sync"
)

// ErrClosed is returned for work that is given to something that was closed.
var ErrClosed = errors.New("closed")

// A Thread is an operating system thread that lives until Close. Two things
// belong to threads and not to goroutines: the network namespace that sockets
// and child processes are made in, and the death of a parent, which ends its
// children. Processes that must not outlive the harness, and must not be ended
// before it, are started on a Thread.
type Thread struct {
	work  chan func()
	ended chan struct{}
	close sync.Once
	quit  chan struct{}
}

// NewThread starts a thread.
func NewThread() *Thread {
	t := &Thread{work: make(chan func()), ended: make(chan struct{}), quit: make(chan struct{})}
	onOwnThread(func() {
		defer close(t.ended)
		for {
			select {
			case f := <-t.work:
				f()
			case <-t.quit:
				return
			}
		}
	})
	return t
}

// onOwnThread runs f in a goroutine whose thread nobody else uses, and which
// ends with it. The main thread cannot end, so it is passed over.
func onOwnThread(f func()) {
	go func() {
		runtime.LockOSThread() // NB: not unlocked before f returns, which ends the thread
		if !onMainThread() {
			f()
			return
		}
		elsewhere := make(chan struct{})
		go func() {
			runtime.LockOSThread()
			close(elsewhere)
			f()
		}()
		<-elsewhere // until then the main thread is taken
		runtime.UnlockOSThread()
	}()
}

// Do runs f on the thread and returns its error, or ErrClosed.
func (t *Thread) Do(f func() error) error {
	done := make(chan error, 1)
	select {
	case t.work <- func() { done <- f() }:
		return <-done
	case <-t.ended:
		return ErrClosed
	}
}

// Close ends the thread, and with it every child process that was started on it
// to die with its parent. It may be called twice.
func (t *Thread) Close() error {
	t.close.Do(func() { close(t.quit) })
	<-t.ended
	return nil
}
