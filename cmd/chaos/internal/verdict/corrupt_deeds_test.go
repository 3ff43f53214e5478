package verdict

import (
	"github.com/limpetrun/limpet/cmd/internal/ledger"
	"github.com/limpetrun/limpet/messages"
)

// talked: a step makes a call, waits for a message, fails, and gets both again.
func talked(s *scene) {
	t := s.begin("talked", none)
	t.dispatch("a", 1, "w1")
	t.execute("a", 1)
	t.does("a", 1, Made+"think 0", "")
	t.record("a", 1, &messages.CallRecorded{Name: "think", Key: "#0"})
	t.does("a", 1, Got+"think 0", "x")
	t.tell(&messages.Event{Kind: &messages.Event_CallWaits{CallWaits: &messages.CallWaits{Step: "a", Attempt: 1, Name: "go", Key: "#0"}}})
	s.call(Call{Act: ActSignal, Runs: []string{"talked"}, Key: "m0"})
	t.tell(&messages.Event{Kind: &messages.Event_Signaled{Signaled: &messages.Signaled{Name: "go", MessageId: "m0"}}})
	t.record("a", 1, &messages.CallRecorded{Name: "go", Key: "#0", MessageId: "m0"})
	t.does("a", 1, Took+"go 0", "first")
	t.fail("a", 1, messages.CodeUserError, OnPurpose+": attempt 1 of 1")
	t.dispatch("a", 2, "w2")
	t.execute("a", 2)
	t.does("a", 2, Got+"think 0", "x")
	t.does("a", 2, Took+"go 0", "first")
	t.succeed("a", 2)
	t.step("b", 1, "w2")
	t.step("c", 1, "w2")
	t.finish()
}

// suspendedByDrain: what waits on a worker that leaves lives nowhere until a message
// has come, and goes on elsewhere.
func suspendedByDrain(s *scene) {
	t := s.begin("suspended", soft)
	t.bind("w1", messages.Reason_REASON_FIRST)
	t.dispatch("a", 1, "")
	t.execute("a", 1)
	t.tell(&messages.Event{Kind: &messages.Event_CallWaits{CallWaits: &messages.CallWaits{Step: "a", Attempt: 1, Name: "go", Key: "#0"}}})
	f := s.strike(WorkerLeave, "w1")
	t.returns("a", 1, "context canceled")
	t.tell(&messages.Event{Kind: &messages.Event_AttemptSuspended{AttemptSuspended: &messages.AttemptSuspended{
		Step: "a", Attempt: 1, Reason: messages.Reason_REASON_WORKER_DRAINING,
	}}})
	s.call(Call{Act: ActSignal, Runs: []string{"suspended"}, Key: "m5"})
	t.tell(&messages.Event{Kind: &messages.Event_Signaled{Signaled: &messages.Signaled{Name: "go", MessageId: "m5"}}})
	t.record("a", 1, &messages.CallRecorded{Name: "go", Key: "#0", MessageId: "m5"})
	t.bind("w2", messages.Reason_REASON_WORKER_DRAINING)
	t.dispatch("a", 2, "")
	t.execute("a", 2)
	t.does("a", 2, Took+"go 0", "first")
	t.succeed("a", 2)
	t.step("b", 1, "")
	t.step("c", 1, "")
	t.finish()
	s.process("w1")
	f.Until = s.now
}

func (t *tale) record(step string, attempt int32, k *messages.CallRecorded) {
	k.Step, k.Attempt = step, attempt
	t.tell(&messages.Event{Kind: &messages.Event_CallRecorded{CallRecorded: k}})
}

// executed is an execution of the tale.
func (t *tale) executed(step string, attempt int) *ledger.Execution {
	for i := range t.s.evidence.Executions {
		if e := &t.s.evidence.Executions[i]; e.Run == t.run.ID && e.Step == step && e.Attempt == attempt {
			return e
		}
	}
	return nil
}

func (t *tale) does(step string, attempt int, what, value string) {
	e := t.executed(step, attempt)
	e.Did = append(e.Did, ledger.Deed{At: t.s.pass(1), What: what, Value: value})
}

// deedCorruptions break the rules about calls and messages.
var deedCorruptions = []corruption{
	{RuleSuspended, "an attempt is suspended that waits for nothing", func(d *drawn) {
		s := d.event(func(r *Run, ev *messages.Event) bool { return r.ID == "suspended" && ev.GetCallWaits() != nil })
		s.remove()
	}},
	{RuleStaleAccepted, "a suspended attempt records what it did not wait for", func(d *drawn) {
		s := d.event(func(r *Run, ev *messages.Event) bool { return r.ID == "suspended" && ev.GetCallRecorded() != nil })
		s.event.GetCallRecorded().Name = "stop"
	}},
	{RuleCalls, "a call is made again by a later attempt", func(d *drawn) {
		e := d.talk(2)
		e.Did = append([]ledger.Deed{{At: e.Begin.Add(1), What: Made + "think 0"}}, e.Did...)
	}},
	{RuleCalls, "a call is made again by the same attempt", func(d *drawn) {
		e := d.talk(1)
		e.Did = append(e.Did, ledger.Deed{At: e.Did[len(e.Did)-1].At.Add(1), What: Made + "think 0"})
	}},
	{RuleCalls, "a call has another result", func(d *drawn) { d.talk(2).Did[0].Value = "y" }},
	{RuleMessages, "a later attempt receives another message", func(d *drawn) { d.talk(2).Did[1].Value = "second" }},
	{RuleMessages, "a message is received twice", func(d *drawn) {
		s := d.event(func(_ *Run, ev *messages.Event) bool { return ev.GetCallRecorded().GetMessageId() != "" })
		s.insert(s.entry, &messages.Event{Kind: &messages.Event_CallRecorded{CallRecorded: &messages.CallRecorded{Step: "a", Attempt: 1, Name: "go", Key: "#1", MessageId: "m0"}}})
	}},
	{RuleMessages, "a message is received that nobody sent", func(d *drawn) {
		d.event(func(_ *Run, ev *messages.Event) bool { return ev.GetSignaled() != nil }).remove()
	}},
	{RuleMessages, "a message is there twice", func(d *drawn) {
		s := d.event(func(_ *Run, ev *messages.Event) bool { return ev.GetSignaled() != nil })
		s.insert(s.entry, s.event)
	}},
	{RuleLost, "an acknowledged message is not there", func(d *drawn) {
		d.call(func(c *Call) bool { return c.Act == ActSignal }).Key = "m1"
	}},
	{RuleRefused, "a message to a run that nobody canceled is refused", func(d *drawn) {
		c := d.call(func(c *Call) bool { return c.Act == ActSignal })
		c.Outcome, c.Code = Refused, messages.CodeRunFinished
	}},
	{RuleRecordedTwice, "a call is recorded twice", func(d *drawn) {
		s := d.event(func(_ *Run, ev *messages.Event) bool { return ev.GetCallRecorded().GetName() == "think" })
		s.insert(s.entry, s.event)
	}},
	{RuleStaleAccepted, "an attempt that is over records a call", func(d *drawn) {
		s := d.event(func(r *Run, ev *messages.Event) bool { return r.ID == "talked" && ev.GetAttemptFailed() != nil })
		s.insert(s.entry, &messages.Event{Kind: &messages.Event_CallRecorded{CallRecorded: &messages.CallRecorded{Step: "a", Attempt: 1, Name: "late", Key: "#0"}}})
	}},
}

// talk is the execution of an attempt of the run that talked.
func (d *drawn) talk(attempt int) *ledger.Execution {
	return d.execution(func(e *ledger.Execution) bool {
		return e.Run == "talked" && e.Step == "a" && e.Attempt == attempt
	})
}
