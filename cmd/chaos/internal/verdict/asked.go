package verdict

import (
	"slices"

	"github.com/limpetrun/limpet/messages"
)

// noAnswer are codes that say why a query has no answer.
var noAnswer = map[messages.Code]bool{
	messages.CodeNotBound: true, messages.CodeWorkerAway: true, messages.CodeStateNotThere: true,
	messages.CodeQueryTimedOut: true, messages.CodeRunFinished: true,
}

// checkAsked: an answer is of the run, and of a binding that it had meanwhile.
func (c *checker) checkAsked(call *Call) {
	h := c.runs[call.Runs[0]]
	if h == nil {
		return
	}
	if call.Outcome != Acknowledged {
		c.report.Seen.Unanswered++
		ended := slices.ContainsFunc(h.generations, func(g *generation) bool { return g.ended && !g.endedAt.After(call.End.Add(slack)) })
		if call.Code == messages.CodeRunFinished && !ended {
			h.breaks(RuleQueries, "a query at %s was told that the run has ended, and it had not", clock(call.End))
		}
		return
	}
	c.report.Seen.Answered++
	a := &call.Answer
	if a.Run != h.ID || a.Of != "" && a.Of != h.ID {
		h.breaks(RuleQueries, "a query at %s was answered for run %s from the state of run %q", clock(call.End), a.Run, a.Of)
	}
	i := slices.IndexFunc(h.bindings, func(b *binding) bool { return b.GetEpoch() == a.Epoch })
	switch {
	case i < 0 || h.bindings[i].GetWorker().GetWorkerId() != a.Worker:
		h.breaks(RuleQueries, "a query was answered on %s under epoch %d, to which the run was not bound", a.Worker, a.Epoch)
	case h.bindings[i].at.After(call.End.Add(slack)):
		h.breaks(RuleQueries, "a query of %s to %s was answered under epoch %d, which began at %s", clock(call.Begin), clock(call.End), a.Epoch, clock(h.bindings[i].at))
	case i+1 < len(h.bindings) && h.bindings[i+1].at.Before(call.Begin.Add(-slack)):
		h.breaks(RuleQueries, "a query of %s to %s was answered under epoch %d, and the next one began at %s", clock(call.Begin), clock(call.End), a.Epoch, clock(h.bindings[i+1].at))
	}
}
