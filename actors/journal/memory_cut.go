package journal

import "slices"

func (r *memoryRun) last() uint64 { return r.cut + uint64(len(r.entries)) }

// entry is one of the run, nil if there is none.
func (r *memoryRun) entry(number uint64) []byte {
	if number > r.cut && number <= r.last() {
		return r.entries[number-r.cut-1]
	}
	return r.aside[number]
}

func (r *memoryRun) cutTo(cut uint64, kept []uint64) {
	if cut == 0 {
		return
	}
	r.streams.cut(cut)
	aside := make(map[uint64][]byte, len(kept))
	for _, number := range kept {
		if entry := r.entry(number); entry != nil {
			aside[number] = entry
		}
	}
	if r.aside = aside; cut > r.cut {
		r.entries, r.cut = slices.Clone(r.entries[cut-r.cut:]), cut
	}
}
