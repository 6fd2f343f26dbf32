package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"
)

// A frame is what one update of the live view shows.
type frame struct {
	at                          time.Time
	admitted, denied, exchanges int64
}

// show prints the live view until ctx ends: one block that is redrawn on a
// terminal, one line a second elsewhere.
func (d *demo) show(ctx context.Context, out io.Writer) {
	live := isTerminal(out)
	every := time.Second
	if live {
		every = 500 * time.Millisecond
	}
	t := time.NewTicker(every)
	defer t.Stop()
	begin, last := time.Now(), d.frame()
	for first := true; ; first = false {
		select {
		case <-ctx.Done():
			d.sum(out, time.Since(begin))
			return
		case <-t.C:
		}
		now := d.frame()
		if live {
			d.block(out, last, now, first)
		} else {
			d.line(out, last, now, time.Since(begin))
		}
		last = now
	}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0
}

func (d *demo) frame() frame {
	f := frame{at: time.Now(), admitted: d.tally.admitted.Load(), denied: d.tally.denied.Load()}
	for _, e := range d.edges {
		f.exchanges += int64(e.Stats().Exchanges)
	}
	return f
}

// overshoot returns the worst Δ so far: admitted minus limit of any window, 0
// while no window was exceeded.
func (d *demo) overshoot() int64 {
	d.tally.mu.Lock()
	defer d.tally.mu.Unlock()
	return max(0, d.tally.worst)
}

func (d *demo) leads() (id string, elections uint64) {
	id = "none"
	if m := d.cluster.leader(); m != nil {
		id = m.id
	}
	for _, m := range d.cluster.members {
		m.mu.Lock()
		elections = max(elections, m.proc.node.Status().Term)
		m.mu.Unlock()
	}
	return id, elections
}

func rates(a, b frame) (admitted, denied, exchanges, perExchange float64) {
	s := b.at.Sub(a.at).Seconds()
	admitted, denied, exchanges = float64(b.admitted-a.admitted)/s, float64(b.denied-a.denied)/s, float64(b.exchanges-a.exchanges)/s
	if exchanges > 0 {
		perExchange = admitted / exchanges
	}
	return admitted, denied, exchanges, perExchange
}

func (d *demo) line(w io.Writer, a, b frame, since time.Duration) {
	adm, den, exch, per := rates(a, b)
	leader, term := d.leads()
	fmt.Fprintf(w, "%4.0fs  admitted %8.0f/s  denied %7.0f/s  exchanges %6.0f/s  admissions/exchange %7.1f  leader %-4s term %-4d kills %-3d worst Δ %d  denied without coordinator %d\n",
		since.Seconds(), adm, den, exch, per, leader, term, d.kills.Load(), d.overshoot(), d.tally.lost.Load())
}

func (d *demo) block(w io.Writer, a, b frame, first bool) {
	const lines = 9
	if !first {
		fmt.Fprintf(w, "\x1b[%dA", lines)
	}
	adm, den, exch, per := rates(a, b)
	leader, term := d.leads()
	row := func(name, format string, args ...any) {
		fmt.Fprintf(w, "\x1b[2K%-28s %s\n", name, fmt.Sprintf(format, args...))
	}
	row("admitted", "%12.0f /s   %d in all", adm, b.admitted)
	row("denied", "%12.0f /s   %d in all", den, b.denied)
	row("exchanges", "%12.0f /s", exch)
	row("admissions per exchange", "%12.1f", per)
	row("leader", "%12s      term %d (grows with each election)", leader, term)
	row("leader killed", "%12d times", d.kills.Load())
	row("worst Δ so far", "%12d      admitted − limit of any key and window", d.overshoot())
	row("denied without coordinator", "%12d      no credits, and nobody to ask", d.tally.lost.Load())
	row("", "%d edges, policy %s: %d per %s and key", len(d.edges), d.policy.Name, d.policy.Limit, windowText(&d.policy))
}

func (d *demo) sum(w io.Writer, took time.Duration) {
	f := d.frame()
	per := 0.0
	if f.exchanges > 0 {
		per = float64(f.admitted) / float64(f.exchanges)
	}
	fmt.Fprintf(w, "\nin %.0f s: admitted %d, denied %d (%d of them without a coordinator), %d exchanges, %.1f admissions per exchange, leader killed %d times, worst Δ %d\n",
		took.Seconds(), f.admitted, f.denied, d.tally.lost.Load(), f.exchanges, per, d.kills.Load(), d.overshoot())
}
