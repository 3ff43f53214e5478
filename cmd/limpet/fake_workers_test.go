package main

import (
	"context"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

func fakeWorkers() []*api.Worker {
	return []*api.Worker{
		{WorkerId: "gpu-1", State: api.WorkerUp, Pool: "default", Slots: 8, Running: 3, BoundRuns: 4, BoundSoft: 3, BoundHard: 1, StickyRunsMax: 10,
			Address: "127.0.0.1:4001", Incarnation: "01k", Host: "node-7", ProcessId: 4711, SdkVersion: "v1.2.3", Reported: true, SharedKeys: 2,
			Labels: map[string]string{"gpu": "a100", "zone": "b"}, Workflows: []string{"ask", "index"}, StartedAt: at(-3600),
			Locals: []*api.LocalUse{
				{Name: "model", Shared: true, Values: 2, InUse: 1, Bytes: 3 << 30, Hits: 40, Builds: 5, Failures: 1, Releases: 3, Evictions: 2},
				{Name: "scratch", Values: 3, InUse: 3, Bytes: 1000, Builds: 9, Releases: 6},
			}},
		{WorkerId: "host/längst", State: api.WorkerDraining, StateReason: messages.Reason_REASON_WORKER_DRAINING, Pool: "default", Slots: 1, Running: 1, Queued: 2, HeldSlots: 1, HeldFor: durationpb.New(75 * time.Second),
			Address: "127.0.0.1:4002", StartedAt: at(0), Reported: true, DrainLeft: durationpb.New(250 * time.Second)},
		{WorkerId: "off", State: api.WorkerDraining, StateReason: messages.Reason_REASON_WORKER_DRAINING, Pool: "default", Slots: 1, StartedAt: at(0), Reported: true, Ending: true,
			BoundHard: 1, DrainLeft: durationpb.New(0)},
		{WorkerId: "old", State: api.WorkerGone, StateReason: messages.Reason_REASON_WORKER_LOST, Pool: "default", Slots: 1, BoundRuns: 1},
	}
}

func (f *fakeAPI) ListWorkers(context.Context, *connect.Request[api.ListWorkersRequest]) (*connect.Response[api.ListWorkersResponse], error) {
	if f.empty {
		return connect.NewResponse(&api.ListWorkersResponse{}), nil
	}
	if f.workers != nil {
		return connect.NewResponse(&api.ListWorkersResponse{Workers: f.workers}), nil
	}
	return connect.NewResponse(&api.ListWorkersResponse{Workers: fakeWorkers()}), nil
}

// fakeEvents are what became of workers.
var fakeEvents = map[string][]*api.WorkerEvent{
	"gpu-1": {{At: at(-3600), Kind: "joined", Text: "a process of the worker is up", Incarnation: "01k", Address: "127.0.0.1:4001"},
		{At: at(-60), Kind: "lease_lost", Text: "a worker had no lease for a time", Incarnation: "01k"}},
	"old": {{At: at(3), Kind: "gone", Reason: messages.Reason_REASON_WORKER_LOST, Text: "a worker is lost", Incarnation: "01j"}},
}

// CountRuns counts by workflow if it is asked to.
func (f *fakeAPI) CountRuns(_ context.Context, req *connect.Request[api.CountRunsRequest]) (*connect.Response[api.CountRunsResponse], error) {
	counts := []*api.StatusCount{{Status: messages.RunStatus_RUN_STATUS_RUNNING, Runs: 10_000, More: true}, {Status: messages.RunStatus_RUN_STATUS_FAILED, Runs: 3}}
	if req.Msg.GetByWorkflow() {
		counts[0].Workflow, counts[1].Workflow = "ask", "index"
	}
	if req.Msg.GetWorkflow() == "none" {
		counts = nil
	}
	return connect.NewResponse(&api.CountRunsResponse{Counts: counts}), nil
}

// afterDrain is what the looks at a worker that was told to drain show, by its
// id; the last one stays.
var afterDrain = map[string][]*api.Worker{
	"empties":  {{State: api.WorkerDraining, Reported: true, Running: 2, BoundSoft: 3, DrainLeft: durationpb.New(9 * time.Second)}, {State: api.WorkerDraining, Reported: true, DrainLeft: durationpb.New(8 * time.Second)}},
	"keeps":    {{State: api.WorkerDraining}, {State: api.WorkerDraining, Reported: true, BoundHard: 2, DrainLeft: durationpb.New(time.Second)}, {State: api.WorkerDraining, Reported: true, BoundHard: 2, DrainLeft: durationpb.New(0)}},
	"leaves":   {{State: api.WorkerDraining, Reported: true, Running: 1, DrainLeft: durationpb.New(time.Second)}, {State: api.WorkerGone, StateReason: messages.Reason_REASON_WORKER_LEFT}},
	"dies":     {{State: api.WorkerDraining, Reported: true, Running: 1, DrainLeft: durationpb.New(time.Second)}, {State: api.WorkerGone, StateReason: messages.Reason_REASON_WORKER_LOST}},
	"returned": {{State: api.WorkerDraining, Reported: true, Running: 1, DrainLeft: durationpb.New(time.Second)}, {State: api.WorkerUp, Reported: true, Running: 1}},
}

func (f *fakeAPI) look(id string) *api.Worker {
	f.mu.Lock()
	defer f.mu.Unlock()
	looks := afterDrain[id]
	if len(looks) == 0 {
		return nil
	}
	w := proto.CloneOf(looks[min(f.looks[id], len(looks)-1)])
	f.looks[id]++
	w.WorkerId, w.Pool, w.Slots = id, "default", 4
	return w
}

func (f *fakeAPI) GetWorker(_ context.Context, req *connect.Request[api.GetWorkerRequest]) (*connect.Response[api.GetWorkerResponse], error) {
	id := req.Msg.GetWorkerId()
	for _, w := range fakeWorkers() {
		if w.GetWorkerId() == id {
			return connect.NewResponse(&api.GetWorkerResponse{Worker: w, Events: fakeEvents[id]}), nil
		}
	}
	if w := f.look(id); w != nil {
		return connect.NewResponse(&api.GetWorkerResponse{Worker: w}), nil
	}
	return nil, api.ToConnect(messages.Errorf(messages.CodeUnknownWorker, "this server has seen no worker %q", id))
}

func (f *fakeAPI) DrainWorker(_ context.Context, req *connect.Request[api.DrainWorkerRequest]) (*connect.Response[api.DrainWorkerResponse], error) {
	if err := f.note(req.Header(), "drain "+req.Msg.GetWorkerId()+" "+req.Msg.GetDeadline().AsDuration().String()); err != nil {
		return nil, err
	}
	f.mu.Lock()
	if f.looks == nil {
		f.looks = map[string]int{}
	}
	f.looks[req.Msg.GetWorkerId()] = 0
	f.mu.Unlock()
	if w := f.look(req.Msg.GetWorkerId()); w != nil {
		return connect.NewResponse(&api.DrainWorkerResponse{Worker: w}), nil
	}
	return nil, api.ToConnect(messages.Errorf(messages.CodeUnknownWorker, "this server has seen no worker %q", req.Msg.GetWorkerId()))
}

func (f *fakeAPI) UndrainWorker(_ context.Context, req *connect.Request[api.UndrainWorkerRequest]) (*connect.Response[api.UndrainWorkerResponse], error) {
	if id := req.Msg.GetWorkerId(); id != "gpu-1" {
		return nil, api.ToConnect(messages.Errorf(messages.CodeWorkerEnding, "the process of worker %q was told to end", id))
	}
	return connect.NewResponse(&api.UndrainWorkerResponse{Worker: fakeWorkers()[0]}), nil
}

// fakeWorkerAttempts is a page of two.
func fakeWorkerAttempts(r *api.ListAttemptsRequest) *api.ListAttemptsResponse {
	switch {
	case r.GetWorkerId() == "idle":
		return &api.ListAttemptsResponse{}
	case r.GetPageToken() == "":
		return &api.ListAttemptsResponse{NextPageToken: "p2", Attempts: []*api.Attempt{{RunId: "good", Workflow: "ask", Step: "load", Number: 1, SentAt: r.GetFrom(), StartedAt: at(1), EndedAt: at(2), Outcome: "lost", Why: "worker lost", Incarnation: "i1"}}}
	}
	return &api.ListAttemptsResponse{NextPageToken: "p3", Attempts: []*api.Attempt{{RunId: "bad", Workflow: "ask", Step: "ask", Number: 2, SentAt: at(2), Outcome: api.OutcomeLive, Incarnation: "i2"}}}
}

// Watch tells of a run and of a worker, and has no more after that.
func (f *fakeAPI) Watch(_ context.Context, req *connect.Request[api.WatchRequest], stream *connect.ServerStream[api.WatchResponse]) error {
	if req.Msg.GetPosition() == "p2" {
		return nil
	}
	for _, m := range []*api.WatchResponse{
		{Position: "p0", At: at(0), Topic: api.TopicWatch, Kind: "gap", Server: "server-1"},
		{Position: "p1", At: at(1), Topic: api.TopicRuns, Kind: "bound", RunId: "good", Workflow: "ask", Status: messages.RunStatus_RUN_STATUS_RUNNING, WorkerId: "gpu-1", Reason: messages.Reason_REASON_WORKER_LOST},
		{Position: "p2", At: at(2), Topic: api.TopicWorkers, Kind: "gone", WorkerId: "gpu-2", Text: "a worker is lost", Server: "server-1"},
	} {
		if err := stream.Send(m); err != nil {
			return err
		}
	}
	return nil
}
