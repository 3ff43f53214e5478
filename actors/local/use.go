package local

import (
	"cmp"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/messages"
)

// use is how the kind of a value fares.
func (k *Keeper) use(v *value) *messages.LocalUse {
	key := useKey{v.local, v.shared}
	u := k.uses[key]
	if u == nil {
		u = &messages.LocalUse{Name: v.local, Shared: v.shared}
		k.uses[key] = u
	}
	return u
}

// count brings what a value adds to the use of its kind up to date.
func (k *Keeper) count(v *value) {
	is := v.counts()
	if is == v.counted {
		return
	}
	u := k.use(v)
	u.Values += is.values - v.counted.values
	u.InUse += is.inUse - v.counted.inUse
	u.Bytes += is.bytes - v.counted.bytes
	v.counted = is
}

func (v *value) counts() counted {
	if v.phase != phaseThere && v.phase != phaseReleasing {
		return counted{}
	}
	c := counted{values: 1, bytes: v.bytes}
	held := !v.dropped && (!v.shared || len(v.holders) > 0)
	if held || v.used() {
		c.inUse = 1
	}
	return c
}

// Uses returns how each kind of local state fares that was ever asked for, by
// name. The caller's to keep.
func (k *Keeper) Uses() []*messages.LocalUse {
	out := make([]*messages.LocalUse, 0, len(k.uses))
	for _, u := range k.uses {
		out = append(out, proto.Clone(u).(*messages.LocalUse))
	}
	slices.SortFunc(out, func(a, b *messages.LocalUse) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return cmp.Compare(btoi(a.Shared), btoi(b.Shared))
	})
	return out
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// HeldChanged says whether Held would return something else than it did last.
func (k *Keeper) HeldChanged() bool { return k.changed }

// Held returns the hashes of the keys of the shared values that are there or
// being built, sorted; at most HeldKeysMax, for there are no more. Not to be
// changed.
func (k *Keeper) Held() []uint64 {
	if !k.changed {
		return k.held
	}
	k.changed = false
	k.held = make([]uint64, 0, len(k.shared))
	for key, v := range k.shared {
		if v.phase != phaseQueued {
			k.held = append(k.held, messages.HeldKey(key.local, key.key))
		}
	}
	slices.Sort(k.held)
	return k.held
}
