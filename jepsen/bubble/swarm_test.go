package bubble

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/policy"
)

// A swarm is the configuration of one run, drawn from its seed, so that rare
// combinations become common over many seeds.
type swarm struct {
	settings fsm.Settings
	policies []policy.Policy
	faults   []fault
	faultGap time.Duration // mean, between two faults
	rounds   int           // of storm and calm
	storm    time.Duration

	base, jitter time.Duration // of messages
	loss         float64       // of packets
	fsync        time.Duration // mean

	heartbeat           time.Duration
	tick                time.Duration
	threshold, trailing uint64
	interval            time.Duration // between two looks whether a snapshot is due
	digestEvery         time.Duration
	inFlight, maxBatch  int

	edges     int
	keys      int           // of each policy
	think     time.Duration // mean, between two requests of an edge
	horizon   time.Duration
	idleAfter time.Duration
}

func pick[T any](r *rand.Rand, choices ...T) T { return choices[r.IntN(len(choices))] }

// span draws from [lo, hi].
func span(r *rand.Rand, lo, hi time.Duration) time.Duration {
	return lo + time.Duration(r.Int64N(int64(hi-lo)+1))
}

func drawSwarm(r *rand.Rand) swarm {
	s := swarm{settings: fsm.DefaultSettings()}
	s.settings.Rates.Drift = pick(r, clock.PPM(500), 5000, 20_000)
	s.settings.Rates.Slew = pick(r, clock.PPM(500), 5000, 20_000)
	s.settings.LongestLease = pick(r, clock.Millis(1000), 3000, 10_000)
	s.settings.SessionIdle = pick(r, clock.Millis(20_000), 60_000, 600_000)

	for _, f := range allFaults {
		if r.IntN(3) > 0 {
			s.faults = append(s.faults, f)
		}
	}
	if len(s.faults) == 0 {
		s.faults = slices.Clone(allFaults)
	}
	s.faultGap = span(r, 500*time.Millisecond, 4*time.Second)
	s.rounds = 1 + r.IntN(3)
	s.storm = span(r, 10*time.Second, 30*time.Second)

	s.base, s.jitter = span(r, 50*time.Microsecond, 3*time.Millisecond), span(r, 10*time.Microsecond, 5*time.Millisecond)
	s.loss = pick(r, 0, 0, 0.001, 0.02)
	s.fsync = span(r, 100*time.Microsecond, 5*time.Millisecond)

	s.heartbeat = pick(r, 150*time.Millisecond, 250*time.Millisecond, 250*time.Millisecond, time.Second)
	s.tick = pick(r, 100*time.Millisecond, 500*time.Millisecond)
	s.threshold = pick(r, uint64(8), 20, 60, 300)
	s.trailing = pick(r, uint64(0), 1, 5, 40)
	s.interval = pick(r, 100*time.Millisecond, 500*time.Millisecond, 3*time.Second)
	s.digestEvery = pick(r, 0, 2*time.Second, 10*time.Second)
	s.inFlight = pick(r, 1, 1, 1, 3)
	s.maxBatch = pick(r, 2, 1024)

	s.edges = 2 + r.IntN(5)
	s.keys = 1 + r.IntN(2)
	s.think = span(r, 20*time.Millisecond, 300*time.Millisecond)
	s.horizon = pick(r, 200*time.Millisecond, time.Second, 3*time.Second)
	s.idleAfter = pick(r, 100*time.Millisecond, time.Second, 5*time.Second)
	for i := range 1 + r.IntN(2) {
		s.policies = append(s.policies, policy.Policy{
			Name: "p" + strconv.Itoa(i), Strategy: policy.FixedWindow, MaxKeys: 100,
			Limit:   escrow.Credits(1 + r.IntN(60)),
			Cadence: escrow.Cadence{Kind: escrow.Fixed, Period: pick(r, clock.Millis(1000), 1000, 3000, 10_000, 60_000)},
		})
	}
	return s
}
