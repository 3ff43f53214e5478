package verdict

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/limpetrun/limpet/cmd/internal/ledger"
	"github.com/limpetrun/limpet/messages"
)

// scene is a cluster's life, made by hand: workers, what was done to them, and
// runs of every kind that went through it as they should.
type scene struct {
	now       time.Time
	processes map[string]*messages.WorkerRef
	evidence  Evidence
	faults    []Fault
	calls     uint64
}

func newScene() *scene {
	s := &scene{now: time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC), processes: map[string]*messages.WorkerRef{}}
	s.evidence.Seed = 1
	for _, id := range []string{"w1", "w2", "w3"} {
		s.process(id)
	}
	return s
}

func (s *scene) pass(d time.Duration) time.Time {
	s.now = s.now.Add(d)
	return s.now
}

// process starts a process of a worker.
func (s *scene) process(id string) *messages.WorkerRef {
	n := len(s.evidence.Processes) + 1
	w := &messages.WorkerRef{WorkerId: id, Incarnation: fmt.Sprintf("i%02d", n)}
	s.processes[id] = w
	s.evidence.Processes = append(s.evidence.Processes, ledger.Process{
		Worker: id, Incarnation: w.Incarnation, ID: 100 + n, Begin: s.pass(time.Second), Ready: s.pass(200 * time.Millisecond),
	})
	return w
}

// strike does something to a node now.
func (s *scene) strike(kind Kind, target string) *Fault {
	s.faults = append(s.faults, Fault{Kind: kind, Target: target, At: s.pass(time.Millisecond)})
	return &s.faults[len(s.faults)-1]
}

// call notes a call that takes a moment.
func (s *scene) call(c Call) *Call {
	c.Begin, c.End = s.pass(time.Millisecond), s.pass(5*time.Millisecond)
	if c.Outcome == "" {
		c.Outcome = Acknowledged
	}
	if c.Number == 0 {
		s.calls++
		c.Number = s.calls
	}
	s.evidence.Calls = append(s.evidence.Calls, c)
	return &s.evidence.Calls[len(s.evidence.Calls)-1]
}

// tale is a run under way.
type tale struct {
	s   *scene
	run Run
	// open executions by step#attempt.
	open   map[string]int
	epoch  uint64
	sticky messages.Sticky
	bound  *messages.WorkerRef
}

var chainParents = map[string][]string{"a": nil, "b": {"a"}, "c": {"b"}}

// begin starts a run of the chain a → b → c.
func (s *scene) begin(id string, sticky messages.Sticky, change ...func(*messages.RunStarted)) *tale {
	started := &messages.RunStarted{
		Workflow: "chain", Sticky: sticky, Input: []byte(`{"for":"` + id + `"}`), Trigger: "api", IdempotencyKey: "key-" + id,
		Metadata: map[string]string{NumberKey: fmt.Sprint(s.calls + 1)},
	}
	for _, f := range change {
		f(started)
	}
	t := &tale{s: s, sticky: sticky, open: map[string]int{}, run: Run{
		ID: id, Listed: true, Status: messages.RunStatus_RUN_STATUS_RUNNING, Parents: chainParents,
		Want: &Want{Values: map[string]string{"a": id + "/a", "b": id + "/b", "c": id + "/c"}},
	}}
	t.tell(&messages.Event{Kind: &messages.Event_RunStarted{RunStarted: started}})
	if started.ParentRun == "" && started.Trigger == "api" {
		s.call(Call{Act: ActStart, Workflow: "chain", Key: started.IdempotencyKey, Input: started.Input, Runs: []string{id}})
	}
	return t
}

// tell adds an entry.
func (t *tale) tell(events ...*messages.Event) {
	t.run.Entries = append(t.run.Entries, Entry{Number: uint64(len(t.run.Entries)) + 1, At: t.s.pass(2 * time.Millisecond), Events: events})
}

func (t *tale) bind(worker string, reason messages.Reason) {
	t.epoch++
	to := t.s.processes[worker]
	b := &messages.Bound{Epoch: t.epoch, Worker: to, Reason: reason}
	if t.bound != nil {
		b.FromWorker, b.FromIncarnation = t.bound.WorkerId, t.bound.Incarnation
	}
	t.bound = to
	t.tell(&messages.Event{Kind: &messages.Event_Bound{Bound: b}})
}

func (t *tale) lose(reason messages.Reason) {
	t.tell(&messages.Event{Kind: &messages.Event_BindingLost{BindingLost: &messages.BindingLost{Epoch: t.epoch, Reason: reason}}})
}

func (t *tale) restore() {
	t.tell(&messages.Event{Kind: &messages.Event_BindingRestored{BindingRestored: &messages.BindingRestored{Epoch: t.epoch}}})
}

// dispatch sends an attempt, to the bound worker or the given one.
func (t *tale) dispatch(step string, attempt int32, worker string) {
	to, epoch := t.s.processes[worker], uint64(0)
	if t.sticky != messages.Sticky_STICKY_NONE {
		to, epoch = t.bound, t.epoch
	}
	t.tell(&messages.Event{Kind: &messages.Event_StepDispatched{StepDispatched: &messages.StepDispatched{Step: step, Attempt: attempt, Epoch: epoch, Worker: to}}})
}

// execute begins the function of the newest attempt of a step.
func (t *tale) execute(step string, attempt int) {
	var d *messages.StepDispatched
	for _, e := range t.run.Entries {
		for _, ev := range e.Events {
			if got := ev.GetStepDispatched(); got.GetStep() == step && got.GetAttempt() == int32(attempt) {
				d = got
			}
		}
	}
	n := len(t.s.evidence.Executions)
	t.s.evidence.Executions = append(t.s.evidence.Executions, ledger.Execution{
		ID: fmt.Sprintf("x%d", n), Worker: d.Worker.WorkerId, Incarnation: d.Worker.Incarnation, Run: t.run.ID,
		Step: step, Attempt: attempt, Epoch: d.Epoch, Begin: t.s.pass(time.Millisecond),
	})
	t.open[fmt.Sprintf("%s#%d", step, attempt)] = n
}

// returns ends the function: with an output if the note is empty.
func (t *tale) returns(step string, attempt int, note string, children ...string) []byte {
	e := &t.s.evidence.Executions[t.open[fmt.Sprintf("%s#%d", step, attempt)]]
	e.End, e.Failed, e.Note = t.s.pass(20*time.Millisecond), note != "", note
	if note != "" {
		return nil
	}
	out, _ := json.Marshal(Output{Value: t.run.ID + "/" + step, Execution: e.ID, Children: children})
	e.Note = string(out)
	return out
}

func (t *tale) succeed(step string, attempt int, children ...string) {
	out := t.returns(step, attempt, "", children...)
	t.tell(&messages.Event{Kind: &messages.Event_StepSucceeded{StepSucceeded: &messages.StepSucceeded{Step: step, Attempt: int32(attempt), Output: out}}})
}

func (t *tale) fail(step string, attempt int, code messages.Code, note string) {
	t.failAs(step, attempt, code, note, note)
}

// failAs records another message than the execution's own note.
func (t *tale) failAs(step string, attempt int, code messages.Code, message, note string) {
	t.returns(step, attempt, note)
	t.tell(&messages.Event{Kind: &messages.Event_AttemptFailed{AttemptFailed: &messages.AttemptFailed{
		Step: step, Attempt: int32(attempt), Failure: &messages.Failure{Code: string(code), Message: message},
	}}})
}

func (t *tale) attemptLost(step string, attempt int, reason messages.Reason) {
	t.tell(&messages.Event{Kind: &messages.Event_AttemptLost{AttemptLost: &messages.AttemptLost{Step: step, Attempt: int32(attempt), Reason: reason}}})
}

func (t *tale) revoked(step string, attempt int, reason messages.Reason) {
	t.tell(&messages.Event{Kind: &messages.Event_AttemptRevoked{AttemptRevoked: &messages.AttemptRevoked{Step: step, Attempt: int32(attempt), Reason: reason}}})
}

func (t *tale) refused(step string, attempt int) {
	t.tell(&messages.Event{Kind: &messages.Event_ResultRefused{ResultRefused: &messages.ResultRefused{Step: step, Attempt: int32(attempt), Reason: messages.Reason_REASON_ATTEMPT_LOST}}})
}

func (t *tale) spawn(step string, attempt int, child string, sticky, keep bool) {
	atEnd := messages.ParentEnd_PARENT_END_CANCEL
	if keep {
		atEnd = messages.ParentEnd_PARENT_END_LEAVE
	}
	t.tell(&messages.Event{Kind: &messages.Event_ChildSpawned{ChildSpawned: &messages.ChildSpawned{
		Step: step, Attempt: int32(attempt), Key: "#0:chain", ChildRun: child, Workflow: "chain", Sticky: sticky, OnParentEnd: atEnd,
	}}})
}

func (t *tale) cancel() {
	t.tell(&messages.Event{Kind: &messages.Event_CancelRequested{CancelRequested: &messages.CancelRequested{Reason: "chaos"}}})
}

func (t *tale) stepsCanceled(steps ...string) {
	for _, step := range steps {
		t.tell(&messages.Event{Kind: &messages.Event_StepCanceled{StepCanceled: &messages.StepCanceled{Step: step}}})
	}
}

// step goes through one attempt that succeeds.
func (t *tale) step(step string, attempt int32, worker string) {
	t.dispatch(step, attempt, worker)
	t.execute(step, int(attempt))
	t.succeed(step, int(attempt))
}

func (t *tale) replay(steps ...string) {
	t.tell(&messages.Event{Kind: &messages.Event_RunReplayed{RunReplayed: &messages.RunReplayed{Steps: steps}}})
	t.bound = nil
	t.s.call(Call{Act: ActReplay, Runs: []string{t.run.ID}, Steps: steps})
}

func (t *tale) ends(status messages.RunStatus, failure *messages.Failure) {
	t.run.Status = status
	t.tell(&messages.Event{Kind: &messages.Event_RunEnded{RunEnded: &messages.RunEnded{Status: status, Failure: failure}}})
}

// end ends the run as a success.
func (t *tale) end() { t.ends(messages.RunStatus_RUN_STATUS_SUCCEEDED, nil) }

// told notes the run in the evidence as it is now.
func (t *tale) told() {
	t.run.Epoch = t.epoch
	t.s.evidence.Runs = append(t.s.evidence.Runs, t.run)
}

// finish ends the run as a success and notes it.
func (t *tale) finish() {
	t.end()
	t.told()
}
