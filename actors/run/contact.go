package run

import (
	"time"

	"github.com/limpetrun/limpet/messages"
)

// contact is what an activation knows of a live attempt beyond the journal. Small
// fields stand together: there is one for each step in memory.
type contact struct {
	// heard: the worker has answered the last message about it; heardAt: when
	// it last said anything.
	heard bool
	// shares: it was sent without the input, for the worker should have it.
	shares bool
	// takeUp: the attempt was dispatched by an earlier activation, or the
	// worker was out of reach since; takenUpAt says when it was asked for.
	takeUp bool
	// queued at the worker, with so many ahead of so many slots. aside: it waits for
	// suspects, not for a slot.
	queued, aside bool
	waitingChild  bool
	// cleansUp: it runs while the run is canceled, and has not been told so.
	cleansUp     bool
	ahead, slots int32
	// held slots of these, by functions that do not return, since heldAt.
	held int32
	// revoke is the reason of an unanswered Revoke; 0 if there is none.
	revoke messages.Reason

	heardAt, takenUpAt, heldAt, sentAt time.Time
	// unread is what the worker was sent, in bytes, until it has answered.
	unread int
	// startedUs is a start that is not recorded before recordAt; 0 for none.
	startedUs int64
	recordAt  time.Time
	// idleWaits names the calls in which it does nothing but wait, by what its worker
	// said last; 0 if that has not said so.
	idleWaits uint64
	// executesTo is when its execution timeout ends, by what its worker said last;
	// zero if it has said nothing of that, or the attempt stands still.
	executesTo time.Time
	// told is the newest progress of the attempt, if that is not recorded.
	told *told
}

// wait notes what the worker says of its queue.
func (c *contact) wait(msg *messages.Queued, now time.Time) {
	c.ahead, c.slots, c.aside = msg.Ahead, msg.Slots, msg.Aside
	switch {
	case msg.HeldSlots == 0:
		c.heldAt = time.Time{}
	case c.held == 0:
		c.heldAt = now.Add(-time.Duration(msg.HeldMs) * time.Millisecond)
	}
	c.held = msg.HeldSlots
}

// allHeld says that it waits for functions that may never return.
func (c *contact) allHeld() bool { return c.queued && c.held > 0 && c.held >= c.slots }

// hear notes that the worker said something of the attempt.
func (c *contact) hear(now time.Time) { c.heard, c.heardAt, c.unread = true, now, 0 }

// send notes that the worker is told something of the attempt, and is to answer.
func (c *contact) send(now time.Time) { c.heard, c.sentAt = false, now }

// startKnown notes a start; it is recorded after a while, for a short attempt
// says it with its result.
func (c *contact) startKnown(us int64, after time.Duration) {
	c.startedUs, c.recordAt = us, time.UnixMicro(us).Add(after)
}

// resendAt is when what the worker was told is said again: after resend, or, if
// it has answered, after reassure, for what it said since may have been lost.
func (c *contact) resendAt(resend, reassure time.Duration) time.Time {
	if c.heard {
		return c.heardAt.Add(reassure)
	}
	return c.sentAt.Add(resend)
}

// resendAt is when a message about a live attempt is sent again. A cancel is sent
// again until the attempt has ended, whatever the worker says.
func (m *Machine) resendAt(i int) (time.Time, bool) {
	c := &m.contacts[i]
	switch {
	case m.s.Steps[i].Phase != Live || m.s.Binding.Lost:
		return time.Time{}, false
	case c.cleansUp:
		return c.sentAt.Add(m.cfg.CancelGrace / 2), true
	case m.s.Cancel != nil:
		return c.sentAt.Add(m.cfg.ResendAfter), true
	}
	at := c.resendAt(m.cfg.ResendAfter, m.cfg.ReassureAfter)
	if end, ok := m.executionEnd(i); ok && c.heard && c.heardAt.Before(end) {
		// Before it is given up: what the worker said of a wait may have been lost.
		at = earlier(at, end.Add(m.cfg.ResendAfter))
	}
	return at, true
}
