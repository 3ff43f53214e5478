package verdict

import (
	"strings"
	"testing"
	"time"

	"github.com/limpetrun/limpet/cmd/internal/ledger"
	"github.com/limpetrun/limpet/messages"
)

// rested: a step waits for an event and a message, is suspended, and runs again when the
// event has come.
func rested(s *scene) {
	t := s.begin("rested", soft)
	t.bind("w1", messages.Reason_REASON_FIRST)
	t.dispatch("a", 1, "w1")
	t.execute("a", 1)
	t.waits("a", 1, "paid")
	t.waits("a", 1, "go")
	t.suspended("a", 1, messages.Reason_REASON_IDLE)
	t.returns("a", 1, "suspended while it waits")
	t.bind("w1", messages.Reason_REASON_IDLE)
	s.call(Call{Act: ActPublish, Runs: []string{"rested"}, Key: "e0"})
	t.record("a", 1, &messages.CallRecorded{Name: "paid", Key: "#0", Event: &messages.CameEvent{Key: "paid", EventId: "e0"}})
	t.step("a", 2, "w1")
	t.step("b", 1, "w1")
	t.step("c", 1, "w1")
	t.finish()
}

// canceledAtRest: a step that is suspended runs once more when its run is canceled.
func canceledAtRest(s *scene) {
	t := s.begin("canceled-at-rest", soft)
	t.bind("w1", messages.Reason_REASON_FIRST)
	t.dispatch("a", 1, "w1")
	t.execute("a", 1)
	t.waits("a", 1, "go")
	t.suspended("a", 1, messages.Reason_REASON_IDLE)
	t.returns("a", 1, "suspended while it waits")
	t.bind("w1", messages.Reason_REASON_IDLE)
	s.call(Call{Act: ActCancel, Runs: []string{"canceled-at-rest"}})
	t.cancel()
	t.dispatch("a", 2, "w1")
	t.execute("a", 2)
	t.returns("a", 2, "context canceled")
	t.stepsCanceled("a", "b", "c")
	t.ends(messages.RunStatus_RUN_STATUS_CANCELED, nil)
	t.told()
}

func (t *tale) waits(step string, attempt int32, name string) {
	t.tell(&messages.Event{Kind: &messages.Event_CallWaits{CallWaits: &messages.CallWaits{Step: step, Attempt: attempt, Name: name, Key: "#0"}}})
}

func (t *tale) suspended(step string, attempt int32, reason messages.Reason) {
	t.tell(&messages.Event{Kind: &messages.Event_AttemptSuspended{AttemptSuspended: &messages.AttemptSuspended{Step: step, Attempt: attempt, Reason: reason}}})
}

// suspendCorruptions break the rules about attempts that wait.
var suspendCorruptions = []corruption{
	{RuleSuspended, "a step runs again, and nothing has come", func(d *drawn) {
		d.event(func(r *Run, ev *messages.Event) bool { return r.ID == "rested" && ev.GetCallRecorded() != nil }).remove()
	}},
	{RuleSuspended, "a step runs again before its run is canceled", func(d *drawn) {
		d.event(func(r *Run, ev *messages.Event) bool {
			return r.ID == "canceled-at-rest" && ev.GetCancelRequested() != nil
		}).remove()
	}},
	{RuleSuspended, "a suspended attempt acts", func(d *drawn) {
		e := d.execution(func(e *ledger.Execution) bool { return e.Run == "rested" && e.Step == "a" && e.Attempt == 1 })
		late := d.of("rested").Entries[6].At.Add(time.Second)
		if d.r.IntN(2) == 0 {
			e.Ticks = append(e.Ticks, late.UnixMicro())
		} else {
			e.Did = append(e.Did, ledger.Deed{At: late, What: Took + "go 0"})
		}
	}},
	{RuleAttempts, "an attempt is suspended twice", func(d *drawn) {
		s := d.event(isSuspended)
		s.insert(s.entry, s.event)
	}},
	{RuleFalseLoss, "an attempt is suspended for a worker to which nothing was done", func(d *drawn) {
		d.event(isSuspended).event.GetAttemptSuspended().Reason = pickOne(d, messages.Reason_REASON_WORKER_LOST, messages.Reason_REASON_WORKER_DRAINING)
	}},
	{RuleMessages, "an event comes that nobody pushed", func(d *drawn) {
		d.event(func(_ *Run, ev *messages.Event) bool { return ev.GetCallRecorded().GetEvent() != nil }).event.GetCallRecorded().GetEvent().EventId = "e1"
	}},
	{RuleRecordedTwice, "a wait is decided twice", func(d *drawn) {
		s := d.event(func(_ *Run, ev *messages.Event) bool { return ev.GetCallRecorded().GetEvent() != nil })
		s.insert(s.entry, s.event)
	}},
	{RuleRecordedTwice, "a call waits again that has come out", func(d *drawn) {
		s := d.event(func(r *Run, ev *messages.Event) bool {
			return r.ID == "rested" && ev.GetStepDispatched().GetStep() == "a" && ev.GetStepDispatched().GetAttempt() == 2
		})
		s.insert(s.entry, &messages.Event{Kind: &messages.Event_CallWaits{CallWaits: &messages.CallWaits{Step: "a", Attempt: 2, Name: "paid", Key: "#0"}}})
	}},
	{RuleStaleAccepted, "a suspended attempt records a call that did not wait", func(d *drawn) {
		s := d.event(func(r *Run, ev *messages.Event) bool { return r.ID == "rested" && ev.GetAttemptSuspended() != nil })
		s.insert(s.entry, &messages.Event{Kind: &messages.Event_CallRecorded{CallRecorded: &messages.CallRecorded{Step: "a", Attempt: 1, Name: "late", Key: "#0"}}})
	}},
	{RuleStaleAccepted, "a suspended attempt begins to wait", func(d *drawn) {
		s := d.event(func(r *Run, ev *messages.Event) bool { return r.ID == "rested" && ev.GetAttemptSuspended() != nil })
		s.insert(s.entry, &messages.Event{Kind: &messages.Event_CallWaits{CallWaits: &messages.CallWaits{Step: "a", Attempt: 1, Name: "late", Key: "#0"}}})
	}},
	{RuleStaleAccepted, "a suspended attempt succeeds", func(d *drawn) {
		s := d.event(func(r *Run, ev *messages.Event) bool { return r.ID == "rested" && ev.GetAttemptSuspended() != nil })
		s.insert(s.entry, &messages.Event{Kind: &messages.Event_StepSucceeded{StepSucceeded: &messages.StepSucceeded{Step: "a", Attempt: 1, Output: []byte("{}")}}})
	}},
}

func isSuspended(r *Run, ev *messages.Event) bool {
	return r.ID == "rested" && ev.GetAttemptSuspended() != nil
}

// The checker knows every kind of event that there is.
func TestHistoryKnowsEveryKind(t *testing.T) {
	kinds := (&messages.Event{}).ProtoReflect().Descriptor().Oneofs().ByName("kind").Fields()
	for i := range kinds.Len() {
		s := newScene()
		r := s.begin("r", none)
		e := &messages.Event{}
		e.ProtoReflect().Set(kinds.Get(i), e.ProtoReflect().NewField(kinds.Get(i)))
		r.tell(e)
		r.told()
		for _, v := range Check(s.evidence, nil).All {
			if strings.Contains(v.Text, "does not know") {
				t.Errorf("%s: %s", kinds.Get(i).Name(), v.Text)
			}
		}
	}
}
