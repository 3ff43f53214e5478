package slots

import (
	"maps"
	"slices"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// A draining worker does with the steps that come:
//
//	not sticky, or of a new run       refused; what is queued of them too
//	of a HARD run bound here          served until the deadline
//	of a SOFT run bound here          served until the deadline: the run leaves by
//	                                  itself, at the end of a step, when it may
//
// There are two kinds of drain. They may overlap.
//
//	of an operator, DrainFor   The process stays. At the deadline what runs is
//	                           canceled; from then on HARD runs are refused too.
//	                           Undrain, or another DrainFor, ends that.
//	of the process, Drain      The worker stops as soon as nothing is held, at the
//	                           deadline at the latest. Nothing ends it.
//
// Nothing is held when no function runs but those whose attempts are over, nothing
// is queued for a slot that may come free, every result is acknowledged and no local
// state is being handed off. The worker then waits a little more for what may be on
// its way:
//
//	SOFT runs bound that hand state off   HandOffLinger: they hear of the drain,
//	                                      and ask for their state
//	else HARD runs bound                  DrainLinger: for their next step
//	else                                  no more
//
// SOFT runs that hand nothing off lose no more by the end of the process than by
// moving. A run that does not ask within HandOffLinger sleeps, or no other worker
// has a slot for it.
const (
	DrainLinger   = 250 * time.Millisecond
	HandOffLinger = 3 * time.Second
)

// drainState is how far a worker is on its way out.
type drainState struct {
	// on: nothing new is taken on. ending: the process is to end.
	on, ending bool
	// deadline of an operator's drain, endBy of the process; zero for none.
	deadline, endBy time.Time
	// over: the operator's deadline has passed.
	over bool
	// quietSince is the later of two times: since when nothing is held, and when
	// a run was heard of last. It is zero while something is held.
	quietSince time.Time
	// handing counts the runs whose local state is being handed off.
	handing int
}

// turnsAway says whether a drain has a Dispatch refused.
func (d *drainState) turnsAway(m *messages.Dispatch) bool {
	switch {
	case !d.on:
		return false
	case d.over:
		return true
	}
	return m.Sticky != messages.Sticky_STICKY_HARD && !(m.Sticky == messages.Sticky_STICKY_SOFT && m.Bound)
}

// left is the time until the earliest deadline; 0 for none, and when it is over.
func (d *drainState) left(now time.Time) time.Duration {
	if by := minTime(d.deadline, d.endBy); !by.IsZero() {
		return max(0, by.Sub(now))
	}
	return 0
}

// stirred begins the linger anew.
func (d *drainState) stirred(now time.Time) {
	if !d.quietSince.IsZero() {
		d.quietSince = now
	}
}

// Draining says whether the worker takes on nothing new.
func (c *Core) Draining() bool { return c.drain.on }

// Drain lets the worker come to its end, at the deadline at the latest; of
// several the earliest counts.
func (c *Core) Drain(now, deadline time.Time) []Action {
	if !c.begin() {
		return nil
	}
	c.drain.ending, c.drain.endBy = true, minTime(c.drain.endBy, deadline)
	c.beginDrain(now)
	return c.end(now)
}

// DrainFor is the drain of an operator. Again it sets the deadline anew. Errors:
// WORKER_SUPERSEDED, WORKER_ENDING for a worker that has stopped.
func (c *Core) DrainFor(now, deadline time.Time) ([]Action, error) {
	if !c.begin() {
		return nil, c.hasStopped()
	}
	c.drain.deadline, c.drain.over = deadline, false
	c.beginDrain(now)
	return c.end(now), nil
}

// Undrain ends the drain of an operator; without one it does nothing. Errors:
// WORKER_ENDING, WORKER_SUPERSEDED.
func (c *Core) Undrain(now time.Time) ([]Action, error) {
	switch more := c.begin(); {
	case !more:
		return nil, c.hasStopped()
	case c.drain.ending:
		return nil, messages.Errorf(messages.CodeWorkerEnding, "the process of worker %q was told to end", c.cfg.WorkerID)
	case c.drain.on:
		c.drain = drainState{handing: c.drain.handing}
		c.load.urgent = true
		c.askOfKept(now)
	}
	return c.end(now), nil
}

func (c *Core) hasStopped() error {
	if c.superseded {
		return messages.Errorf(messages.CodeWorkerSuperseded, "this process of worker %q gave way to another one", c.cfg.WorkerID)
	}
	return messages.Errorf(messages.CodeWorkerEnding, "worker %q has stopped", c.cfg.WorkerID)
}

func (c *Core) beginDrain(now time.Time) {
	c.load.urgent = true
	if c.drain.on {
		return
	}
	c.drain.on = true
	c.askOfKept(now)
	for _, a := range slices.Clone(c.queue.Items()) {
		if a.phase == phaseQueued && a.dispatch.Sticky != messages.Sticky_STICKY_HARD {
			c.turnAway(a, messages.Reason_REASON_WORKER_DRAINING)
		}
	}
}

// HandOffBegan and HandOffEnded frame the handing off of a run's local state:
// the process does not end meanwhile.
func (c *Core) HandOffBegan(now time.Time, runID string) []Action {
	return c.handing(now, runID, true)
}

// HandOffEnded says that the state was sent, or could not be handed off.
func (c *Core) HandOffEnded(now time.Time, runID string) []Action {
	return c.handing(now, runID, false)
}

func (c *Core) handing(now time.Time, runID string, begins bool) []Action {
	if !c.begin() {
		return nil
	}
	c.heardOf(now, runID)
	if r := c.runs[runID]; r != nil && r.bound && r.handing != begins {
		r.handing = begins
		c.drain.handing--
		if begins {
			c.drain.handing += 2
		}
	}
	c.drain.stirred(now)
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
// sees it again.
//
//	SOFT and unsticky runs of that server   have gone elsewhere: here they end
//	HARD runs                               have waited for this process: they go on
//	runs of other servers                   go on: those may have seen the process
//	                                        all the time
func (c *Core) GivenUp(now time.Time, host string, cause error) []Action {
	if !c.begin() {
		return nil
	}
	lost := func(a *attempt) bool {
		return a.dispatch.Sticky != messages.Sticky_STICKY_HARD && a.run.reply.Host == host
	}
	for _, a := range slices.Clone(c.queue.Items()) {
		if a.phase == phaseQueued && lost(a) {
			c.turnAway(a, messages.Reason_REASON_REVOKED)
		}
	}
	for _, id := range c.functionIDs() {
		if a := c.byID[id]; a.phase != phaseEnded && a.phase != phaseForgotten && lost(a) {
			c.abandon(now, a, cause)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(c.runs)) {
		if r := c.runs[id]; r.bound && !r.hard && r.reply.Host == host {
			c.released(id, r.epoch, messages.ReleaseReason_RELEASE_REASON_REBOUND)
		}
	}
	c.serve(now)
	return c.end(now)
}

// turnAway refuses a queued attempt after all.
func (c *Core) turnAway(a *attempt, reason messages.Reason) {
	c.dequeue(a)
	c.refuse(a.run.reply, a.dispatch, reason)
	c.forget(a, markWithdrawn)
}

// functionIDs returns the functions that have not returned, in the order of
// their starts.
func (c *Core) functionIDs() []uint64 { return slices.Sorted(maps.Keys(c.byID)) }

// settle carries out what the deadlines of a drain ask for, and ends one that
// has nothing left to wait for.
func (c *Core) settle(now time.Time) {
	d := &c.drain
	if !d.on || c.stopped {
		return
	}
	if !d.deadline.IsZero() && !d.over && !now.Before(d.deadline) {
		c.cutShort(now)
	}
	if !d.ending {
		return
	}
	if c.hasToDo() {
		d.quietSince = time.Time{}
	} else if d.quietSince.IsZero() {
		d.quietSince = now
	}
	if due := c.quietDue(); !due.IsZero() && !now.Before(due) {
		c.stop(nil)
	} else if !now.Before(d.endBy) {
		c.stop(messages.Errorf(messages.CodeWorkerLost, "worker %q stops: its grace period is over", c.cfg.WorkerID))
	}
}

// hasToDo says that there is something to wait for: but not functions that do not
// return, nor what is queued behind them alone.
func (c *Core) hasToDo() bool {
	return len(c.byID) > len(c.held.functions)+c.keeps.unreturned || c.queue.Len() > 0 && !c.allHeld() || c.unacked > 0 || c.drain.handing > 0
}

// cutShort ends all that runs at the deadline of an operator's drain.
func (c *Core) cutShort(now time.Time) {
	c.drain.over, c.load.urgent = true, true
	for _, a := range slices.Clone(c.queue.Items()) {
		if a.phase == phaseQueued {
			c.turnAway(a, messages.Reason_REASON_WORKER_DRAINING)
		}
	}
	for _, id := range c.functionIDs() {
		if a := c.byID[id]; a.phase != phaseEnded && a.phase != phaseForgotten {
			c.abandon(now, a, messages.Errorf(messages.CodeWorkerLost, "worker draining: the deadline of the drain of %q is over", c.cfg.WorkerID))
		}
	}
}

// quietDue is when a worker of which nothing more is heard may end; zero while
// something is held.
func (c *Core) quietDue() time.Time {
	since := c.drain.quietSince
	switch {
	case since.IsZero():
		return since
	case c.handsOff > 0:
		return since.Add(HandOffLinger)
	case c.hard > 0:
		return since.Add(DrainLinger)
	}
	return since
}

// drainDue is when settle has something to do; zero for never.
func (c *Core) drainDue() time.Time {
	d := &c.drain
	if !d.on {
		return time.Time{}
	}
	var due time.Time
	if !d.over {
		due = d.deadline
	}
	if d.ending {
		due = minTime(minTime(due, d.endBy), c.quietDue())
	}
	return due
}

// stop cancels all that runs, in the order in which it was started.
func (c *Core) stop(cause error) {
	c.stopped = true
	for _, id := range c.functionIDs() {
		c.cancel(c.byID[id], cause)
	}
	c.queue, c.timers, c.suspects = newQueue(), newTimers(), suspects{}
	c.out = append(c.out, Action{Kind: Stopped, Err: cause})
}
