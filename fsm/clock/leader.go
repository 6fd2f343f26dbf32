package clock

// A pair is one point of the cluster clock as this process knows it: the state
// machine's clock after an entry was applied, and the own monotonic clock read
// after that.
type pair struct {
	now Millis
	at  Nanos
}

// A Source runs the cluster clock forward on the leader, and on a follower
// keeps what it needs to become leader. It is a function of the readings of one
// process's monotonic clock that it is given; it never sees a wall clock.
//
// A pair is noted after its stamp was made, so a clock that continues from the
// newest pair lags the clock of the leader that made the stamp and never leads
// it: that is what Lemma 1 needs across failovers. The zero Source has seen no
// entry and stays at 0. Not safe for concurrent use.
type Source struct {
	newest  pair // of the newest applied entry
	base    pair // where the running clock started; only while leading
	leading bool
	slew    PPM // correction of the own rate while leading, within ±σ
}

// Note records that the state machine's clock was now after an entry was
// applied, and that the monotonic clock, read after that, showed at. A leader
// keeps running from where it started, since its own entries come back late;
// only a step carries it forward.
func (s *Source) Note(now Millis, at Nanos) {
	s.newest = pair{now, at}
	if s.leading && now > s.At(at) {
		s.base = s.newest
	}
}

// Lead makes the clock continue from the newest pair. Call it once the barrier
// of the new term has been applied: before that a newer stamp may exist.
func (s *Source) Lead() { s.base, s.leading, s.slew = s.newest, true, 0 }

// Follow ends leadership. At then answers from the newest pair.
func (s *Source) Follow() { s.leading, s.slew = false, 0 }

// Steer sets the slew of a leading clock from its distance to the voters'
// median wall clock (positive when the cluster clock lags): one ppm for each
// millisecond, limited to ±limit. At at the clock shows what it showed before;
// the fraction of a millisecond that has run is kept, less up to 2 ns.
func (s *Source) Steer(lag Millis, limit PPM, at Nanos) {
	if !s.leading || at < s.base.at {
		return
	}
	d := s.elapsed(at)
	whole, rest := d/NanosPerMilli, d%NanosPerMilli
	s.slew = max(-limit, min(limit, PPM(lag)))
	// NB: at the new slew, and rounded down. The fraction is multiplied with the
	// new slew from now on: with more it would lead the clock there was.
	s.base.now += Millis(whole)
	s.base.at = at - Nanos(mulDiv(int64(rest), million, million+int64(s.slew)))
}

// At returns the cluster clock when the own monotonic clock shows at, rounded
// down to a millisecond. Before the first Note it is 0.
func (s *Source) At(at Nanos) Millis {
	from := s.newest
	if s.leading {
		from = s.base
	}
	return from.now + Millis(s.elapsed(at)/NanosPerMilli)
}

// elapsed is the span of the cluster clock, in nanoseconds, since the pair it
// runs from. A clock that has seen nothing does not run.
func (s *Source) elapsed(at Nanos) Nanos {
	from := s.newest
	if s.leading {
		from = s.base
	}
	d := int64(at - from.at)
	if d <= 0 || from == (pair{}) {
		return 0
	}
	// ⌊d·(1 + slew/1e6)⌋, split so that it stays within 63 bits for centuries.
	rate := million + int64(s.slew)
	return Nanos(d/million*rate + d%million*rate/million)
}
