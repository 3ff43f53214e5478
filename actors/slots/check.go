package slots

import (
	"errors"
	"fmt"
)

// Check returns every broken invariant of the package doc that the state alone
// shows, and what is inconsistent of the indexes and counts.
func (c *Core) Check() error {
	if c.stopped {
		return nil
	}
	return errors.Join(c.checkW1(), c.checkW3(), c.checkW4(), c.checkW5(), c.checkW7(), c.checkW8(), c.checkW9(), c.checkW10(), c.checkIndexes(), c.checkCounts())
}

// checkW1: functions that hold a slot are never more than the slots.
func (c *Core) checkW1() error {
	taken := 0
	for _, a := range c.byID {
		if a.holds {
			taken++
		}
	}
	if taken != c.taken || taken > c.slots {
		return fmt.Errorf("W1: %d functions hold a slot, %d counted, %d slots", taken, c.taken, c.slots)
	}
	return nil
}

// checkW3: a result is kept, and is due to be sent again.
func (c *Core) checkW3() error {
	unacked, kept := 0, 0
	for _, r := range c.runs {
		for _, a := range r.held {
			if a.phase != phaseEnded {
				continue
			}
			unacked++
			kept += bytesOf(a.result)
			if a.result == nil || !a.inTimers.In() {
				return fmt.Errorf("W3: result of %s/%s#%d is not kept", r.id, a.step, a.number)
			}
		}
	}
	if unacked != c.unacked || kept != c.kept {
		return fmt.Errorf("W3: %d results of %d bytes are kept, %d of %d counted", unacked, kept, c.unacked, c.kept)
	}
	return nil
}

// checkW4: nothing is queued while a slot is free, and may be given away.
func (c *Core) checkW4() error {
	if c.queue.Len() > 0 && c.taken < c.slots && c.mayGoOn(c.queue.First()) && c.apartDue().IsZero() {
		return fmt.Errorf("W4: %d queued while %d of %d slots are taken", c.queue.Len(), c.taken, c.slots)
	}
	return nil
}

// checkW5: the queue is in order, and holds what waits for a slot.
func (c *Core) checkW5() error {
	for i, a := range c.queue.Items() {
		if a.phase != phaseQueued && a.phase != phaseReturning {
			return fmt.Errorf("W5: queue[%d]: phase %d", i, a.phase)
		}
	}
	if err := c.queue.Check(); err != nil {
		return fmt.Errorf("W5: %w", err)
	}
	return nil
}

// checkW7: bound runs are asked about, the longest unheard first.
func (c *Core) checkW7() error {
	bound := 0
	for _, r := range c.runs {
		if r.bound {
			bound++
		}
		if r.bound != (r.asked != nil) {
			return fmt.Errorf("W7: run %s is bound: %v, is asked about: %v", r.id, r.bound, r.asked != nil)
		}
	}
	if bound != c.bound || bound != c.asks.order.Len() {
		return fmt.Errorf("W7: %d runs are bound, %d counted, %d asked about", bound, c.bound, c.asks.order.Len())
	}
	for e := c.asks.order.Front(); e != nil && e.Next() != nil; e = e.Next() {
		if e.Value.(*run).heardAt.After(e.Next().Value.(*run).heardAt) {
			return fmt.Errorf("W7: run %s is asked about before its turn", e.Value.(*run).id)
		}
	}
	return nil
}

// checkW8: of the suspects one has the turn, and none stands aside for nobody.
func (c *Core) checkW8() error {
	aside := 0
	for _, a := range c.queue.Items() {
		if a.queueClass == classAside {
			aside++
		}
	}
	turn := c.suspects.turn
	if aside != c.suspects.aside || aside > 0 && turn == nil {
		return fmt.Errorf("W8: %d stand aside, %d counted, one has the turn: %v", aside, c.suspects.aside, turn != nil)
	}
	if turn != nil && turn.phase != phaseQueued && turn.phase != phaseRunning {
		return fmt.Errorf("W8: %s/%s#%d has the turn, phase %d", turn.run.id, turn.step, turn.number, turn.phase)
	}
	for _, a := range c.byID {
		if a.phase == phaseRunning && a.dispatch.Suspect && a.queueClass != classReturning && a != turn {
			return fmt.Errorf("W8: %s/%s#%d works, and it is not its turn", a.run.id, a.step, a.number)
		}
	}
	return nil
}

// checkW10: what is kept waits, and holds no slot.
func (c *Core) checkW10() error {
	kept, unreturned, bytes := 0, 0, int64(0)
	for _, a := range c.byID {
		if a.unreturned {
			unreturned++
		}
		if a.idleWaits == 0 {
			continue
		}
		kept++
		if !a.crowded {
			bytes += a.keptBytes
		}
		if a.phase != phaseWaiting || a.holds || a.cause != nil || a.inKept == nil {
			return fmt.Errorf("W10: %s/%s#%d is kept, phase %d, holds a slot: %v", a.run.id, a.step, a.number, a.phase, a.holds)
		}
	}
	if kept != c.keeps.len() || c.keeps.waits.Len() > c.cfg.KeptMax || unreturned != c.keeps.unreturned || bytes != c.keeps.bytes {
		return fmt.Errorf("W10: %d of %d bytes are kept, %d of %d counted; %d have not returned, %d counted", kept, bytes, c.keeps.len(), c.keeps.bytes, unreturned, c.keeps.unreturned)
	}
	return nil
}

// checkW9: what counts as held is, the longest first.
func (c *Core) checkW9() error {
	held := 0
	for _, a := range c.byID {
		if !a.heldAt.IsZero() {
			held++
		}
	}
	if held != len(c.held.functions) || held > c.taken {
		return fmt.Errorf("W9: %d slots are held, %d counted, %d are taken", held, len(c.held.functions), c.taken)
	}
	for i, a := range c.held.functions {
		if c.byID[a.id] != a || !a.holds || a.phase != phaseEnded && a.phase != phaseForgotten {
			return fmt.Errorf("W9: %s/%s#%d counts as held, phase %d", a.run.id, a.step, a.number, a.phase)
		}
		if i > 0 && a.heldAt.Before(c.held.functions[i-1].heldAt) {
			return fmt.Errorf("W9: %s/%s#%d is out of order", a.run.id, a.step, a.number)
		}
	}
	return nil
}

// checkIndexes: what is found by an id, an address or a time is what it says.
func (c *Core) checkIndexes() error {
	for id, a := range c.byID {
		if a.id != id || a.phase == phaseQueued {
			return fmt.Errorf("function %d: attempt %d, phase %d", id, a.id, a.phase)
		}
	}
	for to, r := range c.replies {
		if r.reply != to || c.runs[r.id] != r {
			return fmt.Errorf("answers to %v go to run %s, which expects them at %v", to, r.id, r.reply)
		}
	}
	if err := c.timers.Check(); err != nil {
		return fmt.Errorf("timers: %w", err)
	}
	return nil
}

// checkCounts: resting runs are those that hold nothing, and all is counted.
func (c *Core) checkCounts() error {
	weight, handing := 0, 0
	for _, r := range c.runs {
		if (r.resting == nil) != (len(r.held) > 0) {
			return fmt.Errorf("run %s rests: %v, held %d", r.id, r.resting != nil, len(r.held))
		}
		if r.resting != nil {
			weight += r.weight
		}
		if r.handing {
			handing++
		}
	}
	if weight != c.idle.weight || weight > c.cfg.MarksMax {
		return fmt.Errorf("counts: marks %d/%d, at most %d", weight, c.idle.weight, c.cfg.MarksMax)
	}
	if handing != c.drain.handing {
		return fmt.Errorf("counts: handing off %d/%d", handing, c.drain.handing)
	}
	return nil
}
