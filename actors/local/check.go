package local

import (
	"errors"
	"fmt"
	"slices"
)

// Check returns every broken invariant of the package doc that the state alone
// shows, and every count and index that is wrong.
func (k *Keeper) Check() error {
	var c checker
	for id, v := range k.values {
		c.value(k, id, v)
	}
	c.counts(k)
	c.tables(k)
	for id, w := range k.waits {
		if w.ask.ID != id || w.value.waits[id] != w || w.attempt.waits[id] != w || k.values[w.value.id] != w.value {
			c.addf("L6: question %d is not known to its value or its attempt", id)
		}
	}
	return errors.Join(c...)
}

type checker []error

func (c *checker) addf(format string, args ...any) { *c = append(*c, fmt.Errorf(format, args...)) }

func (c *checker) value(k *Keeper, id uint64, v *value) {
	if v.id != id || v.phase == 0 || v.phase == phaseQueued && !v.shared {
		c.addf("value %d: id %d, phase %d", id, v.id, v.phase)
	}
	used := len(v.users) > 0 || v.handing
	switch {
	case v.phase == phaseReleasing && (used || !v.dropped):
		c.addf("L1: value %d is released, dropped %v, used by %d, handed off %v", id, v.dropped, len(v.users), v.handing)
	case v.phase == phaseThere && v.dropped && !used:
		c.addf("L1: value %d is dropped and unused, but not released", id)
	case v.phase != phaseThere && v.phase != phaseReleasing && used:
		c.addf("L1: value %d is used before it was built", id)
	}
	if len(v.waits) > 0 && (v.dropped || v.phase != phaseQueued && v.phase != phaseBuilding) {
		c.addf("L6: %d questions wait for value %d in phase %d, dropped %v", len(v.waits), id, v.phase, v.dropped)
	}
	if v.phase == phaseQueued && len(v.waits) == 0 {
		c.addf("L6: nobody waits for value %d, which is queued", id)
	}
	if v.isIdle != slices.Contains(k.idle, v) {
		c.addf("L5: value %d is idle: %v, its place says otherwise", id, v.isIdle)
	}
	idle := v.shared && v.phase == phaseThere && !v.dropped && !used && len(v.holders) == 0
	if v.isIdle != idle {
		c.addf("L5: value %d is idle: %v, of %d holders and %d users", id, v.isIdle, len(v.holders), len(v.users))
	}
	for number := range v.users {
		if a := k.attempts[number]; a == nil {
			c.addf("L1: value %d is used by function %d, which has returned", id, number)
		} else if _, ok := a.values[v]; !ok {
			c.addf("L1: function %d does not know that it uses value %d", number, id)
		}
	}
	for name, r := range v.holders {
		if _, ok := r.shared[v]; !ok || k.runs[name] != r {
			c.addf("L5: value %d is held by run %s, which does not know it", id, name)
		}
	}
	if v.counted != v.counts() {
		c.addf("value %d counts as %v, and is %v", id, v.counted, v.counts())
	}
}

func (c *checker) counts(k *Keeper) {
	count, releasing := 0, 0
	var bytes, going int64
	for _, v := range k.values {
		switch {
		case !v.shared || v.phase == phaseQueued:
			continue
		case v.phase == phaseReleasing:
			releasing++
			going += v.bytes
		case v.phase == phaseThere:
			bytes += v.bytes
		}
		count++
	}
	if count != k.sharedCount || count > k.cfg.SharedMax {
		c.addf("L3: %d shared values, %d counted, at most %d", count, k.sharedCount, k.cfg.SharedMax)
	}
	if bytes != k.bytes || k.cfg.SharedBytesMax > 0 && bytes > k.cfg.SharedBytesMax {
		c.addf("L4: %d bytes, %d counted, at most %d", bytes, k.bytes, k.cfg.SharedBytesMax)
	}
	if releasing != k.releasing || going != k.releasingBytes {
		c.addf("releases: %d of %d bytes, counted %d of %d", releasing, going, k.releasing, k.releasingBytes)
	}
}

func (c *checker) tables(k *Keeper) {
	for key, v := range k.shared {
		if !v.shared || v.dropped || v.local != key.local || v.key != key.key || k.values[v.id] != v {
			c.addf("L2: %v leads to value %d of %q %q", key, v.id, v.local, v.key)
		}
	}
	for id, r := range k.runs {
		for name, v := range r.private {
			if v.shared || v.dropped || v.local != name || v.run != id || k.values[v.id] != v {
				c.addf("L2: %q of run %s leads to value %d of %q of run %s", name, id, v.id, v.local, v.run)
			}
		}
		for v := range r.shared {
			if v.holders[id] != r || v.dropped {
				c.addf("L5: run %s holds value %d, which does not know it", id, v.id)
			}
		}
		for number, a := range r.attempts {
			if k.attempts[number] != a {
				c.addf("run %s has function %d, which has returned", id, number)
			}
		}
		if len(r.attempts) == 0 && len(r.private) == 0 && len(r.shared) == 0 && r.handed == nil {
			c.addf("run %s is remembered for nothing", id)
		}
	}
	for _, v := range k.values {
		linked := v.shared && k.shared[sharedKey{v.local, v.key}] == v || !v.shared && k.runs[v.run] != nil && k.runs[v.run].private[v.local] == v
		if linked == v.dropped {
			c.addf("L2: value %d is dropped: %v, linked: %v", v.id, v.dropped, linked)
		}
	}
	for i, v := range k.idle {
		if i > 0 && v.idleSince.Before(k.idle[i-1].idleSince) {
			c.addf("value %d is idle for longer than the one before it", v.id)
		}
	}
}
