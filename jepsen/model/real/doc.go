// Package real explores the real code in small worlds: every run of a cluster of
// a few nodes and a few edges, for a while, with a bounded number of faults.
//
// # What is real
//
// Entries of the log are built by fsm.Batch and applied by fsm.Machine, so
// sessions, ledgers, windows, the share rule, steps, sweeps and changes of the
// policy are the ones that run in production. Stamps come from one clock.Source
// for each node, which notes, leads, follows and is steered as in package
// transport. Edges spend from escrow.Lease, with deadlines from
// clock.Rates.Guarded. The rates are those that the world has: ρ is a quarter, so
// that a few ticks are enough to see what 500 ppm do in hours.
//
// # What is modelled
//
// The network is a set of requests and answers. Each may arrive at any later
// time, before or after others, again while Duplicates lasts, or never. Raft is a
// log that some node is elected to extend: a node that is elected has applied
// everything committed, which is what its barrier waits for, and what its
// predecessor had sealed but not committed is lost. All nodes have the same state
// machine once they have applied the same entries, so there is one, at the end of
// the log; a node that has not applied the newest entry differs in one thing
// that matters, which is that it has not noted its clock. The edge follows the
// SDK in what it takes from an answer and what it says in a request.
//
// Real time passes in ticks. In one tick every clock advances by Beat·(1+ρ) or
// Beat·(1−ρ); which of them is part of the initial state. Everything else takes
// no time and may happen in any number and order between two ticks.
//
// # What is checked
//
// After every admission: the unit is admitted in the newest window, before any
// stamp or clock of a leader has reached that window's end (Lemma 2), and no more
// units than the highest limit in force (G1). After every entry: no total and no
// clock runs back, windows follow each other without overlap, no live ledger is
// forgotten, a grant is at most what was asked for, however often the ask arrived
// (G3), and lifts what is out to the limit at most. In every state: the ledger's
// invariant, and that an edge and its owner agree.
//
// # What makes it finite
//
// Time ends after some ticks, and the bounds in World hold for each run. States
// that differ only in what can no longer matter are taken for one, see normal.go;
// exchanging processes changes nothing, see symmetry.go. An entry is committed as
// it is sealed unless World.Pipeline is set. That loses no run: until it is
// committed an entry influences nothing but whether an election loses it, which
// is the same as a request that never arrived; answers may be late and nodes may
// apply it late anyway. Worlds with a pipeline are explored as well.
package real
