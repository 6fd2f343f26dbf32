package transport

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/hashicorp/memberlist"
)

// NodeInfo is what a node tells of itself through gossip. Other nodes take it
// as a hint: what must hold is checked again by raft and by the handshake of
// the raft connections.
type NodeInfo struct {
	Cluster   string
	ClusterID string // empty until the node has learnt it from the log
	Region    string

	RaftAddress, GRPCAddress, HTTPAddress string

	Version    string // of the program
	LogVersion uint32 // newest log format that it understands

	// Expect is the node's bootstrap-expect, 0 if it only joins. Founding names
	// the set of nodes that it promised to form a cluster with, 0 for none.
	Expect   uint32
	Founding uint64
	HasState bool // its raft log, term or snapshots are not empty
	Removed  bool // a leader told it that it was removed on purpose
	Leaving  bool // it is shutting down in order
}

// maxClusterID is the room kept for a cluster id: the text of a UUID.
const maxClusterID = 36

const nodeInfoVersion = 1

// Bits of the flag byte.
const (
	flagHasState = 1 << iota
	flagRemoved
	flagLeaving
)

// errNodeInfo says that metadata cannot be decoded: it was cut short, or comes
// from a later version whose encoding differs.
var errNodeInfo = errors.New("malformed node metadata")

// strings returns the text fields in the order of the encoding.
func (n *NodeInfo) strings() []*string {
	return []*string{&n.Cluster, &n.ClusterID, &n.Region, &n.RaftAddress, &n.GRPCAddress, &n.HTTPAddress, &n.Version}
}

func (n *NodeInfo) flags() (f byte) {
	for _, b := range []struct {
		set bool
		bit byte
	}{{n.HasState, flagHasState}, {n.Removed, flagRemoved}, {n.Leaving, flagLeaving}} {
		if b.set {
			f |= b.bit
		}
	}
	return f
}

// encode returns version, flags, each text with its length, then the numbers.
// A later minor version appends fields; decoders leave out what they do not
// know.
func (n *NodeInfo) encode() []byte {
	b := []byte{nodeInfoVersion, n.flags()}
	for _, s := range n.strings() {
		b = binary.AppendUvarint(b, uint64(len(*s)))
		b = append(b, *s...)
	}
	b = binary.AppendUvarint(b, uint64(n.LogVersion))
	b = binary.AppendUvarint(b, uint64(n.Expect))
	return binary.BigEndian.AppendUint64(b, n.Founding)
}

// maxNumbers is the most that encode needs beside the texts and their lengths.
const maxNumbers = 2 + 2*binary.MaxVarintLen32 + 8

// fits reports whether the metadata will fit into a gossip message whatever the
// fields that change become.
func (n *NodeInfo) fits() error {
	size := maxNumbers
	for _, s := range n.strings() {
		size += len(binary.AppendUvarint(nil, uint64(len(*s)))) + len(*s)
	}
	size += maxClusterID - min(len(n.ClusterID), maxClusterID)
	if size <= memberlist.MetaMaxSize {
		return nil
	}
	return fmt.Errorf("metadata needs %d bytes and %d fit: cluster has %d, region %d, raft address %d, grpc address %d, http address %d, version %d",
		size, memberlist.MetaMaxSize, len(n.Cluster), len(n.Region), len(n.RaftAddress), len(n.GRPCAddress), len(n.HTTPAddress), len(n.Version))
}

// decodeNodeInfo reads what encode wrote, here or in another version.
func decodeNodeInfo(b []byte) (NodeInfo, error) {
	var n NodeInfo
	if len(b) < 2 {
		return NodeInfo{}, fmt.Errorf("%d bytes: %w", len(b), errNodeInfo)
	}
	if b[0] != nodeInfoVersion {
		return NodeInfo{}, fmt.Errorf("version %d, this node reads %d: %w", b[0], nodeInfoVersion, errNodeInfo)
	}
	f := b[1]
	n.HasState, n.Removed, n.Leaving = f&flagHasState != 0, f&flagRemoved != 0, f&flagLeaving != 0
	r := infoReader{rest: b[2:]}
	for _, s := range n.strings() {
		*s = r.text()
	}
	n.LogVersion, n.Expect = r.uint32(), r.uint32()
	n.Founding = r.uint64()
	if r.bad {
		return NodeInfo{}, errNodeInfo
	}
	return n, nil
}

// An infoReader reads fields until one is missing; then bad is set and the rest
// are zero.
type infoReader struct {
	rest []byte
	bad  bool
}

func (r *infoReader) take(n uint64) []byte {
	if r.bad || n > uint64(len(r.rest)) {
		r.bad, n = true, 0
	}
	head := r.rest[:n]
	r.rest = r.rest[n:]
	return head
}

// advance consumes what a varint took; 0 or less means that there was none.
func (r *infoReader) advance(n int) {
	if n <= 0 {
		r.bad, n = true, 0
	}
	r.take(uint64(n))
}

func (r *infoReader) text() string {
	n, size := binary.Uvarint(r.rest)
	r.advance(size)
	return string(r.take(n))
}

func (r *infoReader) uint32() uint32 {
	n, size := binary.Uvarint(r.rest)
	r.advance(size)
	if n > 1<<32-1 {
		r.bad = true
	}
	return uint32(n)
}

func (r *infoReader) uint64() uint64 {
	b := r.take(8)
	if r.bad {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}
