package verdict

import (
	"slices"
	"time"

	"github.com/limpetrun/limpet/cmd/internal/ledger"
	"github.com/limpetrun/limpet/messages"
)

const (
	// afterwards is how long after its end a fault may still explain that a
	// worker is given up: news of it travels, and a suspicion runs its course.
	afterwards = 15 * time.Second
	// handoffFor is how long a worker that a run leaves may take to hand its state
	// off: a run that has asked goes, also if the worker does not drain any more.
	handoffFor = 30 * time.Second
	// slack is what two processes' notes of one moment may differ.
	slack = 50 * time.Millisecond
)

// struck is the process that a fault on a worker struck; nil if it is not in
// the ledger. Of those that are not told apart by their number it is the last one
// that began before: but not a second one of the id, on a node of its own, that was
// turned away.
func (c *checker) struck(f *Fault, worker string) *ledger.Process {
	var newest *ledger.Process
	for i := range c.evidence.Processes {
		p := &c.evidence.Processes[i]
		switch {
		case p.Worker != worker:
		case f.PID != 0 && f.Target == worker:
			if p.ID == f.PID {
				return p
			}
		case !p.Begin.After(f.At) && !c.turnedAway(p):
			newest = p
		}
	}
	return newest
}

// faultsOf yields the faults on a worker's process that were in force, or had
// been a moment ago, or had ended it before.
func (c *checker) faultsOf(w *messages.WorkerRef, at time.Time) []*Fault {
	var all []*Fault
	for i := range c.faults {
		f := &c.faults[i]
		if !f.strikes(w.GetWorkerId()) || f.At.After(at.Add(slack)) {
			continue
		}
		rest := afterwards
		if f.Kind == WorkerDrain {
			rest += handoffFor
		}
		over := !f.deadly() && !f.Until.IsZero() && at.After(f.Until.Add(rest))
		if p := c.struck(f, w.GetWorkerId()); over || p == nil || p.Incarnation != w.GetIncarnation() {
			continue
		}
		all = append(all, f)
	}
	return all
}

// succeededBy says that a later process of the worker had begun.
func (c *checker) succeededBy(w *messages.WorkerRef, at time.Time) bool {
	return slices.ContainsFunc(c.evidence.Processes, func(p ledger.Process) bool {
		return p.Worker == w.GetWorkerId() && p.Incarnation > w.GetIncarnation() && !p.Begin.After(at.Add(slack)) && !c.turnedAway(&p)
	})
}

// turnedAway says that the process was a second one of its id, and was never
// admitted.
func (c *checker) turnedAway(p *ledger.Process) bool {
	return p.Ready.IsZero() && slices.ContainsFunc(c.faults, func(f Fault) bool {
		return f.Kind == WorkerDouble && f.Target == p.Worker && f.PID == p.ID
	})
}

// excused says that something that was done to the worker's process explains
// why it was given up.
func (c *checker) excused(w *messages.WorkerRef, reason messages.Reason, at time.Time) bool {
	faults := c.faultsOf(w, at)
	kinds := func(kinds ...Kind) bool {
		return slices.ContainsFunc(faults, func(f *Fault) bool { return slices.Contains(kinds, f.Kind) })
	}
	switch reason {
	case messages.Reason_REASON_WORKER_LEFT:
		// One that finds itself superseded leaves in order.
		return kinds(WorkerLeave) || c.succeededBy(w, at)
	case messages.Reason_REASON_WORKER_DRAINING:
		return kinds(WorkerLeave, WorkerDrain) || c.succeededBy(w, at)
	case messages.Reason_REASON_WORKER_SUPERSEDED, messages.Reason_REASON_WORKER_RESTARTED:
		return c.succeededBy(w, at)
	case messages.Reason_REASON_WORKER_LOST, messages.Reason_REASON_CANCELED_BY_WORKER:
		return kinds(WorkerKill, WorkerStop, WorkerLeave, WorkerDouble, Partition, PartitionSplit, OneWay, Loss, PartitionServers) ||
			reason == messages.Reason_REASON_CANCELED_BY_WORKER && kinds(WorkerDrain) || c.succeededBy(w, at)
	case messages.Reason_REASON_LEASE_EXPIRED:
		return kinds(WorkerStop, WorkerPause, Partition, PartitionSplit, OneWay, Loss, PartitionServers) || c.serversStruck(at)
	}
	return false
}

// serversStruck says that something was done to a server just before: it may
// have kept workers from hearing of any. One that has joined may send before it
// knows of a worker's lease, and the worker drops that.
func (c *checker) serversStruck(at time.Time) bool {
	return slices.ContainsFunc(c.faults, func(f Fault) bool {
		switch f.Kind {
		case ServerKill, ServerStop, ServerPause, ServerLeave, ServerJoin, Partition, PartitionSplit, OneWay, Loss:
			return !f.At.After(at.Add(slack)) && (f.Until.IsZero() || !at.After(f.Until.Add(afterwards)))
		}
		return false
	})
}

// lostBinding checks that a worker is given up for something that was done.
// Whether it was busy for long enough is for checkLosses to say.
func (c *checker) lostBinding(h *history, b *binding) {
	if isFull(b.lostReason) {
		return
	}
	if !c.excused(b.GetWorker(), b.lostReason, b.lostAt) {
		h.breaks(RuleFalseLoss, "%s is given up at %s (%s), and nothing was done to it", place(b.GetWorker()), clock(b.lostAt), b.lostReason.Words())
	}
}

// checkLosses checks each attempt that was given up, what was repeated because
// of it, and each move by consent.
func (h *history) checkLosses() {
	for _, a := range h.attempts {
		switch {
		case a.ending == suspended:
			h.checkSuspended(a)
		case a.ending != lost:
		case a.stateLost:
			h.checkStateLost(a)
		default:
			h.checkLoss(a)
		}
	}
	if h.sticky() != messages.Sticky_STICKY_SOFT {
		return
	}
	for i, b := range h.bindings {
		if i > 0 && b.GetFromWorker() != "" && (!h.bindings[i-1].lost || isFull(b.GetReason())) {
			h.checkMove(h.bindings[i-1], b)
		}
	}
}

// checkLoss checks an attempt that was given up: something was done to its
// worker, or the step was not executed again.
func (h *history) checkLoss(a *attempt) {
	excused := h.c.excused(a.worker, a.reason, a.endAt)
	unanswered := a.reason == messages.Reason_REASON_UNKNOWN_TO_WORKER || a.reason == messages.Reason_REASON_CANCEL_NOT_ANSWERED
	if unanswered {
		excused = h.generations[a.generation].canceled
	}
	if excused {
		return
	}
	if a.epoch == 0 || unanswered || a.reason == messages.Reason_REASON_CANCELED_BY_WORKER {
		h.breaks(RuleFalseLoss, "%s#%d on %s is given up at %s (%s), and nothing was done to it", a.step, a.number, place(a.worker), clock(a.endAt), a.reason.Words())
	}
	if next := h.byKey[attemptKey{a.step, a.number + 1}]; next != nil && next.generation == a.generation && len(a.executions) > 0 && len(next.executions) > 0 {
		h.breaks(RuleRepeated, "%s#%d was executed on %s, which lived, and #%d on %s again", a.step, a.number, place(a.worker), next.number, place(next.worker))
	}
}

// checkMove checks a move by consent: the worker drained, or was busy for long
// enough.
func (h *history) checkMove(from, to *binding) {
	switch to.GetReason() {
	case messages.Reason_REASON_WORKER_DRAINING:
		if !h.c.excused(from.GetWorker(), messages.Reason_REASON_WORKER_DRAINING, to.at) {
			h.breaks(RuleSoftMoved, "moved from %s at %s, which did not drain", place(from.GetWorker()), clock(to.at))
		}
	case messages.Reason_REASON_WORKER_BUSY:
		if !h.leftQueue(from, to, busyPatience-slack) {
			h.breaks(RuleSoftMoved, "moved from %s at %s, which was not busy for %s", place(from.GetWorker()), clock(to.at), busyPatience)
		}
	case messages.Reason_REASON_SLOTS_HELD:
		if !h.leftQueue(from, to, 0) {
			h.breaks(RuleSoftMoved, "moved from %s at %s, where nothing was withdrawn because its slots are held", place(from.GetWorker()), clock(to.at))
		}
	}
}

// leftQueue says that an attempt had waited for its worker for so long when it was
// withdrawn for the move, with the reason of that.
func (h *history) leftQueue(from, to *binding, waited time.Duration) bool {
	return slices.ContainsFunc(h.attempts, func(a *attempt) bool {
		return a.epoch == from.GetEpoch() && a.ending == revoked && a.reason == to.GetReason() && !a.endAt.After(to.at) && a.endAt.Sub(a.at) >= waited
	})
}

// clock is a time as the logs of the nodes show it.
func clock(t time.Time) string { return t.UTC().Format("15:04:05.000") }
