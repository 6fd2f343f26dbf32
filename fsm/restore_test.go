package fsm

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/tkcoord/tkcoord/escrow"
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
