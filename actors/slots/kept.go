package slots

import (
	"container/list"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// Kept attempts are those that do nothing but wait. Their runs are asked to suspend
// them:
//
//	after the KeepFor of their workflow   for IDLE
//	the longest first, beyond KeptMax,    for KEPT_MAX
//	or KeptBytesMax of local state
//	at once while the worker drains       for WORKER_DRAINING
//
// An attempt goes on until its run has said that it is suspended: what it waits for
// may have come. It is asked again until then, also when the drain is over meanwhile: the
// run may have recorded that it is suspended.

type keptAttempts struct {
	// waits are the kept attempts, crowded those that are beyond KeptMax; both the
	// longest first.
	waits, crowded list.List
	// bytes that the runs of the first declare of their local state.
	bytes int64
	// suspended counts those that were, early those of them for KEPT_MAX.
	suspended, early int64
	// unreturned counts functions of suspended attempts that have not returned within
	// CancelGrace. They hold no slot.
	unreturned int
}

func (k *keptAttempts) len() int { return k.waits.Len() + k.crowded.Len() }

func (k *keptAttempts) of(a *attempt) *list.List {
	if a.crowded {
		return &k.crowded
	}
	return &k.waits
}

// Idle says that a function does nothing but wait, and in which calls: their
// WaitsHash. 0 says that it does something. bytes are what its run's local state
// declares.
func (c *Core) Idle(now time.Time, id, waits uint64, bytes int64) []Action {
	if !c.begin() {
		return nil
	}
	a := c.byID[id]
	switch {
	case a == nil:
	case waits == 0 || a.phase != phaseWaiting || a.cause != nil:
		if a.idleWaits != 0 {
			c.notIdle(a)
			c.news(now, a)
		}
	case a.idleWaits != waits:
		c.notIdle(a)
		a.idleWaits, a.idleAt, a.keptBytes = waits, now, bytes
		c.keeps.bytes += bytes
		a.inKept = c.keeps.waits.PushBack(a)
		c.load.dirty = true
		c.askAfterKeep(now, a)
		c.crowd(now)
		c.news(now, a)
	}
	return c.end(now)
}

// notIdle notes that an attempt does something, or is over.
func (c *Core) notIdle(a *attempt) {
	if a.idleWaits == 0 {
		return
	}
	c.keeps.of(a).Remove(a.inKept)
	if !a.crowded {
		c.keeps.bytes -= a.keptBytes
	}
	a.inKept, a.idleWaits, a.crowded = nil, 0, false
	a.askAt, a.asked, a.askReason = time.Time{}, 0, 0
	c.load.dirty = true
}

// crowd has those suspended that have waited the longest, beyond the limits.
func (c *Core) crowd(now time.Time) {
	for c.keeps.waits.Len() > c.cfg.KeptMax || c.cfg.KeptBytesMax > 0 && c.keeps.bytes > c.cfg.KeptBytesMax {
		a := c.keeps.waits.Remove(c.keeps.waits.Front()).(*attempt)
		a.crowded = true
		c.keeps.bytes -= a.keptBytes
		a.inKept = c.keeps.crowded.PushBack(a)
		c.askAfterKeep(now, a)
	}
}

// askAfterKeep sets when the run of a kept attempt is asked.
func (c *Core) askAfterKeep(now time.Time, a *attempt) {
	keepFor, ends := messages.KeepFor(a.dispatch.KeepForMs)
	switch {
	case a.crowded || c.drain.on:
		a.askAt = now
	case a.asked > 0:
		return
	case ends:
		a.askAt = a.idleAt.Add(keepFor)
	default:
		a.askAt = time.Time{}
	}
	c.retime(a)
}

// askToSuspend asks the run of a kept attempt, and again later.
func (c *Core) askToSuspend(now time.Time, a *attempt) {
	to := Address{}
	if a.asked == 0 {
		to, a.askReason = a.run.reply, messages.Reason_REASON_IDLE
	}
	switch {
	case a.crowded:
		a.askReason = messages.Reason_REASON_KEPT_MAX
	case c.drain.on:
		a.askReason = messages.Reason_REASON_WORKER_DRAINING
	}
	c.send(to, a.run.id, &messages.SuspendAttempt{RunId: a.run.id, Step: a.step, Attempt: a.number, Epoch: a.epoch, Reason: a.askReason, IdleWaits: a.idleWaits})
	a.asked++
	a.askAt = now.Add(ResendFirst + jitter(a, ResendMax-ResendFirst))
}

// askOfKept sets anew when the runs are asked: a drain has begun, or has ended.
func (c *Core) askOfKept(now time.Time) {
	for e := c.keeps.waits.Front(); e != nil; e = e.Next() {
		c.askAfterKeep(now, e.Value.(*attempt))
	}
}

// Suspended says that a run has let an attempt go.
func (c *Core) Suspended(now time.Time, m *messages.Suspended) []Action {
	if !c.begin() {
		return nil
	}
	c.heardOf(now, m.RunId)
	if a, _ := c.find(m.RunId, m.Step, m.Attempt); a != nil && a.phase != phaseEnded {
		c.letGo(now, a)
	}
	return c.end(now)
}

// letGo ends a function for a suspension. What it returns is of no interest.
func (c *Core) letGo(now time.Time, a *attempt) {
	c.keeps.suspended++
	if a.crowded {
		c.keeps.early++
	}
	c.load.dirty = true
	c.dequeue(a)
	if c.byID[a.id] != nil {
		c.cancel(a, messages.SuspendedError(a.run.id, a.step, a.number))
		a.giveUp, a.unwinds = now.Add(CancelGrace), true
		if a.run.unwinding == nil {
			a.run.unwinding = map[string]int{}
		}
		a.run.unwinding[a.step]++
	}
	c.forget(a, markAcknowledged)
}

// unwound notes that the function of a suspended attempt has returned, or that its
// time for that is over. A later attempt of the step waits for that: two of them do not
// act side by side because what the step waits for came in that moment. A run asks for
// its state as soon as it has suspended the last attempt: the question is taken up after
// the last function, for the run asks again only after seconds, in which it could not
// go on.
func (c *Core) unwound(a *attempt) {
	if !a.unwinds {
		return
	}
	a.unwinds = false
	r := a.run
	if r.unwinding[a.step]--; r.unwinding[a.step] == 0 {
		delete(r.unwinding, a.step)
		for _, later := range r.held {
			if later.step == a.step && later.phase == phaseQueued && !later.inQueue.In() {
				c.enqueue(later)
			}
		}
	}
	if len(r.unwinding) > 0 {
		return
	}
	r.unwinding = nil
	if r.handOffAsked != nil {
		c.out = append(c.out, Action{Kind: AskedToHandOff, RunID: r.id, Message: r.handOffAsked})
		r.handOffAsked = nil
	}
}
