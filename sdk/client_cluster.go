package sdk

import (
	"context"
	"encoding/json"

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
}

// TriggeredRun is a run that an event started.
type TriggeredRun struct {
	*Run
	Workflow string
}

// PushEvent starts a run of each workflow that has the key among its OnEvents,
// with the payload, encoded as JSON, as its input. It returns once all are
// durable. At most one EventOptions may be given.
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
	event := &Event{ID: res.GetEventId()}
	for _, r := range res.GetRuns() {
		run := &Run{client: c, id: r.GetRunId(), Existed: r.GetExisted()}
		event.Runs = append(event.Runs, TriggeredRun{Run: run, Workflow: r.GetWorkflow()})
	}
	return event, nil
}

// ListRuns returns runs, newest first, a page at a time. The zero request, and
// nil, is the first page of all runs.
func (c *Client) ListRuns(ctx context.Context, req *api.ListRunsRequest) (*api.ListRunsResponse, error) {
	if req == nil {
		req = &api.ListRunsRequest{}
	}
	return call(ctx, c, again, apiconnect.LimpetServiceClient.ListRuns, req)
}

// ListWorkers returns the workers that the cluster knows.
func (c *Client) ListWorkers(ctx context.Context) ([]*api.Worker, error) {
	res, err := call(ctx, c, again, apiconnect.LimpetServiceClient.ListWorkers, &api.ListWorkersRequest{})
	return res.GetWorkers(), err
}

// ListMembers returns the servers and workers of the cluster as the server that
// answers sees them.
func (c *Client) ListMembers(ctx context.Context) ([]*api.Member, error) {
	res, err := call(ctx, c, again, apiconnect.LimpetServiceClient.ListMembers, &api.ListMembersRequest{})
	return res.GetMembers(), err
}

// ListWorkflows returns the current version of every workflow that a worker
// has registered.
func (c *Client) ListWorkflows(ctx context.Context) ([]*api.Workflow, error) {
	res, err := call(ctx, c, again, apiconnect.LimpetServiceClient.ListWorkflows, &api.ListWorkflowsRequest{})
	return res.GetWorkflows(), err
}
