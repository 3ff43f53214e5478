package verdict

import "github.com/limpetrun/limpet/messages"

// wentOn is a run whose first step tells how far it is, and which goes on as new once.
func wentOn(s *scene) {
	t := s.begin("went-on", soft)
	t.bind("w1", messages.Reason_REASON_FIRST)
	t.dispatch("a", 1, "")
	t.execute("a", 1)
	t.progress("a", 1, 1)
	t.progress("a", 1, 3)
	t.writes("a", 1, 1)
	t.succeed("a", 1)
	t.step("b", 1, "")
	t.step("c", 1, "")
	t.tell(&messages.Event{Kind: &messages.Event_RunContinued{RunContinued: &messages.RunContinued{Step: "c"}}})
	t.dispatch("a", 2, "")
	t.execute("a", 2)
	t.writes("a", 2, 2)
	t.succeed("a", 2)
	t.step("b", 2, "")
	t.step("c", 2, "")
	t.finish()
}

func (t *tale) progress(step string, attempt int32, serial int64) {
	t.tell(&messages.Event{Kind: &messages.Event_StepProgressed{StepProgressed: &messages.StepProgressed{Step: step, Attempt: attempt, Serial: serial}}})
}

func (t *tale) writes(step string, attempt, section int32) {
	t.tell(&messages.Event{Kind: &messages.Event_StreamOpened{StreamOpened: &messages.StreamOpened{Step: step, Attempt: attempt, Stream: "tokens", Section: section}}})
}

func opens(section int32) func(*Run, *messages.Event) bool {
	return isOfWentOn(func(ev *messages.Event) bool { return ev.GetStreamOpened().GetSection() == section })
}

func isOfWentOn(match func(ev *messages.Event) bool) func(*Run, *messages.Event) bool {
	return func(r *Run, ev *messages.Event) bool { return r.ID == "went-on" && match(ev) }
}

func continues(ev *messages.Event) bool { return ev.GetRunContinued() != nil }

// linkCorruptions break the rules about progress and about runs that go on as new.
var linkCorruptions = []corruption{
	{RuleStaleAccepted, "progress is older than what is recorded", func(d *drawn) {
		d.event(isOfWentOn(func(ev *messages.Event) bool { return ev.GetStepProgressed().GetSerial() == 3 })).event.GetStepProgressed().Serial = 1
	}},
	{RuleStaleAccepted, "progress is that of another attempt", func(d *drawn) {
		d.event(isOfWentOn(func(ev *messages.Event) bool { return ev.GetStepProgressed().GetSerial() == 3 })).event.GetStepProgressed().Attempt = 2
	}},
	{RuleStaleAccepted, "an attempt that is not live writes a stream", func(d *drawn) {
		d.event(opens(2)).event.GetStreamOpened().Attempt = 1
	}},
	{RuleHistory, "a section of a stream is left out", func(d *drawn) {
		d.event(opens(2)).event.GetStreamOpened().Section = 3
	}},
	{RuleAttempts, "a stream is written by two attempts", func(d *drawn) {
		s := d.event(opens(1))
		second := &messages.StreamOpened{Step: "a", Attempt: 1, Stream: "tokens", Section: 2}
		s.insert(s.entry, &messages.Event{Kind: &messages.Event_StreamOpened{StreamOpened: second}})
	}},
	{RuleHistory, "a run goes on as new by a step that has not succeeded", func(d *drawn) {
		d.event(isOfWentOn(continues)).event.GetRunContinued().Step = "d"
	}},
	{RuleRepeated, "a run begins its steps again, and does not go on as new", func(d *drawn) {
		d.event(isOfWentOn(continues)).remove()
	}},
	{RuleAttempts, "a run goes on as new while an attempt is live", func(d *drawn) {
		s := d.event(isOfWentOn(func(ev *messages.Event) bool {
			return ev.GetStepSucceeded().GetStep() == "c" && ev.GetStepSucceeded().GetAttempt() == 1
		}))
		s.insert(s.entry-1, d.event(isOfWentOn(continues)).event)
	}},
}
