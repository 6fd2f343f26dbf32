// Package sim runs a whole cluster and its edges in one goroutine, on virtual
// time, from a seed. The state machine, its log encoding and snapshots, the
// clock source and the leases are the real ones; the log, the network, the disks
// and the clocks are models that do their worst. The same seed gives the same
// trace, byte for byte.
//
// docs/simulation.md says what is real, what is modelled and what is checked.
package sim
