package transport

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// seedsFile lies in the data directory and says where other nodes gossiped when
// last seen, one address a line. A node that restarts finds them again, whatever
// seeds it is given: it may have been the one that the others were told to join,
// and nobody looks for a node that said that it leaves.
const seedsFile = "gossip-seeds"

// maxSeeds bounds the addresses that are kept.
const maxSeeds = 64

// readSeeds returns what was kept in dir; nothing is no error.
func readSeeds(dir string) []string {
	data, err := os.ReadFile(filepath.Join(dir, seedsFile))
	if err != nil {
		return nil
	}
	return strings.Fields(string(data))
}

// keepSeeds writes down where other nodes are until ctx ends. While there are none
// it leaves those of before.
func (n *Node) keepSeeds(ctx context.Context) error {
	g := n.gossip.Load()
	kept := readSeeds(n.cfg.DataDir)
	for {
		changed := g.Changed()
		if now := n.seeds(g); len(now) > 0 && !slices.Equal(now, kept) {
			if err := writeSynced(filepath.Join(n.cfg.DataDir, seedsFile), []byte(strings.Join(now, "\n")+"\n")); err != nil {
				n.log.Warn("addresses of other nodes not kept", "err", err)
			}
			kept = now
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// seeds returns where other nodes gossip.
func (n *Node) seeds(g *Gossip) (at []string) {
	for _, p := range g.Members() {
		if p.ID != string(n.id) && p.Present() && len(at) < maxSeeds {
			at = append(at, p.Address)
		}
	}
	slices.Sort(at)
	return at
}
