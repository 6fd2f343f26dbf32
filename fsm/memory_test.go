package fsm

import (
	"runtime"
	"testing"
)

// heapOf returns how many bytes of heap f's result holds.
func heapOf[T any](f func() T) (T, uint64) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	v := f()
	runtime.GC()
	runtime.ReadMemStats(&after)
	return v, after.HeapAlloc - before.HeapAlloc
}

// bytesPerBudget is the most that a budget with a key of 15 bytes and one holder
// may take.
const bytesPerBudget = 256

func TestMemoryPerBudget(t *testing.T) {
	for _, budgets := range []int{140_000, 200_000} {
		m, heap := heapOf(func() *Machine { return fill(t, budgets) })
		got := heap / uint64(budgets)
		t.Logf("%d budgets: %d bytes each", budgets, got)
		if got > bytesPerBudget {
			t.Errorf("%d budgets take %d bytes each, want at most %d", budgets, got, bytesPerBudget)
		}
		runtime.KeepAlive(m)
	}
}

// bytesPerCell is the most that a gcra cell with a key of 15 bytes may take.
const bytesPerCell = 200

func TestMemoryPerCell(t *testing.T) {
	const cells = 200_000
	m, heap := heapOf(func() *Machine {
		m := requestMachine(t)
		warm(t, m, "gcra", cells)
		m.slab = nil
		return m
	})
	got := heap / cells
	t.Logf("%d bytes each", got)
	if got > bytesPerCell {
		t.Errorf("%d cells take %d bytes each, want at most %d", cells, got, bytesPerCell)
	}
	runtime.KeepAlive(m)
}

// BenchmarkMemory: a million budgets. The time is that of making them.
func BenchmarkMemory(b *testing.B) {
	const budgets = 1_000_000
	for b.Loop() {
		m, heap := heapOf(func() *Machine { return fill(b, budgets) })
		b.ReportMetric(float64(heap)/budgets, "bytes/budget")
		runtime.KeepAlive(m)
	}
}
