// Package netfault carries the traffic of a test cluster and mistreats it. A
// Table says what happens to each flow; two carriers obey it:
//
//   - a Switch forwards packets between hosts that are network namespaces
//     (needs root): everything can happen to a packet;
//   - Relays copy the connections and datagrams of hosts on loopback (no root
//     needed): a connection can be cut one way, delayed and slowed, but its
//     bytes cannot be lost, doubled or reordered. Datagrams can.
//
// Neither touches anything of the machine that it did not make.
package netfault

import "time"

// Class is what a flow is about, told by the port at either end.
type Class uint8

const (
	Other  Class = iota
	Raft         // log and votes
	Calls        // gRPC: edges, forwarding, operators
	Gossip       // memberlist, UDP and TCP
)

func (c Class) String() string { return [...]string{"other", "raft", "calls", "gossip"}[c] }

// Ports tells classes apart. A port that is not listed is Other.
type Ports map[uint16]Class

// Classify returns the class of traffic between two ports.
func (p Ports) Classify(a, b uint16) Class {
	if c := p[a]; c != Other {
		return c
	}
	return p[b]
}

// A Flow is what travels one way between two hosts for one purpose. Answers
// travel in the flow of the opposite direction.
type Flow struct {
	From, To string // names of hosts
	Class    Class
}

// An Effect is what happens to a flow. The zero value is a perfect link.
type Effect struct {
	// Cut makes everything vanish, as in a black hole: nobody is told.
	Cut bool
	// Delay is added to each packet, and between 0 and Jitter more. Packets
	// overtake each other when Jitter is longer than the gap between them.
	Delay, Jitter time.Duration
	// Loss, Duplicate and Reorder are probabilities per packet. A packet to be
	// reordered is held back for Behind, while those after it pass.
	Loss, Duplicate, Reorder float64
	Behind                   time.Duration
	// BytesPerSecond is the capacity of the flow, 0 for unlimited. What does
	// not fit waits, and beyond the queue's bound packets are lost.
	BytesPerSecond int64
}

// With returns what happens to a flow under both effects.
func (e Effect) With(o Effect) Effect {
	either := func(p, q float64) float64 { return 1 - (1-p)*(1-q) }
	r := Effect{
		Cut:            e.Cut || o.Cut,
		Delay:          e.Delay + o.Delay,
		Jitter:         e.Jitter + o.Jitter,
		Loss:           either(e.Loss, o.Loss),
		Duplicate:      either(e.Duplicate, o.Duplicate),
		Reorder:        either(e.Reorder, o.Reorder),
		Behind:         max(e.Behind, o.Behind),
		BytesPerSecond: max(e.BytesPerSecond, o.BytesPerSecond),
	}
	if e.BytesPerSecond > 0 && o.BytesPerSecond > 0 {
		r.BytesPerSecond = min(e.BytesPerSecond, o.BytesPerSecond)
	}
	return r
}
