package slots

import (
	"time"

	"github.com/limpetrun/limpet/messages"
)

// loadState is what placement was told and what it has not been told yet.
type loadState struct {
	dirty  bool
	urgent bool
	grants []uint64
	last   time.Time // of the last report; zero before the first
	busy   int32     // running and queued of the last report
	serial uint64
}

func (l *loadState) nextDue() time.Time {
	if l.dirty {
		return l.last.Add(ReportEvery)
	}
	return l.last.Add(Heartbeat)
}

// LoadChanged says that what the shell adds to the load has changed.
func (c *Core) LoadChanged(now time.Time) []Action {
	if !c.begin() {
		return nil
	}
	c.load.dirty = true
	return c.end(now)
}

func (c *Core) sawGrant(id uint64) {
	if id != 0 {
		c.load.grants = append(c.load.grants, id)
		c.load.dirty = true
	}
}

// report tells placement of the load: on change, at most every ReportEvery;
// at once if slots are free that placement must believe taken; and as a
// heartbeat.
func (c *Core) report(now time.Time) {
	l := &c.load
	if c.stopped && !l.urgent {
		return
	}
	if !l.urgent && !c.misjudged() && now.Before(l.nextDue()) {
		return
	}
	l.serial++
	queued := c.queue.Len() - c.suspects.aside
	busy := int32(c.taken + queued)
	c.out = append(c.out, Action{Kind: Report, Load: &messages.LoadReport{
		WorkerId: c.cfg.WorkerID, Incarnation: c.cfg.Incarnation, Pool: c.cfg.Pool,
		Slots: int32(c.slots), Running: int32(c.taken), Queued: int32(queued),
		BoundRuns: int32(c.bound), BoundSoft: int32(c.bound - c.hard), GrantsSeen: l.grants, Serial: l.serial,
		HeldSlots: int32(len(c.held.functions)), HeldMs: c.held.longest(now).Milliseconds(),
		Kept: int32(c.keeps.len()), Suspended: c.keeps.suspended, SuspendedEarly: c.keeps.early,
		Draining: c.drain.on, Ending: c.drain.ending, DrainLeftMs: c.drain.left(now).Milliseconds(),
	}})
	l.grants = nil
	l.dirty, l.urgent, l.last, l.busy = false, false, now, busy
}

// misjudged: as far as placement knows the worker is full, but an eighth of its
// slots is free. Fewer than that can wait for ReportEvery.
func (c *Core) misjudged() bool {
	if !c.load.dirty || int(c.load.busy)+len(c.load.grants) < c.slots {
		return false
	}
	return c.slots-c.taken-c.queue.Len()+c.suspects.aside >= max(1, c.slots/8)
}
