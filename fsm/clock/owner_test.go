package clock

// execute is what the state machine does, and checks both lemmas: the clock does
// not outrun real time, and no lease of a window lives when the clock leaves it.
func (w *world) execute(e *entry) {
	r := (1 + float64(w.rates.Slew)/million) * (1 + float64(w.rates.Drift)/million)
	w.now = max(w.now, e.stamp)
	here := float64(w.now)*NanosPerMilli - r*float64(e.t)
	if over := here - w.line - float64(Resolution*NanosPerMilli); over > 100 {
		w.fail("Lemma 1: the clock is %.0f ns ahead of what is possible", over)
	}
	w.line = min(w.line, here)
	if e.step > w.now {
		if !w.rules.noStretch {
			w.stretch(w.now, e.step)
		}
		w.line += float64(e.step-w.now) * NanosPerMilli
		w.now = e.step
	}
	e.now = w.now
	w.expire(e)
	for w.now >= w.end { // the next window
		w.start = max(w.end, w.now/w.period*w.period)
		w.end = (w.start/w.period + 1) * w.period
	}
	if e.question >= 0 {
		w.grant(e)
	}
}

func (w *world) stretch(before, after Millis) {
	for i := range w.leases {
		w.leases[i].end = Stretch(w.leases[i].end, before, after, w.longest)
	}
	w.end = Stretch(w.end, before, after, w.longest)
}

func (w *world) expire(e *entry) {
	live := w.leases[:0]
	for _, l := range w.leases {
		if w.now < l.end {
			live = append(live, l)
			continue
		}
		if e.seen[l.holder] < l.deadline {
			w.fail("Lemma 2: holder %d may spend for %d ns more when the clock leaves its window", l.holder, l.deadline-e.seen[l.holder])
		}
	}
	w.leases = live
}

func (w *world) grant(e *entry) {
	ttl := min(w.end-w.now-Resolution, w.longest)
	if w.rules.wholeMillisecond {
		ttl = min(w.end-w.now, w.longest)
	}
	guarded := w.rates.Guarded(ttl)
	if w.rules.noGuard {
		guarded = Nanos(ttl * NanosPerMilli)
	}
	from := e.sent
	if w.rules.readAfterReply {
		from = w.holders[e.question].at(w.t)
	}
	w.leases = append(w.leases, lease{e.question, from + guarded, w.end})
}
