// Package reference holds abstract models of the protocols of ThrottleKit, the
// reference implementation, with the state counts that were published for them.
//
// They serve two ends. They validate the explorer: an engine that loses a state,
// or takes two for one, does not arrive at these numbers. And they show what each
// rule is for, since the models can be run without it. Our own protocols are
// explored through their real code, elsewhere.
//
// Reading them: messages are instantaneous except in Handoff, there is one clock,
// a request costs 1, and nothing fails. What is proved is that much.
package reference
