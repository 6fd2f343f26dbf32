package bubble

import (
	"context"
	"time"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/policy"
)

// A fault does one thing to the cluster, and sees to its end.
type fault struct {
	name string
	do   func(*cluster)
}

// allFaults is filled by a function, as faults refer to what draws them.
var allFaults = []fault{
	{"crash", func(c *cluster) { c.crash(c.any()) }},
	{"crash the leader", func(c *cluster) { c.crash(c.leader()) }},
	{"restart", func(c *cluster) { c.restart(c.any()) }},
	{"isolate", func(c *cluster) { c.isolate(c.any()) }},
	{"isolate the leader", func(c *cluster) { c.isolate(c.leader()) }},
	{"cut", (*cluster).cutLink},
	{"cut clients", (*cluster).cutClients},
	{"network", (*cluster).slowNetwork},
	{"slow disk", (*cluster).slowDisk},
	{"hung disk", (*cluster).hungDisk},
	{"wall", func(c *cluster) { c.any().wall.Add(c.jump()) }},
	{"walls", (*cluster).jumpWalls},
	{"drift", func(c *cluster) { c.any().mono.drift(c.rate()) }},
	{"transfer", (*cluster).transfer},
	{"outage", (*cluster).outage},
	{"limit", (*cluster).changeLimit},
}

func (c *cluster) any() *member { return c.members[c.draw(members)] }

// leader returns the member that leads, or any.
func (c *cluster) leader() *member {
	for _, m := range c.members {
		if p := m.running(); p != nil && p.node.Status().Leading {
			return m
		}
	}
	return c.any()
}

// until schedules the end of a fault, unless the storm ends before.
func (c *cluster) until(d time.Duration, end func()) {
	storm := c.storms.Load()
	c.after(d, func() {
		if c.storms.Load() == storm {
			end()
		}
	})
}

// gap draws a span of this mean.
func (c *cluster) gap(mean time.Duration) time.Duration { return time.Duration(c.exp(float64(mean))) }

func (c *cluster) crash(m *member) {
	m.crash()
	c.until(c.gap(3*time.Second), m.start)
}

func (c *cluster) restart(m *member) {
	c.do(func() {
		m.stop()
		c.until(c.gap(time.Second), m.start)
	})
}

// isolate cuts a member off from the others, and from clients or not.
func (c *cluster) isolate(m *member) {
	var others []string
	for _, o := range c.members {
		if o != m {
			others = append(others, o.ip)
		}
	}
	if c.draw(3) == 0 {
		for _, k := range c.clients {
			others = append(others, k.ip)
		}
	}
	set := func(cut bool) {
		for _, ip := range others {
			c.net.setCut(m.ip, ip, cut)
			c.net.setCut(ip, m.ip, cut)
		}
	}
	set(true)
	c.until(c.gap(4*time.Second), func() { set(false) })
}

// cutLink cuts one direction between two members.
func (c *cluster) cutLink() {
	from, to := c.any().ip, c.any().ip
	if from == to {
		return
	}
	c.net.setCut(from, to, true)
	c.until(c.gap(4*time.Second), func() { c.net.setCut(from, to, false) })
}

// cutClients keeps one client from some members, or all, one way or both.
func (c *cluster) cutClients() {
	k := c.clients[c.draw(int64(len(c.clients)))]
	way := c.draw(3)
	for _, m := range c.members {
		if c.draw(3) == 0 {
			continue
		}
		if way > 0 {
			c.net.setCut(k.ip, m.ip, true)
		}
		if way < 2 {
			c.net.setCut(m.ip, k.ip, true)
		}
		c.until(c.gap(4*time.Second), func() {
			c.net.setCut(k.ip, m.ip, false)
			c.net.setCut(m.ip, k.ip, false)
		})
	}
}

func (c *cluster) slowNetwork() {
	c.net.trouble(c.gap(40*time.Millisecond), min(c.exp(0.1), 0.6))
	c.until(c.gap(4*time.Second), func() { c.net.trouble(0, 0) })
}

func (c *cluster) slowDisk() { c.stall(c.any(), c.gap(100*time.Millisecond), c.gap(3*time.Second)) }

// hungDisk makes writes take longer than a node has patience.
func (c *cluster) hungDisk() { c.stall(c.any(), 8*time.Second, time.Second) }

func (c *cluster) stall(m *member, d, lasts time.Duration) {
	m.stall.Store(int64(d))
	c.until(lasts, func() { m.stall.Store(0) })
}

// jump draws how far a wall clock jumps, in ms: mostly seconds, at times a day.
func (c *cluster) jump() int64 {
	d := c.draw(1 << (8 + c.draw(19)))
	if c.draw(2) == 0 {
		return -d
	}
	return d
}

// jumpWalls moves all wall clocks by about as much: the cluster clock follows,
// slowly or by a step.
func (c *cluster) jumpWalls() {
	d := c.jump() / 64
	for _, m := range c.members {
		m.wall.Add(d + c.draw(50))
	}
}

func (c *cluster) transfer() {
	p := c.leader().running()
	if p == nil {
		return
	}
	c.do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		_ = p.node.Transfer(ctx, "") // it may not lead any more
	})
}

// outage crashes all members. The cluster clock then steps over the time that
// they were down.
func (c *cluster) outage() {
	down := c.gap(time.Duration(1+c.draw(6)) * time.Second)
	for _, m := range c.members {
		m.crash()
		c.until(down+c.gap(100*time.Millisecond), m.start)
	}
}

// changeLimit raises or lowers the limit of a policy.
func (c *cluster) changeLimit() {
	put := c.swarm.policies[c.draw(int64(len(c.swarm.policies)))]
	put.Limit = escrow.Credits(1 + c.draw(60))
	p := c.leader().running()
	if p == nil {
		return
	}
	c.do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, _ = p.node.Propose(ctx, fsm.Policies{Put: []policy.Policy{put}}) // or it does not change
	})
}
