package messages

import "hash/fnv"

// HeldKey is the hash by which placement knows a shared value of local state:
// 64 bits of FNV-1a over the name of the state, a zero byte and the key. Two
// keys with the same hash are taken for one by placement, which costs a build
// and nothing else.
func HeldKey[Key string | []byte](local string, key Key) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(local))
	_, _ = h.Write([]byte{0})
	_, _ = h.Write([]byte(key))
	return h.Sum64()
}
