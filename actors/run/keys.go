package run

import (
	"slices"

	"github.com/limpetrun/limpet/messages"
)

// heldKeys are the hashes by which placement knows the shared local state that
// the run's input asks for, in order.
func (m *Machine) heldKeys() []uint64 {
	if len(m.s.Start.LocalKeys) == 0 {
		return nil
	}
	hashes := make([]uint64, 0, len(m.s.Start.LocalKeys))
	for local, key := range m.s.Start.LocalKeys {
		hashes = append(hashes, messages.HeldKey(local, key))
	}
	slices.Sort(hashes)
	return hashes
}
