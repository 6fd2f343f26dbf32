package reservation

import "math"

// hedgeRate is η of the weights of the two experts.
const hedgeRate = 0.01

// A Predictive reservation follows a prediction of each request's cost as far as
// predictions have been good, and a Learner otherwise. Two experts play: *follow*
// the prediction, *robust* the learner's reservation. Their weights are
//
//	w ∝ exp(−η·(C − min C)), η = 0.01
//
// over the loss of each so far (Hedge). Losses are not normalised: with costs in
// the hundreds the switch between the two comes almost at once. Not safe for
// concurrent use.
type Predictive struct {
	learner        *Learner
	follow, robust expert
}

// An expert is one way to choose a reservation.
type expert struct {
	loss  float64 // so far
	plays float64 // for the request under way
}

// NewPredictive returns a reservation that has seen nothing; both experts start
// with the same weight.
func NewPredictive(c Config) (*Predictive, error) {
	l, err := New(c)
	if err != nil {
		return nil, err
	}
	return &Predictive{learner: l, follow: expert{plays: l.r}, robust: expert{plays: float64(l.Reserve())}}, nil
}

// Reserve returns how much to set aside for a request whose cost is predicted, in
// [Min, Max], rounded half up. NaN is no prediction: then only the learner plays.
func (p *Predictive) Reserve(prediction float64) int64 {
	c := &p.learner.cfg
	p.robust.plays = float64(p.learner.Reserve())
	p.follow.plays = p.robust.plays
	if !math.IsNaN(prediction) {
		p.follow.plays = c.clamp(prediction)
	}
	f := p.Trust()
	return whole(c.clamp(float64(f*p.follow.plays) + float64((1-f)*p.robust.plays)))
}

// Trust returns the weight of the expert that follows predictions, in [0, 1].
func (p *Predictive) Trust() float64 {
	least := min(p.follow.loss, p.robust.loss)
	f := math.Exp(-hedgeRate * (p.follow.loss - least))
	r := math.Exp(-hedgeRate * (p.robust.loss - least))
	return f / (f + r)
}

// Observe takes over what the request came to for which Reserve was asked last.
// What a Learner ignores is ignored.
func (p *Predictive) Observe(cost float64) {
	if !possible(cost) {
		return
	}
	c := &p.learner.cfg
	p.follow.loss += c.Loss(p.follow.plays, cost)
	p.robust.loss += c.Loss(p.robust.plays, cost)
	p.learner.Observe(cost)
}
