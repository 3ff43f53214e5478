package verdict

import (
	"encoding/json"
	"slices"

	"github.com/limpetrun/limpet/messages"
)

// checkChildren checks the children that a run spawned.
func (h *history) checkChildren() {
	told := map[string]bool{}
	for _, a := range h.attempts {
		var out Output
		if a.ending == succeeded && json.Unmarshal(a.output, &out) == nil {
			for _, child := range out.Children {
				told[child] = true
			}
		}
	}
	for _, s := range h.spawns {
		child := h.c.runs[s.GetChildRun()]
		delete(told, s.GetChildRun())
		if child == nil {
			// A spawn whose step was lost or canceled may have come to nothing.
			if h.spawnReturned(s) {
				h.breaks(RuleLost, "child %s of %s is not there", s.GetChildRun(), s.GetStep())
			}
			continue
		}
		h.checkChild(s, child)
	}
	for child := range told {
		h.breaks(RuleHistory, "child %s was spawned, and the history does not say so", child)
	}
}

// spawnReturned says that a step of the spawn's generation was told of the
// child, or waited for it to its end.
func (h *history) spawnReturned(s spawn) bool {
	return slices.ContainsFunc(h.attempts, func(a *attempt) bool {
		return a.generation == s.generation && a.step == s.GetStep() && a.ending == succeeded
	})
}

func (h *history) checkChild(s spawn, child *history) {
	h.c.fathered[child.ID] = true
	started := child.started
	if started.GetParentRun() != h.ID || started.GetParentStep() != s.GetStep() || started.GetWorkflow() != s.GetWorkflow() {
		h.breaks(RuleIdempotency, "child %s says that it is %s of step %s of run %s", child.ID, started.GetWorkflow(), started.GetParentStep(), started.GetParentRun())
	}
	if !s.GetSticky() {
		h.c.report.Seen.PlainChildren++
		if started.GetBindTo() != nil {
			h.breaks(RuleChildMisplaced, "child %s on its own is bound to %s", child.ID, place(started.GetBindTo()))
		}
	} else {
		h.c.report.Seen.StickyChildren++
		h.checkStickyChild(s, child)
	}
	h.checkCanceledChild(s, child)
}

// checkCanceledChild: a child is canceled when its parent ends, unless it is to go
// on, and not before.
func (h *history) checkCanceledChild(s spawn, child *history) {
	g, end := h.generations[s.generation], child.generations[0]
	leave := s.GetOnParentEnd() == messages.ParentEnd_PARENT_END_LEAVE
	if leave && end.canceled {
		h.breaks(RuleIneffective, "child %s was to go on, and is canceled", child.ID)
	}
	if !leave && g.ended && !end.canceled && end.outcome == nil && (!end.ended || end.endedAt.After(g.endedAt.Add(slack))) {
		h.breaks(RuleIneffective, "child %s goes on after its parent has ended", child.ID)
	}
	if end.canceled && !g.canceled && !g.ended {
		h.breaks(RuleIneffective, "child %s is canceled, and its parent goes on", child.ID)
	}
}

// checkStickyChild: the child begins on the process of an attempt of the step
// that spawned it: the one that did, or, if that was lost before the child
// was started, one after it.
func (h *history) checkStickyChild(s spawn, child *history) {
	to := child.started.GetBindTo()
	if child.sticky() == messages.Sticky_STICKY_NONE {
		h.breaks(RuleChildMisplaced, "sticky child %s has no strategy", child.ID)
	}
	where := slices.ContainsFunc(h.attempts, func(a *attempt) bool {
		return a.step == s.GetStep() && a.generation == s.generation && a.number >= s.GetAttempt() && sameProcess(a.worker, to) && !a.at.After(child.at.Add(slack))
	})
	if !where {
		h.breaks(RuleChildMisplaced, "child %s is bound to %s, and %s#%d ran on %s", child.ID, place(to), s.GetStep(), s.GetAttempt(), place(h.byKey[attemptKey{s.GetStep(), s.GetAttempt()}].place()))
		return
	}
	witnessed := slices.ContainsFunc(h.attempts, func(a *attempt) bool {
		return a.step == s.GetStep() && a.generation == s.generation && sameProcess(a.worker, to) && a.execution() != nil && a.execution().Begin.Before(child.at.Add(slack))
	})
	if !witnessed {
		h.breaks(RuleChildMisplaced, "child %s is bound to %s, and by the ledger %s was not executed there before", child.ID, place(to), s.GetStep())
	}
}

// place is the worker of an attempt that may not be there.
func (a *attempt) place() *messages.WorkerRef {
	if a == nil {
		return nil
	}
	return a.worker
}
