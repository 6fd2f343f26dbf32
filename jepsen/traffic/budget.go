package traffic

import (
	"math/rand/v2"

	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A budget is what a holder knows of one key: totals for one window.
type budget struct {
	window                  int64
	granted, returned, used int64
}

func (b *budget) unspent() int64 { return b.granted - b.returned - b.used }

// next changes the holder's totals in some way that is allowed, and makes the
// ask that says so. Totals only grow, and credits are taken away before they are
// reported as returned.
func (b *budget) next(random *rand.Rand, limit int64) *tkcoordv1.Ask {
	gone := b.used + b.returned
	a := &tkcoordv1.Ask{WindowStartMs: b.window}
	some := func(most int64) int64 { return 1 + random.Int64N(max(1, most)) }
	switch what := random.IntN(10); {
	case what < 4: // take: all or what there is
		a.Want = gone + some(limit/4)
		a.Need = a.Want
	case what < 5: // take some, like more
		a.Need = gone + some(limit/8)
		a.Want = a.Need + some(limit/2)
	case what < 7 && b.unspent() > 0:
		b.used += some(b.unspent())
	case what < 9 && b.unspent() > 0:
		b.returned += some(b.unspent())
	}
	a.Used, a.Returned = b.used, b.returned
	return a
}

// learn takes over an answer, which may be older than what is known.
func (b *budget) learn(a *tkcoordv1.Answer) {
	switch {
	case a.WindowStartMs > b.window:
		*b = budget{window: a.WindowStartMs, granted: a.Granted}
	case a.WindowStartMs == b.window:
		b.granted = max(b.granted, a.Granted)
	}
}

// learn takes over what came of an exchange; state is held. A session that has ended, or a
// holder whose totals are refused, starts over as another holder.
func (h *holder) learn(req *tkcoordv1.ExchangeRequest, res *tkcoordv1.ExchangeResponse, err error) {
	if err != nil {
		if status.Code(err) == codes.Aborted && req.Incarnation == h.incarnation {
			h.startOver()
		}
		return
	}
	if req.Incarnation != h.incarnation {
		return
	}
	h.session = res.Session
	for i, a := range res.Answers {
		if b := h.budgets[req.Asks[i].Key]; b != nil && a.Problem == nil {
			b.learn(a)
		}
	}
}

func (h *holder) startOver() {
	h.incarnation, h.session, h.seq = h.random.Uint64()|1, 0, 0
	h.budgets, h.sent = make(map[string]*budget), nil
}
