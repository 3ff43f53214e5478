package verdict

import (
	"time"

	"github.com/limpetrun/limpet/cmd/internal/ledger"
	"github.com/limpetrun/limpet/messages"
)

const (
	// drainSettle is how long after its acknowledgement all servers know of a
	// drain.
	drainSettle = 2 * time.Second
	// cutShort is how long after the deadline of a drain functions see that
	// their contexts have ended.
	cutShort = time.Second
)

// drained says that the process was draining, by the API, at the time: everybody
// knew, and nobody had asked to end it. The fault is the drain.
func (c *checker) drained(worker, incarnation string, at time.Time) *Fault {
	for i := range c.faults {
		f := &c.faults[i]
		if f.Kind != WorkerDrain || f.Target != worker || f.Acked.IsZero() || at.Before(f.Acked.Add(drainSettle)) || !f.Lifted.IsZero() && at.After(f.Lifted) {
			continue
		}
		if p := c.struck(f, worker); p != nil && p.Incarnation == incarnation {
			return f
		}
	}
	return nil
}

// disturbed says that news could not travel as usual: something was done to a
// server, the network or the database from just before the one time to the
// other.
func (c *checker) disturbed(from, to time.Time) bool {
	for i := range c.faults {
		f := &c.faults[i]
		if !f.onWorker() && f.At.Before(to) && (f.Until.IsZero() || f.Until.Add(afterwards).After(from)) {
			return true
		}
	}
	return false
}

// checkDrains checks what became of the run at workers that drain.
func (h *history) checkDrains() {
	for _, b := range h.bindings {
		w := b.GetWorker()
		f := h.c.drained(w.GetWorkerId(), w.GetIncarnation(), b.at)
		// A sticky child begins where its parent's step runs, and one that waits stays.
		stays := b.GetReason() == messages.Reason_REASON_CHILD || b.GetReason() == messages.Reason_REASON_IDLE
		if f != nil && !stays && !h.c.disturbed(f.At, b.at) {
			h.breaks(RuleDrain, "bound to %s at %s (%s), which drains since %s", place(w), clock(b.at), b.GetReason().Words(), clock(f.Acked))
		}
	}
	for _, e := range h.executions {
		h.checkDrained(e)
	}
}

// checkDrained checks an execution in a process that drains.
func (h *history) checkDrained(e *ledger.Execution) {
	f := h.c.drained(e.Worker, e.Incarnation, e.Begin)
	if f != nil && h.sticky() == messages.Sticky_STICKY_NONE {
		h.breaks(RuleDrain, "%s#%d is executed on %s at %s, which drains since %s, and the run is not bound there", e.Step, e.Attempt, at(e), clock(e.Begin), clock(f.Acked))
	}
	if f != nil && h.sticky() == messages.Sticky_STICKY_SOFT {
		h.c.report.Seen.Stayed++
	}
	for _, m := range moments(e) {
		when := time.UnixMicro(m)
		f := h.c.drained(e.Worker, e.Incarnation, when)
		if f == nil || f.Deadline == 0 || !when.After(f.Acked.Add(f.Deadline+cutShort)) || h.c.frozenAt(e, when) {
			continue
		}
		h.breaks(RuleDrain, "%s#%d acts on %s at %s, whose drain had its deadline at %s", e.Step, e.Attempt, at(e), clock(when), clock(f.Acked.Add(f.Deadline)))
		return
	}
}
