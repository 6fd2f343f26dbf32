package edge

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
)

// Pseudonym returns a key that stands for another one without revealing it:
// HMAC-SHA-256 under secret, as 64 lower-case hex digits. Equal keys have equal
// pseudonyms at all edges with the same secret.
func Pseudonym(secret []byte, key string) string {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(key)) // never fails
	return hex.EncodeToString(h.Sum(nil))
}
