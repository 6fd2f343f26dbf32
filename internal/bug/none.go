//go:build !bugs

package bug

// Planted reports whether the build has a mistake. This one has none.
func Planted(Name) bool { return false }
