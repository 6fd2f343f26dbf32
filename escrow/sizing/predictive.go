package sizing

import "math"

// hedgeRate is η of the weights of the two experts.
const hedgeRate = 0.01

// A Predictive size follows a prediction of demand as far as predictions have
// been good, and a Learner otherwise. Two experts play: *follow* the best size
// for the prediction, *robust* the learner's. Their weights are
//
//	w ∝ exp(−η·(C − min C)), η = 0.01
//
// over what each has cost so far (Hedge). With exact predictions it costs what
// knowing the demand would; with adversarial ones, what the learner does. Costs
// are not normalised, so with large ones the switch comes almost at once. Not safe
// for concurrent use.
type Predictive struct {
	learner        *Learner
	follow, robust expert
}

// An expert is one way to choose a size.
type expert struct {
	cost  float64 // so far
	plays float64 // in the window under way
}

// NewPredictive returns a size that has seen nothing; both experts start with the
// same weight.
func NewPredictive(c Config) (*Predictive, error) {
	l, err := New(c)
	if err != nil {
		return nil, err
	}
	p := &Predictive{learner: l}
	p.robust.plays = float64(l.Size())
	p.follow.plays = c.Min
	return p, nil
}

// Size returns how many credits to ask for in a window whose demand is predicted;
// without a prediction, that is 0 or less, follow plays Min.
func (p *Predictive) Size(prediction float64) int64 {
	c := p.learner.cfg
	p.follow.plays = c.Min
	if prediction > 0 {
		p.follow.plays = float64(whole(clamp(c.Best(prediction), c.Min, c.Max)))
	}
	p.robust.plays = float64(p.learner.Size())
	f := p.Trust()
	return whole(clamp(float64(f*p.follow.plays)+float64((1-f)*p.robust.plays), c.Min, c.Max))
}

// Trust returns the weight of the expert that follows predictions, in [0, 1].
func (p *Predictive) Trust() float64 {
	least := min(p.follow.cost, p.robust.cost)
	f := math.Exp(-hedgeRate * (p.follow.cost - least))
	r := math.Exp(-hedgeRate * (p.robust.cost - least))
	return f / (f + r)
}

// Observe takes over the demand of the window for which Size was asked last. What
// a Learner ignores is ignored.
func (p *Predictive) Observe(demand float64) {
	if !possible(demand) {
		return
	}
	c := p.learner.cfg
	p.follow.cost += c.Of(p.follow.plays, demand)
	p.robust.cost += c.Of(p.robust.plays, demand)
	p.learner.Observe(demand)
}
