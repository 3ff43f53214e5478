// Package uitest has an API that says what it is told to, for tests of the pages.
//
// Imports messages, messages/api and the Connect library.
package uitest

import (
	"context"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/messages/api/apiconnect"
)

// Now is the time on the clock of the tests.
var Now = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

// At is some seconds after a minute before Now.
func At(seconds float64) *timestamppb.Timestamp {
	return timestamppb.New(Now.Add(-time.Minute + time.Duration(seconds*float64(time.Second))))
}

// Service is an API that says what it is told to.
type Service struct {
	apiconnect.UnimplementedLimpetServiceHandler
	mu        sync.Mutex
	Run       *api.GetRunResponse
	List      *api.ListRunsResponse
	Asked     *api.ListRunsRequest
	Entries   []*api.WatchRunResponse
	Attempts  *api.ListAttemptsResponse
	Canceled  []*api.CancelRunRequest
	GoesOn    bool // the history has no end
	Workers   []*api.Worker
	Workflows []*api.Workflow
	Members   []*api.Member
	// JournalLost is what is said of the journal.
	JournalLost string
	// Log is of the run, WorkerAttempts and Events are of every worker.
	Log            []*messages.LogChunk
	WorkerAttempts *api.ListAttemptsResponse
	Events         []*api.WorkerEvent
}

func (s *Service) GetRun(_ context.Context, r *connect.Request[api.GetRunRequest]) (*connect.Response[api.GetRunResponse], error) {
	if s.Run == nil || s.Run.GetRun().GetRunId() != r.Msg.GetRunId() {
		return nil, api.ToConnect(messages.Errorf(messages.CodeUnknownRun, "no run %s", r.Msg.GetRunId()))
	}
	return connect.NewResponse(s.Run), nil
}

// CountRuns counts many that run and two that failed, of the first workflow if there is one.
func (s *Service) CountRuns(_ context.Context, r *connect.Request[api.CountRunsRequest]) (*connect.Response[api.CountRunsResponse], error) {
	workflow := ""
	if r.Msg.GetByWorkflow() && len(s.Workflows) > 0 {
		workflow = s.Workflows[0].GetDefinition().GetName()
	}
	return connect.NewResponse(&api.CountRunsResponse{Counts: []*api.StatusCount{
		{Workflow: workflow, Status: messages.RunStatus_RUN_STATUS_RUNNING, Runs: 10_000, More: true}, {Workflow: workflow, Status: messages.RunStatus_RUN_STATUS_FAILED, Runs: 2}}}), nil
}

func (s *Service) ReadLog(_ context.Context, _ *connect.Request[api.ReadLogRequest], stream *connect.ServerStream[api.ReadLogResponse]) error {
	for i, c := range s.Log {
		if err := stream.Send(&api.ReadLogResponse{Place: int64(i + 1), Chunk: c}); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) ListAttempts(_ context.Context, r *connect.Request[api.ListAttemptsRequest]) (*connect.Response[api.ListAttemptsResponse], error) {
	if r.Msg.GetWorkerId() != "" && s.WorkerAttempts != nil {
		return connect.NewResponse(s.WorkerAttempts), nil
	}
	if r.Msg.GetWorkerId() != "" {
		return connect.NewResponse(&api.ListAttemptsResponse{}), nil
	}
	if s.Attempts == nil {
		return connect.NewResponse(&api.ListAttemptsResponse{}), nil
	}
	return connect.NewResponse(s.Attempts), nil
}

// SetList changes what runs there are, while the API is asked.
func (s *Service) SetList(list *api.ListRunsResponse) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.List = list
}

func (s *Service) ListRuns(_ context.Context, r *connect.Request[api.ListRunsRequest]) (*connect.Response[api.ListRunsResponse], error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Asked = r.Msg
	return connect.NewResponse(s.List), nil
}

func (s *Service) WatchRun(ctx context.Context, _ *connect.Request[api.WatchRunRequest], stream *connect.ServerStream[api.WatchRunResponse]) error {
	for _, e := range s.Entries {
		if err := stream.Send(e); err != nil {
			return err
		}
	}
	if s.GoesOn {
		<-ctx.Done()
	}
	return ctx.Err()
}

func (s *Service) ListWorkers(context.Context, *connect.Request[api.ListWorkersRequest]) (*connect.Response[api.ListWorkersResponse], error) {
	return connect.NewResponse(&api.ListWorkersResponse{Workers: s.Workers}), nil
}

func (s *Service) GetWorker(_ context.Context, r *connect.Request[api.GetWorkerRequest]) (*connect.Response[api.GetWorkerResponse], error) {
	for _, w := range s.Workers {
		if w.GetWorkerId() == r.Msg.GetWorkerId() {
			return connect.NewResponse(&api.GetWorkerResponse{Worker: w, Events: s.Events}), nil
		}
	}
	return nil, api.ToConnect(messages.Errorf(messages.CodeUnknownWorker, "no worker %s", r.Msg.GetWorkerId()))
}

func (s *Service) ListWorkflowVersions(context.Context, *connect.Request[api.ListWorkflowVersionsRequest]) (*connect.Response[api.ListWorkflowVersionsResponse], error) {
	return connect.NewResponse(&api.ListWorkflowVersionsResponse{Versions: []*api.WorkflowVersion{{Hash: Hostile}, {Hash: "current", Current: true}}}), nil
}

// CancelRun notes what it is asked; a run that has the wrong name has ended.
func (s *Service) CancelRun(_ context.Context, r *connect.Request[api.CancelRunRequest]) (*connect.Response[api.CancelRunResponse], error) {
	if r.Msg.GetRunId() == "ended" {
		return nil, api.ToConnect(messages.Errorf(messages.CodeRunFinished, "run ended has ended"))
	}
	s.Canceled = append(s.Canceled, r.Msg)
	return connect.NewResponse(&api.CancelRunResponse{}), nil
}

func (s *Service) ListWorkflows(context.Context, *connect.Request[api.ListWorkflowsRequest]) (*connect.Response[api.ListWorkflowsResponse], error) {
	return connect.NewResponse(&api.ListWorkflowsResponse{Workflows: s.Workflows}), nil
}

func (s *Service) ListMembers(context.Context, *connect.Request[api.ListMembersRequest]) (*connect.Response[api.ListMembersResponse], error) {
	return connect.NewResponse(&api.ListMembersResponse{Members: s.Members, JournalLost: s.JournalLost}), nil
}

// Hostile would run on a page that does not escape it.
const Hostile = `"><script>alert('x')</script><img src=x onerror=alert(1)>`

// Everywhere is a service whose every text is hostile.
func Everywhere() *Service {
	worker := &messages.WorkerRef{WorkerId: Hostile, Incarnation: Hostile}
	failure := &messages.Failure{Code: Hostile, Message: Hostile, Stack: Hostile}
	run := &api.Run{RunId: "r1", Workflow: Hostile, DefinitionHash: Hostile, Status: messages.RunStatus_RUN_STATUS_FAILED, WorkerId: Hostile, CreatedAt: At(0), FinishedAt: At(9),
		Failure: failure, ParentRun: Hostile, Trigger: Hostile, Input: []byte(Hostile), Metadata: map[string]string{Hostile: Hostile}, WaitingFor: Hostile, Sentence: Hostile}
	return &Service{
		Run: &api.GetRunResponse{
			Run: run, Steps: []*api.Step{{Name: Hostile, Phase: Hostile, WorkerId: Hostile, Output: []byte(Hostile), Failure: failure, Parents: []string{Hostile},
				Waits: []*api.CallWait{{Kind: messages.CallKind_CALL_KIND_RECEIVE, Name: Hostile, Key: Hostile, WaitingFor: Hostile}}}},
			UnreadSignals: map[string]int32{Hostile: 1},
			Bindings:      []*api.BindingRecord{{WorkerId: Hostile, Incarnation: Hostile, FromWorker: Hostile, At: At(1)}},
			Children:      []*api.Child{{RunId: Hostile, Workflow: Hostile, Step: Hostile, Key: Hostile, Status: messages.RunStatus_RUN_STATUS_RUNNING}},
		},
		List: &api.ListRunsResponse{Runs: []*api.Run{run}, NextPageToken: Hostile},
		Attempts: &api.ListAttemptsResponse{
			Attempts: []*api.Attempt{{Step: Hostile, Number: 1, WorkerId: Hostile, Incarnation: Hostile, SentAt: At(0), StartedAt: At(1), EndedAt: At(9), Outcome: Hostile, Why: Hostile, ResultRefused: Hostile}},
			Waits:    []*api.StepWait{{Step: Hostile, Attempt: 1, Reason: Hostile, From: At(0), Until: At(1), WaitingFor: Hostile}},
		},
		Entries: []*api.WatchRunResponse{
			{Entry: 1, At: At(0), Events: []*messages.Event{{Kind: &messages.Event_RunStarted{RunStarted: &messages.RunStarted{Workflow: Hostile, Trigger: Hostile}}},
				{Kind: &messages.Event_Bound{Bound: &messages.Bound{Epoch: 1, Worker: worker}}},
				{Kind: &messages.Event_StepDispatched{StepDispatched: &messages.StepDispatched{Step: Hostile, Attempt: 1, Worker: worker}}}}},
			{Entry: 2, At: At(9), Events: []*messages.Event{{Kind: &messages.Event_AttemptFailed{AttemptFailed: &messages.AttemptFailed{Step: Hostile, Attempt: 1, StartedUs: At(1).AsTime().UnixMicro(), Failure: failure}}},
				{Kind: &messages.Event_RunEnded{RunEnded: &messages.RunEnded{Failure: failure}}}}},
		},
		Log: []*messages.LogChunk{{Step: Hostile, Attempt: 1, WorkerId: Hostile, LeftOut: 3, Lines: []*messages.LogLine{{Level: Hostile, Message: Hostile, Attributes: Hostile}}}},
		WorkerAttempts: &api.ListAttemptsResponse{Attempts: []*api.Attempt{{RunId: Hostile, Workflow: Hostile, Step: Hostile, Number: 1, WorkerId: Hostile, Incarnation: Hostile,
			SentAt: At(0), StartedAt: At(1), EndedAt: At(9), Outcome: Hostile, Why: Hostile}}},
		Events: []*api.WorkerEvent{{At: At(2), Kind: Hostile, Incarnation: Hostile, Text: Hostile, Address: Hostile}},
		Workers: []*api.Worker{{WorkerId: Hostile, Incarnation: Hostile, Pool: Hostile, State: Hostile, Labels: map[string]string{Hostile: Hostile}, Workflows: []string{Hostile},
			Locals: []*api.LocalUse{{Name: Hostile}}}},
		Workflows: []*api.Workflow{{Hash: Hostile, Definition: &messages.WorkflowDefinition{Name: Hostile, Pool: Hostile, OnEvents: []string{Hostile},
			Steps: []*messages.StepDefinition{{Name: Hostile, Parents: []string{Hostile}}}}}},
		Members: []*api.Member{{Name: Hostile, Role: "worker", Address: Hostile, GossipAddress: Hostile, State: Hostile}, {Name: Hostile, Role: "server", State: Hostile}},
	}
}
