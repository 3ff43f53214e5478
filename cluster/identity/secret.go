package identity

import (
	"fmt"
	"math"
	"strings"
)

// Limits of a secret.
const (
	// SecretBytesMin is the least length of a secret.
	SecretBytesMin = 16
	// SecretBitsMin is the least that has to be guessed of a secret, by an estimate that
	// is too high rather than too low.
	SecretBitsMin = 60
)

// WeakSecret says why a secret is soon guessed; "" if it is not. It says nothing of what
// the secret is.
func WeakSecret(secret string) string {
	switch bits := secretBits(secret); {
	case len(secret) < SecretBytesMin:
		return fmt.Sprintf("has %d bytes, and needs at least %d (SecretBytesMin)", len(secret), SecretBytesMin)
	case bits < SecretBitsMin:
		return fmt.Sprintf("is guessed in 2^%.0f tries, for it has few different characters or repeats itself, and needs 2^%d (SecretBitsMin)", bits, SecretBitsMin)
	}
	return ""
}

// secretBits estimates how much is to be guessed: each byte that is no repetition of what
// came before and does not go on with a sequence, such as 1234, has as many values as
// there are characters of its kinds.
func secretBits(secret string) float64 {
	fresh := 0
	for i := 0; i < len(secret); {
		if n := repeated(secret, i); n > 2 {
			i += n
		} else {
			i++
			if i > 2 && secret[i-1]-secret[i-2] == secret[i-2]-secret[i-3] {
				continue
			}
		}
		fresh++
	}
	return float64(fresh) * math.Log2(alphabet(secret))
}

// repeated is how many bytes from i on stood together before.
func repeated(s string, i int) int {
	n := 0
	for i+n < len(s) && n < 64 && strings.Contains(s[:i], s[i:i+n+1]) {
		n++
	}
	return n
}

// alphabet is how many characters there are of the kinds that occur.
func alphabet(s string) float64 {
	kinds := []struct {
		size float64
		is   func(byte) bool
	}{
		{10, func(c byte) bool { return c >= '0' && c <= '9' }},
		{6, func(c byte) bool { return c >= 'a' && c <= 'f' }},
		{20, func(c byte) bool { return c >= 'g' && c <= 'z' }},
		{26, func(c byte) bool { return c >= 'A' && c <= 'Z' }},
		{33, func(c byte) bool { return c < '0' || c > '9' && c < 'A' || c > 'Z' && c < 'a' || c > 'z' }},
	}
	size := 0.0
	for _, k := range kinds {
		for i := range len(s) {
			if k.is(s[i]) {
				size += k.size
				break
			}
		}
	}
	return max(size, 1)
}
