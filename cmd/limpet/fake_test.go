package main

import (
	"context"
	"fmt"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/limpetrun/limpet/actors/projection"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/messages/api/apiconnect"
)

// fakeAPI answers with fixed runs and remembers what it was asked.
type fakeAPI struct {
	apiconnect.UnimplementedLimpetServiceHandler
	secret string

	mu      sync.Mutex
	started []*api.StartRunRequest
	pushed  []*api.PushEventRequest
	listed  []*api.ListRunsRequest
	calls   []string
	empty   bool
	// workers are listed; nil lists fakeWorkers.
	workers []*api.Worker
	// breakWatch breaks the next watch after two entries.
	breakWatch bool
	waits      int
	// looks counts those at workers that drain.
	looks map[string]int
}

var epoch = time.Date(2026, 3, 4, 10, 0, 0, 0, time.UTC)

func at(seconds float64) *timestamppb.Timestamp {
	return timestamppb.New(epoch.Add(time.Duration(seconds * float64(time.Second))))
}

// serve starts it and returns its address.
func (f *fakeAPI) serve(t *testing.T) string {
	t.Helper()
	_, handler := apiconnect.NewLimpetServiceHandler(f)
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return s.URL
}

func (f *fakeAPI) note(header interface{ Get(string) string }, call string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, call)
	if f.secret != "" && header.Get("Authorization") != "Bearer "+f.secret {
		return api.ToConnect(messages.Errorf(messages.CodeUnauthenticated, "the call does not carry the cluster's secret"))
	}
	return nil
}

func run(id string) (*api.GetRunResponse, error) {
	r := &api.GetRunResponse{
		Run: &api.Run{
			RunId: id, Workflow: "index-and-ask", DefinitionHash: "0123456789abcdef0123456789abcdef",
			Status: messages.RunStatus_RUN_STATUS_SUCCEEDED, Sticky: messages.Sticky_STICKY_SOFT,
			WorkerId: "gpu-2", Epoch: 2, CreatedAt: at(0), FinishedAt: at(4.25), Trigger: "api", Priority: 2, Pool: "default",
			Input: []byte(`{"dir":"/src"}`), Metadata: map[string]string{"by": "me", "a": "b"},
		},
		Steps: []*api.Step{
			{Name: "load", Phase: api.PhaseSucceeded, Attempts: 2, Lost: 1, WorkerId: "gpu-2", StartedAt: at(1), EndedAt: at(3), Output: []byte(`{"files":7}`)},
			{Name: "ask", Phase: api.PhaseSucceeded, Attempts: 1, WorkerId: "gpu-2", StartedAt: at(3), EndedAt: at(4.25), Output: []byte(`"yes"`), Parents: []string{"load"}},
		},
		Bindings: []*api.BindingRecord{
			{Epoch: 1, WorkerId: "gpu-1", Incarnation: "i1", Address: "127.0.0.1:1", Reason: messages.Reason_REASON_FIRST, At: at(0),
				Until: at(0.8), LostAt: at(0.8), LostReason: messages.Reason_REASON_WORKER_LOST, ToWorker: "gpu-2"},
			{Epoch: 2, WorkerId: "gpu-2", Incarnation: "i2", Address: "127.0.0.1:2", Reason: messages.Reason_REASON_WORKER_LOST, FromWorker: "gpu-1", FromIncarnation: "i1", At: at(0.9)},
		},
		Children: []*api.Child{{RunId: id + ".c1", Workflow: "child", Step: "ask", Key: "0", Sticky: true, Status: messages.RunStatus_RUN_STATUS_FAILED}},
	}
	switch id {
	case "good":
	case "moved":
		b := r.Bindings
		b[0].LostReason, b[1].Reason = messages.Reason_REASON_WORKER_DRAINING, messages.Reason_REASON_WORKER_DRAINING
		b[0].HandOff = &api.HandOff{At: at(0.8), Locals: []*api.HandedLocal{{Name: "cache", Bytes: 2048}, {Name: "seen", Bytes: 7}}}
		b[1].Restored, b[1].Until, b[1].HandOff = 1, at(2), &api.HandOff{At: at(2), Failure: &messages.Failure{Code: "USER_ERROR", Message: "disk full"}}
		b[1].LostAt, b[1].LostReason, b[1].ToWorker = at(2), messages.Reason_REASON_WORKER_LOST, "gpu-3"
		r.Bindings = append(b, &api.BindingRecord{Epoch: 3, WorkerId: "gpu-3", FromWorker: "gpu-2", Reason: messages.Reason_REASON_WORKER_LOST, At: at(2.5),
			Rebuilds: []*api.Rebuild{{Step: "load", ForStep: "ask", BeganAt: at(2.5), EndedAt: at(3), Attempt: 3}, {Step: "index", ForStep: "ask", BeganAt: at(3)}}})
	case "pending":
		r.Run.Status, r.Run.FinishedAt, r.Run.Sticky = messages.RunStatus_RUN_STATUS_RUNNING, nil, messages.Sticky_STICKY_HARD
		r.Run.WaitingFor, r.Run.Dormant = "worker gpu-2 to come back", true
		r.Steps[1] = &api.Step{Name: "ask", Phase: api.PhaseReady, Parents: []string{"load"}}
		r.Children = nil
	case "talks":
		r.Run.Status, r.Run.FinishedAt = messages.RunStatus_RUN_STATUS_RUNNING, nil
		r.Run.WaitingFor = `signal "approval" for step "ask"`
		r.UnreadSignals = map[string]int32{"note": 2, "hurry": 1}
		r.Steps[1] = &api.Step{Name: "ask", Phase: api.PhaseSuspended, Attempts: 1, WorkerId: "gpu-2", StartedAt: at(3), Parents: []string{"load"}, Calls: 4, LastCall: "think #3",
			Progress: []byte(`{"pages":12}`), ProgressAt: at(4), ProgressAttempt: 1,
			Waits: []*api.CallWait{
				{Kind: messages.CallKind_CALL_KIND_RECEIVE, Name: "approval", Key: "#0", Since: at(4), Until: at(4 + 48*60*60), WaitingFor: `signal "approval"`},
				{Kind: messages.CallKind_CALL_KIND_SLEEP, Name: "sleep", Key: "#1", Since: at(5), Until: at(65), WaitingFor: "the time 2026-03-04T10:01:05Z"},
				{Kind: messages.CallKind_CALL_KIND_EVENT, Name: "paid", Key: "#0", Since: at(6), Until: at(66), WaitingFor: `event "paid" if payload.n > 1`,
					ConditionFailed: `event "paid": its condition could not be evaluated on event e1, key paid: no such key: n`}}}
		r.Bindings, r.Children = r.Bindings[1:], nil
	case "bad":
		failure := &messages.Failure{Code: "STEP_FAILED", Message: `step "ask" failed: no such file`}
		r.Run.Status, r.Run.Failure = messages.RunStatus_RUN_STATUS_FAILED, failure
		r.Steps[1].Phase, r.Steps[1].Output, r.Steps[1].Failures = api.PhaseFailed, nil, 3
		r.Steps[1].Failure = &messages.Failure{Code: "USER_ERROR", Message: "no such file\nsecond line"}
	default:
		return nil, api.ToConnect(messages.Errorf(messages.CodeUnknownRun, "there is no run %q", id))
	}
	r.Run.Sentence = projection.Sentence(r)
	return r, nil
}

func (f *fakeAPI) StartRun(_ context.Context, req *connect.Request[api.StartRunRequest]) (*connect.Response[api.StartRunResponse], error) {
	if err := f.note(req.Header(), "start"); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.started = append(f.started, req.Msg)
	switch req.Msg.GetWorkflow() {
	case "typed":
		return nil, api.ToConnect(messages.Errorf(messages.CodeInvalidInput, "the input does not fit the workflow's input type: $.dir: want string, got integer"))
	case "index-and-ask":
		return connect.NewResponse(&api.StartRunResponse{RunId: "good", Existed: req.Msg.GetIdempotencyKey() != ""}), nil
	case "fails":
		return connect.NewResponse(&api.StartRunResponse{RunId: "bad"}), nil
	case "waits":
		return connect.NewResponse(&api.StartRunResponse{RunId: "pending"}), nil
	}
	return nil, api.ToConnect(messages.Errorf(messages.CodeUnknownWorkflow, "there is no workflow %q", req.Msg.GetWorkflow()))
}

func (f *fakeAPI) GetRun(_ context.Context, req *connect.Request[api.GetRunRequest]) (*connect.Response[api.GetRunResponse], error) {
	if err := f.note(req.Header(), "get"); err != nil {
		return nil, err
	}
	r, err := run(req.Msg.GetRunId())
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(r), nil
}

func (f *fakeAPI) ListAttempts(_ context.Context, req *connect.Request[api.ListAttemptsRequest]) (*connect.Response[api.ListAttemptsResponse], error) {
	if err := f.note(req.Header(), "attempts"); err != nil {
		return nil, err
	}
	if id := req.Msg.GetWorkerId(); id != "" {
		return connect.NewResponse(fakeWorkerAttempts(req.Msg)), nil
	}
	if _, err := run(req.Msg.GetRunId()); err != nil {
		return nil, err
	}
	if req.Msg.GetRunId() == "pending" {
		return connect.NewResponse(&api.ListAttemptsResponse{Waits: []*api.StepWait{{Step: "ask", Reason: "no_labels", From: at(1), WaitingFor: "a worker with gpu=yes"}}}), nil
	}
	return connect.NewResponse(&api.ListAttemptsResponse{
		Attempts: []*api.Attempt{
			{Step: "load", Number: 1, WorkerId: "gpu-1", Incarnation: "i1", Epoch: 1, ReadyAt: at(0), SentAt: at(0), StartedAt: at(0.25), EndedAt: at(0.8), Outcome: "lost", Why: "worker lost", ResultRefused: "attempt was lost"},
			{Step: "load", Number: 2, WorkerId: "gpu-2", Incarnation: "i2", Epoch: 2, ReadyAt: at(0.8), SentAt: at(0.9), StartedAt: at(1), Outcome: api.OutcomeLive},
		},
		LeftOut: 3,
		Waits:   []*api.StepWait{{Step: "load", Attempt: 2, Reason: "worker_lost", From: at(0.8), Until: at(0.9), WaitingFor: "a worker: worker lost"}},
	}), nil
}

func (f *fakeAPI) WaitRun(ctx context.Context, req *connect.Request[api.WaitRunRequest]) (*connect.Response[api.WaitRunResponse], error) {
	f.mu.Lock()
	f.waits++
	first := f.waits == 1
	f.mu.Unlock()
	if first {
		return nil, api.ToConnect(messages.Errorf(messages.CodeUnavailable, "the server is stopping"))
	}
	r, err := run(req.Msg.GetRunId())
	if err != nil {
		return nil, err
	}
	ended := r.GetRun().GetFinishedAt() != nil
	if !ended {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return connect.NewResponse(&api.WaitRunResponse{Ended: ended, Run: r}), nil
}

func (f *fakeAPI) ReadLog(_ context.Context, req *connect.Request[api.ReadLogRequest], stream *connect.ServerStream[api.ReadLogResponse]) error {
	if _, err := run(req.Msg.GetRunId()); err != nil {
		return err
	}
	line := func(seconds float64, level, message, attributes string) *messages.LogLine {
		return &messages.LogLine{AtWallUs: at(seconds).AsTime().UnixMicro(), Level: level, Message: message, Attributes: attributes}
	}
	cut := line(2.5, "WARN", "slow", "")
	cut.Cut = true
	for place, c := range []*messages.LogChunk{
		{Step: "load", Attempt: 1, WorkerId: "gpu-1", FirstLine: 1, Lines: []*messages.LogLine{line(1.25, "INFO", "7 files \x1b[31mred", `dir="/my src"`), cut}, LeftOut: 3},
		{Step: "load", Attempt: 1, Lines: []*messages.LogLine{line(3, "ERROR", "the attempt failed: disk full", "code=USER_ERROR")}},
	} {
		if c.GetStep() == req.Msg.GetStep() || req.Msg.GetStep() == "" {
			if err := stream.Send(&api.ReadLogResponse{Place: int64(10 * (place + 1)), Chunk: c}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *fakeAPI) ReadStream(_ context.Context, req *connect.Request[api.ReadStreamRequest], stream *connect.ServerStream[api.ReadStreamResponse]) error {
	r := req.Msg
	if err := f.note(req.Header(), fmt.Sprintf("stream %s from %d.%d follow=%v", r.GetStream(), r.GetSection(), r.GetNumber(), r.GetFollow())); err != nil {
		return err
	}
	if r.GetStream() != "tokens" {
		return api.ToConnect(messages.Errorf(messages.CodeUnknownStream, "run %s has no stream %q: it has [\"tokens\"]", r.GetRunId(), r.GetStream()))
	}
	if r.GetSection() <= 1 {
		if err := stream.Send(&api.ReadStreamResponse{Section: 1, First: 1, Pieces: [][]byte{[]byte("Hel"), []byte("p")}, Step: "ask", Attempt: 1}); err != nil {
			return err
		}
	}
	return stream.Send(&api.ReadStreamResponse{Section: 2, First: 1, Pieces: [][]byte{[]byte("Hello"), []byte(", you\n")}, Step: "ask", Attempt: 2})
}

func (f *fakeAPI) WatchRun(_ context.Context, req *connect.Request[api.WatchRunRequest], stream *connect.ServerStream[api.WatchRunResponse]) error {
	if _, err := run(req.Msg.GetRunId()); err != nil {
		return err
	}
	f.mu.Lock()
	broken := f.breakWatch
	f.breakWatch = false
	f.mu.Unlock()
	for i, events := range history {
		number := uint64(i + 1)
		if number <= req.Msg.GetAfterEntry() {
			continue
		}
		if broken && number > 2 {
			return api.ToConnect(messages.Errorf(messages.CodeUnavailable, "the server is stopping"))
		}
		if err := stream.Send(&api.WatchRunResponse{Entry: number, At: at(float64(i)), Events: events}); err != nil {
			return err
		}
	}
	return nil
}

func (f *fakeAPI) ListRuns(_ context.Context, req *connect.Request[api.ListRunsRequest]) (*connect.Response[api.ListRunsResponse], error) {
	if err := f.note(req.Header(), "list"); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.listed = append(f.listed, req.Msg)
	if f.empty {
		return connect.NewResponse(&api.ListRunsResponse{}), nil
	}
	if req.Msg.GetPageToken() == "" {
		r, _ := run("pending")
		bad, _ := run("bad")
		r.Run.Sentence, bad.Run.Sentence = "", ""
		return connect.NewResponse(&api.ListRunsResponse{Runs: []*api.Run{r.GetRun(), bad.GetRun()}, NextPageToken: "p2"}), nil
	}
	r, _ := run("good")
	return connect.NewResponse(&api.ListRunsResponse{Runs: []*api.Run{r.GetRun()}}), nil
}

func (f *fakeAPI) CancelRun(_ context.Context, req *connect.Request[api.CancelRunRequest]) (*connect.Response[api.CancelRunResponse], error) {
	if err := f.note(req.Header(), "cancel "+req.Msg.GetReason()); err != nil {
		return nil, err
	}
	if _, err := run(req.Msg.GetRunId()); err != nil {
		return nil, err
	}
	if req.Msg.GetRunId() == "good" {
		return nil, api.ToConnect(messages.Errorf(messages.CodeRunFinished, "run good has succeeded"))
	}
	return connect.NewResponse(&api.CancelRunResponse{}), nil
}

func (f *fakeAPI) SignalRun(_ context.Context, req *connect.Request[api.SignalRunRequest]) (*connect.Response[api.SignalRunResponse], error) {
	if err := f.note(req.Header(), fmt.Sprintf("signal %s %s %s", req.Msg.GetName(), req.Msg.GetMessageId(), req.Msg.GetPayload())); err != nil {
		return nil, err
	}
	if req.Msg.GetRunId() == "good" {
		return nil, api.ToConnect(messages.Errorf(messages.CodeRunFinished, "run good has succeeded"))
	}
	return connect.NewResponse(&api.SignalRunResponse{}), nil
}

func (f *fakeAPI) AskRun(_ context.Context, req *connect.Request[api.AskRunRequest]) (*connect.Response[api.AskRunResponse], error) {
	if err := f.note(req.Header(), fmt.Sprintf("ask %s %s %v", req.Msg.GetQuery(), req.Msg.GetArg(), req.Msg.GetTimeout().AsDuration())); err != nil {
		return nil, err
	}
	if req.Msg.GetRunId() == "good" {
		return nil, api.ToConnect(messages.Errorf(messages.CodeWorkerAway, "run good waits for worker \"gpu-1\", to which it is bound: worker lost"))
	}
	return connect.NewResponse(&api.AskRunResponse{Answer: []byte(`{"page":3}`), WorkerId: "gpu-1", Epoch: 2, Entry: 7}), nil
}

func (f *fakeAPI) ReplayRun(_ context.Context, req *connect.Request[api.ReplayRunRequest]) (*connect.Response[api.ReplayRunResponse], error) {
	if err := f.note(req.Header(), "replay"); err != nil {
		return nil, err
	}
	if req.Msg.GetRunId() == "pending" {
		return nil, api.ToConnect(messages.Errorf(messages.CodeRunNotFinished, "run pending is running"))
	}
	return connect.NewResponse(&api.ReplayRunResponse{}), nil
}

func (f *fakeAPI) PushEvent(_ context.Context, req *connect.Request[api.PushEventRequest]) (*connect.Response[api.PushEventResponse], error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pushed = append(f.pushed, req.Msg)
	resp := &api.PushEventResponse{EventId: "e1"}
	if req.Msg.GetKey() == "user:create" {
		resp.Runs = []*api.TriggeredRun{{RunId: "r1", Workflow: "ask"}, {RunId: "r2", Workflow: "index", Existed: true}}
	}
	if req.Msg.GetKey() == "user:old" {
		resp.Refused = []*api.RefusingWorkflow{{Workflow: "legacy", Failure: &messages.Failure{Code: string(messages.CodeWorkflowRetired), Message: "workflow \"legacy\" is retired"}}}
	}
	if req.Msg.GetKey() == "user:create" || req.Msg.GetKey() == "user:refused" {
		resp.Refused = []*api.RefusingWorkflow{{Workflow: "strict", Failure: &messages.Failure{Code: string(messages.CodeInvalidInput), Message: "name: is missing"}}}
	}
	if req.Msg.GetKey() == "user:awaited" {
		resp.Waits = 2
		resp.FailedConditions = []*api.FailedCondition{{RunId: "r3", Step: "approve", Call: "user:awaited #0", Condition: "payload.id > 1", Message: "no such key: id"}}
	}
	return connect.NewResponse(resp), nil
}

func (f *fakeAPI) ListEvents(_ context.Context, req *connect.Request[api.ListEventsRequest]) (*connect.Response[api.ListEventsResponse], error) {
	switch {
	case req.Msg.GetKey() == "nobody":
		return connect.NewResponse(&api.ListEventsResponse{}), nil
	case req.Msg.GetPageToken() == "7":
		return connect.NewResponse(&api.ListEventsResponse{Events: []*api.KeptEvent{{EventId: "e3", Key: "order:\x1b[31mpaid", PushedAt: at(3)}}}), nil
	}
	return connect.NewResponse(&api.ListEventsResponse{NextPageToken: "7", Events: []*api.KeptEvent{
		{EventId: "e1", Key: "user:create", PushedAt: at(1), Payload: []byte(`{"id":7}`)}, {EventId: "e2", Key: "user:awaited", PushedAt: at(2), Payload: []byte("null")},
	}}), nil
}

func (f *fakeAPI) ListMembers(context.Context, *connect.Request[api.ListMembersRequest]) (*connect.Response[api.ListMembersResponse], error) {
	return connect.NewResponse(&api.ListMembersResponse{Members: []*api.Member{
		{Name: "server/a~01k", Role: api.RoleServer, State: api.MemberReady, Address: "127.0.0.1:5001", GossipAddress: "127.0.0.1:7946", Shards: 1024, ThisServer: true},
		{Name: "gpu-1~01k", Role: api.RoleWorker, State: api.MemberJoining, Address: "127.0.0.1:4001", GossipAddress: "127.0.0.1:7947"},
	}}), nil
}

func (f *fakeAPI) ListWorkflows(context.Context, *connect.Request[api.ListWorkflowsRequest]) (*connect.Response[api.ListWorkflowsResponse], error) {
	if f.empty {
		return connect.NewResponse(&api.ListWorkflowsResponse{}), nil
	}
	return connect.NewResponse(&api.ListWorkflowsResponse{Workflows: []*api.Workflow{{
		Hash: "0123456789abcdef0123456789abcdef",
		Definition: &messages.WorkflowDefinition{Name: "index-and-ask", Sticky: messages.Sticky_STICKY_SOFT, OnEvents: []string{"corpus:new", "user:*"},
			Steps: []*messages.StepDefinition{{Name: "load"}, {Name: "ask", Parents: []string{"load"}}}},
		RegisteredAt: at(-120), Workers: 2,
	}, {
		Hash: "fedcba9876543210fedcba9876543210", Definition: &messages.WorkflowDefinition{Name: "legacy", OnEvents: []string{"user:*"}},
		RegisteredAt: at(-3600), ChosenAt: at(-60), RetiredAt: at(-30), UnservedSince: at(-1800),
	}, {
		Hash: "00112233445566778899aabbccddeeff", Definition: &messages.WorkflowDefinition{Name: "gone", OnEvents: []string{"user:*"}},
		RegisteredAt: at(-3600), UnservedSince: at(-90000), LeftOutSince: at(-3600),
	}}}), nil
}

func (f *fakeAPI) ListWorkflowVersions(_ context.Context, req *connect.Request[api.ListWorkflowVersionsRequest]) (*connect.Response[api.ListWorkflowVersionsResponse], error) {
	if req.Msg.GetWorkflow() != "index-and-ask" {
		return nil, api.ToConnect(messages.Errorf(messages.CodeUnknownWorkflow, "there is no workflow %q: did you mean \"index-and-ask\"? registered are index-and-ask", req.Msg.GetWorkflow()))
	}
	return connect.NewResponse(&api.ListWorkflowVersionsResponse{Versions: []*api.WorkflowVersion{
		{Hash: "fedcba9876543210fedcba9876543210", RegisteredAt: at(-120), Workers: 1},
		{Hash: "0123456789abcdef0123456789abcdef", RegisteredAt: at(-3600), Current: true, ChosenAt: at(-60), Workers: 3},
	}}), nil
}

func (f *fakeAPI) UseWorkflowVersion(_ context.Context, req *connect.Request[api.UseWorkflowVersionRequest]) (*connect.Response[api.UseWorkflowVersionResponse], error) {
	if err := f.note(req.Header(), "use "+req.Msg.GetWorkflow()+" "+req.Msg.GetHash()); err != nil {
		return nil, err
	}
	return connect.NewResponse(&api.UseWorkflowVersionResponse{Workflow: &api.Workflow{
		Hash: "0123456789abcdef0123456789abcdef", Definition: &messages.WorkflowDefinition{Name: req.Msg.GetWorkflow()}, ChosenAt: at(0),
	}}), nil
}

func (f *fakeAPI) RetireWorkflow(_ context.Context, req *connect.Request[api.RetireWorkflowRequest]) (*connect.Response[api.RetireWorkflowResponse], error) {
	if err := f.note(req.Header(), "retire "+req.Msg.GetWorkflow()); err != nil {
		return nil, err
	}
	return connect.NewResponse(&api.RetireWorkflowResponse{Workflow: &api.Workflow{
		Definition: &messages.WorkflowDefinition{Name: req.Msg.GetWorkflow()}, RetiredAt: at(0),
	}}), nil
}

func (f *fakeAPI) RestoreWorkflow(_ context.Context, req *connect.Request[api.RestoreWorkflowRequest]) (*connect.Response[api.RestoreWorkflowResponse], error) {
	if err := f.note(req.Header(), "restore "+req.Msg.GetWorkflow()); err != nil {
		return nil, err
	}
	return connect.NewResponse(&api.RestoreWorkflowResponse{Workflow: &api.Workflow{Definition: &messages.WorkflowDefinition{Name: req.Msg.GetWorkflow()}}}), nil
}

// history has one event of each kind.
var history = [][]*messages.Event{
	{
		{Kind: &messages.Event_RunStarted{RunStarted: &messages.RunStarted{Workflow: "index-and-ask", Trigger: "api", Input: []byte(`{"dir":"/src"}`)}}},
		{Kind: &messages.Event_Bound{Bound: &messages.Bound{Epoch: 1, Worker: &messages.WorkerRef{WorkerId: "gpu-1"}, Reason: messages.Reason_REASON_FIRST}}},
		{Kind: &messages.Event_StepDispatched{StepDispatched: &messages.StepDispatched{Step: "load", Attempt: 1, Epoch: 1, Worker: &messages.WorkerRef{WorkerId: "gpu-1"}}}},
	},
	{{Kind: &messages.Event_StepStarted{StepStarted: &messages.StepStarted{Step: "load", Attempt: 1}}}},
	{
		{Kind: &messages.Event_AttemptLost{AttemptLost: &messages.AttemptLost{Step: "load", Attempt: 1, Reason: messages.Reason_REASON_WORKER_LOST}}},
		{Kind: &messages.Event_BindingLost{BindingLost: &messages.BindingLost{Epoch: 1, Reason: messages.Reason_REASON_WORKER_LOST}}},
		{Kind: &messages.Event_Bound{Bound: &messages.Bound{Epoch: 2, Worker: &messages.WorkerRef{WorkerId: "gpu-2"}, FromWorker: "gpu-1", Reason: messages.Reason_REASON_WORKER_LOST}}},
	},
	{{Kind: &messages.Event_ResultRefused{ResultRefused: &messages.ResultRefused{Step: "load", Attempt: 1, Epoch: 1, WorkerId: "gpu-1", Reason: messages.Reason_REASON_ATTEMPT_LOST, NewestEpoch: 2}}}},
	{{Kind: &messages.Event_AttemptFailed{AttemptFailed: &messages.AttemptFailed{Step: "load", Attempt: 2, Failure: &messages.Failure{Code: "USER_ERROR", Message: "busy"}, RetryAtUs: epoch.UnixMicro()}}}},
	{{Kind: &messages.Event_AttemptRevoked{AttemptRevoked: &messages.AttemptRevoked{Step: "load", Attempt: 3, Reason: messages.Reason_REASON_WORKER_BUSY}}}},
	{{Kind: &messages.Event_StepSucceeded{StepSucceeded: &messages.StepSucceeded{Step: "load", Attempt: 4, Output: []byte(`{"files":7}`)}}}},
	{{Kind: &messages.Event_ChildSpawned{ChildSpawned: &messages.ChildSpawned{Step: "ask", ChildRun: "good.c1", Workflow: "child", Sticky: true}}}},
	{{Kind: &messages.Event_RunDormant{RunDormant: &messages.RunDormant{WakeAtUs: epoch.UnixMicro(), WakeOnUp: "gpu-2"}}}},
	{{Kind: &messages.Event_CancelRequested{CancelRequested: &messages.CancelRequested{Reason: "enough"}}}},
	{
		{Kind: &messages.Event_StepFailed{StepFailed: &messages.StepFailed{Step: "ask", Failure: &messages.Failure{Code: "SCHEDULE_TIMEOUT", Message: "no worker"}}}},
		{Kind: &messages.Event_StepSkipped{StepSkipped: &messages.StepSkipped{Step: "tell", Reason: messages.Reason_REASON_PARENT_FAILED, Parent: "ask"}}},
		{Kind: &messages.Event_StepCanceled{StepCanceled: &messages.StepCanceled{Step: "last", Reason: messages.Reason_REASON_RUN_CANCELED}}},
	},
	{{Kind: &messages.Event_RunReplayed{RunReplayed: &messages.RunReplayed{Steps: []string{"ask"}}}}, {}},
	{{Kind: &messages.Event_RunEnded{RunEnded: &messages.RunEnded{Status: messages.RunStatus_RUN_STATUS_CANCELED, Failure: &messages.Failure{Code: "CANCELED", Message: "enough"}}}}},
}
