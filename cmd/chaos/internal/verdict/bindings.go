package verdict

import (
	"slices"
	"time"

	"github.com/limpetrun/limpet/cmd/internal/ledger"
	"github.com/limpetrun/limpet/messages"
)

// busyPatience of the load's workflows: the default.
const busyPatience = 30 * time.Second

// leftFor is how long a worker that a run has left of its own does not count for
// it: then it may be the only one left.
const leftFor = 5 * time.Second

// sameProcess compares two workers with their incarnations.
func sameProcess(a, b *messages.WorkerRef) bool {
	return a != nil && b != nil && a.GetWorkerId() == b.GetWorkerId() && a.GetIncarnation() == b.GetIncarnation()
}

// epoch of the binding in force; 0 for none.
func (h *history) epoch() uint64 {
	if h.current == nil {
		return 0
	}
	return h.current.GetEpoch()
}

// bound checks a new binding against the one before.
func (h *history) bound(b *messages.Bound) {
	newest := uint64(0)
	if n := len(h.bindings); n > 0 {
		newest = h.bindings[n-1].GetEpoch()
	}
	if b.GetEpoch() != newest+1 {
		h.breaks(RuleTwoBindings, "epoch %d follows epoch %d", b.GetEpoch(), newest)
	}
	if h.sticky() == messages.Sticky_STICKY_NONE {
		h.breaks(RuleTwoBindings, "a run that is not sticky is bound to %s", b.GetWorker().GetWorkerId())
	}
	for _, a := range h.newest {
		if a.ending == live {
			h.breaks(RuleTwoBindings, "epoch %d begins while %s#%d of epoch %d is live", b.GetEpoch(), a.step, a.number, a.epoch)
		}
	}
	if h.current == nil {
		h.firstBound(b)
	} else {
		h.boundAgain(b)
	}
	h.current = &binding{Bound: b, at: h.now.At, generation: len(h.generations) - 1}
	h.bindings = append(h.bindings, h.current)
	h.given[b.GetEpoch()] = h.handing
}

// firstBound checks the first binding of a generation.
func (h *history) firstBound(b *messages.Bound) {
	want := messages.Reason_REASON_FIRST
	switch {
	case len(h.generations) > 1:
		want = messages.Reason_REASON_REPLAYED
	case h.started.GetBindTo() != nil:
		want = messages.Reason_REASON_CHILD
		if !sameProcess(b.GetWorker(), h.started.GetBindTo()) {
			h.breaks(RuleChildMisplaced, "the child of a step on %s is bound to %s first", place(h.started.GetBindTo()), place(b.GetWorker()))
		}
	}
	if b.GetReason() != want || b.GetFromWorker() != "" {
		rule := RuleSoftMoved
		if h.sticky() == messages.Sticky_STICKY_HARD {
			rule = RuleHardMoved
		}
		h.breaks(rule, "the first binding has reason %q, from %q", b.GetReason().Words(), b.GetFromWorker())
	}
}

// boundAgain checks that a run may move, and from where it says.
func (h *history) boundAgain(b *messages.Bound) {
	from := &messages.WorkerRef{WorkerId: b.GetFromWorker(), Incarnation: b.GetFromIncarnation()}
	if b.GetReason() == messages.Reason_REASON_IDLE && !h.current.lost && sameProcess(b.GetWorker(), h.current.GetWorker()) && sameProcess(b.GetWorker(), from) {
		// It stays where it was: its steps there are suspended, and its state is let go.
		return
	}
	if h.sticky() == messages.Sticky_STICKY_HARD {
		h.c.report.Seen.HardReturned++
		h.hardBoundAgain(h.current, b)
		return
	}
	h.c.report.Seen.Rebound++
	if b.GetReason() == messages.Reason_REASON_WORKER_DRAINING {
		h.c.report.Seen.Drained++
	}
	h.softBoundAgain(h.current, b)
}

// hardBoundAgain: a HARD run comes back to its worker, after that was lost and
// started again.
func (h *history) hardBoundAgain(old *binding, b *messages.Bound) {
	switch {
	case b.GetWorker().GetWorkerId() != old.GetWorker().GetWorkerId():
		h.breaks(RuleHardMoved, "bound to %s, then to %s (%s)", place(old.GetWorker()), place(b.GetWorker()), b.GetReason().Words())
	case b.GetReason() != messages.Reason_REASON_WORKER_RESTARTED || !old.lost:
		h.breaks(RuleHardMoved, "bound to %s anew for reason %q", place(b.GetWorker()), b.GetReason().Words())
	}
}

// byConsent says that a run leaves a worker by itself that is there.
func byConsent(reason messages.Reason) bool {
	return reason == messages.Reason_REASON_WORKER_DRAINING || isFull(reason)
}

// isFull says that a run leaves a worker because that has no slot for it.
func isFull(reason messages.Reason) bool {
	return reason == messages.Reason_REASON_WORKER_BUSY || reason == messages.Reason_REASON_SLOTS_HELD
}

// softBoundAgain: a SOFT run moves from where it was, for a reason that the
// history has.
func (h *history) softBoundAgain(old *binding, b *messages.Bound) {
	from := &messages.WorkerRef{WorkerId: b.GetFromWorker(), Incarnation: b.GetFromIncarnation()}
	moves := []messages.Reason{messages.Reason_REASON_WORKER_LOST, messages.Reason_REASON_WORKER_LEFT, messages.Reason_REASON_WORKER_SUPERSEDED, messages.Reason_REASON_WORKER_RESTARTED, messages.Reason_REASON_STEP_GONE}
	switch reason := b.GetReason(); {
	case !sameProcess(from, old.GetWorker()):
		h.breaks(RuleSoftMoved, "the move to %s is said to be from %s, the run was bound to %s", place(b.GetWorker()), place(from), place(old.GetWorker()))
	case byConsent(reason):
		if old.GetWorker().GetWorkerId() == b.GetWorker().GetWorkerId() && (!old.lost || h.now.At.Sub(old.lostAt) < leftFor) {
			h.breaks(RuleSoftMoved, "moved from %s to itself: %s", place(old.GetWorker()), reason.Words())
		}
		if old.lost && old.lostReason != reason {
			h.breaks(RuleSoftMoved, "moved from %s: %q, its loss was %q", place(old.GetWorker()), reason.Words(), old.lostReason.Words())
		}
	case !slices.Contains(moves, reason):
		h.breaks(RuleSoftMoved, "moved from %s to %s for reason %q", place(old.GetWorker()), place(b.GetWorker()), reason.Words())
	case !old.lost:
		h.breaks(RuleSoftMoved, "moved from %s to %s (%s), and that binding was not lost", place(old.GetWorker()), place(b.GetWorker()), reason.Words())
	case old.lostReason != reason:
		h.breaks(RuleSoftMoved, "moved from %s: %q, its loss was %q", place(old.GetWorker()), reason.Words(), old.lostReason.Words())
	}
}

func (h *history) bindingLost(l *messages.BindingLost) {
	if h.current == nil || h.current.lost || h.current.GetEpoch() != l.GetEpoch() {
		h.breaks(RuleTwoBindings, "the binding of epoch %d is lost (%s), and is not in force", l.GetEpoch(), l.GetReason().Words())
		return
	}
	h.current.lost, h.current.lostAt, h.current.lostReason = true, h.now.At, l.GetReason()
	h.c.lostBinding(h, h.current)
}

func (h *history) bindingRestored(r *messages.BindingRestored) {
	if h.sticky() != messages.Sticky_STICKY_HARD || h.current == nil || !h.current.lost || h.current.GetEpoch() != r.GetEpoch() {
		h.breaks(RuleTwoBindings, "the binding of epoch %d is restored, and was not lost", r.GetEpoch())
		return
	}
	h.c.report.Seen.HardReturned++
	h.current.lost = false
}

// dispatchedWhereBound checks that a sticky run's attempt goes to its worker.
func (h *history) dispatchedWhereBound(d *messages.StepDispatched) {
	b := h.current
	switch {
	case h.sticky() == messages.Sticky_STICKY_NONE:
		if d.GetEpoch() != 0 {
			h.breaks(RuleTwoBindings, "%s#%d of a run that is not sticky has epoch %d", d.GetStep(), d.GetAttempt(), d.GetEpoch())
		}
	case b == nil:
		h.breaks(RuleTwoBindings, "%s#%d is dispatched before the run is bound", d.GetStep(), d.GetAttempt())
	case b.GetWorker().GetWorkerId() != d.GetWorker().GetWorkerId() && h.sticky() == messages.Sticky_STICKY_HARD:
		h.breaks(RuleHardMoved, "%s#%d is dispatched to %s, the run is bound to %s", d.GetStep(), d.GetAttempt(), place(d.GetWorker()), place(b.GetWorker()))
	case !sameProcess(b.GetWorker(), d.GetWorker()) || b.GetEpoch() != d.GetEpoch() || b.lost:
		h.breaks(RuleTwoBindings, "%s#%d is dispatched to %s in epoch %d, the run is bound to %s in epoch %d (lost: %t)",
			d.GetStep(), d.GetAttempt(), place(d.GetWorker()), d.GetEpoch(), place(b.GetWorker()), b.GetEpoch(), b.lost)
	}
}

// place names a worker process.
func place(w *messages.WorkerRef) string {
	if w == nil {
		return "nobody"
	}
	return w.GetWorkerId() + "~" + w.GetIncarnation()
}

// checkBindings compares the ledger with the bindings, apart from what the
// attempts say: under one epoch a run is executed by one process; a HARD run
// by one worker id until it is replayed; a run that left a live worker by
// consent left nothing running there.
func (h *history) checkBindings() {
	if h.sticky() == messages.Sticky_STICKY_NONE {
		return
	}
	by := map[uint64]string{}
	hard := map[int]string{}
	for _, e := range h.executions {
		at := place(&messages.WorkerRef{WorkerId: e.Worker, Incarnation: e.Incarnation})
		if other, ok := by[e.Epoch]; ok && other != at {
			h.breaks(RuleTwoBindings, "%s and %s both executed steps in epoch %d", other, at, e.Epoch)
		}
		by[e.Epoch] = at
		if b := h.boundFor(e); b != nil {
			if other, ok := hard[b.generation]; h.sticky() == messages.Sticky_STICKY_HARD && ok && other != e.Worker {
				h.breaks(RuleHardMoved, "executed on %s and on %s", other, e.Worker)
			}
			hard[b.generation] = e.Worker
		}
	}
	for i, b := range h.bindings {
		if i > 0 && byConsent(b.GetReason()) {
			h.checkLeftNothing(b)
		}
	}
}

// boundFor is the binding that a step was executed under, after the check that
// it is one to its worker; nil if there is none.
func (h *history) boundFor(e *ledger.Execution) *binding {
	i := slices.IndexFunc(h.bindings, func(b *binding) bool { return b.GetEpoch() == e.Epoch })
	if i < 0 {
		h.breaks(RuleTwoBindings, "%s#%d was executed in epoch %d, which the history does not have", e.Step, e.Attempt, e.Epoch)
		return nil
	}
	b := h.bindings[i]
	if b.GetWorker().GetWorkerId() != e.Worker {
		rule := RuleSoftMoved
		if h.sticky() == messages.Sticky_STICKY_HARD {
			rule = RuleHardMoved
		}
		h.breaks(rule, "%s#%d was executed on %s in epoch %d, which is bound to %s", e.Step, e.Attempt, e.Worker, e.Epoch, place(b.GetWorker()))
	}
	return b
}

// checkLeftNothing checks a move by consent: nothing ran on the worker that the
// run left.
func (h *history) checkLeftNothing(b *binding) {
	for _, e := range h.executions {
		if e.Epoch < b.GetEpoch() && e.Begin.Before(b.at) && (e.End.IsZero() || e.End.After(b.at)) && !h.overBefore(e.Step, int32(e.Attempt), b.at) {
			h.breaks(RuleTwoBindings, "moved from %s (%s) while %s#%d was running there", b.GetFromWorker(), b.GetReason().Words(), e.Step, e.Attempt)
		}
	}
}

// overBefore says that the attempt had returned by the time, as its worker said
// and the history has it, whatever the clocks of the two make of one moment; or
// that it had been given up or suspended before, so that it may go on unnoticed.
func (h *history) overBefore(step string, number int32, at time.Time) bool {
	a := h.byKey[attemptKey{step, number}]
	return a != nil && a.ending != live && a.ending != revoked && a.ending != canceled && !a.endAt.After(at)
}
