package edge

import "testing"

// TestPseudonym: the second test case of RFC 4231.
func TestPseudonym(t *testing.T) {
	const want = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
	if got := Pseudonym([]byte("Jefe"), "what do ya want for nothing?"); got != want {
		t.Errorf("Pseudonym = %s, want %s", got, want)
	}
}
