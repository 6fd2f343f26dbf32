package sim

import (
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/policy"
)

// A swarm is the configuration of one run. It is drawn from the seed, so that
// rare combinations of sizes, delays and faults become common over many seeds.
type swarm struct {
	fsm.Settings
	policies []policy.Policy
	keys     []budget
	faults   []fault       // those that may happen
	faultGap time.Duration // mean, between two faults
	stormFor time.Duration // faults happen for this long
	calmFor  time.Duration // then everything is healed for this long

	delay     time.Duration // of a message, at least
	jitter    time.Duration // exponential, on top
	loss, dup int           // in 10,000 messages
	fsync     time.Duration // mean
	tick      time.Duration // how long the leader lets the log be silent
	inFlight  int           // entries
	maxBatch  int           // commands

	election  time.Duration
	snapEvery uint64 // entries
	snapTrail uint64 // entries that stay in the log after a snapshot
	digestGap time.Duration

	beat     time.Duration // mean, between two looks of an edge at its keys
	patience time.Duration // of an edge with an exchange
	keysEach int           // of an edge, at most
	demand   int           // credits of one request, at most
	prefetch int           // at most
}

// A budget is one key of one policy.
type budget struct {
	id          int
	policy, key string
}

// pick returns one of the choices.
func pick[T any](r *rand.Rand, choices ...T) T { return choices[r.IntN(len(choices))] }

// span draws from [lo, hi].
func span(r *rand.Rand, lo, hi time.Duration) time.Duration {
	return lo + time.Duration(r.Int64N(int64(hi-lo)+1))
}

func drawSwarm(r *rand.Rand, edges int) swarm {
	s := swarm{Settings: fsm.DefaultSettings()}
	s.Rates.Drift = pick(r, clock.PPM(500), 500, 5000, 20_000)
	s.Rates.Slew = pick(r, clock.PPM(500), 500, 5000, 20_000)
	s.LongestLease = pick(r, clock.Millis(2000), 5000, 10_000, 30_000)
	s.SessionIdle = pick(r, clock.Millis(60_000), 120_000, 600_000)
	s.drawPolicies(r, edges)

	for _, f := range allFaults {
		if r.IntN(4) > 0 {
			s.faults = append(s.faults, f)
		}
	}
	if len(s.faults) == 0 {
		s.faults = allFaults
	}
	s.faultGap = span(r, 2*time.Second, 15*time.Second)
	s.stormFor = span(r, 40*time.Second, 180*time.Second)
	s.calmFor = 30 * time.Second

	s.delay = span(r, 50*time.Microsecond, 5*time.Millisecond)
	s.jitter = span(r, 10*time.Microsecond, 10*time.Millisecond)
	s.loss, s.dup = pick(r, 0, 5, 50, 200), pick(r, 0, 5, 50, 500)
	s.fsync = span(r, 200*time.Microsecond, 8*time.Millisecond)
	s.tick = pick(r, 100*time.Millisecond, 250*time.Millisecond, time.Second)
	s.inFlight = pick(r, 1, 1, 1, 3)
	s.maxBatch = pick(r, 64, 1024)

	s.election = span(r, 150*time.Millisecond, 600*time.Millisecond)
	s.snapEvery = pick(r, uint64(300), 1000, 5000)
	s.snapTrail = pick(r, uint64(0), 50, 1000)
	s.digestGap = 15 * time.Second

	s.beat = span(r, 400*time.Millisecond, 1200*time.Millisecond)
	s.patience = span(r, 300*time.Millisecond, 2*time.Second)
	s.keysEach = 1 + r.IntN(3)
	s.demand = 1 + r.IntN(4)
	s.prefetch = 1 + r.IntN(16)
	return s
}

// drawPolicies draws a few policies with keys of which some are shared by very
// many edges.
func (s *swarm) drawPolicies(r *rand.Rand, edges int) {
	names := []string{"api", "login", "search"}[:1+r.IntN(3)]
	for _, name := range names {
		p := policy.Policy{
			Name: name, Strategy: policy.FixedWindow, MaxKeys: 10_000,
			Limit:   escrow.Credits(5 + r.IntN(5*edges+20)),
			Cadence: escrow.Cadence{Kind: escrow.Fixed, Period: pick(r, clock.Millis(1000), 3000, 10_000, 30_000, 60_000)},
		}
		s.policies = append(s.policies, p)
		for i := range 2 + edges/20 {
			s.keys = append(s.keys, budget{len(s.keys), name, "tenant-" + strconv.Itoa(i)})
		}
	}
}
