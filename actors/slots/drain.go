package slots

import (
	"maps"
	"slices"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// Drain lets the worker come to its end: steps of runs that may go elsewhere
// are refused, those of HARD runs are served until the deadline.
func (c *Core) Drain(now, deadline time.Time) []Action {
	if !c.begin() {
		return nil
	}
	if !c.draining {
		c.draining, c.deadline, c.load.urgent = true, deadline, true
		for _, a := range slices.Clone(c.queue) {
			if a.phase == phaseQueued && a.dispatch.Sticky != messages.Sticky_STICKY_HARD {
				c.turnAway(a, RefusedDraining)
			}
		}
	}
	c.deadline = minTime(c.deadline, deadline)
	return c.end(now)
}

// Superseded ends everything without a further word to the runs: another
// process was admitted under the worker's id, or this one was declared dead.
func (c *Core) Superseded(now time.Time, cause error) []Action {
	if c.begin() {
		c.superseded = true
		c.stop(cause)
	}
	return c.end(now)
}

// GivenUp says that the server at a host had declared this process gone, and
// sees it again. Attempts of its runs that go elsewhere then are lost and tried
// again there: here they end. HARD runs have waited for this process, and go
// on, and so do the runs of other servers, which may have seen it all the time:
// the one that is back may have been the one that was cut off.
func (c *Core) GivenUp(now time.Time, host string, cause error) []Action {
	if !c.begin() {
		return nil
	}
	lost := func(a *attempt) bool {
		return a.dispatch.Sticky != messages.Sticky_STICKY_HARD && a.run.reply.Host == host
	}
	for _, a := range slices.Clone(c.queue) {
		if a.phase == phaseQueued && lost(a) {
			c.turnAway(a, RefusedRevoked)
		}
	}
	for _, id := range c.functionIDs() {
		if a := c.byID[id]; a.phase != phaseEnded && a.phase != phaseForgotten && lost(a) {
			c.abandon(now, a, cause)
		}
	}
	c.serve(now)
	return c.end(now)
}

// turnAway refuses a queued attempt after all.
func (c *Core) turnAway(a *attempt, reason string) {
	c.dequeue(a)
	c.refuse(a.run.reply, a.dispatch, reason)
	c.forget(a, markWithdrawn)
}

// functionIDs returns the functions that have not returned, in the order of
// their starts.
func (c *Core) functionIDs() []uint64 { return slices.Sorted(maps.Keys(c.byID)) }

// settle ends a drain that has nothing left to wait for.
func (c *Core) settle(now time.Time) {
	if !c.draining || c.stopped {
		return
	}
	if len(c.byID) > 0 || len(c.queue) > 0 || c.unacked > 0 {
		c.quietSince = time.Time{}
	} else if c.quietSince.IsZero() {
		c.quietSince = now
	}
	if c.drained(now) {
		c.stop(nil)
	} else if !now.Before(c.deadline) {
		c.stop(messages.Errorf(messages.CodeWorkerLost, "worker %q stops: its grace period is over", c.cfg.WorkerID))
	}
}

func (c *Core) drained(now time.Time) bool {
	if c.quietSince.IsZero() {
		return false
	}
	return c.hard == 0 || now.Sub(c.quietSince) >= DrainLinger
}

// stop cancels all that runs, in the order in which it was started.
func (c *Core) stop(cause error) {
	c.stopped = true
	for _, id := range c.functionIDs() {
		c.cancel(c.byID[id], cause)
	}
	c.queue = nil
	c.timers = nil
	c.out = append(c.out, Action{Kind: Stopped, Err: cause})
}
