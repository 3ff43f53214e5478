package slots

import (
	"errors"
	"fmt"
)

// Check returns every broken invariant of the package doc that the state alone
// shows: W1, W3, W4, W5, W7 and the consistency of the indexes.
func (c *Core) Check() error {
	if c.stopped {
		return nil
	}
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	taken := 0
	for id, a := range c.byID {
		if a.holds {
			taken++
		}
		if a.id != id || a.phase == phaseQueued {
			fail("function %d: phase %d", id, a.phase)
		}
	}
	if taken != c.taken || taken > c.slots {
		fail("W1: %d functions hold a slot, %d counted, %d slots", taken, c.taken, c.slots)
	}
	if len(c.queue) > 0 && c.taken < c.slots && !c.leaseless {
		fail("W4: %d queued while %d of %d slots are taken", len(c.queue), c.taken, c.slots)
	}
	for i, a := range c.queue {
		if a.queueIndex != i || a.phase != phaseQueued && a.phase != phaseReturning {
			fail("W5: queue[%d]: index %d, phase %d", i, a.queueIndex, a.phase)
		}
		if parent := (i - 1) / 2; i > 0 && a.goesBefore(c.queue[parent]) {
			fail("W5: queue[%d] goes before queue[%d]", i, parent)
		}
	}
	for to, r := range c.replies {
		if r.reply != to || c.runs[r.id] != r {
			fail("answers to %v go to run %s, which expects them at %v", to, r.id, r.reply)
		}
	}
	unacked, bound, weight, handing := 0, 0, 0, 0
	for _, r := range c.runs {
		if r.bound {
			bound++
		}
		if r.handing {
			handing++
		}
		if r.bound != (r.asked != nil) {
			fail("W7: run %s is bound: %v, and is not asked about", r.id, r.bound)
		}
		if (r.resting == nil) != (len(r.held) > 0) {
			fail("run %s rests: %v, held %d", r.id, r.resting != nil, len(r.held))
		}
		if r.resting != nil {
			weight += r.weight
		}
		for _, a := range r.held {
			if a.phase == phaseEnded {
				unacked++
				if a.result == nil || a.heapIndex < 0 {
					fail("W3: result of %s/%s#%d is not kept", r.id, a.step, a.number)
				}
			}
		}
	}
	if unacked != c.unacked || bound != c.bound || weight != c.idle.weight || weight > c.cfg.MarksMax {
		fail("counts: unacked %d/%d bound %d/%d marks %d/%d", unacked, c.unacked, bound, c.bound, weight, c.idle.weight)
	}
	if handing != c.drain.handing || c.asks.order.Len() != bound {
		fail("counts: handing off %d/%d asked about %d/%d", handing, c.drain.handing, bound, c.asks.order.Len())
	}
	return errors.Join(append(errs, c.asks.check())...)
}

// check is W7: who was heard of the longest ago is asked about first.
func (b *boundRuns) check() error {
	for e := b.order.Front(); e != nil && e.Next() != nil; e = e.Next() {
		if e.Value.(*run).heardAt.After(e.Next().Value.(*run).heardAt) {
			return fmt.Errorf("W7: run %s is asked about before its turn", e.Value.(*run).id)
		}
	}
	return nil
}
