package transport

import (
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/hashicorp/raft"
)

// A RaftTransport is raft's own network transport with four additions:
//
//   - it dials a server, not an address, so that StreamLayer can check who
//     answers, also when the address is another one than in the configuration;
//   - it notes acknowledgements, for ReadIndexer;
//   - it does not send the entry that stands for a snapshot, see boundary;
//   - it sends no more at a time than can be stored in time, nor a commit index
//     beyond that, see trim.
type RaftTransport struct {
	*raft.NetworkTransport
	acks

	stream    *StreamLayer
	addresses raft.ServerAddressProvider // nil: as configured
}

// rpcTimeout bounds one request and its answer, the time that the peer takes to
// write the entries included; for snapshots, each 256 KiB of them.
const rpcTimeout = 10 * time.Second

// maxAppendBytes is about how much one request to append holds. What is more
// than can be sent and stored within rpcTimeout, and within the peer's deadline
// for a write, would be tried for ever.
const maxAppendBytes = 8 << 20

// entryOverhead is what an entry takes on the wire besides its data.
const entryOverhead = 64

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
	trim(args)
	return t.note(id, args, resp, func() error {
		return t.NetworkTransport.AppendEntries(id, t.dialled(id, address), args, resp)
	})
}

// trim makes a request one that can be stored in time and committed from. Raft
// keeps hold of the request, and goes on after the last entry that is left in it.
//
// Raft bounds the entries in a request, not their bytes.
//
// It also takes over the leader's commit index as far as its own log reaches,
// where figure 2 of the Raft paper has: as far as the request shows it to agree
// with the leader's. Beyond that may lie entries that were never committed, and
// a follower applies them (appendEntries in raft.go). So a leader here names no
// index beyond the request.
func trim(args *raft.AppendEntriesRequest) {
	size := 0
	for i, e := range args.Entries {
		size += len(e.Data) + len(e.Extensions) + entryOverhead
		if size > maxAppendBytes && i > 0 {
			args.Entries = args.Entries[:i]
			break
		}
	}
	args.LeaderCommitIndex = min(args.LeaderCommitIndex, args.PrevLogEntry+uint64(len(args.Entries)))
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
