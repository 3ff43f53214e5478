package local

import (
	"errors"
	"fmt"
	"slices"
)

// Check returns every broken invariant of the package doc that the state alone
// shows, and every count and index that is wrong.
func (k *Keeper) Check() error {
	c := checker{k: k}
	for id, v := range k.values {
		c.kind(id, v)
		c.released(v)
		c.users(v)
		c.waits(v)
		c.idle(v)
		c.holders(v)
		c.linked(v)
	}
	c.sharedRoom()
	c.releases()
	c.sharedTable()
	for id, r := range k.runs {
		c.run(id, r)
	}
	c.questions()
	c.idleOrder()
	return errors.Join(c.faults...)
}

type checker struct {
	k      *Keeper
	faults []error
}

func (c *checker) addf(format string, args ...any) {
	c.faults = append(c.faults, fmt.Errorf(format, args...))
}

// kind: a value is what its number and its counts say.
func (c *checker) kind(id uint64, v *value) {
	if v.id != id || v.phase == 0 || v.phase == phaseQueued && !v.shared {
		c.addf("value %d: id %d, phase %d", id, v.id, v.phase)
	}
	if v.counted != v.counts() {
		c.addf("value %d counts as %v, and is %v", id, v.counted, v.counts())
	}
}

// released is L1: what is dropped is released once nobody uses it, and not
// before.
func (c *checker) released(v *value) {
	used := v.used()
	switch {
	case v.phase == phaseReleasing && (used || !v.dropped):
		c.addf("L1: value %d is released, dropped %v, used by %d, handed off %v", v.id, v.dropped, len(v.users), v.handing)
	case v.phase == phaseThere && v.dropped && !used:
		c.addf("L1: value %d is dropped and unused, but not released", v.id)
	case v.phase != phaseThere && v.phase != phaseReleasing && used:
		c.addf("L1: value %d is used before it was built", v.id)
	}
}

// users is L1: who uses a value has not returned, and knows that it uses it.
func (c *checker) users(v *value) {
	for number := range v.users {
		a := c.k.attempts[number]
		if a == nil {
			c.addf("L1: value %d is used by function %d, which has returned", v.id, number)
			continue
		}
		if _, ok := a.values[v]; !ok {
			c.addf("L1: function %d does not know that it uses value %d", number, v.id)
		}
	}
}

// waits is L6: who waits, waits for a value that is on its way.
func (c *checker) waits(v *value) {
	if len(v.waits) > 0 && (v.dropped || v.phase != phaseQueued && v.phase != phaseBuilding) {
		c.addf("L6: %d questions wait for value %d in phase %d, dropped %v", len(v.waits), v.id, v.phase, v.dropped)
	}
	if v.phase == phaseQueued && len(v.waits) == 0 {
		c.addf("L6: nobody waits for value %d, which is queued", v.id)
	}
}

// idle is L5: only what nobody holds, uses or waits for may be evicted.
func (c *checker) idle(v *value) {
	if v.isIdle != slices.Contains(c.k.idle, v) {
		c.addf("L5: value %d is idle: %v, its place says otherwise", v.id, v.isIdle)
	}
	idle := v.shared && v.phase == phaseThere && !v.dropped && !v.used() && len(v.holders) == 0
	if v.isIdle != idle {
		c.addf("L5: value %d is idle: %v, of %d holders and %d users", v.id, v.isIdle, len(v.holders), len(v.users))
	}
}

// holders is L5: a run that holds a value knows it.
func (c *checker) holders(v *value) {
	for name, r := range v.holders {
		if _, ok := r.shared[v]; !ok || c.k.runs[name] != r {
			c.addf("L5: value %d is held by run %s, which does not know it", v.id, name)
		}
	}
}

// linked is L2: what may be asked for is found by its run or its key, what was
// dropped is not.
func (c *checker) linked(v *value) {
	var linked bool
	if v.shared {
		linked = c.k.shared[sharedKey{v.local, v.key}] == v
	} else if r := c.k.runs[v.run]; r != nil {
		linked = r.private[v.local] == v
	}
	if linked == v.dropped {
		c.addf("L2: value %d is dropped: %v, linked: %v", v.id, v.dropped, linked)
	}
}

// sharedRoom is L3 and L4: shared values are limited in number and bytes.
func (c *checker) sharedRoom() {
	k := c.k
	count, bytes := 0, int64(0)
	for _, v := range k.values {
		if v.shared && v.phase != phaseQueued {
			count++
		}
		if v.shared && v.phase == phaseThere {
			bytes += v.bytes
		}
	}
	if count != k.sharedCount || count > k.cfg.SharedMax {
		c.addf("L3: %d shared values, %d counted, at most %d", count, k.sharedCount, k.cfg.SharedMax)
	}
	if bytes != k.bytes || k.cfg.SharedBytesMax > 0 && bytes > k.cfg.SharedBytesMax {
		c.addf("L4: %d bytes, %d counted, at most %d", bytes, k.bytes, k.cfg.SharedBytesMax)
	}
}

// releases: the shared values that are being released are counted.
func (c *checker) releases() {
	count, bytes := 0, int64(0)
	for _, v := range c.k.values {
		if v.shared && v.phase == phaseReleasing {
			count++
			bytes += v.bytes
		}
	}
	if count != c.k.releasing || bytes != c.k.releasingBytes {
		c.addf("releases: %d of %d bytes, counted %d of %d", count, bytes, c.k.releasing, c.k.releasingBytes)
	}
}

// sharedTable is L2 for keys.
func (c *checker) sharedTable() {
	for key, v := range c.k.shared {
		if !v.shared || v.dropped || v.local != key.local || v.key != key.key || c.k.values[v.id] != v {
			c.addf("L2: %v leads to value %d of %q %q", key, v.id, v.local, v.key)
		}
	}
}

// run is L2 and L5 for a run, and that it is remembered for something.
func (c *checker) run(id string, r *run) {
	for name, v := range r.private {
		if v.shared || v.dropped || v.local != name || v.run != id || c.k.values[v.id] != v {
			c.addf("L2: %q of run %s leads to value %d of %q of run %s", name, id, v.id, v.local, v.run)
		}
	}
	for v := range r.shared {
		if v.holders[id] != r || v.dropped {
			c.addf("L5: run %s holds value %d, which does not know it", id, v.id)
		}
	}
	for number, a := range r.attempts {
		if c.k.attempts[number] != a {
			c.addf("run %s has function %d, which has returned", id, number)
		}
	}
	if r.empty() {
		c.addf("run %s is remembered for nothing", id)
	}
}

// questions is L6: a question is known to its value and its attempt.
func (c *checker) questions() {
	for id, w := range c.k.waits {
		if w.ask.ID != id || w.value.waits[id] != w || w.attempt.waits[id] != w || c.k.values[w.value.id] != w.value {
			c.addf("L6: question %d is not known to its value or its attempt", id)
		}
	}
}

// idleOrder: the value that nobody has used for the longest is the first.
func (c *checker) idleOrder() {
	for i, v := range c.k.idle {
		if i > 0 && v.idleSince.Before(c.k.idle[i-1].idleSince) {
			c.addf("value %d is idle for longer than the one before it", v.id)
		}
	}
}
