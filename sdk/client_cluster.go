package sdk

import (
	"context"
	"encoding/json"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/messages/api/apiconnect"
)

// EventOptions describe an event. The zero value, and nil, is an event with a
// new id.
type EventOptions struct {
	// ID makes the push idempotent: a second push with the same id starts
	// nothing and returns the first one's runs. At most 256 bytes.
	ID string
	// Metadata of the runs that the event starts.
	Metadata map[string]string
}

// Event is an event that was pushed.
type Event struct {
	ID string
	// Runs that the event started, one for each workflow that it matches.
	Runs []TriggeredRun
	// Refused are the workflows that it matches and that start nothing, by name:
	// its payload does not fit their input schema (ErrInvalidInput), they are
	// retired (ErrWorkflowRetired), or no worker has served them for long
	// (ErrWorkflowUnserved). The others are not affected.
	Refused []RefusingWorkflow
	// Waits is how many calls of runs waited for the event, in WaitEvent or First, and
	// have it. If there are very many, some have it later and are not counted.
	Waits int
	// FailedConditions are conditions of such calls that could not be evaluated on the
	// payload, up to ten: the event does not fit them, and the calls wait on.
	FailedConditions []*api.FailedCondition
}

// RefusingWorkflow is a workflow that an event matches and starts nothing of.
type RefusingWorkflow struct {
	Workflow string
	// Err says why, with a code.
	Err error
}

// TriggeredRun is a run that an event started.
type TriggeredRun struct {
	*Run
	Workflow string
}

// PushEvent starts a run of each workflow that has the key among its OnEvents,
// with the payload, encoded as JSON, as its input, and gives the event to the steps
// that wait for it in WaitEvent. It returns once the event and all runs are
// durable. A workflow whose schema refuses the payload is in Event.Refused and
// is no error, even if all do: look there. At most one EventOptions may be given.
func (c *Client) PushEvent(ctx context.Context, key string, payload any, options ...*EventOptions) (*Event, error) {
	opts, err := onlyOptions(options)
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(payload)
	if err != nil {
		return nil, messages.Errorf(messages.CodeInvalidInput, "the payload of event %q does not encode as JSON: %w", key, err)
	}
	if err := messages.CheckPayload("the payload of event "+key, data); err != nil {
		return nil, err
	}
	res, err := c.pushEvent(ctx, &api.PushEventRequest{Key: key, Payload: data, EventId: opts.ID, Metadata: opts.Metadata})
	if err != nil {
		return nil, err
	}
	event := &Event{ID: res.GetEventId(), Waits: int(res.GetWaits()), FailedConditions: res.GetFailedConditions()}
	for _, r := range res.GetRuns() {
		run := &Run{client: c, id: r.GetRunId(), Existed: r.GetExisted()}
		event.Runs = append(event.Runs, TriggeredRun{Run: run, Workflow: r.GetWorkflow()})
	}
	for _, r := range res.GetRefused() {
		event.Refused = append(event.Refused, RefusingWorkflow{Workflow: r.GetWorkflow(), Err: messages.FromFailure(r.GetFailure())})
	}
	return event, nil
}

// ListEvents returns events that are kept, in the order in which they were pushed, a page
// at a time. The zero request, and nil, is the first page of all.
func (c *Client) ListEvents(ctx context.Context, req *api.ListEventsRequest) (*api.ListEventsResponse, error) {
	if req == nil {
		req = &api.ListEventsRequest{}
	}
	return call(ctx, c, shortCall, apiconnect.LimpetServiceClient.ListEvents, req)
}

// ListRuns returns runs, newest first, a page at a time. The zero request, and
// nil, is the first page of all runs.
func (c *Client) ListRuns(ctx context.Context, req *api.ListRunsRequest) (*api.ListRunsResponse, error) {
	if req == nil {
		req = &api.ListRunsRequest{}
	}
	return call(ctx, c, shortCall, apiconnect.LimpetServiceClient.ListRuns, req)
}

// ListWorkers returns the workers that the cluster knows.
func (c *Client) ListWorkers(ctx context.Context) ([]*api.Worker, error) {
	res, err := call(ctx, c, shortCall, apiconnect.LimpetServiceClient.ListWorkers, &api.ListWorkersRequest{})
	return res.GetWorkers(), err
}

// Worker returns a worker that the cluster knows, one that has gone included.
// Errors: ErrUnknownWorker.
func (c *Client) Worker(ctx context.Context, id string) (*api.Worker, error) {
	res, err := call(ctx, c, shortCall, apiconnect.LimpetServiceClient.GetWorker, &api.GetWorkerRequest{WorkerId: id})
	return res.GetWorker(), err
}

// DrainOptions are for DrainWorker. The zero value, and nil, leaves everything
// to the worker.
type DrainOptions struct {
	// Deadline is how long steps may run on and HARD runs are still served. Then
	// the contexts of running steps are canceled and HARD runs wait until the
	// worker is undrained or started anew. 0 is the worker's own grace; at most
	// a week.
	Deadline time.Duration
}

// DrainWorker lets a worker take on nothing new. Its process stays: SOFT runs
// leave it at their next step boundary, HARD runs stay until they end or the
// deadline passes. A second call sets the deadline anew. It returns the worker
// as it is now; Worker tells the rest. At most one DrainOptions may be given.
//
// Errors: ErrUnknownWorker for one that is not there, ErrWorkerEnding for one
// whose process was told to end.
func (c *Client) DrainWorker(ctx context.Context, id string, options ...*DrainOptions) (*api.Worker, error) {
	opts, err := onlyOptions(options)
	if err != nil {
		return nil, err
	}
	req := &api.DrainWorkerRequest{WorkerId: id}
	if opts.Deadline != 0 {
		req.Deadline = durationpb.New(opts.Deadline)
	}
	res, err := call(ctx, c, shortCall, apiconnect.LimpetServiceClient.DrainWorker, req)
	return res.GetWorker(), err
}

// UndrainWorker lets a worker take on new runs again; one that does not drain
// is left as it is. Errors: as of DrainWorker.
func (c *Client) UndrainWorker(ctx context.Context, id string) (*api.Worker, error) {
	res, err := call(ctx, c, shortCall, apiconnect.LimpetServiceClient.UndrainWorker, &api.UndrainWorkerRequest{WorkerId: id})
	return res.GetWorker(), err
}

// ListMembers returns the servers and workers of the cluster as the server that
// answers sees them.
func (c *Client) ListMembers(ctx context.Context) ([]*api.Member, error) {
	res, err := call(ctx, c, shortCall, apiconnect.LimpetServiceClient.ListMembers, &api.ListMembersRequest{})
	return res.GetMembers(), err
}
