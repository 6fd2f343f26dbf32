package traffic

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/jepsen/history"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// DirectLoad is what clients do that speak the protocol by hand: they take, give
// back, report and read, one budget at a time, and misbehave as networks do:
// they send the same request twice, at once and much later, and overtake
// themselves.
type DirectLoad struct {
	Clients int    `json:"clients"`
	Policy  string `json:"policy"`
	Keys    int    `json:"keys"`
	Limit   int64  `json:"limit"`
	Rate    int    `json:"rate"` // exchanges per second and client
	// Repeats is the share of turns that repeat or reorder something.
	Repeats float64 `json:"repeats"`
}

// askTime bounds one exchange. Above a commit, below an election, so that faults
// leave unknown outcomes behind.
const askTime = 500 * time.Millisecond

// keptRequests is how far back a late repeat may reach.
const keptRequests = 64

func runDirect(ctx context.Context, r *running) error {
	doors := make([]tkcoordv1.EdgeClient, len(r.Addresses))
	for i, a := range r.Addresses {
		conn, err := r.dial(a)
		if err != nil {
			return err
		}
		defer func(c *grpc.ClientConn) { _ = c.Close() }(conn) // nothing is under way
		doors[i] = tkcoordv1.NewEdgeClient(conn)
	}
	r.started()
	var work sync.WaitGroup
	for i := range r.Direct.Clients {
		random := rand.New(rand.NewPCG(r.Seed, uint64(1000+i)))
		c := &holder{
			running: r, random: random, doors: doors, lane: 10 * i,
			edge:        fmt.Sprintf("%s-%d", r.Client, i), // another life is another holder
			incarnation: random.Uint64() | 1, budgets: make(map[string]*budget),
		}
		work.Go(func() { c.work(ctx) })
	}
	work.Wait()
	return nil
}

// A holder is one client. Its lanes follow from lane: repeats that are under way
// at once have their own.
type holder struct {
	*running
	doors []tkcoordv1.EdgeClient
	lane  int
	edge  string

	state       sync.Mutex // guards the rest while two exchanges are under way
	random      *rand.Rand
	incarnation uint64
	session     uint64
	seq         uint64
	budgets     map[string]*budget // by key
	sent        []sentRequest      // newest last
}

// A sentRequest can be sent again.
type sentRequest struct {
	op  int64
	req *tkcoordv1.ExchangeRequest
}

func (h *holder) work(ctx context.Context) {
	t := time.NewTicker(time.Second / time.Duration(h.Direct.Rate))
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		h.turn(ctx)
	}
}

// turn does one thing.
func (h *holder) turn(ctx context.Context) {
	if h.random.Float64() >= h.Direct.Repeats || len(h.sent) == 0 {
		h.ask(ctx, h.next(), h.lane)
		return
	}
	switch h.random.IntN(4) {
	case 0: // the newest again: its answer may have been lost
		s := h.sent[len(h.sent)-1]
		h.repeat(ctx, s, h.lane)
	case 1: // an old one again, as a network that kept it
		h.repeat(ctx, h.sent[h.random.IntN(len(h.sent))], h.lane)
	case 2: // the same request twice at once, perhaps through two nodes
		req := h.next()
		h.together(func() { h.send(ctx, req, h.lane, 0) }, func() { h.send(ctx, proto.CloneOf(req), h.lane+1, -1) })
	case 3: // two requests that overtake each other
		first, second := h.next(), h.next()
		h.together(func() { h.send(ctx, second, h.lane, 0) }, func() { h.send(ctx, first, h.lane+1, 0) })
	}
}

func (h *holder) together(a, b func()) {
	var both sync.WaitGroup
	both.Go(b)
	a()
	both.Wait()
}

// next makes the next request: some key, and something that makes sense there.
func (h *holder) next() *tkcoordv1.ExchangeRequest {
	h.seq++
	key := keyName(h.random.IntN(h.Direct.Keys))
	b := h.budgets[key]
	if b == nil {
		b = &budget{}
		h.budgets[key] = b
	}
	ask := b.next(h.random, h.Direct.Limit)
	ask.Policy, ask.Key = h.Direct.Policy, key
	return &tkcoordv1.ExchangeRequest{EdgeId: h.edge, Incarnation: h.incarnation, Session: h.session, Seq: h.seq, Asks: []*tkcoordv1.Ask{ask}}
}

// ask sends a request for the first time and keeps it.
func (h *holder) ask(ctx context.Context, req *tkcoordv1.ExchangeRequest, lane int) {
	op := h.send(ctx, req, lane, 0)
	h.sent = append(h.sent, sentRequest{op, proto.CloneOf(req)})
	if len(h.sent) > keptRequests {
		h.sent = h.sent[1:]
	}
}

func (h *holder) repeat(ctx context.Context, s sentRequest, lane int) {
	h.send(ctx, s.req, lane, s.op)
}

// send makes one exchange through some node and takes over its answer. repeat
// is the operation that it repeats, 0 for none, and -1 for one that is under
// way.
func (h *holder) send(ctx context.Context, req *tkcoordv1.ExchangeRequest, lane int, repeat int64) int64 {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTime)
	defer cancel()
	h.state.Lock()
	i := h.random.IntN(len(h.doors))
	h.state.Unlock()
	call := exchangeCall(h.record, req, h.Addresses[i])
	call.Lane, call.Repeat = lane, repeat
	op := h.record.Call(call)
	res, err := h.doors[i].Exchange(ctx, req)
	at := history.Now()
	h.record.Return(exchangeReturn(op, at, res, err))
	h.state.Lock()
	defer h.state.Unlock()
	h.learn(req, res, err)
	return op
}
