package verdict

import (
	"github.com/limpetrun/limpet/messages"
)

// outcomeDecided notes the outcome of a run that has an end step: nothing else of it is open.
func (h *history) outcomeDecided(e *messages.RunEnding) {
	g := h.generation()
	if g.outcome != nil {
		h.breaks(RuleEndStep, "the outcome is decided as %s, and was as %s", e.GetStatus(), g.outcome.GetStatus())
	}
	for _, a := range h.newest {
		if a.ending == live {
			h.breaks(RuleEndStep, "the outcome is decided while %s#%d is live", a.step, a.number)
		}
	}
	for step := range h.Parents {
		if h.phases[step] == open {
			h.breaks(RuleEndStep, "the outcome is decided while step %s is open", step)
		}
	}
	g.outcome = e
}

// endStepOver checks, at the end of a run that has an end step, that this is over, and
// that the run ends as was decided.
func (h *history) endStepOver(e *messages.RunEnded) {
	g := h.generation()
	switch {
	case h.EndStep == "" || g.withoutEnd:
	case g.outcome == nil:
		h.breaks(RuleEndStep, "the run ends as %s, and its end step %s was not executed", e.GetStatus(), h.EndStep)
	case g.outcome.GetStatus() != e.GetStatus():
		h.breaks(RuleEndStep, "the run ends as %s, and was decided to end as %s", e.GetStatus(), g.outcome.GetStatus())
	case h.phases[h.EndStep] == open:
		h.breaks(RuleEndStep, "the run ends, and its end step %s is open", h.EndStep)
	}
}

// checkEndSteps counts in the ledger how often an end step came to its end: once for
// each end of the run. It came last of all steps.
func (h *history) checkEndSteps() {
	ends := make([]int, len(h.generations))
	for _, a := range h.attempts {
		if a.step != h.EndStep || a.ending != succeeded {
			continue
		}
		e := a.execution()
		if e == nil || e.End.IsZero() || e.Failed {
			h.breaks(RuleEndStep, "%s#%d succeeded, and the ledger has no end of it", a.step, a.number)
			continue
		}
		ends[a.generation]++
		h.c.report.Seen.EndSteps++
		h.endedLast(a)
	}
	for i, g := range h.generations {
		if h.EndStep != "" && g.ended && !g.withoutEnd && ends[i] != 1 {
			h.breaks(RuleEndStep, "end step %s came to its end %d times in end %d of the run", h.EndStep, ends[i], i+1)
		}
	}
}

// endedLast checks that the end step began after whatever has given the run its outcome.
func (h *history) endedLast(end *attempt) {
	begun := end.execution().Begin
	for _, a := range h.attempts {
		if e := a.execution(); a.step != h.EndStep && a.generation == end.generation && a.ending == succeeded && e != nil && e.End.After(begun.Add(slack)) {
			h.breaks(RuleEndStep, "%s#%d began at %s, and %s#%d ended at %s", end.step, end.number, clock(begun), a.step, a.number, clock(e.End))
		}
	}
}
