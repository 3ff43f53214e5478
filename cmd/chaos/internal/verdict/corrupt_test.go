package verdict

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/cmd/internal/ledger"
	"github.com/limpetrun/limpet/messages"
)

// corruption makes evidence of a broken rule from evidence of a healthy
// cluster, at a place that is drawn.
type corruption struct {
	rule Rule
	name string
	do   func(d *drawn)
}

// drawn is a scene under corruption and what its places are drawn from.
type drawn struct {
	*scene
	t *testing.T
	r *rand.Rand
}

// spot is an event in the evidence.
type spot struct {
	run   *Run
	entry int
	event *messages.Event
}

// event draws an event that matches, as a copy that may be changed.
func (d *drawn) event(match func(*Run, *messages.Event) bool) spot {
	d.t.Helper()
	var all []spot
	for i := range d.evidence.Runs {
		run := &d.evidence.Runs[i]
		for j, e := range run.Entries {
			for _, ev := range e.Events {
				if match(run, ev) {
					all = append(all, spot{run, j, ev})
				}
			}
		}
	}
	if len(all) == 0 {
		d.t.Fatal("there is no such event")
	}
	return all[d.r.IntN(len(all))]
}

// insert puts an entry behind another one; the numbers stay without gaps.
func (s spot) insert(after int, ev *messages.Event) {
	e := Entry{At: s.run.Entries[after].At, Events: []*messages.Event{ev}}
	s.run.Entries = slices.Insert(s.run.Entries, after+1, e)
	s.renumber()
}

func (s spot) remove() {
	s.run.Entries = slices.Delete(s.run.Entries, s.entry, s.entry+1)
	s.renumber()
}

func (s spot) renumber() {
	for i := range s.run.Entries {
		s.run.Entries[i].Number = uint64(i) + 1
	}
}

func (d *drawn) call(match func(*Call) bool) *Call {
	d.t.Helper()
	return pick(d, d.evidence.Calls, match)
}

func (d *drawn) execution(match func(*ledger.Execution) bool) *ledger.Execution {
	d.t.Helper()
	return pick(d, d.evidence.Executions, match)
}

func pick[T any](d *drawn, list []T, match func(*T) bool) *T {
	d.t.Helper()
	var all []*T
	for i := range list {
		if match(&list[i]) {
			all = append(all, &list[i])
		}
	}
	if len(all) == 0 {
		d.t.Fatal("there is none")
	}
	return all[d.r.IntN(len(all))]
}

func (d *drawn) of(id string) *Run {
	return pick(d, d.evidence.Runs, func(r *Run) bool { return r.ID == id })
}

func stickyOf(r *Run) messages.Sticky { return r.Entries[0].Events[0].GetRunStarted().GetSticky() }

// elsewhere is a process of another worker.
func (d *drawn) elsewhere(w *messages.WorkerRef) *messages.WorkerRef {
	p := pick(d, d.evidence.Processes, func(p *ledger.Process) bool { return p.Worker != w.GetWorkerId() })
	return &messages.WorkerRef{WorkerId: p.Worker, Incarnation: p.Incarnation}
}

func isSuccess(_ *Run, ev *messages.Event) bool { return ev.GetStepSucceeded() != nil }
func isEnd(_ *Run, ev *messages.Event) bool     { return ev.GetRunEnded() != nil }
func isLost(_ *Run, ev *messages.Event) bool    { return ev.GetAttemptLost() != nil }
func isRoot(r *Run) bool                        { return r.Entries[0].Events[0].GetRunStarted().GetParentRun() == "" }

func moved(r *Run, ev *messages.Event) bool {
	return stickyOf(r) == soft && ev.GetBound().GetFromWorker() != ""
}

// corruptions are the ways in which each rule is broken; see also the ones
// about calls.
var corruptions = []corruption{
	{RuleNotEnded, "a run goes on", func(d *drawn) {
		s := d.event(func(r *Run, ev *messages.Event) bool {
			return isEnd(r, ev) && len(r.Entries[len(r.Entries)-1].Events) == 1 && r.Entries[len(r.Entries)-1].Events[0] == ev
		})
		s.remove()
		s.run.Status = messages.RunStatus_RUN_STATUS_RUNNING
	}},
	{RuleEndedTwice, "a run ends again", func(d *drawn) {
		s := d.event(isEnd)
		s.insert(s.entry, proto.Clone(s.event).(*messages.Event))
	}},
	{RuleEndedTwice, "a step is dispatched after the end", func(d *drawn) {
		s := d.event(isEnd)
		s.insert(s.entry, &messages.Event{Kind: &messages.Event_StepDispatched{StepDispatched: &messages.StepDispatched{Step: "c", Attempt: 2}}})
	}},
	{RuleRecordedTwice, "a result is recorded again", func(d *drawn) {
		s := d.event(isSuccess)
		s.insert(s.entry, proto.Clone(s.event).(*messages.Event))
	}},
	{RuleRecordedTwice, "a result after a failure of the attempt", func(d *drawn) {
		s := d.event(func(_ *Run, ev *messages.Event) bool { return ev.GetAttemptFailed() != nil })
		f := s.event.GetAttemptFailed()
		s.insert(s.entry, &messages.Event{Kind: &messages.Event_StepSucceeded{StepSucceeded: &messages.StepSucceeded{Step: f.Step, Attempt: f.Attempt}}})
	}},
	{RuleHardMoved, "a HARD run is bound to another worker", func(d *drawn) {
		s := d.event(func(r *Run, ev *messages.Event) bool {
			return stickyOf(r) == hard && ev.GetBound().GetFromWorker() != ""
		})
		s.event.GetBound().Worker = d.elsewhere(s.event.GetBound().Worker)
	}},
	{RuleHardMoved, "a HARD run is executed on another worker", func(d *drawn) {
		e := d.execution(func(e *ledger.Execution) bool { return stickyOf(d.of(e.Run)) == hard })
		w := d.elsewhere(&messages.WorkerRef{WorkerId: e.Worker})
		e.Worker, e.Incarnation = w.WorkerId, w.Incarnation
	}},
	{RuleSoftMoved, "a move has no reason", func(d *drawn) { d.event(moved).event.GetBound().Reason = 0 }},
	{RuleSoftMoved, "a move has a reason of another kind", func(d *drawn) { d.event(moved).event.GetBound().Reason = messages.Reason_REASON_FIRST }},
	{RuleSoftMoved, "a move is not from where the run was", func(d *drawn) { d.event(moved).event.GetBound().FromIncarnation = "i00" }},
	{RuleSoftMoved, "a move without a loss", func(d *drawn) {
		s := d.event(func(r *Run, ev *messages.Event) bool {
			return stickyOf(r) == soft && (ev.GetBindingLost().GetReason() == messages.Reason_REASON_WORKER_LOST || ev.GetBindingLost().GetReason() == messages.Reason_REASON_WORKER_SUPERSEDED)
		})
		s.remove()
	}},
	{RuleSoftMoved, "a SOFT run is executed on another worker", func(d *drawn) {
		e := d.execution(func(e *ledger.Execution) bool { return stickyOf(d.of(e.Run)) == soft })
		w := d.elsewhere(&messages.WorkerRef{WorkerId: e.Worker})
		e.Worker, e.Incarnation = w.WorkerId, w.Incarnation
	}},
	{RuleSoftMoved, "a worker that drains is left, and does not drain", func(d *drawn) {
		d.faults = slices.DeleteFunc(d.faults, func(f Fault) bool { return f.Kind == WorkerLeave })
	}},
	{RuleSoftMoved, "a busy worker is left too early", func(d *drawn) {
		for i := range d.of("busy").Entries {
			e := &d.of("busy").Entries[i]
			if e.Events[0].GetAttemptRevoked() != nil {
				e.At = e.At.Add(-busyPatience / 2)
			}
		}
	}},
	{RuleStaleAccepted, "the result of a lost attempt is recorded", func(d *drawn) {
		s := d.event(isLost)
		l := s.event.GetAttemptLost()
		s.insert(s.entry, &messages.Event{Kind: &messages.Event_StepSucceeded{StepSucceeded: &messages.StepSucceeded{Step: l.Step, Attempt: l.Attempt}}})
	}},
	{RuleStaleAccepted, "a failure of a lost attempt is recorded", func(d *drawn) {
		s := d.event(isLost)
		l := s.event.GetAttemptLost()
		s.insert(s.entry, &messages.Event{Kind: &messages.Event_AttemptFailed{AttemptFailed: &messages.AttemptFailed{Step: l.Step, Attempt: l.Attempt}}})
	}},
	{RuleStaleAccepted, "the result of an old epoch is recorded", func(d *drawn) {
		s := d.event(func(r *Run, ev *messages.Event) bool { return stickyOf(r) != none && isSuccess(r, ev) })
		for _, e := range s.run.Entries {
			if k := e.Events[0].GetStepDispatched(); k.GetStep() == s.event.GetStepSucceeded().Step && k.GetAttempt() == s.event.GetStepSucceeded().Attempt {
				k.Epoch--
				if k.Epoch == 0 {
					k.Epoch = 9
				}
			}
		}
	}},
	{RuleStaleAccepted, "a lost attempt spawns", func(d *drawn) {
		s := d.event(isLost)
		s.insert(s.entry, &messages.Event{Kind: &messages.Event_ChildSpawned{ChildSpawned: &messages.ChildSpawned{Step: s.event.GetAttemptLost().Step, Attempt: 1, ChildRun: "x"}}})
	}},
	{RuleTwoBindings, "an epoch is left out", func(d *drawn) {
		s := d.event(func(_ *Run, ev *messages.Event) bool { return ev.GetBound() != nil })
		s.event.GetBound().Epoch++
	}},
	{RuleTwoBindings, "an epoch is given twice", func(d *drawn) {
		s := d.event(func(_ *Run, ev *messages.Event) bool { return ev.GetBound() != nil })
		s.insert(s.entry, proto.Clone(s.event).(*messages.Event))
	}},
	{RuleTwoBindings, "a run is bound while an attempt is live", func(d *drawn) {
		s := d.event(func(r *Run, ev *messages.Event) bool {
			return isLost(r, ev) && stickyOf(r) == soft && ev.GetAttemptLost().Reason != messages.Reason_REASON_CANCELED_BY_WORKER && ev.GetAttemptLost().Reason != messages.Reason_REASON_STATE_LOST
		})
		s.remove()
	}},
	{RuleTwoBindings, "two processes under one epoch", func(d *drawn) {
		e := d.execution(func(e *ledger.Execution) bool { return e.Epoch == 1 && e.Step == "c" })
		e.Incarnation = "i00"
	}},
	{RuleTwoBindings, "a step goes elsewhere than the run is bound to", func(d *drawn) {
		s := d.event(func(r *Run, ev *messages.Event) bool { return stickyOf(r) == soft && ev.GetStepDispatched() != nil })
		s.event.GetStepDispatched().Worker = d.elsewhere(s.event.GetStepDispatched().Worker)
	}},
	{RuleTwoBindings, "a run leaves a worker that still works for it", func(d *drawn) {
		run := d.of(pickOne(d, "busy", "drained"))
		for _, e := range run.Entries {
			if ev := e.Events[0]; ev.GetAttemptRevoked() != nil {
				first := run.Entries[1].Events[0].GetBound()
				d.evidence.Executions = append(d.evidence.Executions, ledger.Execution{
					Run: run.ID, Step: "a", Attempt: 1, Epoch: 1, Worker: first.Worker.WorkerId, Incarnation: first.Worker.Incarnation, Begin: e.At.Add(-time.Millisecond),
				})
			}
		}
	}},
	{RuleRepeated, "an attempt is executed twice", func(d *drawn) {
		e := *d.execution(func(*ledger.Execution) bool { return true })
		e.ID, e.Begin = "again", e.Begin.Add(time.Second)
		d.evidence.Executions = append(d.evidence.Executions, e)
	}},
	{RuleRepeated, "a step is dispatched after it succeeded", func(d *drawn) {
		s := d.event(isSuccess)
		k := s.event.GetStepSucceeded()
		s.insert(s.entry, &messages.Event{Kind: &messages.Event_StepDispatched{StepDispatched: &messages.StepDispatched{Step: k.Step, Attempt: k.Attempt + 1}}})
	}},
	{RuleRepeated, "a step is repeated and its worker lived", func(d *drawn) {
		d.faults = slices.DeleteFunc(d.faults, func(f Fault) bool { return f.Kind == WorkerKill && f.Target == "w1" })
		d.evidence.Processes = slices.DeleteFunc(d.evidence.Processes, func(p ledger.Process) bool { return p.Worker == "w1" && p.Incarnation != "i01" })
	}},
	{RuleRepeated, "a step fails for a reason of the engine", func(d *drawn) {
		s := d.event(func(_ *Run, ev *messages.Event) bool {
			return ev.GetAttemptFailed().GetFailure().GetCode() == string(messages.CodeUserError)
		})
		s.event.GetAttemptFailed().Failure = &messages.Failure{Code: pickOne(d, string(messages.CodeUnavailable), string(messages.CodeExecutionTimeout), string(messages.CodeWorkerLost))}
	}},
	{RuleFalseLoss, "nothing was done to a worker", func(d *drawn) {
		kind := pickOne(d, WorkerKill, WorkerStop, WorkerDouble, Partition)
		d.faults = slices.DeleteFunc(d.faults, func(f Fault) bool { return f.Kind == kind })
		d.evidence.Processes = d.evidence.Processes[:3]
	}},
	{RuleFalseLoss, "what was done to a worker was long over", func(d *drawn) {
		for i := range d.faults {
			if f := &d.faults[i]; f.Kind == WorkerStop || f.Kind == Partition {
				f.At, f.Until = f.At.Add(-time.Minute), f.Until.Add(-time.Minute)
			}
		}
	}},
	{RuleFalseLoss, "another worker was struck", func(d *drawn) {
		for i := range d.faults {
			if f := &d.faults[i]; f.Kind == WorkerStop {
				f.Target = "w3"
			}
		}
	}},
	{RuleFalseLoss, "a worker is lost by a cut that leaves it other ways", func(d *drawn) {
		for i := range d.faults {
			if f := &d.faults[i]; f.Kind == WorkerStop {
				f.Kind, f.Target, f.Nodes = Cut, "", []string{f.Target, "server-1"}
			}
		}
	}},
	{RuleFalseLoss, "another process of the worker was struck", func(d *drawn) {
		for i := range d.faults {
			if f := &d.faults[i]; f.Kind == WorkerStop {
				f.PID = d.evidence.Processes[0].ID
			}
		}
	}},
	{RuleChildMisplaced, "a sticky child is bound elsewhere", func(d *drawn) {
		s := d.event(func(r *Run, ev *messages.Event) bool {
			return !isRoot(r) && ev.GetBound().GetReason() == messages.Reason_REASON_CHILD
		})
		s.event.GetBound().Worker = d.elsewhere(s.event.GetBound().Worker)
	}},
	{RuleChildMisplaced, "a sticky child is to be bound elsewhere", func(d *drawn) {
		s := d.event(func(_ *Run, ev *messages.Event) bool { return ev.GetRunStarted().GetBindTo() != nil })
		s.event.GetRunStarted().BindTo = d.elsewhere(s.event.GetRunStarted().BindTo)
	}},
	{RuleChildMisplaced, "a child on its own is bound", func(d *drawn) {
		s := d.event(func(r *Run, ev *messages.Event) bool { return ev.GetRunStarted() != nil && r.ID == "parent-2.x" })
		s.event.GetRunStarted().BindTo = d.processes["w1"]
	}},
	{RuleWrongOutput, "another output is wanted", func(d *drawn) {
		d.event(isSuccess).run.Want.Values = map[string]string{"a": "other"}
	}},
	{RuleWrongOutput, "a run that is to succeed fails", func(d *drawn) {
		s := d.event(func(r *Run, ev *messages.Event) bool {
			return ev.GetRunEnded().GetStatus() == messages.RunStatus_RUN_STATUS_SUCCEEDED
		})
		s.event.GetRunEnded().Status = messages.RunStatus_RUN_STATUS_FAILED
	}},
	{RuleWrongOutput, "a run that is to fail succeeds", func(d *drawn) { d.of("plain").Want.Fails = "c" }},
	{RuleTimedOut, "a step fails for having waited", func(d *drawn) {
		s := d.event(func(_ *Run, ev *messages.Event) bool { return ev.GetStepDispatched() != nil })
		s.insert(s.entry, &messages.Event{Kind: &messages.Event_StepFailed{StepFailed: &messages.StepFailed{Step: s.event.GetStepDispatched().Step,
			Failure: &messages.Failure{Code: string(messages.CodeScheduleTimeout), Message: "not started within its schedule timeout of 15s"}}}})
	}},
	{RuleAttempts, "an attempt's number is left out", func(d *drawn) {
		d.event(func(_ *Run, ev *messages.Event) bool { return ev.GetStepDispatched() != nil }).event.GetStepDispatched().Attempt++
	}},
	{RuleAttempts, "an attempt is dispatched while another one is live", func(d *drawn) {
		s := d.event(func(_ *Run, ev *messages.Event) bool { return ev.GetStepDispatched() != nil })
		s.insert(s.entry, proto.Clone(s.event).(*messages.Event))
	}},
	{RuleAttempts, "a success was not executed", func(d *drawn) {
		i := d.r.IntN(len(d.evidence.Executions))
		for d.evidence.Executions[i].End.IsZero() || d.evidence.Executions[i].Failed || d.evidence.Executions[i].Run == "frozen-soft" || d.evidence.Executions[i].Run == "cut-off" {
			i = d.r.IntN(len(d.evidence.Executions))
		}
		d.evidence.Executions = slices.Delete(d.evidence.Executions, i, i+1)
	}},
	{RuleAttempts, "a success is recorded of a function that failed", func(d *drawn) {
		s := d.event(isSuccess)
		d.execution(func(e *ledger.Execution) bool { return s.is(e) }).Failed = true
	}},
	{RuleAttempts, "a success is recorded of a function that did not return", func(d *drawn) {
		s := d.event(isSuccess)
		d.execution(func(e *ledger.Execution) bool { return s.is(e) }).End = time.Time{}
	}},
	{RuleAttempts, "another output is recorded than the function returned", func(d *drawn) {
		s := d.event(isSuccess)
		d.execution(func(e *ledger.Execution) bool { return s.is(e) }).Note = `{"value":"other"}`
	}},
	{RuleAttempts, "an execution that nobody dispatched", func(d *drawn) {
		e := *d.execution(func(*ledger.Execution) bool { return true })
		e.Attempt += 7
		d.evidence.Executions = append(d.evidence.Executions, e)
	}},
	{RuleAttempts, "an execution in another process", func(d *drawn) {
		d.execution(func(*ledger.Execution) bool { return true }).Incarnation = "i00"
	}},
	{RuleAttempts, "an execution before it is durable", func(d *drawn) {
		e := d.execution(func(*ledger.Execution) bool { return true })
		e.Begin = e.Begin.Add(-time.Second)
	}},
	{RuleAttempts, "a withdrawn attempt is executed", func(d *drawn) {
		s := d.event(func(_ *Run, ev *messages.Event) bool { return ev.GetAttemptRevoked() != nil })
		b := s.run.Entries[1].Events[0].GetBound()
		d.evidence.Executions = append(d.evidence.Executions, ledger.Execution{
			Run: s.run.ID, Step: "a", Attempt: 1, Epoch: 1, Worker: b.Worker.WorkerId, Incarnation: b.Worker.Incarnation,
			Begin: s.run.Entries[s.entry].At, End: s.run.Entries[s.entry].At,
		})
	}},
	{RuleAttempts, "the result of an attempt that was not lost is refused", func(d *drawn) {
		s := d.event(func(r *Run, ev *messages.Event) bool { return isSuccess(r, ev) })
		k := s.event.GetStepSucceeded()
		s.insert(s.entry, &messages.Event{Kind: &messages.Event_ResultRefused{ResultRefused: &messages.ResultRefused{Step: k.Step, Attempt: k.Attempt}}})
	}},
	{RuleHistory, "an entry is missing", func(d *drawn) {
		r := pick(d, d.evidence.Runs, func(*Run) bool { return true })
		i := 1 + d.r.IntN(len(r.Entries)-2)
		r.Entries = slices.Delete(r.Entries, i, i+1)
	}},
	{RuleHistory, "the row says something else", func(d *drawn) {
		r := pick(d, d.evidence.Runs, func(*Run) bool { return true })
		if d.r.IntN(2) == 0 {
			r.Epoch++
		} else {
			r.Status = messages.RunStatus_RUN_STATUS_RUNNING
		}
	}},
	{RuleHistory, "a step is dispatched before its parent has succeeded", func(d *drawn) {
		s := d.event(func(_ *Run, ev *messages.Event) bool { return ev.GetStepDispatched().GetStep() == "b" })
		s.event.GetStepDispatched().Step = "c"
	}},
	{RuleHistory, "a run ends while a step is open", func(d *drawn) {
		s := d.event(func(r *Run, ev *messages.Event) bool { return isSuccess(r, ev) && ev.GetStepSucceeded().Step == "c" })
		s.remove()
	}},
	{RuleHistory, "a run cannot be read", func(d *drawn) {
		pick(d, d.evidence.Runs, func(*Run) bool { return true }).Error = "INTERNAL: no"
	}},
	{RuleStateUntold, "a step was not told", func(d *drawn) {
		s := d.event(isSuccess)
		k := s.event.GetStepSucceeded()
		k.Output = []byte(strings.TrimSuffix(string(k.Output), "}") + `,"untold":true}`)
	}},
}

func pickOne[T any](d *drawn, of ...T) T { return of[d.r.IntN(len(of))] }

// is says that the spot is the success of the execution.
func (s spot) is(e *ledger.Execution) bool {
	k := s.event.GetStepSucceeded()
	return e.Run == s.run.ID && e.Step == k.Step && e.Attempt == int(k.Attempt)
}

// Whatever rule is broken, wherever: it is noticed, and called by its name.
func TestEveryBrokenRuleIsNoticed(t *testing.T) {
	broken := map[Rule]bool{}
	for _, c := range slices.Concat(corruptions, callCorruptions, localCorruptions, deedCorruptions, suspendCorruptions, endCorruptions, linkCorruptions, askedCorruptions, streamCorruptions) {
		broken[c.rule] = true
		t.Run(fmt.Sprintf("%s/%s", c.rule, c.name), func(t *testing.T) {
			for seed := range uint64(10) {
				d := &drawn{scene: everything(), t: t, r: rand.New(rand.NewPCG(seed, 1))}
				c.do(d)
				r := Check(d.evidence, d.faults)
				if r.Violations[c.rule] == 0 || r.OK() {
					t.Fatalf("seed %d: not noticed; %v", seed, r.All)
				}
			}
		})
	}
	for _, rule := range Rules {
		if !broken[rule] {
			t.Errorf("nothing here breaks %s", rule)
		}
		if rule.Text() == "" {
			t.Errorf("%s does not say what it is", rule)
		}
	}
}
