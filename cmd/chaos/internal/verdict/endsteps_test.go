package verdict

import (
	"time"

	"github.com/limpetrun/limpet/cmd/internal/ledger"
	"github.com/limpetrun/limpet/messages"
)

// tidied is a run with an end step, which loses its worker once, and that is replayed:
// each of its two ends has one.
func tidied(s *scene) {
	t := s.begin("tidied", soft)
	t.run.EndStep = "tidy"
	t.bind("w1", messages.Reason_REASON_FIRST)
	t.step("a", 1, "")
	t.step("b", 1, "")
	t.step("c", 1, "")
	t.decide(messages.RunStatus_RUN_STATUS_SUCCEEDED)
	t.step("tidy", 1, "")
	t.end()
	t.replay()
	t.bind("w2", messages.Reason_REASON_REPLAYED)
	t.step("a", 2, "")
	t.step("b", 2, "")
	t.step("c", 2, "")
	t.decide(messages.RunStatus_RUN_STATUS_SUCCEEDED)
	t.step("tidy", 2, "")
	t.finish()
}

// decide tells of the outcome of a run that has an end step.
func (t *tale) decide(status messages.RunStatus) {
	t.tell(&messages.Event{Kind: &messages.Event_RunEnding{RunEnding: &messages.RunEnding{Status: status}}})
}

func isTidied(match func(ev *messages.Event) bool) func(*Run, *messages.Event) bool {
	return func(r *Run, ev *messages.Event) bool { return r.ID == "tidied" && match(ev) }
}

func isDecided(ev *messages.Event) bool { return ev.GetRunEnding() != nil }

// endCorruptions break the rules about end steps.
var endCorruptions = []corruption{
	{RuleEndStep, "a run ends without its end step", func(d *drawn) { d.of("tidied").EndStep = "other" }},
	{RuleEndStep, "a run ends, and its outcome was not decided", func(d *drawn) { d.event(isTidied(isDecided)).remove() }},
	{RuleEndStep, "the outcome is decided twice", func(d *drawn) {
		s := d.event(isTidied(isDecided))
		s.insert(s.entry, s.event)
	}},
	{RuleEndStep, "a run ends in another way than was decided", func(d *drawn) {
		d.event(isTidied(isDecided)).event.GetRunEnding().Status = messages.RunStatus_RUN_STATUS_FAILED
	}},
	{RuleEndStep, "the outcome is decided before a step has ended", func(d *drawn) {
		s := d.event(isTidied(func(ev *messages.Event) bool { return ev.GetStepSucceeded().GetStep() == "b" }))
		s.insert(s.entry-1, d.event(isTidied(isDecided)).event)
	}},
	{RuleEndStep, "the ledger has no end of an end step", func(d *drawn) { d.tidying().End = time.Time{} }},
	{RuleEndStep, "an end step begins before the others have ended", func(d *drawn) {
		e := d.tidying()
		for i := range d.evidence.Executions {
			if other := &d.evidence.Executions[i]; other.Run == "tidied" && other.Step == "c" && other.Attempt == e.Attempt {
				other.End = e.Begin.Add(slack + time.Second)
			}
		}
	}},
}

// tidying draws an execution of the end step.
func (d *drawn) tidying() *ledger.Execution {
	return d.execution(func(e *ledger.Execution) bool { return e.Run == "tidied" && e.Step == "tidy" })
}
