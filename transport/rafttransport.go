package transport

import (
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/hashicorp/raft"
)

// A RaftTransport is raft's own network transport with three additions:
//
//   - it dials a server, not an address, so that StreamLayer can check who
//     answers, also when the address is another one than in the configuration;
//   - it notes acknowledgements, for ReadIndexer;
//   - it does not send the entry that stands for a snapshot. See boundary.
type RaftTransport struct {
	*raft.NetworkTransport
	acks

	stream    *StreamLayer
	addresses raft.ServerAddressProvider // nil: as configured
}

// rpcTimeout bounds one request and its answer, the time that the peer takes to
// write the entries included; for snapshots, each 256 KiB of them. A request of
// many large entries that cannot be sent and stored in this time is repeated for
// ever.
const rpcTimeout = 10 * time.Second

// pooled is how many idle connections are kept for each peer.
const pooled = 3

// NewRaftTransport returns the transport for raft.NewRaft, which begins to accept
// connections at once. addresses, if not nil, knows better where a server is than
// raft's configuration does; an error from it means that it does not. Close
// closes the stream layer as well.
func NewRaftTransport(s *StreamLayer, addresses raft.ServerAddressProvider, log *slog.Logger) *RaftTransport {
	return &RaftTransport{
		stream:    s,
		addresses: addresses,
		NetworkTransport: raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
			Logger:  hclogTo(log),
			Stream:  s,
			MaxPool: pooled,
			// Without pipelining. Raft's pipeline deadlocks when a follower refuses
			// an entry while heartbeats go on: the follower gets nothing until the
			// leader restarts (hashicorp/raft#612). It is no faster either.
			MaxRPCsInFlight:         1,
			Timeout:                 rpcTimeout,
			MsgpackUseNewTimeFormat: true,
		}),
	}
}

// dialled is the address under which the inner transport knows a server; its
// pool of connections is by these.
func (t *RaftTransport) dialled(id raft.ServerID, configured raft.ServerAddress) raft.ServerAddress {
	if t.addresses != nil {
		if a, err := t.addresses.ServerAddr(id); err == nil {
			configured = a
		}
	}
	return target(id, configured)
}

// errStandIn: compaction overtook the reading of entries to send. Raft tries
// again, finds the entry before gone as well, and sends the snapshot.
var errStandIn = errors.New("entry is in the snapshot only")

// AppendEntries implements raft.Transport, as do the methods below.
func (t *RaftTransport) AppendEntries(id raft.ServerID, address raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	for _, e := range args.Entries {
		if e.Type == boundaryEntry {
			return errStandIn
		}
	}
	return t.note(id, args, resp, func() error {
		return t.NetworkTransport.AppendEntries(id, t.dialled(id, address), args, resp)
	})
}

func (t *RaftTransport) RequestVote(id raft.ServerID, address raft.ServerAddress, args *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	return t.NetworkTransport.RequestVote(id, t.dialled(id, address), args, resp)
}

// RequestPreVote implements raft.WithPreVote.
func (t *RaftTransport) RequestPreVote(id raft.ServerID, address raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	return t.NetworkTransport.RequestPreVote(id, t.dialled(id, address), args, resp)
}

func (t *RaftTransport) InstallSnapshot(id raft.ServerID, address raft.ServerAddress, args *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	return t.NetworkTransport.InstallSnapshot(id, t.dialled(id, address), args, resp, data)
}

func (t *RaftTransport) TimeoutNow(id raft.ServerID, address raft.ServerAddress, args *raft.TimeoutNowRequest, resp *raft.TimeoutNowResponse) error {
	return t.NetworkTransport.TimeoutNow(id, t.dialled(id, address), args, resp)
}

// CloseStreams closes all connections, those in use included.
func (t *RaftTransport) CloseStreams() {
	t.stream.CloseStreams()
	t.NetworkTransport.CloseStreams()
}
