package messages

import "hash/fnv"

// WaitsHash names the waits of an attempt, in any order: it is the same for the same
// calls, and 0 for none. A call waits once, so that a hash stands for one time: when
// one of them has come out it does not come again.
func WaitsHash(calls func(yield func(name, key string) bool)) uint64 {
	var sum uint64
	for name, key := range calls {
		h := fnv.New64a()
		_, _ = h.Write([]byte(name))
		_, _ = h.Write([]byte{0})
		_, _ = h.Write([]byte(key))
		sum += h.Sum64() | 1
	}
	return sum
}
