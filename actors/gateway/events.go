package gateway

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// deliveredWithin is how long a push waits for the calls that wait for the event, beyond
// what it takes to start runs.
const deliveredWithin = 2 * time.Second

// PushEvent keeps the event, starts exactly one run of each workflow that the key
// matches, that starts new runs and whose schema the payload fits, and delivers the
// event to the calls of runs that wait for it. Each workflow is judged alone:
// the answer names the others that the key matches, and why. The event and all runs are
// durable before the answer; an event that nobody wants is accepted. Pushing again with
// the same event id completes what an earlier push left out.
func (g *gateway) PushEvent(ctx context.Context, req *connect.Request[api.PushEventRequest]) (*connect.Response[api.PushEventResponse], error) {
	r := req.Msg
	if err := messages.CheckFields(r); err != nil {
		return nil, err
	}
	// The payload is JSON even if no workflow wants it.
	payload, err := checkedPayload("event", r.GetKey(), r.GetPayload())
	if err != nil {
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
	delivered, err := g.backend.PublishEvent(ctx, journal.Event{ID: eventID, Key: r.GetKey(), Payload: payload})
	if err != nil {
		return nil, err
	}
	response := &api.PushEventResponse{EventId: eventID, Refused: refused}
	if response.Runs, err = g.startTriggered(ctx, eventID, runs); err != nil {
		return nil, err
	}
	within, cancel := context.WithTimeout(ctx, deliveredWithin)
	defer cancel()
	waits, failed := delivered(within)
	response.Waits, response.FailedConditions = int32(waits), failed
	return connect.NewResponse(response), nil
}

// startTriggered starts the runs of an event.
func (g *gateway) startTriggered(ctx context.Context, eventID string, runs []*messages.StartRun) (triggered []*api.TriggeredRun, err error) {
	replies, err := g.startAll(ctx, runs)
	if err != nil {
		return nil, err
	}
	for i, run := range runs {
		name := run.GetStart().GetWorkflow()
		if f := replies[i].GetError(); f.GetCode() == string(messages.CodeIdempotencyMismatch) {
			return nil, messages.Errorf(messages.CodeIdempotencyMismatch, "event id %q was pushed before with another key, payload or metadata: %s; give this event an id of its own",
				eventID, f.GetMessage())
		} else if f != nil {
			return nil, messages.Errorf(messages.Code(f.GetCode()), "event %s for workflow %q: %s; others may have started: push again with this event id to complete it",
				eventID, name, f.GetMessage())
		}
		triggered = append(triggered, &api.TriggeredRun{RunId: run.GetRunId(), Workflow: name, Existed: replies[i].GetExisted()})
	}
	return triggered, nil
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
			RunId: id, Start: started(ctx, d.Workflow, "event:"+r.GetKey(), input, 0, r.GetMetadata()),
		})
	}
	slices.SortFunc(runs, func(a, b *messages.StartRun) int {
		return strings.Compare(a.GetStart().GetWorkflow(), b.GetStart().GetWorkflow())
	})
	slices.SortFunc(refused, func(a, b *api.RefusingWorkflow) int { return strings.Compare(a.GetWorkflow(), b.GetWorkflow()) })
	return runs, refused, nil
}

const (
	// eventsRead is how many events are read at once: each may be as large as a payload.
	eventsRead = 16
	// eventsPageBytes ends a page of events.
	eventsPageBytes = 8 << 20
)

// ListEvents returns events that are kept.
func (g *gateway) ListEvents(ctx context.Context, req *connect.Request[api.ListEventsRequest]) (*connect.Response[api.ListEventsResponse], error) {
	r := req.Msg
	if err := messages.CheckFields(r); err != nil {
		return nil, err
	}
	limit, err := pageSize(r.GetPageSize())
	if err != nil {
		return nil, err
	}
	after, err := eventsAfter(r.GetPageToken())
	if err != nil {
		return nil, err
	}
	filter := journal.EventFilter{Pattern: r.GetKey()}
	if filter.Since, err = timeOf("since", r.GetSince()); err != nil {
		return nil, err
	}
	if !filter.Since.IsZero() {
		filter.From = journal.ByTimeOnly
	}
	response, bytes := &api.ListEventsResponse{}, 0
	for more := true; more; {
		want := min(eventsRead, limit-len(response.Events))
		events, err := g.backend.Events(ctx, filter, after, want)
		if err != nil {
			return nil, err
		}
		for _, e := range events {
			response.Events = append(response.Events, &api.KeptEvent{EventId: e.ID, Key: e.Key, PushedAt: api.Moment(e.At), Payload: e.Payload})
			after, bytes = e.Seq, bytes+len(e.Payload)
		}
		more = len(events) == want
		if more && (len(response.Events) == limit || bytes >= eventsPageBytes) {
			response.NextPageToken, more = strconv.FormatUint(after, 10), false
		}
	}
	return connect.NewResponse(response), nil
}

// eventsAfter reads a page token of ListEvents.
func eventsAfter(token string) (uint64, error) {
	if token == "" {
		return 0, nil
	}
	after, err := strconv.ParseUint(token, 10, 63)
	if err != nil {
		return 0, messages.Errorf(messages.CodeInvalidArgument, "page token %.40q: not one that a listing returned", token)
	}
	return after, nil
}
