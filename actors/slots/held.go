package slots

import (
	"slices"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// heldSlots are the functions that have not returned within CancelGrace of the end
// of their contexts. Their attempts are over. Each holds its slot until it returns,
// which may be never: nothing but the end of the process ends a function.
type heldSlots struct {
	// functions, the longest first.
	functions []*attempt
	// told: those that are queued know that all slots are held.
	told bool
	// over: Overheld was said.
	over bool
}

// Held is a function that holds its slot, and for how long.
type Held struct {
	RunID, Step string
	Attempt     int32
	For         time.Duration
	// Suspended: it holds no slot, and has not returned all the same.
	Suspended bool
}

// longest is how long the first of them has held its slot; 0 if there is none.
func (h *heldSlots) longest(now time.Time) time.Duration {
	if len(h.functions) == 0 {
		return 0
	}
	return now.Sub(h.functions[0].heldAt)
}

// holdSlot notes that the time is over in which a function was to return. One that
// waits for a child has no slot.
func (c *Core) holdSlot(now time.Time, a *attempt) {
	a.giveUp = time.Time{}
	c.retime(a)
	if a.unwinds {
		a.unreturned = true
		c.unwound(a)
	}
	if a.unreturned {
		c.keeps.unreturned++
		c.out = append(c.out, Action{Kind: SlotHeld, Held: a.held(now)})
	}
	if a.unreturned || !a.holds {
		return
	}
	a.heldAt = now
	c.held.functions = append(c.held.functions, a)
	c.load.dirty = true
	c.out = append(c.out, Action{Kind: SlotHeld, Held: a.held(now)})
}

func (a *attempt) held(now time.Time) Held {
	h := Held{RunID: a.run.id, Step: a.step, Attempt: a.number, Suspended: a.unreturned}
	if !a.heldAt.IsZero() {
		h.For = now.Sub(a.heldAt)
	}
	return h
}

// returned notes that a function has returned, in time or not.
func (c *Core) returned(now time.Time, a *attempt) {
	if !a.giveUp.IsZero() {
		a.giveUp = time.Time{}
		c.retime(a)
	}
	if a.unreturned {
		c.keeps.unreturned--
		c.out = append(c.out, Action{Kind: SlotFreed, Held: a.held(now)})
	}
	if a.heldAt.IsZero() {
		return
	}
	c.held.functions = slices.DeleteFunc(c.held.functions, func(h *attempt) bool { return h == a })
	c.out = append(c.out, Action{Kind: SlotFreed, Held: a.held(now)})
}

// allHeld says that no slot comes free unless a function returns after all.
func (c *Core) allHeld() bool { return len(c.held.functions) == c.slots }

// noteHeld tells those that are queued whether all slots are held: their runs may
// go elsewhere. And it says when a slot was held for too long.
func (c *Core) noteHeld(now time.Time) {
	if all := c.allHeld(); all != c.held.told && !c.stopped {
		c.held.told = all
		for _, a := range c.queue.Items() {
			if a.phase == phaseQueued {
				c.sendQueued(now, a)
			}
		}
	}
	if due := c.overheldDue(); !due.IsZero() && !now.Before(due) {
		c.held.over = true
		h := c.held.functions[0].held(now)
		c.out = append(c.out, Action{Kind: Overheld, Held: h, Err: messages.Errorf(messages.CodeSlotHeld,
			"worker %q ends: step %q of run %s, attempt %d, has not returned for %v since its attempt was over, the limit is %v",
			c.cfg.WorkerID, h.Step, h.RunID, h.Attempt, h.For.Round(time.Second), c.cfg.EndIfHeldFor)})
	}
}

// overheldDue is when a slot will have been held for too long; zero for never.
func (c *Core) overheldDue() time.Time {
	if c.cfg.EndIfHeldFor <= 0 || c.held.over || len(c.held.functions) == 0 {
		return time.Time{}
	}
	return c.held.functions[0].heldAt.Add(c.cfg.EndIfHeldFor)
}
