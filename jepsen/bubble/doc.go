// Package bubble runs whole clusters, the real ones, on virtual time: three
// nodes with their raft, gossip and doors, and edges with the SDK, inside a
// bubble of testing/synctest. Only the network and the disks below them are
// models. It is all tests; docs/simulation.md says what is real, what is checked
// and how to run it.
//
// A seed draws the configuration, the faults and what the network does. It does
// not decide in which order goroutines run at one instant, nor what raft and
// gossip draw for themselves: a seed is a hint where to look, not a trace.
package bubble
