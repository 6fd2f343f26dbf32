// Package model explores every state that a small system can reach.
//
// A Model says which actions are enabled in a state and what each of them does;
// Explore visits all reachable states breadth first, checks each of them, and
// answers with counts or with a shortest counterexample, which Replay executes
// again. Package reference holds the protocols of the ThrottleKit reference in
// this form: their published state counts are what the engine is tested on.
//
// The method is explicit-state model checking with hash compaction (Wolper and
// Leroy 1993; Stern and Dill 1995). A visited state is remembered by 128 bits of
// hash, not by its bytes: if the hash behaves like a random one, the probability
// that any two of n states were taken for one is below n²/2^129, which for ten
// million is 10^-24.
package model

import "fmt"

// An Action names one step that a system can take. Its kind is an index into
// Model.Kinds; the argument is the model's own.
type Action uint32

// maxArg is the largest argument: what is left of 32 bits below the kind.
const maxArg = 1<<24 - 1

// Act returns the action of a kind with an argument, which is at most 2^24-1.
func Act(kind uint8, arg uint32) Action {
	if arg > maxArg {
		panic(fmt.Sprintf("model: argument %d of an action of kind %d needs more than 24 bits", arg, kind))
	}
	return Action(kind)<<24 | Action(arg)
}

// Kind returns which sort of step a is.
func (a Action) Kind() uint8 { return uint8(a >> 24) }

// Arg returns the argument that Act was given.
func (a Action) Arg() uint32 { return uint32(a) & maxArg }

// A Model is a transition system over states of type S, which is a pointer or
// another type that refers to the state, since Apply and Decode work in place.
// Explore calls a model from several goroutines at once, each with states of
// its own, so the methods change nothing but the state they are given, and
// they are functions of their arguments: no clock, no randomness, no map order.
type Model[S fmt.Stringer] interface {
	// Kinds lists the names of the kinds of actions, at most 256. A kind that
	// was never taken shows as zero in Result.Taken: such a model says little.
	Kinds() []string

	// Label names an action in a transcript, "Serve(1)".
	Label(a Action) string

	// New returns a state to decode into; what it holds does not matter.
	New() S

	// Init calls emit with each initial state, always in the same order. Emit may
	// change the state and has done with it when it returns. Each call counts as
	// one generated state.
	Init(emit func(S))

	// Actions appends the actions enabled in s to dst, always in the same order,
	// and leaves s as it is. Each counts as one generated state: an action that is
	// listed twice, or that leads back to its own state, is counted as such.
	Actions(dst []Action, s S) []Action

	// Apply takes a step that Actions has listed for s, in place: Explore decodes s
	// anew for each action. An error is a step that must never happen, whatever
	// state it leads to; that state is not visited. A panic, as of real code that
	// the model drives, is reported in the same way.
	Apply(s S, a Action) error

	// Check reports the first invariant that s breaks, by name, or nil. It is
	// called for a state as Apply left it, not for one that went through Decode.
	Check(s S) error

	// Encode appends s to dst. States with equal bytes are taken for one, so they
	// must behave alike in every future. Ones that do behave alike should have
	// equal bytes: order what has no order, leave out what no longer matters.
	Encode(dst []byte, s S) []byte

	// Decode overwrites all of s, whatever it held, with a state that Encode
	// wrote. It keeps no reference to data.
	Decode(s S, data []byte) error
}

// An Observer is a model that measures its states. Explore reports the largest
// value of each quantity over all distinct states.
type Observer[S fmt.Stringer] interface {
	// Observables names the quantities.
	Observables() []string
	// Observe appends the value of each, in that order, to dst.
	Observe(dst []int64, s S) []int64
}

// A Symmetric model has interchangeable parts. With Options.Symmetry only one
// state of each set of states that differ by exchanging them is visited.
type Symmetric[S fmt.Stringer] interface {
	// Canonicalise replaces s by the state that stands for all its permutations.
	// Init, Actions, Apply and Check must not tell these apart, else states are
	// missed.
	Canonicalise(s S)
}
