package model

import (
	"errors"
	"sync"
	"sync/atomic"
)

// parallel calls f for each item below n, from at most the given number of
// goroutines, numbered from 0, and joins their errors. A goroutine ends with its
// first error.
func parallel(goroutines, n int, f func(goroutine, item int) error) error {
	var next atomic.Int64
	run := func(g int) error {
		for {
			i := int(next.Add(1)) - 1
			if i >= n {
				return nil
			}
			if err := f(g, i); err != nil {
				return err
			}
		}
	}
	goroutines = min(goroutines, n)
	if goroutines <= 1 {
		return run(0) // most levels of small models
	}
	errs := make([]error, goroutines)
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() { errs[g] = run(g) })
	}
	wg.Wait()
	return errors.Join(errs...)
}
