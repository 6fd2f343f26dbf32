package strategy

// Cost returns a whole cost as a double, which holds it exactly up to MaxCost.
func Cost(n int64) float64 { return float64(n) }
