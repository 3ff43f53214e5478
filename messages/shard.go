package messages

// Shards is the fixed number of shards that run ids fall into. It is part of
// the stored format.
const Shards = 1024

// Shard returns the shard of a run id, the same for ever on every machine.
func Shard(runID string) int { return int(Hash(runID) % Shards) }

// Hash is FNV-1a with a finalizer, without which the hashes of addresses and
// names are skewed. Its values are stored: never change it.
func Hash(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return Mix(h)
}

// Mix is the finalizer of MurmurHash3: every bit of x changes half of the
// result's.
func Mix(x uint64) uint64 {
	x = (x ^ x>>33) * 0xff51afd7ed558ccd
	x = (x ^ x>>33) * 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
