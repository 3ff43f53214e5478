package verdict

import (
	"slices"
	"time"

	"github.com/limpetrun/limpet/cmd/internal/ledger"
	"github.com/limpetrun/limpet/messages"
)

// thawFor is how long a process that was frozen may act until its functions see
// that their contexts have ended.
const thawFor = 500 * time.Millisecond

// moments are when an execution acted: at its beginning, and whenever it said
// so.
func moments(e *ledger.Execution) []int64 {
	return append([]int64{e.Begin.UnixMicro()}, e.Ticks...)
}

// token that an execution acts with: the epoch of its binding; of a run that is
// not sticky the number of the attempt, among those of its step.
func (h *history) token(e *ledger.Execution) uint64 {
	if h.sticky() == messages.Sticky_STICKY_NONE {
		return uint64(e.Attempt)
	}
	return e.Epoch
}

// checkActing checks that nobody acts for the run any more once another process
// has acted with a larger token. What acts after a freeze is what a system
// outside refuses by the token.
func (h *history) checkActing() {
	for _, e := range h.executions {
		since := int64(0)
		var by *ledger.Execution
		for _, o := range h.executions {
			rival := o.Incarnation != e.Incarnation && h.token(o) > h.token(e) && (h.sticky() != messages.Sticky_STICKY_NONE || o.Step == e.Step)
			if begin := o.Begin.UnixMicro(); rival && (by == nil || begin < since) {
				by, since = o, begin
			}
		}
		if by == nil {
			continue
		}
		first, acts := h.c.unfenced(e, since)
		if acts > 0 {
			h.breaks(RuleOverlap, "%s#%d acts on %s with token %d at %s and %d times more, %s#%d on %s with token %d since %s",
				e.Step, e.Attempt, at(e), h.token(e), clock(first), acts-1, by.Step, by.Attempt, at(by), h.token(by), clock(by.Begin))
		}
	}
}

// unfenced counts the moments at which an execution acted after a time without
// having been frozen, and tells the first; the others are counted as fenced.
func (c *checker) unfenced(e *ledger.Execution, since int64) (first time.Time, acts int) {
	for _, m := range moments(e) {
		switch {
		case m <= since:
		case c.frozenAt(e, time.UnixMicro(m)):
			c.report.Seen.Fenced++
		case acts == 0:
			first = time.UnixMicro(m)
			acts++
		default:
			acts++
		}
	}
	return first, acts
}

// frozenAt says that the process of an execution was frozen at the time, or had
// been a moment before.
func (c *checker) frozenAt(e *ledger.Execution, when time.Time) bool {
	return slices.ContainsFunc(c.faults, func(f Fault) bool {
		if f.Kind != WorkerStop && f.Kind != WorkerPause || f.Target != e.Worker || when.Before(f.At.Add(-slack)) {
			return false
		}
		p := c.struck(&f, e.Worker)
		return p != nil && p.Incarnation == e.Incarnation && (f.Until.IsZero() || !when.After(f.Until.Add(thawFor)))
	})
}

// checkLetIn checks that a second process was let in only when the first had
// ended, or was out of reach.
func (c *checker) checkLetIn(f *Fault) {
	p := c.struck(f, f.Target)
	if f.PID == 0 || p == nil || p.Ready.IsZero() {
		return
	}
	var first *ledger.Process
	for i := range c.evidence.Processes {
		if o := &c.evidence.Processes[i]; o.Worker == p.Worker && o.Incarnation < p.Incarnation && !o.Ready.IsZero() {
			first = o
		}
	}
	if first == nil {
		return
	}
	w := &messages.WorkerRef{WorkerId: first.Worker, Incarnation: first.Incarnation}
	if !slices.ContainsFunc(c.faultsOf(w, p.Ready), func(f *Fault) bool {
		return slices.Contains([]Kind{WorkerKill, WorkerStop, WorkerLeave, Partition, PartitionSplit, PartitionServers, OneWay, Loss}, f.Kind)
	}) {
		c.breaks(RuleSameID, "", "%s~%s was let in at %s, and %s~%s was there", p.Worker, p.Incarnation, clock(p.Ready), first.Worker, first.Incarnation)
	}
}

// checkSameID checks that a process acts no more once a later one of its worker
// id has been admitted.
func (c *checker) checkSameID() {
	for i := range c.faults {
		if c.faults[i].Kind == WorkerDouble {
			c.checkLetIn(&c.faults[i])
		}
	}
	byWorker := map[string][]*ledger.Process{}
	for i := range c.evidence.Processes {
		p := &c.evidence.Processes[i]
		byWorker[p.Worker] = append(byWorker[p.Worker], p)
	}
	// since is when a later process of the id was admitted first.
	since := map[string]*ledger.Process{}
	for _, all := range byWorker {
		for i, p := range all {
			for _, later := range all[i+1:] {
				if first := since[p.Incarnation]; !later.Ready.IsZero() && (first == nil || later.Ready.Before(first.Ready)) {
					since[p.Incarnation] = later
				}
			}
		}
	}
	for i := range c.evidence.Executions {
		e := &c.evidence.Executions[i]
		later := since[e.Incarnation]
		if later == nil {
			continue
		}
		// An act that a token fences is counted where that is found.
		fenced := c.report.Seen.Fenced
		first, acts := c.unfenced(e, later.Ready.UnixMicro())
		c.report.Seen.Fenced = fenced
		if acts > 0 {
			c.breaks(RuleSameID, e.Run, "%s#%d acts on %s at %s, and %s~%s was admitted at %s", e.Step, e.Attempt, at(e), clock(first), later.Worker, later.Incarnation, clock(later.Ready))
		}
	}
}
