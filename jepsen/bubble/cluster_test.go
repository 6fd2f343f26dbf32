package bubble

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/fsm/clock"
)

const members = 3

// A cluster is one run: members, clients, the network, and the records from
// which it is judged.
type cluster struct {
	dir     string
	swarm   swarm
	net     *network
	members []*member
	clients []*client
	log     *slog.Logger
	lines   *lines
	began   time.Time
	storms  atomic.Int64
	clock   atomic.Int64 // the cluster clock as last seen
	acked   atomic.Uint64
	over    atomic.Bool
	procs   sync.WaitGroup // processes, the remains of dead ones included
	tasks   sync.WaitGroup // faults under way

	random sync.Mutex // guards rnd
	rnd    *rand.Rand

	mu         sync.Mutex // guards the rest
	stats      stats
	violations []string
	admissions []admission
	replies    []reply
	heard      []time.Time // newest answer to each client
	digests    map[uint64]sample
}

// A sample is the digest of somebody's state.
type sample struct{ who, digest string }

type stats struct {
	Seeds     int
	Simulated time.Duration
	Longest   time.Duration // calm until all were well again

	Entries, Exchanges, Failed, Admissions, Windows, Full int
	Faults, Crashes, EdgeCrashes, Fatal                   int
	Leaders, Restored, Steps, Digests, Reads, Calms       int
	Unanswered                                            int // goroutines that wait for raft for ever
}

func (s *stats) add(o stats) {
	s.Seeds += o.Seeds
	s.Simulated += o.Simulated
	for _, p := range []struct {
		to   *int
		from int
	}{
		{&s.Entries, o.Entries}, {&s.Exchanges, o.Exchanges}, {&s.Failed, o.Failed}, {&s.Admissions, o.Admissions},
		{&s.Faults, o.Faults}, {&s.Crashes, o.Crashes}, {&s.EdgeCrashes, o.EdgeCrashes}, {&s.Fatal, o.Fatal},
		{&s.Leaders, o.Leaders}, {&s.Restored, o.Restored}, {&s.Steps, o.Steps}, {&s.Digests, o.Digests},
		{&s.Calms, o.Calms}, {&s.Reads, o.Reads}, {&s.Windows, o.Windows}, {&s.Full, o.Full}, {&s.Unanswered, o.Unanswered},
	} {
		*p.to += p.from
	}
	s.Longest = max(s.Longest, o.Longest)
}

func (s stats) String() string {
	return fmt.Sprintf("%d seeds, %v simulated: %d entries, %d exchanges (%d more failed), %d admissions in %d windows, %d of them full; %d faults, %d crashes, %d edge crashes, %d fatal ends, %d leaders, %d restored, %d steps, %d digests compared, %d reads, %d calms, the longest %v",
		s.Seeds, s.Simulated.Round(time.Second), s.Entries, s.Exchanges, s.Failed, s.Admissions, s.Windows, s.Full,
		s.Faults, s.Crashes, s.EdgeCrashes, s.Fatal, s.Leaders, s.Restored, s.Steps, s.Digests, s.Reads, s.Calms, s.Longest.Round(time.Millisecond))
}

func newCluster(dir string, seed uint64) *cluster {
	rnd := rand.New(rand.NewPCG(seed, 1))
	c := &cluster{dir: dir, swarm: drawSwarm(rnd), rnd: rnd, began: time.Now(), lines: &lines{to: io.Discard}, digests: make(map[uint64]sample)}
	c.stats.Seeds = 1
	c.log = slog.New(slog.NewTextHandler(c.lines, &slog.HandlerOptions{ReplaceAttr: c.sinceBegin}))
	c.net = newNetwork(rand.New(rand.NewPCG(seed, 2)), c.swarm.base, c.swarm.jitter, c.swarm.loss)
	for i := range members {
		c.members = append(c.members, c.newMember(i))
	}
	for i := range c.swarm.edges {
		c.clients = append(c.clients, &client{c: c, i: i, ip: fmt.Sprintf("10.0.1.%d", i+1), rnd: rand.New(rand.NewPCG(seed, uint64(3+i)))})
	}
	c.heard = make([]time.Time, len(c.clients))
	return c
}

// sinceBegin replaces the date of a line by the time since the run began.
func (c *cluster) sinceBegin(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.String(slog.TimeKey, fmt.Sprintf("%.6f", time.Since(c.began).Seconds()))
	}
	return a
}

// draw returns a number in [0, n).
func (c *cluster) draw(n int64) int64 {
	c.random.Lock()
	defer c.random.Unlock()
	return c.rnd.Int64N(n)
}

func (c *cluster) exp(mean float64) float64 {
	c.random.Lock()
	defer c.random.Unlock()
	return c.rnd.ExpFloat64() * mean
}

// do runs a part of a fault beside everything else.
func (c *cluster) do(f func()) { c.tasks.Go(f) }

// after is do, later.
func (c *cluster) after(d time.Duration, f func()) {
	c.do(func() {
		time.Sleep(d)
		f()
	})
}

func (c *cluster) count(n *int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*n++
}

func (c *cluster) note(what, who string) { c.log.Info("### "+what, "at", who) }

const maxViolations = 20

func (c *cluster) violated(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	c.log.Error("### VIOLATION " + text)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.violations) < maxViolations {
		c.violations = append(c.violations, fmt.Sprintf("at %v: %s", time.Since(c.began), text))
	}
}

func (c *cluster) admitted(a admission) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.admissions = append(c.admissions, a)
}

func (c *cluster) replied(client int, r reply) {
	c.mu.Lock()
	c.replies = append(c.replies, r)
	c.heard[client] = r.at
	c.mu.Unlock()
	for {
		old := c.acked.Load()
		if r.res.Index <= old || c.acked.CompareAndSwap(old, r.res.Index) {
			return
		}
	}
}

// run lives through storms and calms, and judges what was recorded.
func (c *cluster) run() {
	ctx, cancel := context.WithCancel(context.Background())
	var watching, living sync.WaitGroup
	for _, m := range c.members {
		m.start()
	}
	watching.Go(func() { c.watch(ctx) })
	watching.Go(func() { c.read(ctx) })
	c.calm(nil)
	alive, die := context.WithCancel(ctx)
	for _, k := range c.clients {
		living.Go(func() { k.live(alive) })
	}
	for range c.swarm.rounds {
		c.weather()
		c.calm(c.clients)
	}
	die()
	living.Wait()
	c.settle()
	cancel()
	watching.Wait()
	c.over.Store(true)
	for _, m := range c.members {
		c.do(m.stop)
	}
	c.tasks.Wait()
	c.procs.Wait()
	c.stats.Simulated = time.Since(c.began)
	if len(c.violations) == 0 || c.formed() {
		c.judge()
	}
}

// weather is a storm: faults, one after the other.
func (c *cluster) weather() {
	c.storms.Add(1)
	for end := time.Now().Add(c.swarm.storm); time.Now().Before(end); time.Sleep(c.gap(c.swarm.faultGap)) {
		f := c.swarm.faults[c.draw(int64(len(c.swarm.faults)))]
		c.note("fault", f.name)
		c.count(&c.stats.Faults)
		f.do(c)
	}
}

// Patience in a calm, in which everything is whole. Gossip looks for those it
// lost every 30 s, and nodes need it to know where the leader's door is.
const patience = 90 * time.Second

// calm heals everything and waits until all is well: every node is ready and has
// what is committed, and every client was answered.
func (c *cluster) calm(clients []*client) {
	c.storms.Add(1)
	c.note("calm", "all")
	c.count(&c.stats.Calms)
	since := time.Now()
	c.net.heal()
	for _, m := range c.members {
		m.stall.Store(0)
		m.start()
	}
	var why string
	for time.Since(since) < patience {
		for _, m := range c.members {
			m.start() // one that was being stopped
		}
		if why = c.unwell(since, clients); why == "" {
			c.mu.Lock()
			c.stats.Longest = max(c.stats.Longest, time.Since(since))
			c.mu.Unlock()
			c.note("well", "all")
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	c.violated("after %v of calm: %s", patience, why)
}

// unwell says what is not as it should be, "" if all is well.
func (c *cluster) unwell(since time.Time, clients []*client) string {
	leaders := 0
	var low, high uint64
	for i, m := range c.members {
		p := m.running()
		if p == nil {
			return m.id + " is down"
		}
		if err := p.node.Ready(); err != nil {
			return fmt.Sprintf("%s is not ready: %v", m.id, err)
		}
		s := p.node.Status()
		if s.Leading {
			leaders++
		}
		if high = max(high, s.AppliedIndex); i == 0 || s.AppliedIndex < low {
			low = s.AppliedIndex
		}
	}
	if leaders != 1 {
		return fmt.Sprintf("%d nodes lead", leaders)
	}
	if high-low > 100 {
		return fmt.Sprintf("a node is %d entries behind", high-low)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range clients {
		if c.heard[k.i].Before(since) {
			return fmt.Sprintf("client %d had no answer", k.i)
		}
	}
	return ""
}

// settle has the replicas compared once more by the cluster itself.
func (c *cluster) settle() {
	for try := range 20 {
		time.Sleep(time.Second)
		p := c.leader().running()
		if p == nil || !p.node.Status().Leading {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		r, err := p.node.CompareDigests(ctx)
		cancel()
		if err == nil {
			if !r.Equal {
				c.violated("the cluster finds its replicas different: %+v", r)
			}
			return
		}
		c.log.Info("digests not compared", "try", try, "err", err)
	}
	c.violated("in 20 tries the replicas could not be compared")
}

// watch looks at every replica now and then.
func (c *cluster) watch(ctx context.Context) {
	for sleep(ctx, 250*time.Millisecond) == nil {
		for _, m := range c.members {
			if p := m.running(); p != nil {
				c.look(p)
			}
		}
	}
}

func (c *cluster) look(p *process) {
	r := p.node.Replica()
	now := r.Clock()
	if now < p.clock {
		c.violated("the clock of %s ran back from %d to %d", p.m.id, p.clock, now)
	}
	p.clock = max(p.clock, now)
	c.clock.Store(int64(max(now, clock.Millis(c.clock.Load()))))
	r.Query(func(m *fsm.Machine) {
		if err := m.Check(); err != nil {
			c.violated("%s: %v", p.m.id, err)
		}
	})
	v := r.Freeze()
	mine := sample{p.m.id, v.Digest()}
	c.mu.Lock()
	other, known := c.digests[v.Index()]
	c.digests[v.Index()] = mine
	if known {
		c.stats.Digests++
	}
	c.mu.Unlock()
	if known && other.digest != mine.digest {
		c.violated("after entry %d %s and %s differ", v.Index(), other.who, mine.who)
	}
}

// read reads linearizably at any node: it sees whatever was acknowledged before.
func (c *cluster) read(ctx context.Context) {
	for sleep(ctx, c.gap(200*time.Millisecond)) == nil {
		p := c.any().running()
		if p == nil {
			continue
		}
		before := c.acked.Load()
		asking, cancel := context.WithTimeout(ctx, time.Second)
		err := p.node.ReadBarrier(asking)
		cancel()
		if err != nil {
			continue
		}
		var index uint64
		p.node.Replica().Query(func(m *fsm.Machine) { index = m.Index() })
		c.count(&c.stats.Reads)
		if index < before {
			c.violated("a read at %s sees entry %d, %d was acknowledged before", p.m.id, index, before)
		}
	}
}

// lines are what everybody logs.
type lines struct {
	mu  sync.Mutex // guards the rest
	to  io.Writer
	led int // how often somebody began to lead
	put int // and restored a snapshot
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if bytes.Contains(b, []byte("msg=leading")) {
		l.led++
	}
	if bytes.Contains(b, []byte("restored from snapshot")) {
		l.put++
	}
	return l.to.Write(b)
}
