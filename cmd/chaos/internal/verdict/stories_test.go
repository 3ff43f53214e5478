package verdict

import (
	"fmt"
	"time"

	"github.com/limpetrun/limpet/messages"
)

const (
	none = messages.Sticky_STICKY_NONE
	soft = messages.Sticky_STICKY_SOFT
	hard = messages.Sticky_STICKY_HARD
)

// everything is a scene with every legitimate story.
func everything() *scene {
	s := newScene()
	for _, story := range []func(*scene){
		plain, retried, leftByOtherDoors, overran, keyedTwice, inDoubt, event, waitedFor, replayed, tidied, wentOn, asked, wrote, replayedInPart, failedForGood,
		canceledRun, canceledParent, stickyChild, childOnItsOwn,
		workerKilled, workerFrozen, childRespawned, workerDrained, suspendedByDrain, workerBusy, slotsHeld, workerCutOff, superseded, serverKilled, linkCut, databaseRestarted,
		rebuiltElsewhere, thawedTooLate, handedOver, hardThroughDrain, sharedByKey, foundLost, turnedAway, leaseExpired, cameBack, handedOn, talked, rested, canceledAtRest,
	} {
		story(s)
		s.pass(time.Minute)
	}
	s.evidence.At = s.pass(time.Second)
	return s
}

func plain(s *scene) {
	t := s.begin("plain", none)
	t.step("a", 1, "w1")
	t.step("b", 1, "w2")
	t.step("c", 1, "w3")
	t.finish()
}

func retried(s *scene) {
	t := s.begin("retried", soft)
	t.bind("w1", messages.Reason_REASON_FIRST)
	t.dispatch("a", 1, "")
	t.execute("a", 1)
	t.fail("a", 1, messages.CodeUserError, OnPurpose+": attempt 1 of 1")
	t.step("a", 2, "")
	t.step("b", 1, "")
	t.step("c", 1, "")
	t.finish()
}

// leftByOtherDoors: a step fails on purpose, and does not return an error.
func leftByOtherDoors(s *scene) {
	t := s.begin("doors", none)
	note := func(n int, d Door) string { return fmt.Sprintf("%s: attempt %d of 3%s", OnPurpose, n, d) }
	for i, left := range []struct {
		door    Door
		code    messages.Code
		message string
	}{
		{ByPanic, messages.CodeStepPanicked, `step "a" panicked: ` + note(1, ByPanic)},
		{ByGoexit, messages.CodeStepPanicked, `step "a" ended its goroutine with runtime.Goexit`},
		{ByMethod, messages.CodeUserError, "a method of the error, a load.unreadable, panicked: no"},
	} {
		t.dispatch("a", int32(i+1), "w1")
		t.execute("a", i+1)
		t.failAs("a", i+1, left.code, left.message, note(i+1, left.door))
	}
	t.step("a", 4, "w1")
	t.step("b", 1, "w1")
	t.step("c", 1, "w1")
	t.finish()
}

func overran(s *scene) {
	t := s.begin("overran", none)
	t.run.Want.Overruns = "a"
	t.dispatch("a", 1, "w1")
	t.execute("a", 1)
	t.fail("a", 1, messages.CodeExecutionTimeout, "context deadline exceeded")
	t.step("a", 2, "w1")
	t.step("b", 1, "w1")
	t.step("c", 1, "w1")
	t.finish()
}

// keyedTwice: two clients start with one key, one of them after an error.
func keyedTwice(s *scene) {
	t := s.begin("twice", none)
	first := s.evidence.Calls[len(s.evidence.Calls)-1]
	again := first
	s.call(again)
	again.Outcome, again.Code, again.Runs = Ambiguous, messages.CodeUnavailable, nil
	s.call(again)
	t.step("a", 1, "w1")
	t.step("b", 1, "w1")
	t.step("c", 1, "w1")
	t.finish()
}

// inDoubt: a start without a key of which the client never heard.
func inDoubt(s *scene) {
	t := s.begin("in-doubt", none, func(r *messages.RunStarted) { r.Trigger, r.IdempotencyKey = "api?", "" })
	s.call(Call{Act: ActStart, Workflow: "chain", Input: []byte(`{}`), Outcome: Ambiguous, Code: messages.CodeUnavailable})
	t.step("a", 1, "w1")
	t.step("b", 1, "w1")
	t.step("c", 1, "w1")
	t.finish()
}

func event(s *scene) {
	number := s.calls + 1
	var runs []string
	for _, id := range []string{"event-1", "event-2"} {
		t := s.begin(id, none, func(r *messages.RunStarted) {
			r.Trigger, r.IdempotencyKey, r.Input = "event:order", "", []byte(`{"order":1}`)
		})
		t.step("a", 1, "w1")
		t.step("b", 1, "w1")
		t.step("c", 1, "w1")
		t.finish()
		runs = append(runs, id)
	}
	s.calls = number
	s.call(Call{Act: ActEvent, Number: number, Event: "order", Key: "event-key", Triggers: 2, Input: []byte(`{"order":1}`), Runs: runs})
}

func waitedFor(s *scene) {
	t := s.begin("waited-for", none)
	t.step("a", 1, "w1")
	t.step("b", 1, "w1")
	t.step("c", 1, "w1")
	t.end()
	s.call(Call{Act: ActWait, Runs: []string{"waited-for"}, Status: messages.RunStatus_RUN_STATUS_SUCCEEDED})
	var entries []uint64
	for _, e := range t.run.Entries {
		entries = append(entries, e.Number)
	}
	s.call(Call{Act: ActWatch, Runs: []string{"waited-for"}, Status: messages.RunStatus_RUN_STATUS_SUCCEEDED, Entries: entries})
	s.call(Call{Act: ActWait, Runs: []string{"waited-for"}, Outcome: Ambiguous, Code: GivenUp})
	s.call(Call{Act: ActCancel, Runs: []string{"waited-for"}, Outcome: Refused, Code: messages.CodeRunFinished})
	t.told()
}

func replayed(s *scene) {
	t := s.begin("replayed", hard)
	t.bind("w1", messages.Reason_REASON_FIRST)
	t.step("a", 1, "")
	t.step("b", 1, "")
	t.step("c", 1, "")
	t.end()
	t.replay()
	t.bind("w2", messages.Reason_REASON_REPLAYED)
	t.step("a", 2, "")
	t.step("b", 2, "")
	t.step("c", 2, "")
	t.finish()
}

func replayedInPart(s *scene) {
	t := s.begin("replayed-in-part", none)
	t.step("a", 1, "w1")
	t.step("b", 1, "w1")
	t.step("c", 1, "w1")
	t.end()
	t.replay("b")
	t.step("b", 2, "w2")
	t.step("c", 2, "w2")
	t.finish()
}

func failedForGood(s *scene) {
	t := s.begin("failed", soft)
	t.run.Want = &Want{Values: map[string]string{"a": "failed/a"}, Fails: "b"}
	t.bind("w3", messages.Reason_REASON_FIRST)
	t.step("a", 1, "")
	t.dispatch("b", 1, "")
	t.execute("b", 1)
	failure := &messages.Failure{Code: string(messages.CodeUserError), Message: OnPurpose + ": for good"}
	t.fail("b", 1, messages.CodeUserError, failure.Message)
	t.tell(&messages.Event{Kind: &messages.Event_StepFailed{StepFailed: &messages.StepFailed{Step: "b", Failure: failure}}})
	t.tell(&messages.Event{Kind: &messages.Event_StepSkipped{StepSkipped: &messages.StepSkipped{Step: "c"}}})
	t.ends(messages.RunStatus_RUN_STATUS_FAILED, failure)
	t.told()
}

func canceledRun(s *scene) {
	t := s.begin("canceled", soft)
	t.bind("w1", messages.Reason_REASON_FIRST)
	t.step("a", 1, "")
	t.dispatch("b", 1, "")
	t.execute("b", 1)
	s.call(Call{Act: ActCancel, Runs: []string{"canceled"}})
	t.cancel()
	t.returns("b", 1, "context canceled")
	t.stepsCanceled("b", "c")
	t.ends(messages.RunStatus_RUN_STATUS_CANCELED, nil)
	t.told()
}

// child begins a run as the child of another one.
func (s *scene) child(id, parent, step string, sticky messages.Sticky, to *messages.WorkerRef) *tale {
	return s.begin(id, sticky, func(r *messages.RunStarted) {
		r.Trigger, r.ParentRun, r.ParentStep, r.BindTo, r.IdempotencyKey, r.Metadata = "child", parent, step, to, "", nil
	})
}

// canceledParent: one child goes down with its parent, another one is kept.
func canceledParent(s *scene) {
	t := s.begin("canceled-parent", none)
	t.dispatch("a", 1, "w1")
	t.execute("a", 1)
	t.spawn("a", 1, "canceled-parent.x", false, false)
	x := s.child("canceled-parent.x", "canceled-parent", "a", none, nil)
	t.succeed("a", 1, "canceled-parent.x")
	t.dispatch("b", 1, "w1")
	t.execute("b", 1)
	t.spawn("b", 1, "canceled-parent.y", false, true)
	y := s.child("canceled-parent.y", "canceled-parent", "b", none, nil)
	s.call(Call{Act: ActCancel, Runs: []string{"canceled-parent"}})
	t.cancel()
	x.cancel()
	x.stepsCanceled("a", "b", "c")
	x.ends(messages.RunStatus_RUN_STATUS_CANCELED, nil)
	x.told()
	t.returns("b", 1, "context canceled")
	t.stepsCanceled("b", "c")
	t.ends(messages.RunStatus_RUN_STATUS_CANCELED, nil)
	t.told()
	y.step("a", 1, "w2")
	y.step("b", 1, "w2")
	y.step("c", 1, "w2")
	y.finish()
}

func stickyChild(s *scene) {
	t := s.begin("parent", soft)
	t.bind("w2", messages.Reason_REASON_FIRST)
	t.dispatch("a", 1, "")
	t.execute("a", 1)
	t.spawn("a", 1, "parent.x", true, false)
	x := s.child("parent.x", "parent", "a", hard, s.processes["w2"])
	x.bind("w2", messages.Reason_REASON_CHILD)
	x.step("a", 1, "")
	x.step("b", 1, "")
	x.step("c", 1, "")
	x.finish()
	t.succeed("a", 1, "parent.x")
	t.step("b", 1, "")
	t.step("c", 1, "")
	t.finish()
}

func childOnItsOwn(s *scene) {
	t := s.begin("parent-2", soft)
	t.bind("w2", messages.Reason_REASON_FIRST)
	t.dispatch("a", 1, "")
	t.execute("a", 1)
	t.spawn("a", 1, "parent-2.x", false, false)
	x := s.child("parent-2.x", "parent-2", "a", soft, nil)
	x.bind("w3", messages.Reason_REASON_FIRST)
	x.step("a", 1, "")
	x.step("b", 1, "")
	x.step("c", 1, "")
	x.finish()
	t.succeed("a", 1, "parent-2.x")
	t.step("b", 1, "")
	t.step("c", 1, "")
	t.finish()
}

// workerKilled: a SOFT, a HARD and a NONE run on a worker that is killed and
// comes back.
func workerKilled(s *scene) {
	var tales []*tale
	for _, sticky := range []messages.Sticky{soft, hard, none} {
		t := s.begin("killed-"+sticky.String(), sticky)
		if sticky != none {
			t.bind("w1", messages.Reason_REASON_FIRST)
		}
		t.step("a", 1, "w1")
		t.dispatch("b", 1, "w1")
		t.execute("b", 1)
		tales = append(tales, t)
	}
	f := s.strike(WorkerKill, "w1")
	s.pass(2 * time.Second)
	for _, t := range tales {
		switch t.sticky {
		case soft:
			t.lose(messages.Reason_REASON_WORKER_LOST)
			t.attemptLost("b", 1, messages.Reason_REASON_WORKER_LOST)
			t.bind("w2", messages.Reason_REASON_WORKER_LOST)
			t.dispatch("b", 2, "")
			t.execute("b", 2)
		case none:
			t.attemptLost("b", 1, messages.Reason_REASON_WORKER_LOST)
			t.dispatch("b", 2, "w3")
			t.execute("b", 2)
		case hard:
			t.lose(messages.Reason_REASON_WORKER_LOST)
		}
	}
	s.pass(3 * time.Second)
	s.process("w1")
	f.Until = s.now
	for _, t := range tales {
		if t.sticky == hard {
			s.pass(500 * time.Millisecond)
			t.attemptLost("b", 1, messages.Reason_REASON_WORKER_RESTARTED)
			t.bind("w1", messages.Reason_REASON_WORKER_RESTARTED)
			t.dispatch("b", 2, "")
			t.execute("b", 2)
		}
		t.succeed("b", 2)
		t.step("c", 1, "w2")
		t.finish()
	}
}

// workerFrozen: the SOFT run moves, its late result is refused, the HARD run
// goes on where it was.
func workerFrozen(s *scene) {
	t := s.begin("frozen-soft", soft)
	t.bind("w2", messages.Reason_REASON_FIRST)
	t.dispatch("a", 1, "")
	t.execute("a", 1)
	u := s.begin("frozen-hard", hard)
	u.bind("w2", messages.Reason_REASON_FIRST)
	u.dispatch("a", 1, "")
	u.execute("a", 1)
	f := s.strike(WorkerStop, "w2")
	s.pass(2 * time.Second)
	t.lose(messages.Reason_REASON_WORKER_LOST)
	t.attemptLost("a", 1, messages.Reason_REASON_WORKER_LOST)
	t.bind("w3", messages.Reason_REASON_WORKER_LOST)
	t.dispatch("a", 2, "")
	t.execute("a", 2)
	u.lose(messages.Reason_REASON_WORKER_LOST)
	s.pass(4 * time.Second)
	f.Until = s.now
	t.returns("a", 1, "")
	t.refused("a", 1)
	u.restore()
	u.succeed("a", 1)
	t.succeed("a", 2)
	for _, x := range []*tale{t, u} {
		x.step("b", 1, "")
		x.step("c", 1, "")
		x.finish()
	}
}

// childRespawned: the worker dies before the child is started, which then
// begins where the next attempt runs.
func childRespawned(s *scene) {
	t := s.begin("respawned", soft)
	t.bind("w3", messages.Reason_REASON_FIRST)
	t.dispatch("a", 1, "")
	t.execute("a", 1)
	t.spawn("a", 1, "respawned.x", true, false)
	f := s.strike(WorkerKill, "w3")
	s.pass(2 * time.Second)
	t.lose(messages.Reason_REASON_WORKER_LOST)
	t.attemptLost("a", 1, messages.Reason_REASON_WORKER_LOST)
	t.bind("w1", messages.Reason_REASON_WORKER_LOST)
	t.dispatch("a", 2, "")
	t.execute("a", 2)
	x := s.child("respawned.x", "respawned", "a", soft, s.processes["w1"])
	x.bind("w1", messages.Reason_REASON_CHILD)
	x.step("a", 1, "")
	x.step("b", 1, "")
	x.step("c", 1, "")
	x.finish()
	t.succeed("a", 2, "respawned.x")
	t.step("b", 1, "")
	t.step("c", 1, "")
	t.finish()
	s.process("w3")
	f.Until = s.now
}

// workerDrained: what waits there moves, what outlasts the grace is given up.
func workerDrained(s *scene) {
	t := s.begin("drained", soft)
	t.bind("w1", messages.Reason_REASON_FIRST)
	t.dispatch("a", 1, "")
	u := s.begin("drained-long", none)
	u.dispatch("a", 1, "w1")
	u.execute("a", 1)
	f := s.strike(WorkerLeave, "w1")
	t.revoked("a", 1, messages.Reason_REASON_WORKER_DRAINING)
	t.bind("w2", messages.Reason_REASON_WORKER_DRAINING)
	t.step("a", 2, "")
	t.step("b", 1, "")
	t.step("c", 1, "")
	t.finish()
	s.pass(5 * time.Second)
	u.returns("a", 1, "context canceled")
	u.attemptLost("a", 1, messages.Reason_REASON_CANCELED_BY_WORKER)
	u.step("a", 2, "w2")
	u.step("b", 1, "w2")
	u.step("c", 1, "w2")
	u.finish()
	s.process("w1")
	f.Until = s.now
}

func workerBusy(s *scene) {
	t := s.begin("busy", soft)
	t.bind("w1", messages.Reason_REASON_FIRST)
	t.dispatch("a", 1, "")
	s.pass(busyPatience)
	t.revoked("a", 1, messages.Reason_REASON_WORKER_BUSY)
	t.bind("w2", messages.Reason_REASON_WORKER_BUSY)
	t.step("a", 2, "")
	t.step("b", 1, "")
	t.step("c", 1, "")
	t.finish()
}

// slotsHeld: the run does not wait, however patient it is.
func slotsHeld(s *scene) {
	t := s.begin("held", soft)
	t.bind("w1", messages.Reason_REASON_FIRST)
	t.dispatch("a", 1, "")
	t.revoked("a", 1, messages.Reason_REASON_SLOTS_HELD)
	t.bind("w2", messages.Reason_REASON_SLOTS_HELD)
	t.step("a", 2, "")
	t.step("b", 1, "")
	t.step("c", 1, "")
	t.finish()
}

func workerCutOff(s *scene) {
	t := s.begin("cut-off", soft)
	t.bind("w3", messages.Reason_REASON_FIRST)
	t.dispatch("a", 1, "")
	t.execute("a", 1)
	f := s.strike(Partition, "server-1")
	f.Nodes = []string{"w3"}
	s.pass(2500 * time.Millisecond)
	t.lose(messages.Reason_REASON_WORKER_LOST)
	t.attemptLost("a", 1, messages.Reason_REASON_WORKER_LOST)
	t.bind("w1", messages.Reason_REASON_WORKER_LOST)
	t.step("a", 2, "")
	f.Until = s.pass(4 * time.Second)
	t.returns("a", 1, "")
	t.refused("a", 1)
	t.step("b", 1, "")
	t.step("c", 1, "")
	t.finish()
}

// superseded: a second process takes the id of a frozen one.
func superseded(s *scene) {
	t := s.begin("superseded", soft)
	t.bind("w2", messages.Reason_REASON_FIRST)
	t.dispatch("a", 1, "")
	t.execute("a", 1)
	f := s.strike(WorkerDouble, "w2")
	s.process("w2")
	t.lose(messages.Reason_REASON_WORKER_SUPERSEDED)
	t.attemptLost("a", 1, messages.Reason_REASON_WORKER_SUPERSEDED)
	t.bind("w2", messages.Reason_REASON_WORKER_SUPERSEDED)
	f.Until = s.now
	t.step("a", 2, "")
	t.step("b", 1, "")
	t.step("c", 1, "")
	t.finish()
}

// serverKilled: the result of a step waits for the run's new owner.
func serverKilled(s *scene) {
	t := s.begin("server-killed", soft)
	t.bind("w1", messages.Reason_REASON_FIRST)
	t.dispatch("a", 1, "")
	t.execute("a", 1)
	f := s.strike(ServerKill, "server-2")
	out := t.returns("a", 1, "")
	s.pass(2 * time.Second)
	t.tell(&messages.Event{Kind: &messages.Event_StepSucceeded{StepSucceeded: &messages.StepSucceeded{Step: "a", Attempt: 1, Output: out}}})
	f.Until = s.pass(time.Second)
	t.step("b", 1, "")
	t.step("c", 1, "")
	t.finish()
}

// linkCut: what was sent, and its result, wait for another way.
func linkCut(s *scene) {
	t := s.begin("link-cut", soft)
	t.bind("w1", messages.Reason_REASON_FIRST)
	f := s.strike(Cut, "")
	f.Nodes = []string{"w1", "server-1"}
	t.dispatch("a", 1, "")
	s.pass(1200 * time.Millisecond)
	t.execute("a", 1)
	out := t.returns("a", 1, "")
	s.pass(800 * time.Millisecond)
	t.tell(&messages.Event{Kind: &messages.Event_StepSucceeded{StepSucceeded: &messages.StepSucceeded{Step: "a", Attempt: 1, Output: out}}})
	t.step("b", 1, "")
	t.step("c", 1, "")
	f.Until = s.pass(20 * time.Second)
	t.finish()
}

func databaseRestarted(s *scene) {
	t := s.begin("database", none)
	f := s.strike(PostgresRestart, "")
	f.Until = s.pass(3 * time.Second)
	s.pass(400 * time.Millisecond)
	t.step("a", 1, "w1")
	t.step("b", 1, "w2")
	t.step("c", 1, "w3")
	t.finish()
}
