package verdict

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/limpetrun/limpet/cmd/internal/ledger"
	"github.com/limpetrun/limpet/messages"
)

// succeeded keeps what is recorded of a step.
func (h *history) succeeded(a *attempt, output []byte) {
	a.output = output
	var out Output
	_ = json.Unmarshal(output, &out) // checkOutput tells of one that is none
	h.outputs[a.step] = out.Execution
	h.built(a)
}

// built ends an attempt that may have built state.
func (h *history) built(a *attempt) {
	h.phases[a.step] = done
	if !a.spoilt {
		h.builtIn[a.step] = a.epoch
	}
	h.arrived(a)
}

// arrived: once a step has ended under an epoch, what was handed off to it is
// there.
func (h *history) arrived(a *attempt) {
	if h.handing != nil && a.epoch > h.handing.GetEpoch() {
		h.handing = nil
	}
}

// stateLost: the step itself said so, and what builds state is to be built
// again, in the epoch that is in force too; what is being built does not count.
func (h *history) stateLost(l *messages.AttemptLost) {
	a := h.byKey[attemptKey{l.GetStep(), l.GetAttempt()}]
	if a == nil || l.GetReason() != messages.Reason_REASON_STATE_LOST {
		return
	}
	a.stateLost = true
	h.wants[a.step] = true
	h.c.report.Seen.StateLost++
	h.handing = nil
	clear(h.builtIn)
	for _, other := range h.newest {
		other.spoilt = other.spoilt || other.ending == live
	}
}

// rebuildBegan sends a step that has succeeded to the run's worker again. It
// must be one that builds state which is not there.
func (h *history) rebuildBegan(r *messages.RebuildBegan) {
	step := r.GetStep()
	switch {
	case h.phases[step] != done && h.phases[step] != rebuilding:
		h.breaks(RuleRebuild, "%s is rebuilt, and has not succeeded", step)
	case h.current == nil || r.GetEpoch() != h.epoch():
		h.breaks(RuleRebuild, "%s is rebuilt in epoch %d, and the run is bound in epoch %d", step, r.GetEpoch(), h.epoch())
	case h.Want != nil && !slices.Contains(h.Want.Builds, step):
		h.breaks(RuleRebuild, "%s is rebuilt, and builds no state", step)
	case h.Want != nil && !h.needs(r.GetForStep(), step):
		h.breaks(RuleRebuild, "%s is rebuilt for %s, which does not need it", step, r.GetForStep())
	case h.builtIn[step] == h.epoch():
		h.breaks(RuleRebuild, "%s is rebuilt in epoch %d, in which it has worked", step, r.GetEpoch())
	}
	h.phases[step] = rebuilding
}

// rebuilt ends a rebuild: the step has succeeded as before.
func (h *history) rebuilt(r *messages.StepRebuilt) {
	a := h.byKey[attemptKey{r.GetStep(), r.GetAttempt()}]
	switch {
	case a == nil || !a.rebuild:
		h.breaks(RuleRebuild, "%s#%d is rebuilt, and was not sent for that", r.GetStep(), r.GetAttempt())
		return
	case a.ending != live:
		h.breaks(RuleStaleAccepted, "%s#%d is rebuilt, after it was %s (%s)", a.step, a.number, a.ending, a.reason.Words())
	case h.current == nil || h.epoch() != a.epoch || h.current.lost && h.sticky() == messages.Sticky_STICKY_SOFT:
		h.breaks(RuleStaleAccepted, "%s#%d of epoch %d is rebuilt when the run was bound in epoch %d", a.step, a.number, a.epoch, h.epoch())
	}
	a.ending, a.endAt = rebuilt, h.now.At
	h.built(a)
	h.c.report.Seen.Rebuilds++
}

// needs says that a step needs what another one builds: because it says so, now
// or when it found it lost, or because it is itself rebuilt.
func (h *history) needs(step, builder string) bool {
	needs := slices.Contains(h.Want.Needs, step) || h.wants[step] || h.phases[step] == rebuilding
	return needs && slices.Contains(h.ancestors(step), builder)
}

// ancestors of a step.
func (h *history) ancestors(step string) []string {
	all := slices.Clone(h.Parents[step])
	for i := 0; i < len(all); i++ {
		for _, p := range h.Parents[all[i]] {
			if !slices.Contains(all, p) {
				all = append(all, p)
			}
		}
	}
	return all
}

// checkState compares the ledger with what steps need: one that needs state was
// executed in a process where, in its epoch, all that its ancestors build had
// been built, rebuilt or received.
func (h *history) checkState() {
	if h.Want == nil || h.sticky() == messages.Sticky_STICKY_NONE {
		return
	}
	for _, e := range h.executions {
		a := h.byKey[attemptKey{e.Step, int32(e.Attempt)}]
		if a != nil && e.Rebuild != a.rebuild {
			h.breaks(RuleRebuild, "%s#%d was told that it is a rebuild: %t; the history says %t", e.Step, e.Attempt, e.Rebuild, a.rebuild)
		}
		if !slices.Contains(h.Want.Needs, e.Step) {
			continue
		}
		for _, step := range h.ancestors(e.Step) {
			if slices.Contains(h.Want.Builds, step) && !h.hadState(e, step) {
				h.breaks(RuleRebuild, "%s#%d was executed on %s in epoch %d, where %s had not built its state", e.Step, e.Attempt, at(e), e.Epoch, step)
			}
		}
	}
}

// hadState says that what the step builds was there for an execution: since the
// last time that a step of the run found it lost.
func (h *history) hadState(e *ledger.Execution, step string) bool {
	here := func(o *ledger.Execution) bool { return o.Incarnation == e.Incarnation && o.Epoch == e.Epoch }
	since := int64(0)
	for _, o := range h.executions {
		if a := h.byKey[attemptKey{o.Step, int32(o.Attempt)}]; here(o) && a != nil && a.stateLost && !o.End.After(e.Begin) {
			since = max(since, o.End.UnixMicro())
		}
	}
	if given := h.given[e.Epoch]; since == 0 && len(given.GetStates()) > 0 && given.GetFailure() == nil {
		return true
	}
	return slices.ContainsFunc(h.executions, func(o *ledger.Execution) bool {
		return here(o) && o.Step == step && !o.End.IsZero() && !o.Failed && !o.End.After(e.Begin) && o.Begin.UnixMicro() >= since
	})
}

// checkStateLost: a step is executed again for lost state only if it had said
// that it is lost.
func (h *history) checkStateLost(a *attempt) {
	e := a.execution()
	if e == nil || !e.Failed || !strings.HasPrefix(e.Note, OnPurpose) {
		h.breaks(RuleRepeated, "%s#%d on %s is given up (%s), and it did not say that its state is lost", a.step, a.number, place(a.worker), a.reason.Words())
	}
}

// at names the process of an execution.
func at(e *ledger.Execution) string { return e.Worker + "~" + e.Incarnation }
