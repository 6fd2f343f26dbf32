package transport

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/raft"
)

// A founder decides whether a node takes part in forming a new cluster, and of
// whom. All nodes of the new cluster are equal and follow the same rules; each
// bootstraps raft with the same configuration, or not at all.
//
//	F1  A node looks for exactly n nodes, itself among them, that are present,
//	    hold no raft state and also expect n. Fewer or more, or a node that
//	    expects another number, and it waits.
//	F2  If it sees any sign of an existing cluster (a node, present or gone, that
//	    holds raft state or knows a cluster id) it gives up for as long as the
//	    process lives, and waits to be added to that cluster.
//	F3  Having found its n nodes it promises: it tells the set of their ids to all,
//	    and never another set, for as long as the process lives.
//	F4  When all n have promised the same set, it bootstraps raft with it. That
//	    some of them have done so already, and hold state by now, is no sign of
//	    another cluster.
//	F5  A node that was given seeds waits until one of them answered, also if n
//	    is 1.
//
// Why two clusters cannot form. Let two nodes have bootstrapped with different
// sets S and T of n ids each, and let at most n machines be told to expect n.
//
//   - If no machine lost its data directory, there are only n ids, and S and T
//     are both the set of all.
//   - If one did after somebody had bootstrapped with S, it came back under a new
//     id, and T contains it. T needs the promise of each of the n machines, and
//     one that bootstrapped with S holds state: it promises nothing, and could
//     not have promised T before.
//
// Should more machines have been told, F3 and F4 still protect: a node in both S
// and T would have promised both, which it can only have done in two lives,
// before and after a restart, and in the later one it must have seen nobody that
// held state. So S and T are the two sides of a partition, or such a node
// restarted while it was cut off from all that had bootstrapped.
//
// Two nodes may bootstrap with different addresses for one id, if that node
// restarted elsewhere in between. That is harmless: raft counts votes by id, the
// addresses come from gossip, and the leader corrects the configuration.
//
// What the operator must not do: tell more than n machines of one cluster name to
// expect n, while a partition splits them in two halves of n or more; and clear
// the data directories of n machines that are still told to expect n, which is
// to found the cluster anew. A single node that expects 1 and has no seeds founds
// a new cluster whenever its data directory is empty.
type founder struct {
	id     string
	expect uint32

	promised []string // sorted; set once
	gaveUp   string   // why, or empty; set once
}

// A founding is what a founder wants done.
type founding struct {
	promise uint64             // the set to tell the others, 0 for none
	servers raft.Configuration // to bootstrap with, if ready
	ready   bool
	waits   string // for what, if not ready
}

// step looks at what gossip shows now. met is false while not even a seed
// answered.
func (f *founder) step(peers []Peer, met bool) founding {
	if f.gaveUp == "" {
		f.gaveUp = f.existing(peers)
	}
	if f.gaveUp != "" {
		return founding{waits: f.gaveUp}
	}
	if f.promised == nil {
		if !met {
			return founding{waits: "no seed has answered"}
		}
		set, waits := f.candidates(peers)
		if waits != "" {
			return founding{waits: waits}
		}
		f.promised = set
	}
	out := founding{promise: setHash(f.promised)}
	out.servers, out.waits = f.agreed(peers, out.promise)
	out.ready = out.waits == ""
	return out
}

// existing returns a sign that there is a cluster already, F2.
func (f *founder) existing(peers []Peer) string {
	for _, p := range peers {
		if p.ID == f.id || !p.HasState && p.ClusterID == "" {
			continue
		}
		same := f.promised != nil && p.Founding == setHash(f.promised) // F4
		if !same {
			return fmt.Sprintf("a cluster exists: node %s belongs to it; waiting to be added", p.ID)
		}
	}
	return ""
}

// candidates returns the ids of the nodes to form a cluster of, F1, or why not
// yet.
func (f *founder) candidates(peers []Peer) (set []string, waits string) {
	raftAddresses := map[string]string{}
	for _, p := range peers {
		switch {
		case !p.Present() || p.Leaving || p.Expect == 0: // one that expects 0 will be added later
			continue
		case p.Expect != f.expect:
			return nil, fmt.Sprintf("node %s expects %d nodes, this one %d: they must be told the same", p.ID, p.Expect, f.expect)
		case raftAddresses[p.RaftAddress] != "":
			return nil, fmt.Sprintf("nodes %s and %s have one raft address, %s", raftAddresses[p.RaftAddress], p.ID, p.RaftAddress)
		}
		raftAddresses[p.RaftAddress] = p.ID
		set = append(set, p.ID)
	}
	if len(set) != int(f.expect) {
		return nil, fmt.Sprintf("%d nodes of the %d expected are here: %s", len(set), f.expect, strings.Join(set, ", "))
	}
	slices.Sort(set)
	return set, ""
}

// agreed returns the configuration once all that were promised have promised
// the same, F4.
func (f *founder) agreed(peers []Peer, promise uint64) (conf raft.Configuration, waits string) {
	for _, p := range peers {
		agrees := p.ID == f.id || p.Present() && p.Founding == promise
		if agrees && slices.Contains(f.promised, p.ID) {
			conf.Servers = append(conf.Servers, raft.Server{ID: raft.ServerID(p.ID), Address: raft.ServerAddress(p.RaftAddress)})
		}
	}
	if n := len(conf.Servers); n < len(f.promised) {
		return raft.Configuration{}, fmt.Sprintf("%d of %d nodes agree to form a cluster of %s; if this does not end, restart this node, so that it looks for others",
			n, len(f.promised), strings.Join(f.promised, ", "))
	}
	slices.SortFunc(conf.Servers, func(a, b raft.Server) int { return cmp.Compare(a.ID, b.ID) })
	return conf, ""
}

// setHash names a set of ids, given in order. It is never 0.
func setHash(ids []string) uint64 {
	var b []byte
	for _, id := range ids {
		b = binary.AppendUvarint(b, uint64(len(id)))
		b = append(b, id...)
	}
	sum := sha256.Sum256(b)
	return max(1, binary.BigEndian.Uint64(sum[:]))
}
