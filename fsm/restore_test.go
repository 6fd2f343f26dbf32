package fsm

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/strategy"
)

// TestRestoreRefusesDamage: a flipped bit or a missing end is noticed wherever it
// is.
func TestRestoreRefusesDamage(t *testing.T) {
	whole := bytesOf(t, populated(t).Freeze())
	for i := range whole {
		b := bytes.Clone(whole)
		b[i] ^= 1 << (i % 8)
		if _, err := Restore(bytes.NewReader(b)); !errors.Is(err, ErrSnapshot) {
			t.Errorf("byte %d is damaged: %v, want ErrSnapshot", i, err)
		}
		if _, err := Restore(bytes.NewReader(whole[:i])); !errors.Is(err, ErrSnapshot) {
			t.Errorf("only %d of %d bytes: %v, want ErrSnapshot", i, len(whole), err)
		}
	}
	if m, err := Restore(iotest.OneByteReader(bytes.NewReader(whole))); err != nil || !bytes.Equal(bytesOf(t, m.Freeze()), whole) {
		t.Errorf("byte by byte: %v", err)
	}
}

// TestRestorePassesErrorsOn: a reader that fails is not a bad snapshot.
func TestRestorePassesErrorsOn(t *testing.T) {
	whole := bytesOf(t, populated(t).Freeze())
	for n := range whole {
		in := io.MultiReader(bytes.NewReader(whole[:n]), iotest.ErrReader(io.ErrClosedPipe))
		if _, err := Restore(in); !errors.Is(err, io.ErrClosedPipe) || errors.Is(err, ErrSnapshot) {
			t.Fatalf("the reader fails after %d of %d bytes: %v, want its error", n, len(whole), err)
		}
	}
}

// TestRestoreChecksContent: a snapshot with a good checksum whose content would
// break the machine later.
func TestRestoreChecksContent(t *testing.T) {
	policyOf := func(m *Machine, name string) *policyState { return m.policies.edit([]byte(name)) }
	budgetOf := func(m *Machine, name, key string) *budget {
		return m.budgets.edit(m.budgetKey(m.policies.get([]byte(name)).id, []byte(key)))
	}
	cellOf := func(m *Machine) *strategy.State {
		return &m.cells.edit(m.budgetKey(policyOf(m, "rate").states, []byte("k"))).State
	}
	slotOf := func(m *Machine) *slotLease { return m.slots.edit(m.slotKey(m.Fences()[0])) }
	for _, tc := range []struct {
		name   string
		breaks func(*Machine)
		want   string
	}{
		{"nothing", func(*Machine) {}, ""},
		{"a sum only shows", func(m *Machine) { policyOf(m, "api").Counters.out.add(5) }, ""},
		{"holders start over", func(m *Machine) { m.nextHolder = 0 }, "comes next"},
		{"a holder to come has credits", func(m *Machine) { m.nextHolder = 3 }, "was never handed out"},
		{"policies start over", func(m *Machine) { m.nextPolicy = 2 }, "was never handed out"},
		{"two policies with one id", func(m *Machine) { policyOf(m, "api").id = policyOf(m, "month").id }, "is there twice"},
		{"a policy with impossible windows", func(m *Machine) { policyOf(m, "api").Cadence.Period = 0 }, "period 0"},
		{"windows that may not begin", func(m *Machine) { policyOf(m, "api").since = m.now + 1 }, "may not begin"},
		{"keys miscounted", func(m *Machine) { policyOf(m, "gone").Counters.keys = 0 }, "counts 0 keys and has 1"},
		{"a budget without its policy", func(m *Machine) {
			m.policies.drop([]byte("gone"))
		}, "which is unknown"},
		{"an empty window", func(m *Machine) {
			budgetOf(m, "api", "k").Ledger = escrow.Open(escrow.Window{Start: 5, End: 5}, 1)
		}, "is empty"},
		{"a window to come", func(m *Machine) {
			budgetOf(m, "api", "k").Ledger = escrow.Open(escrow.Window{Start: m.now + 1, End: m.now + 2}, 1)
		}, "has not begun"},
		{"an edge of the future", func(m *Machine) { m.edges.edit([]byte("e1")).seen = m.now + 1 }, "was seen at"},
		{"an edge with a session to come", func(m *Machine) { m.edges.edit([]byte("e1")).holder = m.nextHolder }, "was never handed out"},
		{"an index that no fence holds", func(m *Machine) { m.index = 1 << 60 }, "is above"},
		{"one id of two things", func(m *Machine) { policyOf(m, "rate").states = policyOf(m, "tokens").states }, "is there twice"},
		{"a strategy without states", func(m *Machine) { policyOf(m, "rate").states = 0 }, "has states 0"},
		{"a guard that is missing", func(m *Machine) { policyOf(m, "guard").guard = nil }, "guard <nil>"},
		{"a kind of the future", func(m *Machine) { policyOf(m, "rate").Kind = 99 }, "kind 99"},
		{"a policy without a strategy", func(m *Machine) { policyOf(m, "rate").Rate, policyOf(m, "rate").Strategy = strategy.Params{}, "" }, "needs a strategy"},
		{"impossible parameters", func(m *Machine) { policyOf(m, "rate").Rate.Limit = -1 }, "policy \"rate\""},
		{"an impossible guard", func(m *Machine) { policyOf(m, "guard").Guard.MinLimit = 0 }, "minLimit"},
		{"an estimate out of range", func(m *Machine) { policyOf(m, "guard").Guard.MinLimit, policyOf(m, "guard").Guard.InitialLimit = 9, 9 }, "is outside"},
		{"states miscounted", func(m *Machine) { policyOf(m, "rate").Counters.states = 9 }, "counts 9 states and has 2"},
		{"slots miscounted", func(m *Machine) { policyOf(m, "guard").guard.inflight-- }, "counts 1 slots and has 2"},
		{"a cell of a meter", func(m *Machine) {
			p := policyOf(m, "tokens")
			c := &cell{*cellOf(m), p.states}
			m.cells.put(m.budgetKey(p.states, []byte("c")), c)
		}, "cell \"c\" of policy \"tokens\""},
		{"a meter of a strategy", func(m *Machine) {
			p := policyOf(m, "rate")
			m.meters.put(m.budgetKey(p.states, []byte("x")), &meter{escrow.Meter{End: 1, Served: 1}, p.states})
		}, "meter \"x\" of policy \"rate\""},
		{"a cold cell", func(m *Machine) {
			*cellOf(m) = strategy.State{}
		}, "is cold"},
		{"a cell of a policy to come", func(m *Machine) {
			c := &cell{*cellOf(m), m.nextPolicy}
			m.cells.put(m.budgetKey(m.nextPolicy, []byte("c")), c)
		}, "was never handed out"},
		{"a meter without a debit", func(m *Machine) {
			m.meters.edit(m.budgetKey(policyOf(m, "tokens").states, []byte("k"))).Served = 0
		}, "has served 0"},
		{"a slot that has ended", func(m *Machine) { slotOf(m).end = m.now }, "is over"},
		{"a slot that lasts too long", func(m *Machine) { slotOf(m).end = m.now + SlotTTL + 1 }, "lasts too long"},
		{"a slot of the future", func(m *Machine) { slotOf(m).start = m.now + 1 }, "has not begun"},
		{"a slot of an entry to come", func(m *Machine) {
			s := *slotOf(m)
			m.slots.put(m.slotKey((m.index+1)<<positionBits), &s)
		}, "entry to come"},
		{"a slot of no guard", func(m *Machine) { slotOf(m).guard = policyOf(m, "rate").id }, "is not that of a guard"},
		{"a slot out of none", func(m *Machine) { slotOf(m).atAcquire = 0 }, "one of 0"},
		{"an alarm of the future", func(m *Machine) { m.alarms[0].At = m.now + 1 }, "alarm"},
		{"a policy forgotten in the future", func(m *Machine) { m.forgotten = m.now + 1 }, "was forgotten"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := populated(t)
			tc.breaks(m)
			_, err := Restore(bytes.NewReader(bytesOf(t, m.Freeze())))
			switch {
			case tc.want == "" && err != nil:
				t.Error(err)
			case tc.want != "" && (!errors.Is(err, ErrSnapshot) || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("Restore: %v, want %q", err, tc.want)
			}
			if tc.name != "nothing" && m.Check() == nil {
				t.Error("Check has nothing to report")
			}
		})
	}
}
