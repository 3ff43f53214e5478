package gateway

import (
	"context"
	"slices"
	"strings"

	"connectrpc.com/connect"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// PushEvent starts exactly one run of each workflow that the key matches, that
// starts new runs and whose schema the payload fits. Each workflow is judged alone:
// the answer names the others that the key matches, and why. All runs are durable before the answer;
// an event that no workflow wants is accepted and starts nothing. Pushing again with the same event id completes what an
// earlier push left out.
func (g *gateway) PushEvent(ctx context.Context, req *connect.Request[api.PushEventRequest]) (*connect.Response[api.PushEventResponse], error) {
	r := req.Msg
	if err := messages.CheckFields(r); err != nil {
		return nil, err
	}
	// The payload is JSON even if no workflow wants it.
	if _, err := checkedInput(r.GetPayload(), anyJSON); err != nil {
		return nil, err
	}
	eventID := r.GetEventId()
	if eventID == "" {
		eventID = messages.NewEventID()
	}
	runs, refused, err := g.triggered(ctx, r, eventID)
	if err != nil {
		return nil, err
	}
	replies, err := g.startAll(ctx, runs)
	if err != nil {
		return nil, err
	}
	response := &api.PushEventResponse{EventId: eventID, Refused: refused}
	for i, run := range runs {
		name := run.GetStart().GetWorkflow()
		if f := replies[i].GetError(); f.GetCode() == string(messages.CodeIdempotencyMismatch) {
			return nil, messages.Errorf(messages.CodeIdempotencyMismatch, "event id %q was pushed before with another key, payload or metadata: %s; give this event an id of its own",
				eventID, f.GetMessage())
		} else if f != nil {
			return nil, messages.Errorf(messages.Code(f.GetCode()), "event %s for workflow %q: %s; others may have started: push again with this event id to complete it",
				eventID, name, f.GetMessage())
		}
		response.Runs = append(response.Runs, &api.TriggeredRun{
			RunId: run.GetRunId(), Workflow: name, Existed: replies[i].GetExisted(),
		})
	}
	return connect.NewResponse(response), nil
}

// triggered returns the runs that an event starts, and the workflows with its key
// of which it starts none, both in the order of the names of the workflows.
func (g *gateway) triggered(ctx context.Context, r *api.PushEventRequest, eventID string) ([]*messages.StartRun, []*api.RefusingWorkflow, error) {
	known, err := g.backend.Workflows(ctx)
	if err != nil {
		return nil, nil, err
	}
	var runs []*messages.StartRun
	var refused []*api.RefusingWorkflow
	for _, d := range known {
		name := d.Def.GetName()
		if !slices.ContainsFunc(d.Def.GetOnEvents(), func(pattern string) bool { return messages.MatchesEvent(pattern, r.GetKey()) }) {
			continue
		}
		id := messages.RunIDForEvent(eventID, name)
		input, err := g.accepted(ctx, id, d.MayStartByEvent(), d.Workflow, r.GetPayload())
		switch {
		case messages.CodeOf(err).Retryable():
			return nil, nil, err
		case err != nil:
			refused = append(refused, &api.RefusingWorkflow{Workflow: name, Failure: messages.ToFailure(err)})
			continue
		}
		runs = append(runs, &messages.StartRun{
			RunId: id, Start: started(d.Workflow, "event:"+r.GetKey(), input, 0, r.GetMetadata()),
		})
	}
	slices.SortFunc(runs, func(a, b *messages.StartRun) int {
		return strings.Compare(a.GetStart().GetWorkflow(), b.GetStart().GetWorkflow())
	})
	slices.SortFunc(refused, func(a, b *api.RefusingWorkflow) int { return strings.Compare(a.GetWorkflow(), b.GetWorkflow()) })
	return runs, refused, nil
}
