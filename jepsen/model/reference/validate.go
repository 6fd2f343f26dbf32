package reference

import (
	"fmt"
	"slices"
)

// maxSize bounds the numbers that models are made of; far smaller ones are
// already beyond reach.
const maxSize = 1 << 20

// within reports a size below low or above high.
func within(name string, size, low, high int) error {
	if size < low || size > high {
		return fmt.Errorf("%s %d: between %d and %d", name, size, low, high)
	}
	return nil
}

// oneOf reports a word that is not among those that there are.
func oneOf[W ~string](name string, word W, words []W) error {
	if !slices.Contains(words, word) {
		return fmt.Errorf("%s %q: one of %q", name, word, words)
	}
	return nil
}
