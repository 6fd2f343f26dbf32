package reference

import (
	"errors"
	"fmt"
	"slices"

	"github.com/tkcoord/tkcoord/jepsen/model"
)

// Leasing is the reference's model of leases from one counter: a pool of Limit
// units per window, and nodes that take Batch units at a time and serve requests
// of cost 1 from them. A lease is granted whole or not at all, at once, and only
// to a node without credits, whose request it serves.
//
// The theorem is admitted <= Bound in every window: Limit if credits end with
// their window, Limit + Nodes·(Batch-1) if they are carried over, since every
// node can enter a window with the rest of a lease of the one before. Both are
// tight, which Tighten shows.
type Leasing struct {
	Nodes, Limit, Batch int

	Coupled bool // credits end with their window
	Return  bool // nodes may give credits back within the window
	Tighten int  // subtracted from the bound; 1 must be refuted

	Words Words
}

// Words are the names that a run is told in. They do not change the model.
type Words struct{ pool, credits, node string }

// Leased are the words of leases from a counter, Federated those of regions that
// draw escrow from a global budget, which is the same system.
var (
	Leased    = Words{"pool", "credits", "node"}
	Federated = Words{"budget", "escrow", "region"}
)

const (
	serve uint8 = iota
	lease
	roll
	giveBack
)

// A leasingState is the pool, what each node holds, and what was admitted in
// the window.
type leasingState struct {
	words    *Words
	pool     int
	credits  []int
	admitted int
}

func (s *leasingState) String() string {
	return fmt.Sprintf("%s=%d %s=%v admitted=%d", s.words.pool, s.pool, s.words.credits, s.credits, s.admitted)
}

// Validate reports all sizes that make no sense.
func (m *Leasing) Validate() error {
	return errors.Join(
		within("nodes", m.Nodes, 1, maxSize),
		within("limit", m.Limit, 1, maxSize),
		within("batch", m.Batch, 1, maxSize),
		within("tighten", m.Tighten, 0, maxSize),
	)
}

// Bound returns how much may be admitted in one window.
func (m *Leasing) Bound() int {
	if m.Coupled {
		return m.Limit
	}
	return m.Limit + m.Nodes*(m.Batch-1)
}

func (m *Leasing) Kinds() []string { return []string{"Serve", "Lease", "Roll", "Return"} }

func (m *Leasing) Label(a model.Action) string {
	return fmt.Sprintf("%s(%s %d)", m.Kinds()[a.Kind()], m.Words.node, a.Arg()+1)
}

func (m *Leasing) New() *leasingState {
	return &leasingState{words: &m.Words, credits: make([]int, m.Nodes)}
}

func (m *Leasing) Init(emit func(*leasingState)) {
	s := m.New()
	s.pool = m.Limit
	emit(s)
}

// Actions lists Roll once for each node: in the published model it stands under
// the quantifier over nodes, and is counted that often.
func (m *Leasing) Actions(dst []model.Action, s *leasingState) []model.Action {
	for n, held := range s.credits {
		node := uint32(n)
		if held >= 1 {
			dst = append(dst, model.Act(serve, node))
		}
		if held == 0 && s.pool >= m.Batch {
			dst = append(dst, model.Act(lease, node))
		}
		dst = append(dst, model.Act(roll, node))
		if m.Return && held >= 1 {
			dst = append(dst, model.Act(giveBack, node))
		}
	}
	return dst
}

func (m *Leasing) Apply(s *leasingState, a model.Action) error {
	n := a.Arg()
	switch a.Kind() {
	case serve:
		s.credits[n]--
		s.admitted++
	case lease:
		s.pool -= m.Batch
		s.credits[n] = m.Batch - 1
		s.admitted++
	case roll:
		s.pool, s.admitted = m.Limit, 0
		if m.Coupled {
			clear(s.credits)
		}
	case giveBack:
		s.pool += s.credits[n]
		s.credits[n] = 0
	}
	return nil
}

func (m *Leasing) Check(s *leasingState) error {
	most := m.Limit
	if m.Return {
		most = m.Bound() // credits of the window before may come back
	}
	if s.pool < 0 || s.pool > most {
		return fmt.Errorf("TypeOK: %s %d outside 0..%d", m.Words.pool, s.pool, most)
	}
	for n, held := range s.credits {
		if held < 0 || held >= m.Batch {
			return fmt.Errorf("TypeOK: %s %d of %s %d outside 0..%d", m.Words.credits, held, m.Words.node, n+1, m.Batch-1)
		}
	}
	if limit := m.Bound() - m.Tighten; s.admitted > limit {
		return fmt.Errorf("AdmittedBound: admitted %d > %d", s.admitted, limit)
	}
	return nil
}

func (m *Leasing) Observables() []string { return []string{"admitted"} }

func (m *Leasing) Observe(dst []int64, s *leasingState) []int64 {
	return append(dst, int64(s.admitted))
}

func (m *Leasing) Encode(dst []byte, s *leasingState) []byte {
	dst = appendInts(dst, s.pool, s.admitted)
	return appendInts(dst, s.credits...)
}

func (m *Leasing) Decode(s *leasingState, data []byte) error {
	r := reader{data: data}
	s.pool, s.admitted = r.int(), r.int()
	for n := range s.credits {
		s.credits[n] = r.int()
	}
	return r.done()
}

// Canonicalise sorts the nodes by what they hold.
func (m *Leasing) Canonicalise(s *leasingState) { slices.Sort(s.credits) }
