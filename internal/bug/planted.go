//go:build bugs

package bug

// planted is set by the linker.
var planted string

// Planted reports whether the build has a mistake.
func Planted(n Name) bool { return string(n) == planted }
