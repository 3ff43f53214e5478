package verdict

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/limpetrun/limpet/cmd/internal/ledger"
	"github.com/limpetrun/limpet/messages"
)

// stateful begins a run whose first two steps build state and whose second and
// third need it.
func (s *scene) stateful(id string, sticky messages.Sticky) *tale {
	t := s.begin(id, sticky)
	t.run.Want.Builds, t.run.Want.Needs, t.run.Want.Private, t.run.Want.Handoff = []string{"a", "b"}, []string{"b", "c"}, "state", true
	return t
}

// newest execution of a step.
func (t *tale) newest(step string) *ledger.Execution {
	for i := len(t.s.evidence.Executions) - 1; i >= 0; i-- {
		if e := &t.s.evidence.Executions[i]; e.Run == t.run.ID && e.Step == step {
			return e
		}
	}
	panic(step)
}

// ticks lets the newest execution of a step act for a while.
func (t *tale) ticks(step string, for_ time.Duration) {
	e := t.newest(step)
	for end := t.s.now.Add(for_); t.s.now.Before(end); {
		e.Ticks = append(e.Ticks, t.s.pass(20*time.Millisecond).UnixMicro())
	}
}

// seesCancel ends the newest execution of a step by its context.
func (t *tale) seesCancel(step string, attempt int) {
	t.newest(step).Canceled = t.s.pass(time.Millisecond)
	t.returns(step, attempt, "context canceled")
}

// build makes a value on the bound worker; a private one of the run without a
// key. The result is its place in the evidence.
func (t *tale) build(key, received string) int {
	v := ledger.Value{ID: fmt.Sprintf("v%d", len(t.s.evidence.Values)), Worker: t.bound.WorkerId, Incarnation: t.bound.Incarnation, Local: "state", Built: t.s.pass(time.Millisecond), Received: received}
	if key == "" {
		v.Run, v.Epoch = t.run.ID, t.epoch
	} else {
		v.Local, v.Key = "shared", key
	}
	t.s.evidence.Values = append(t.s.evidence.Values, v)
	return len(t.s.evidence.Values) - 1
}

// use lets the newest execution of a step get a value.
func (t *tale) use(value int, step string) {
	v := &t.s.evidence.Values[value]
	version := 1
	if v.Received != "" {
		var s State
		_ = json.Unmarshal([]byte(v.Received), &s)
		version += s.Version
	}
	v.Uses = append(v.Uses, ledger.Use{Execution: t.newest(step).ID, At: t.s.pass(time.Millisecond), Version: version + len(v.Uses)})
}

// give hands a value off.
func (t *tale) give(value int) string {
	v := &t.s.evidence.Values[value]
	data, _ := json.Marshal(State{Run: t.run.ID, Version: v.Uses[len(v.Uses)-1].Version})
	v.Gifts = append(v.Gifts, ledger.Gift{At: t.s.pass(time.Millisecond), Data: string(data)})
	return string(data)
}

func (s *scene) release(value int, why string) {
	v := &s.evidence.Values[value]
	v.Releases = append(v.Releases, ledger.Release{At: s.pass(time.Millisecond), Why: why})
}

// rebuild goes through one rebuild of a step.
func (t *tale) rebuild(step string, attempt int32, forStep string) {
	t.tell(&messages.Event{Kind: &messages.Event_RebuildBegan{RebuildBegan: &messages.RebuildBegan{Step: step, Epoch: t.epoch, ForStep: forStep}}})
	t.dispatch(step, attempt, "")
	t.execute(step, int(attempt))
	t.newest(step).Rebuild = true
	t.returns(step, int(attempt), "")
	t.tell(&messages.Event{Kind: &messages.Event_StepRebuilt{StepRebuilt: &messages.StepRebuilt{Step: step, Attempt: attempt}}})
}

// given notes what the inputs of the newest execution of a step were.
func (t *tale) given(step string, attempt int, from ...string) {
	e := t.newest(step)
	out := Output{Value: t.run.ID + "/" + step, Execution: e.ID, Inputs: from}
	e.End = t.s.pass(20 * time.Millisecond)
	data, _ := json.Marshal(out)
	e.Note = string(data)
	t.tell(&messages.Event{Kind: &messages.Event_StepSucceeded{StepSucceeded: &messages.StepSucceeded{Step: step, Attempt: int32(attempt), Output: data}}})
}

// leave drains a worker in order, with a new process after it.
func (s *scene) leave(worker string) (back func()) {
	f := s.strike(WorkerLeave, worker)
	n := len(s.faults) - 1
	f.PID = s.pid(worker)
	return func() {
		s.process(worker)
		s.faults[n].Until = s.now
	}
}

func (s *scene) pid(worker string) int {
	for _, p := range s.evidence.Processes {
		if p.Incarnation == s.processes[worker].Incarnation {
			return p.ID
		}
	}
	return 0
}

// rebuiltElsewhere: the state goes with the worker, and its builders run again
// before the step that needs it.
func rebuiltElsewhere(s *scene) {
	t := s.stateful("rebuilt", soft)
	t.bind("w1", messages.Reason_REASON_FIRST)
	t.dispatch("a", 1, "")
	t.execute("a", 1)
	v := t.build("", "")
	t.use(v, "a")
	t.succeed("a", 1)
	a := t.newest("a").ID
	t.dispatch("b", 1, "")
	t.execute("b", 1)
	t.use(v, "b")
	t.given("b", 1, a)
	b := t.newest("b").ID
	back := s.leave("w1")
	t.lose(messages.Reason_REASON_WORKER_DRAINING)
	s.release(v, releaseRebound)
	t.bind("w2", messages.Reason_REASON_WORKER_DRAINING)
	t.rebuild("a", 2, "c")
	t.rebuild("b", 2, "c")
	t.dispatch("c", 1, "")
	t.execute("c", 1)
	u := t.build("", "")
	t.use(u, "c")
	t.given("c", 1, b)
	back()
	t.finish()
	s.release(u, releaseEnded)
}

// thawedTooLate: a process acts after its thaw, until it sees that its context
// has ended; what it does is fenced.
func thawedTooLate(s *scene) {
	t := s.begin("thawed", soft)
	t.bind("w2", messages.Reason_REASON_FIRST)
	t.dispatch("a", 1, "")
	t.execute("a", 1)
	t.ticks("a", 100*time.Millisecond)
	old := len(s.evidence.Executions) - 1
	f := s.strike(WorkerStop, "w2")
	f.PID = s.pid("w2")
	s.pass(2 * time.Second)
	t.lose(messages.Reason_REASON_WORKER_LOST)
	t.attemptLost("a", 1, messages.Reason_REASON_WORKER_LOST)
	t.bind("w3", messages.Reason_REASON_WORKER_LOST)
	t.dispatch("a", 2, "")
	t.execute("a", 2)
	t.ticks("a", 4*time.Second)
	f.Until = s.now
	e := &s.evidence.Executions[old]
	e.Ticks = append(e.Ticks, s.pass(10*time.Millisecond).UnixMicro(), s.pass(20*time.Millisecond).UnixMicro())
	e.Canceled, e.End, e.Failed, e.Note = s.pass(time.Millisecond), s.pass(time.Millisecond), true, "lease expired"
	t.refused("a", 1)
	t.succeed("a", 2)
	t.step("b", 1, "")
	t.step("c", 1, "")
	t.finish()
}

// drain drains a worker by the API.
func (s *scene) drain(worker string, deadline time.Duration) (lift func()) {
	s.strike(WorkerDrain, worker)
	n := len(s.faults) - 1
	s.faults[n].PID, s.faults[n].Deadline, s.faults[n].Acked = s.pid(worker), deadline, s.pass(5*time.Millisecond)
	return func() {
		s.faults[n].Lifted, s.faults[n].Until = s.pass(time.Millisecond), s.pass(5*time.Millisecond)
	}
}

// leaves gives the binding up, with state that was handed off.
func (t *tale) leaves(data string) {
	t.tell(
		&messages.Event{Kind: &messages.Event_StateHandedOff{StateHandedOff: &messages.StateHandedOff{Epoch: t.epoch, States: []*messages.HandedState{{Local: "state", Data: []byte(data)}}}}},
		&messages.Event{Kind: &messages.Event_BindingLost{BindingLost: &messages.BindingLost{Epoch: t.epoch, Reason: messages.Reason_REASON_WORKER_DRAINING}}},
	)
}

// handedOver: a run leaves a worker that drains, and its state goes with it.
func handedOver(s *scene) {
	t := s.stateful("handed", soft)
	t.bind("w1", messages.Reason_REASON_FIRST)
	t.dispatch("a", 1, "")
	t.execute("a", 1)
	v := t.build("", "")
	t.use(v, "a")
	t.succeed("a", 1)
	t.dispatch("b", 1, "")
	t.execute("b", 1)
	t.use(v, "b")
	lift := s.drain("w1", 0)
	t.succeed("b", 1)
	data := t.give(v)
	t.leaves(data)
	s.release(v, releaseRebound)
	t.bind("w3", messages.Reason_REASON_WORKER_DRAINING)
	t.dispatch("c", 1, "")
	t.execute("c", 1)
	u := t.build("", data)
	t.use(u, "c")
	t.succeed("c", 1)
	t.finish()
	s.release(u, releaseEnded)
	s.pass(5 * time.Second)
	lift()
}

// hardThroughDrain: a HARD run stays, is cut short at the deadline, and goes on
// when the drain is lifted; a NONE run goes elsewhere.
func hardThroughDrain(s *scene) {
	t := s.begin("hard-drained", hard)
	t.bind("w2", messages.Reason_REASON_FIRST)
	t.dispatch("a", 1, "")
	t.execute("a", 1)
	lift := s.drain("w2", 3*time.Second)
	t.ticks("a", 3*time.Second)
	t.seesCancel("a", 1)
	t.attemptLost("a", 1, messages.Reason_REASON_CANCELED_BY_WORKER)
	s.pass(3 * time.Second)
	u := s.begin("none-undrained", none)
	u.step("a", 1, "w1")
	u.step("b", 1, "w3")
	u.step("c", 1, "w3")
	u.finish()
	lift()
	t.step("a", 2, "")
	t.step("b", 1, "")
	t.step("c", 1, "")
	t.finish()
}

// sharedByKey: two runs with one key share a value.
func sharedByKey(s *scene) {
	v := -1
	for _, id := range []string{"shared-1", "shared-2"} {
		t := s.begin(id, soft)
		t.run.Want.Shared, t.run.Want.Key = "shared", "k"
		t.bind("w3", messages.Reason_REASON_FIRST)
		t.dispatch("a", 1, "")
		t.execute("a", 1)
		if v < 0 {
			v = t.build("k", "")
		}
		t.use(v, "a")
		t.succeed("a", 1)
		t.step("b", 1, "")
		t.step("c", 1, "")
		t.finish()
	}
	s.pass(time.Minute)
	s.release(v, releaseEvicted)
}

// foundLost: a step finds its state gone, and it is built again.
func foundLost(s *scene) {
	t := s.stateful("found-lost", soft)
	t.bind("w1", messages.Reason_REASON_FIRST)
	t.dispatch("a", 1, "")
	t.execute("a", 1)
	v := t.build("", "")
	t.use(v, "a")
	t.succeed("a", 1)
	t.dispatch("b", 1, "")
	t.execute("b", 1)
	t.use(v, "b")
	t.returns("b", 1, OnPurpose+": the state is lost")
	s.release(v, releaseLost)
	t.tell(&messages.Event{Kind: &messages.Event_AttemptLost{AttemptLost: &messages.AttemptLost{Step: "b", Attempt: 1, Reason: messages.Reason_REASON_STATE_LOST, Started: true}}})
	t.rebuild("a", 2, "b")
	t.dispatch("b", 2, "")
	t.execute("b", 2)
	u := t.build("", "")
	t.use(u, "b")
	t.succeed("b", 2)
	t.step("c", 1, "")
	t.finish()
	s.release(u, releaseEnded)
}

// turnedAway: a second process with the id of a worker that lives is refused;
// one that comes while the first stops waits for its end.
func turnedAway(s *scene) {
	t := s.begin("undoubled", hard)
	t.bind("w2", messages.Reason_REASON_FIRST)
	t.dispatch("a", 1, "")
	t.execute("a", 1)
	first := s.processes["w2"]
	s.process("w2")
	refused := &s.evidence.Processes[len(s.evidence.Processes)-1]
	refused.Ready = time.Time{}
	s.faults = append(s.faults, Fault{Kind: WorkerDouble, Target: "w2", PID: refused.ID, At: refused.Begin.Add(-time.Second), Until: s.pass(time.Second)})
	s.processes["w2"] = first
	// What is done to its network later is done to the one that was there first.
	f := s.strike(PartitionServers, "w2")
	t.ticks("a", time.Second)
	t.seesCancel("a", 1)
	f.Until = s.pass(time.Second)
	t.attemptLost("a", 1, messages.Reason_REASON_LEASE_EXPIRED)
	t.step("a", 2, "")
	t.dispatch("b", 1, "")
	t.execute("b", 1)
	back := s.leave("w2")
	t.ticks("b", 500*time.Millisecond)
	t.succeed("b", 1)
	t.lose(messages.Reason_REASON_WORKER_LEFT)
	back()
	t.bind("w2", messages.Reason_REASON_WORKER_RESTARTED)
	t.step("c", 1, "")
	t.finish()
}

// leaseExpired: a worker that is cut off ends its functions before the run is
// bound to another one.
func leaseExpired(s *scene) {
	t := s.begin("lease", soft)
	t.bind("w3", messages.Reason_REASON_FIRST)
	t.dispatch("a", 1, "")
	t.execute("a", 1)
	f := s.strike(PartitionServers, "w3")
	t.ticks("a", time.Second)
	t.seesCancel("a", 1)
	s.pass(500 * time.Millisecond)
	t.lose(messages.Reason_REASON_WORKER_LOST)
	t.attemptLost("a", 1, messages.Reason_REASON_WORKER_LOST)
	t.bind("w1", messages.Reason_REASON_WORKER_LOST)
	t.step("a", 2, "")
	f.Until = s.pass(4 * time.Second)
	t.refused("a", 1)
	t.step("b", 1, "")
	t.step("c", 1, "")
	t.finish()
}

// cameBack: a run with nothing to do leaves a worker that drains, and there is no
// other one until that does not drain any more.
func cameBack(s *scene) {
	t := s.begin("came-back", soft)
	t.bind("w1", messages.Reason_REASON_FIRST)
	t.dispatch("a", 1, "")
	t.execute("a", 1)
	lift := s.drain("w1", 0)
	t.fail("a", 1, messages.CodeUserError, OnPurpose+": attempt 1 of 1")
	t.lose(messages.Reason_REASON_WORKER_DRAINING)
	s.pass(leftFor)
	lift()
	t.bind("w1", messages.Reason_REASON_WORKER_DRAINING)
	t.step("a", 2, "")
	t.step("b", 1, "")
	t.step("c", 1, "")
	t.finish()
}

// handedOn: state goes through a worker where no step has asked for it.
func handedOn(s *scene) {
	t := s.stateful("handed-on", soft)
	t.bind("w1", messages.Reason_REASON_FIRST)
	t.dispatch("a", 1, "")
	t.execute("a", 1)
	v := t.build("", "")
	t.use(v, "a")
	lift := s.drain("w1", 0)
	t.succeed("a", 1)
	data := t.give(v)
	t.leaves(data)
	s.release(v, releaseRebound)
	t.bind("w2", messages.Reason_REASON_WORKER_DRAINING)
	t.dispatch("b", 1, "")
	t.execute("b", 1)
	again := s.drain("w2", 0)
	t.fail("b", 1, messages.CodeUserError, OnPurpose+": attempt 1 of 1")
	t.leaves(data)
	t.bind("w3", messages.Reason_REASON_WORKER_DRAINING)
	t.dispatch("b", 2, "")
	t.execute("b", 2)
	u := t.build("", data)
	t.use(u, "b")
	t.succeed("b", 2)
	t.dispatch("c", 1, "")
	t.execute("c", 1)
	t.use(u, "c")
	t.succeed("c", 1)
	t.finish()
	s.release(u, releaseEnded)
	lift()
	again()
}
