package transport

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"time"
)

const (
	// maxJoinRetry bounds the wait between attempts while nobody answers.
	maxJoinRetry = 30 * time.Second
	// rejoinEvery is how often one absent node is tried while others are present.
	// memberlist itself forgets the dead: without this, the two halves of a
	// partition that lasted would never find each other again.
	rejoinEvery = 30 * time.Second
)

// keepJoined contacts seeds and lost nodes until ctx ends: all of them, soon
// and then less often, while this node is alone; otherwise one, now and then.
func (g *Gossip) keepJoined(ctx context.Context) {
	retry := g.cfg.JoinRetry
	for ctx.Err() == nil {
		seeds, all := g.seeds(ctx)
		absent := g.absent(seeds)
		wait := rejoinEvery
		if g.alone() {
			g.contact(ctx, absent)
			wait, retry = retry, min(2*retry, maxJoinRetry)
		} else if len(absent) > 0 {
			i := rand.IntN(len(absent))
			g.contact(ctx, absent[i:i+1])
		}
		if !g.alone() {
			wait, retry = rejoinEvery, g.cfg.JoinRetry
		}
		if onlyUs := all && !slices.ContainsFunc(seeds, func(a string) bool { return a != g.address }); onlyUs || !g.alone() {
			g.metOnce.Do(func() { close(g.met) })
		}
		g.rest(ctx, wait/2+rand.N(wait/2+1))
	}
}

// rest returns after d, or as soon as a node that had company has lost it.
func (g *Gossip) rest(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	company := !g.alone()
	for {
		changed := g.Changed()
		if company && g.alone() {
			return
		}
		company = company || !g.alone()
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			return
		case <-changed:
		}
	}
}

// alone reports whether no other node of the cluster is present.
func (g *Gossip) alone() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, r := range g.peers {
		if r.Present() && !r.stranger {
			return false
		}
	}
	return true
}

// absent returns the addresses of seeds and of known nodes that are not present.
func (g *Gossip) absent(seeds []string) []string {
	skip := map[string]bool{g.address: true}
	var lost []string
	g.mu.Lock()
	for _, r := range g.peers {
		if r.State == PeerDead || r.stranger {
			lost = append(lost, r.Address)
		} else {
			skip[r.Address] = true // those that left do not want to be found
		}
	}
	g.mu.Unlock()
	var absent []string
	for _, a := range append(seeds, lost...) {
		if !skip[a] {
			skip[a] = true
			absent = append(absent, a)
		}
	}
	return absent
}

// seeds resolves the configured seeds, and reports whether all could be. One that
// cannot may be a machine that does not exist yet.
func (g *Gossip) seeds(ctx context.Context) (found []string, all bool) {
	all = true
	for _, seed := range g.cfg.Join {
		host, port := g.seedAddress(seed)
		ips, err := net.DefaultResolver.LookupHost(ctx, host)
		if err != nil {
			all = false
			g.quiet.complain(slog.LevelWarn, "seed "+seed, "gossip: seed not resolved, will try again", "seed", seed, "err", err)
		}
		for _, ip := range ips {
			found = append(found, net.JoinHostPort(ip, port))
		}
	}
	return found, all
}

// seedAddress splits a seed. One without a port has this node's own.
func (g *Gossip) seedAddress(seed string) (host, port string) {
	if host, port, err := net.SplitHostPort(seed); err == nil {
		return host, port
	}
	_, port, _ = net.SplitHostPort(g.address)
	return strings.Trim(seed, "[]"), port
}

// contact exchanges state with nodes, one after the other: memberlist cannot be
// interrupted, so an end of ctx waits for one of them.
func (g *Gossip) contact(ctx context.Context, addresses []string) {
	for _, a := range addresses {
		if ctx.Err() != nil {
			return
		}
		if _, err := g.list.Join([]string{a}); err != nil {
			var list interface{ WrappedErrors() []error }
			if errors.As(err, &list) {
				err = errors.Join(list.WrappedErrors()...) // one, without the list's heading and bullets
			}
			args := []any{"address", a, "err", err}
			if strings.HasSuffix(err.Error(), "EOF") || strings.HasSuffix(err.Error(), "reset by peer") {
				args = append(args, "hint", "it hung up: do cluster name and secret key agree?")
			}
			g.quiet.complain(slog.LevelWarn, "join "+a, "gossip: node not reached, will try again", args...)
		}
	}
}
