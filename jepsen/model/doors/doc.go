// Package doors explores the real state machine under the public calls, which carry
// no identity: slots, strict checks, reserves and debits. It is the sibling of
// package real, whose business are the leases of edges.
//
// # What is real
//
// Entries of the log are built by fsm.Batch and applied by fsm.Machine, stamps come
// from a clock.Source in each node, and snapshots are those that replicas exchange.
// ρ is a quarter, so that a few ticks are enough to see what 500 ppm do in hours;
// time is scaled to fsm.SlotTTL.
//
// # What is modelled
//
// Network, Raft and time are as in package real. A client asks for one slot or one
// unit at a time. It relies on a slot for g·(ttl − 1 ms) from before it sent the
// Admit or Heartbeat that was answered, on its own clock; the millisecond is the
// grain of stamps. What comes back later than that, twice, or after it gave up, it
// does not use. A client that reserved relies on the window in the same way as an
// edge does.
//
// A strict check and a debit hold nothing back and say nothing that gets old, so one
// that is late or repeated is like one that is sent then. They are therefore actions
// of the leader: anything may be checked or debited at any time. A unit counts as
// admitted at its entry, whether or not somebody hears of it.
//
// # What is checked
//
// Slots: the clients that rely on one are never more than the ceiling, or than the
// highest ceiling since there were no more slots than that; a slot that has ended is
// not reported live, and none is ended or moved without a reason; fences grow; a
// denial has a reason. Units: what checks, edges and reserves admit in a window is
// at most its limit, all of it before any stamp or clock of a leader reached the
// window's end (G1). Tokens: what was served in a window is at most the budget and
// the largest debit less 1, and no acknowledged debit is forgotten. A replica that
// is restored from a snapshot has the digest of the one that wrote it and keeps all
// invariants of the machine.
package doors
