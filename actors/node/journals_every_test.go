package node_test

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/projection"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// every is the history of a run that is made for a journal to hold every kind of
// event, with every field set.
type every struct {
	s     *stage
	store journal.Store
	state *run.State
	at    time.Time
}

// tellEvery stores four such runs. One is SOFT: it fails, is busy, moves without
// its state, builds it anew, loses it again, and ends as failed. One is HARD: its
// worker is out of reach and comes back, then it is canceled. The third waits in
// calls of every kind: see tellWaits. The fourth goes on as new: see tellEnds.
func (s *stage) tellEvery(store journal.Store) {
	w1 := &messages.WorkerRef{WorkerId: "e1", Incarnation: "i1", Address: "127.0.0.1:1", ActorId: "worker/e1/i1"}
	w2 := &messages.WorkerRef{WorkerId: "e2", Incarnation: "i2", Address: "127.0.0.1:2", ActorId: "worker/e2/i2"}
	failure := &messages.Failure{Code: string(messages.CodeUserError), Message: "no ✓", Stack: "the stack", Final: true}

	e := s.every(store, messages.Sticky_STICKY_SOFT, "every-soft")
	e.append(e.started(), bound(1, w1, nil, messages.Reason_REASON_FIRST), dispatched("load", 1, 1, w1))
	e.append(&messages.Event{Kind: &messages.Event_StepStarted{StepStarted: &messages.StepStarted{Step: "load", Attempt: 1, StartedUs: e.us()}}})
	e.append(&messages.Event{Kind: &messages.Event_StepProgressed{StepProgressed: &messages.StepProgressed{Step: "load", Attempt: 1, Serial: 3, Progress: []byte(`{"files":7}`)}}})
	e.append(&messages.Event{Kind: &messages.Event_StreamOpened{StreamOpened: &messages.StreamOpened{Step: "load", Attempt: 1, Stream: "tokens", Section: 1}}})
	e.append(&messages.Event{Kind: &messages.Event_AttemptFailed{AttemptFailed: &messages.AttemptFailed{
		Step: "load", Attempt: 1, Failure: failure, StartedUs: e.us(), RetryAtUs: e.us() + 1000, Abandoned: true}}})
	e.append(dispatched("load", 2, 1, w1))
	e.append(e.succeeded("load", 2), dispatched("ask", 1, 1, w1))
	e.append(&messages.Event{Kind: &messages.Event_ChildSpawned{ChildSpawned: &messages.ChildSpawned{
		Step: "ask", Attempt: 1, Key: "a child", ChildRun: "a child's run", Workflow: "another", DefinitionHash: "hash", Sticky: true, KeepOnCancel: true}}})
	e.append(called("#0", &messages.CallRecorded{Outcome: &messages.CallRecorded_Output{Output: []byte(`"hm"`)}}),
		&messages.Event{Kind: &messages.Event_Signaled{Signaled: &messages.Signaled{Name: "approval", MessageId: "m1", Payload: []byte(`{"ok":true}`)}}},
		&messages.Event{Kind: &messages.Event_CallWaits{CallWaits: &messages.CallWaits{
			Step: "ask", Attempt: 1, Kind: messages.CallKind_CALL_KIND_RECEIVE, Name: "approval", Key: "#0", DeadlineUs: e.us() + 1000}}},
		called("a key", &messages.CallRecorded{Outcome: &messages.CallRecorded_Failure{Failure: failure}}))
	e.append(&messages.Event{Kind: &messages.Event_AttemptRevoked{AttemptRevoked: &messages.AttemptRevoked{
		Step: "ask", Attempt: 1, Reason: messages.Reason_REASON_WORKER_BUSY}}})
	e.append(&messages.Event{Kind: &messages.Event_StateHandedOff{StateHandedOff: &messages.StateHandedOff{
		Epoch: 1, States: []*messages.HandedState{{Local: "index", Data: []byte("\xff\x00")}}, Failure: failure}}}, lost(1, messages.Reason_REASON_WORKER_BUSY))
	e.append(bound(2, w2, w1, messages.Reason_REASON_WORKER_BUSY), rebuild(2, messages.Reason_REASON_WORKER_BUSY), dispatched("load", 3, 2, w2))
	e.append(e.rebuilt(3), dispatched("ask", 2, 2, w2))
	e.append(attemptLost("ask", 2, messages.Reason_REASON_STATE_LOST, "the index is gone"), rebuild(2, messages.Reason_REASON_STATE_LOST), dispatched("load", 4, 2, w2))
	e.append(e.rebuilt(4), dispatched("ask", 3, 2, w2))
	e.append(lost(2, messages.Reason_REASON_WORKER_LOST), attemptLost("ask", 3, messages.Reason_REASON_WORKER_LOST, ""))
	e.append(&messages.Event{Kind: &messages.Event_ResultRefused{ResultRefused: &messages.ResultRefused{Step: "ask", Attempt: 3, Epoch: 2,
		WorkerId: "e2", Incarnation: "i2", Reason: messages.Reason_REASON_ATTEMPT_LOST, Succeeded: true, NewestEpoch: 2}}})
	e.append(&messages.Event{Kind: &messages.Event_StepFailed{StepFailed: &messages.StepFailed{Step: "ask", Failure: failure}}},
		&messages.Event{Kind: &messages.Event_StepSkipped{StepSkipped: &messages.StepSkipped{Step: "tell", Reason: messages.Reason_REASON_PARENT_FAILED, Parent: "ask"}}},
		&messages.Event{Kind: &messages.Event_RunEnded{RunEnded: &messages.RunEnded{Status: messages.RunStatus_RUN_STATUS_FAILED, Failure: failure, UnreadSignals: map[string]int32{"approval": 1}}}})

	e = s.every(store, messages.Sticky_STICKY_HARD, "every-hard")
	e.append(e.started(), bound(1, w1, nil, messages.Reason_REASON_CHILD), dispatched("load", 1, 1, w1))
	e.append(e.succeeded("load", 1),
		&messages.Event{Kind: &messages.Event_StepSkipped{StepSkipped: &messages.StepSkipped{Step: "ask", Reason: messages.Reason_REASON_PARENT_SKIPPED, Parent: "load"}}},
		&messages.Event{Kind: &messages.Event_StepSkipped{StepSkipped: &messages.StepSkipped{Step: "tell", Reason: messages.Reason_REASON_PARENT_SKIPPED, Parent: "ask"}}},
		&messages.Event{Kind: &messages.Event_RunEnded{RunEnded: &messages.RunEnded{Status: messages.RunStatus_RUN_STATUS_SUCCEEDED}}})
	e.append(&messages.Event{Kind: &messages.Event_RunReplayed{RunReplayed: &messages.RunReplayed{Steps: []string{"load"}, RequestId: "the request"}}},
		bound(2, w1, nil, messages.Reason_REASON_REPLAYED), dispatched("load", 2, 2, w1))
	e.append(lost(2, messages.Reason_REASON_WORKER_LOST))
	e.append(&messages.Event{Kind: &messages.Event_NotOffered{NotOffered: &messages.NotOffered{
		Steps: []string{"load"}, Reason: messages.WaitReason_WAIT_REASON_BOUND_AWAY, Text: "worker e1 to come back", SinceUs: e.us() - 1000}}})
	e.append(&messages.Event{Kind: &messages.Event_RunDormant{RunDormant: &messages.RunDormant{WakeAtUs: e.us() + 1000, WakeOnUp: "e1", WakeOnGone: "e2"}}})
	e.append(&messages.Event{Kind: &messages.Event_RunWoken{RunWoken: &messages.RunWoken{}}})
	e.append(&messages.Event{Kind: &messages.Event_BindingRestored{BindingRestored: &messages.BindingRestored{Epoch: 2}}})
	e.append(&messages.Event{Kind: &messages.Event_CancelRequested{CancelRequested: &messages.CancelRequested{Reason: "enough"}}})
	e.append(canceled("load"), canceled("ask"), canceled("tell"),
		&messages.Event{Kind: &messages.Event_RunEnded{RunEnded: &messages.RunEnded{Status: messages.RunStatus_RUN_STATUS_CANCELED, Failure: failure}}})

	s.tellWaits(store, w1, w2)
	s.tellEnds(store, w1)
}

// tellWaits stores a run that is suspended twice while it waits: for it was idle, and
// for its worker was lost. An event, a time and the end of a child come.
func (s *stage) tellWaits(store journal.Store, w1, w2 *messages.WorkerRef) {
	const child = "a child's run"
	e := s.every(store, messages.Sticky_STICKY_SOFT, "every-waits")
	e.append(e.started(), bound(1, w1, nil, messages.Reason_REASON_FIRST), dispatched("load", 1, 1, w1))
	e.append(e.succeeded("load", 1), dispatched("ask", 1, 1, w1))
	e.append(&messages.Event{Kind: &messages.Event_ChildSpawned{ChildSpawned: &messages.ChildSpawned{
		Step: "ask", Attempt: 1, Key: "a child", ChildRun: child, Workflow: "another", DefinitionHash: "hash", OnParentEnd: messages.ParentEnd_PARENT_END_LEAVE}}})
	e.append(e.waits(1, messages.CallKind_CALL_KIND_FIRST, "first",
		&messages.WaitBranch{Kind: messages.CallKind_CALL_KIND_RECEIVE, Signal: "approval"},
		&messages.WaitBranch{Kind: messages.CallKind_CALL_KIND_SLEEP, UntilWallUs: e.us() + 3_600_000_000},
		&messages.WaitBranch{Kind: messages.CallKind_CALL_KIND_EVENT, EventKey: "user:", EventPrefix: true, Condition: "payload.n > 1", SinceMs: 1000}))
	e.append(suspended(1, messages.Reason_REASON_IDLE), bound(2, w1, w1, messages.Reason_REASON_IDLE))
	e.append(e.came("first", &messages.CallRecorded{Kind: messages.CallKind_CALL_KIND_FIRST, Attempt: 1, Branch: 2, Outcome: &messages.CallRecorded_Output{Output: []byte(`{"n":2}`)},
		Event: &messages.CameEvent{Key: "user:1", EventId: "e1", AtUs: e.us()}}), rebuild(2, messages.Reason_REASON_IDLE), dispatched("load", 2, 2, w1))
	e.append(e.rebuilt(2), dispatched("ask", 2, 2, w1))
	e.append(e.waits(2, messages.CallKind_CALL_KIND_CHILD, "child", &messages.WaitBranch{Kind: messages.CallKind_CALL_KIND_CHILD, ChildRun: child}),
		e.waits(2, messages.CallKind_CALL_KIND_SLEEP, "sleep", &messages.WaitBranch{Kind: messages.CallKind_CALL_KIND_SLEEP, UntilUs: e.us() + 1000}))
	e.append(&messages.Event{Kind: &messages.Event_RunDormant{RunDormant: &messages.RunDormant{WakeAtUs: e.us() + 1000, WakeOnGone: "e1", IdleSteps: []string{"ask"}}}})
	e.append(lost(2, messages.Reason_REASON_WORKER_LOST), suspended(2, messages.Reason_REASON_WORKER_LOST))
	e.append(e.came("sleep", &messages.CallRecorded{Kind: messages.CallKind_CALL_KIND_SLEEP, Attempt: 2}),
		e.came("child", &messages.CallRecorded{Kind: messages.CallKind_CALL_KIND_CHILD, Attempt: 2, Child: &messages.ChildEnd{ChildRun: child, Entry: 3, Status: messages.RunStatus_RUN_STATUS_SUCCEEDED}}),
		bound(3, w2, w1, messages.Reason_REASON_WORKER_LOST), rebuild(3, messages.Reason_REASON_WORKER_LOST), dispatched("load", 3, 3, w2))
	e.append(e.rebuilt(3), dispatched("ask", 3, 3, w2))
	e.append(e.succeeded("ask", 3), dispatched("tell", 1, 3, w2))
	e.append(e.succeeded("tell", 1), &messages.Event{Kind: &messages.Event_RunEnded{RunEnded: &messages.RunEnded{Status: messages.RunStatus_RUN_STATUS_SUCCEEDED}}})
}

// tellEnds stores a run that goes on as new once, and whose end step is executed when
// a step has failed.
func (s *stage) tellEnds(store journal.Store, w1 *messages.WorkerRef) {
	failure := &messages.Failure{Code: string(messages.CodeUserError), Message: "no more", Final: true}
	e := s.every(store, messages.Sticky_STICKY_SOFT, "every-ends",
		&messages.StepDefinition{Name: "tidy", OnEnd: []messages.RunStatus{messages.RunStatus_RUN_STATUS_FAILED, messages.RunStatus_RUN_STATUS_CANCELED}})
	e.append(e.started(), bound(1, w1, nil, messages.Reason_REASON_FIRST), dispatched("load", 1, 1, w1))
	e.append(e.succeeded("load", 1), dispatched("ask", 1, 1, w1))
	e.append(&messages.Event{Kind: &messages.Event_Signaled{Signaled: &messages.Signaled{Name: "approval", MessageId: "m1", Payload: []byte(`{"ok":true}`)}}})
	e.append(e.came("continue", &messages.CallRecorded{Attempt: 1, Kind: messages.CallKind_CALL_KIND_CONTINUE,
		Outcome: &messages.CallRecorded_Output{Output: []byte(`{"n":2}`)}}))
	e.append(e.succeeded("ask", 1), dispatched("tell", 1, 1, w1))
	e.append(e.succeeded("tell", 1),
		&messages.Event{Kind: &messages.Event_RunContinued{RunContinued: &messages.RunContinued{Step: "ask", Input: []byte(`{"n":2}`)}}},
		dispatched("load", 2, 1, w1))
	e.append(&messages.Event{Kind: &messages.Event_StepFailed{StepFailed: &messages.StepFailed{Step: "load", Failure: failure}}},
		&messages.Event{Kind: &messages.Event_StepSkipped{StepSkipped: &messages.StepSkipped{Step: "ask", Reason: messages.Reason_REASON_PARENT_FAILED, Parent: "load"}}},
		&messages.Event{Kind: &messages.Event_StepSkipped{StepSkipped: &messages.StepSkipped{Step: "tell", Reason: messages.Reason_REASON_PARENT_SKIPPED, Parent: "ask"}}},
		&messages.Event{Kind: &messages.Event_RunEnding{RunEnding: &messages.RunEnding{Status: messages.RunStatus_RUN_STATUS_FAILED, Failure: failure, FailedStep: "load"}}},
		dispatched("tidy", 1, 1, w1))
	e.append(e.succeeded("tidy", 1), &messages.Event{Kind: &messages.Event_RunEnded{RunEnded: &messages.RunEnded{
		Status: messages.RunStatus_RUN_STATUS_FAILED, Failure: failure, UnreadSignals: map[string]int32{"approval": 1}}}})
}

func (e *every) waits(attempt int32, kind messages.CallKind, name string, branches ...*messages.WaitBranch) *messages.Event {
	return &messages.Event{Kind: &messages.Event_CallWaits{CallWaits: &messages.CallWaits{
		Step: "ask", Attempt: attempt, Kind: kind, Name: name, Key: "#0", DeadlineUs: e.us() + 3_600_000_000, Branches: branches}}}
}

func (e *every) came(name string, call *messages.CallRecorded) *messages.Event {
	call.Step, call.Name, call.Key = "ask", name, "#0"
	return &messages.Event{Kind: &messages.Event_CallRecorded{CallRecorded: call}}
}

func suspended(attempt int32, reason messages.Reason) *messages.Event {
	return &messages.Event{Kind: &messages.Event_AttemptSuspended{AttemptSuspended: &messages.AttemptSuspended{Step: "ask", Attempt: attempt, Reason: reason}}}
}

func (s *stage) every(store journal.Store, sticky messages.Sticky, name string, more ...*messages.StepDefinition) *every {
	def := &messages.WorkflowDefinition{Name: name, Sticky: sticky, OnEvents: []string{"a:*"}, BusyPatienceMs: 1, Priority: 1, Pool: "default", InputSchema: "true",
		Labels: []*messages.LabelRule{{Key: "gpu", Op: messages.LabelRule_GREATER, Value: "1", Required: true}, {Key: "zone", Value: "a", Weight: 2}},
		Locals: []*messages.LocalDefinition{{Name: "index", Handoff: true}, {Name: "model", Shared: true}},
		Steps: append([]*messages.StepDefinition{
			{Name: "load", Retries: 2, BackoffMs: 1, BackoffMaxMs: 2, ScheduleTimeoutMs: -1, ExecutionTimeoutMs: 5, LostAttemptsMax: 3, BuildsState: true},
			{Name: "ask", Parents: []string{"load"}, NeedsState: true},
			{Name: "tell", Parents: []string{"ask"}},
		}, more...)}
	data, err := proto.Marshal(def)
	must(s.T, err)
	at := time.Now().Add(-time.Hour).Truncate(time.Microsecond)
	must(s.T, store.PutDefinition(s.Context(), journal.Definition{Hash: messages.HashDefinition(def), Name: name, Data: data, RegisteredAt: at}))
	return &every{s: s, store: store, state: run.NewState(messages.RunIDForKey(name, "every"), def), at: at}
}

// append stores an entry and folds it, as an activation would.
func (e *every) append(events ...*messages.Event) {
	e.s.Helper()
	e.at = e.at.Add(time.Second)
	entry := &messages.Entry{AtUs: e.us(), Events: events}
	e.state.ApplyEntry(entry)
	must(e.s.T, e.state.Check())
	data, err := messages.Marshal(entry)
	must(e.s.T, err)
	row := projection.Row(e.state, messages.Shard(e.state.RunID))
	for _, err := range e.store.Append(e.s.Context(), []journal.Append{{RunID: e.state.RunID, Number: e.state.Number, Entry: data, Row: row}}) {
		must(e.s.T, err)
	}
}

func (e *every) us() int64 { return e.at.UnixMicro() }

func (e *every) started() *messages.Event {
	return &messages.Event{Kind: &messages.Event_RunStarted{RunStarted: &messages.RunStarted{
		Workflow: e.state.Def.Name, DefinitionHash: messages.HashDefinition(e.state.Def), Input: []byte(`{"n":1.50}`), Priority: 3, Pool: "default", Sticky: e.state.Def.Sticky,
		ParentRun: "a parent", ParentStep: "its step", Trigger: "event:a:b", IdempotencyKey: "k", Metadata: map[string]string{"by": "hand"},
		LocalKeys: map[string][]byte{"model": []byte("\xff\x00")},
	}}}
}

func (e *every) succeeded(step string, attempt int32) *messages.Event {
	return &messages.Event{Kind: &messages.Event_StepSucceeded{StepSucceeded: &messages.StepSucceeded{
		Step: step, Attempt: attempt, Output: []byte(`{"files":7}`), StartedUs: e.us()}}}
}

func (e *every) rebuilt(attempt int32) *messages.Event {
	return &messages.Event{Kind: &messages.Event_StepRebuilt{StepRebuilt: &messages.StepRebuilt{Step: "load", Attempt: attempt, StartedUs: e.us()}}}
}

func bound(epoch uint64, to, from *messages.WorkerRef, reason messages.Reason) *messages.Event {
	return &messages.Event{Kind: &messages.Event_Bound{Bound: &messages.Bound{
		Epoch: epoch, Worker: to, Reason: reason, FromWorker: from.GetWorkerId(), FromIncarnation: from.GetIncarnation()}}}
}

func dispatched(step string, attempt int32, epoch uint64, to *messages.WorkerRef) *messages.Event {
	return &messages.Event{Kind: &messages.Event_StepDispatched{StepDispatched: &messages.StepDispatched{Step: step, Attempt: attempt, Epoch: epoch, Worker: to}}}
}

func lost(epoch uint64, reason messages.Reason) *messages.Event {
	return &messages.Event{Kind: &messages.Event_BindingLost{BindingLost: &messages.BindingLost{Epoch: epoch, Reason: reason}}}
}

func attemptLost(step string, attempt int32, reason messages.Reason, text string) *messages.Event {
	return &messages.Event{Kind: &messages.Event_AttemptLost{AttemptLost: &messages.AttemptLost{
		Step: step, Attempt: attempt, Reason: reason, Started: true, Text: text}}}
}

func rebuild(epoch uint64, reason messages.Reason) *messages.Event {
	return &messages.Event{Kind: &messages.Event_RebuildBegan{RebuildBegan: &messages.RebuildBegan{Step: "load", Epoch: epoch, ForStep: "ask", Reason: reason}}}
}

func canceled(step string) *messages.Event {
	return &messages.Event{Kind: &messages.Event_StepCanceled{StepCanceled: &messages.StepCanceled{
		Step: step, Reason: messages.Reason_REASON_RUN_CANCELED, Text: "enough"}}}
}

func called(key string, call *messages.CallRecorded) *messages.Event {
	call.Step, call.Attempt, call.Kind, call.Name, call.Key, call.Tries, call.TookMs = "ask", 1, messages.CallKind_CALL_KIND_DO, "think", key, 2, 1000
	return &messages.Event{Kind: &messages.Event_CallRecorded{CallRecorded: call}}
}
