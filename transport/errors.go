package transport

import "errors"

// Errors of this package, grouped by when they occur.
var (
	// Before proposing: nothing was written anywhere, so asking again, here or
	// at another node, cannot do a thing twice.

	// ErrNotLeader says that this node does not lead, does not lead yet, or
	// could not show that it still does.
	ErrNotLeader = errors.New("not the leader")

	// ErrOldVoter says that a voter runs a version that does not know the command
	// yet. It works once all voters are upgraded.
	ErrOldVoter = errors.New("a voter is too old for this command")

	// After proposing.

	// ErrOutcomeUnknown says that a proposal was handed over and its result was
	// not learnt: it may have been applied, may be applied later, or never.
	ErrOutcomeUnknown = errors.New("outcome unknown")

	// While a stream to or from a peer is set up.

	// ErrRefused says that one of the two nodes will not talk to the other, and
	// why. Both nodes log it.
	ErrRefused = errors.New("refused")

	// From the stores.

	// ErrStoreFailed says that the log or the stable store failed, now or
	// earlier. It is for good: the process has to restart.
	ErrStoreFailed = errors.New("store failed")

	// From changes to the membership. Nothing was changed.

	// ErrUnknownMember says that a server is not in the cluster, or that gossip
	// does not know it.
	ErrUnknownMember = errors.New("no such server")

	// ErrQuorum says that the servers that would remain, or those of them that
	// answer, are no majority, so that nothing could be committed any more.
	ErrQuorum = errors.New("would cost the cluster its majority")

	// ErrNotHandedOver says that the successor did not take leadership over in
	// time: it may be down, or too far behind. It may still do so.
	ErrNotHandedOver = errors.New("leadership was not handed over")
)
