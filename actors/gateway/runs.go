package gateway

import (
	"context"
	"fmt"
	"math"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// GetRun returns a run with its steps, bindings and children.
func (g *gateway) GetRun(ctx context.Context, req *connect.Request[api.GetRunRequest]) (*connect.Response[api.GetRunResponse], error) {
	if err := messages.CheckFields(req.Msg); err != nil {
		return nil, err
	}
	run, err := g.backend.LoadRun(ctx, req.Msg.GetRunId())
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(run), nil
}

// ListRuns returns a page of runs, newest first.
func (g *gateway) ListRuns(ctx context.Context, req *connect.Request[api.ListRunsRequest]) (*connect.Response[api.ListRunsResponse], error) {
	r := req.Msg
	filter, err := filterOf(r)
	if err != nil {
		return nil, err
	}
	size, err := pageSize(r.GetPageSize())
	if err != nil {
		return nil, err
	}
	runs, next, err := g.backend.ListRuns(ctx, filter, size, r.GetPageToken())
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&api.ListRunsResponse{Runs: runs, NextPageToken: next}), nil
}

func pageSize(asked int32) (int, error) {
	switch size := int(asked); {
	case size == 0:
		return pageSizeDefault, nil
	case size < 0 || size > messages.PageSizeMax:
		return 0, messages.Errorf(messages.CodeInvalidArgument, "page_size is %d, not 1 to PageSizeMax = %d", size, messages.PageSizeMax)
	default:
		return size, nil
	}
}

func filterOf(r *api.ListRunsRequest) (journal.Filter, error) {
	f := journal.Filter{
		Workflow: r.GetWorkflow(), Statuses: r.GetStatuses(),
		BoundWorker: r.GetWorkerId(), ParentRun: r.GetParentRun(), Roots: r.GetRoots(), Metadata: r.GetMetadata(),
	}
	if err := messages.CheckFields(r); err != nil {
		return f, err
	}
	if f.Roots && f.ParentRun != "" {
		return f, messages.Errorf(messages.CodeInvalidArgument, "roots and parent_run %q: the children of a run are no roots, ask for one of the two", f.ParentRun)
	}
	for _, s := range f.Statuses {
		if _, ok := messages.RunStatus_name[int32(s)]; !ok || s == messages.RunStatus_RUN_STATUS_UNSPECIFIED {
			return f, messages.Errorf(messages.CodeInvalidArgument, "status %d is not one that a run can have", s)
		}
		if f.BoundWorker != "" && journal.Finished(s) {
			return f, messages.Errorf(messages.CodeInvalidArgument, "worker_id %q with status %s: a run that has ended is bound to no worker any more: leave one of the two out; a run, and a listing of runs, says where it was bound last", f.BoundWorker, s)
		}
	}
	var err error
	if f.CreatedAfter, err = timeOf("created_after", r.GetCreatedAfter()); err != nil {
		return f, err
	}
	f.CreatedBefore, err = timeOf("created_before", r.GetCreatedBefore())
	return f, err
}

// timeOf is the zero time for none.
func timeOf(what string, at *timestamppb.Timestamp) (time.Time, error) {
	if at == nil {
		return time.Time{}, nil
	}
	if err := at.CheckValid(); err != nil {
		return time.Time{}, messages.Errorf(messages.CodeInvalidArgument, "%s: %w", what, err)
	}
	return at.AsTime(), nil
}

// WaitRun answers when the run has ended or the wait is over.
func (g *gateway) WaitRun(ctx context.Context, req *connect.Request[api.WaitRunRequest]) (*connect.Response[api.WaitRunResponse], error) {
	runID := req.Msg.GetRunId()
	if err := messages.CheckFields(req.Msg); err != nil {
		return nil, err
	}
	wait := waitDefault
	if d := req.Msg.GetWait(); d != nil {
		if err := d.CheckValid(); err != nil {
			return nil, messages.Errorf(messages.CodeInvalidArgument, "wait: %w", err)
		}
		wait = d.AsDuration()
	}
	if wait < 0 || wait > waitMax {
		return nil, messages.Errorf(messages.CodeInvalidArgument, "wait is %s, not 0 to %s", wait, waitMax)
	}
	if wait == 0 {
		wait = waitDefault
	}
	res, err := g.awaitRun(ctx, runID, time.Now().Add(wait))
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(res), nil
}

// readAgain is the pause before a wait goes on for a run that was told to have
// ended and is read as one that goes on.
const readAgain = 20 * time.Millisecond

// awaitRun waits for the run's end and reads the run. One that goes on by then
// was replayed in between: it is waited for anew.
func (g *gateway) awaitRun(ctx context.Context, runID string, deadline time.Time) (*api.WaitRunResponse, error) {
	for {
		ended, err := g.awaitEnd(ctx, runID, deadline)
		if err != nil {
			return nil, err
		}
		run, err := g.backend.LoadRun(ctx, runID)
		if err != nil {
			return nil, err
		}
		if goesOn := run.GetRun().GetStatus() == messages.RunStatus_RUN_STATUS_RUNNING; !ended || !goesOn {
			return &api.WaitRunResponse{Ended: ended, Run: run}, nil
		}
		if err := backoff.Sleep(ctx, readAgain); err != nil {
			return nil, err
		}
	}
}

// awaitEnd polls the backend until the run has ended or the wait is over.
func (g *gateway) awaitEnd(ctx context.Context, runID string, deadline time.Time) (ended bool, err error) {
	ctx, cancel := g.untilStop(ctx)
	defer cancel()
	for {
		wait := min(time.Until(deadline), pollMax)
		if wait <= 0 {
			return false, nil
		}
		reply, err := poll(ctx, g.backend.WatchRun, &messages.WatchRun{
			RunId: runID, After: math.MaxInt64, WaitMs: max(wait.Milliseconds(), 1), UntilEnded: true, WithoutEntries: true,
		})
		if err != nil || reply.GetEnded() {
			return reply.GetEnded(), err
		}
	}
}

// poll asks the backend once; the error may also stand in the reply.
func poll[Q any, R interface {
	GetError() *messages.Failure
	GetEnded() bool
}](ctx context.Context, ask func(context.Context, Q) (R, error), question Q) (R, error) {
	reply, err := ask(ctx, question)
	if err == nil {
		err = messages.FromFailure(reply.GetError())
	}
	// A backend may answer a poll that was broken off as one that is over.
	if ctx.Err() != nil && !reply.GetEnded() {
		err = context.Cause(ctx)
	}
	return reply, err
}

// WatchRun streams the entries of a run until it has ended.
func (g *gateway) WatchRun(ctx context.Context, req *connect.Request[api.WatchRunRequest], stream *connect.ServerStream[api.WatchRunResponse]) error {
	if err := messages.CheckFields(req.Msg); err != nil {
		return err
	}
	if req.Msg.GetAfterEntry() > math.MaxInt64 {
		return messages.Errorf(messages.CodeInvalidArgument, "after_entry is %d, which no entry has", req.Msg.GetAfterEntry())
	}
	ctx, cancel := g.untilStop(ctx)
	defer cancel()
	after := req.Msg.GetAfterEntry()
	for {
		reply, err := poll(ctx, g.backend.WatchRun, &messages.WatchRun{RunId: req.Msg.GetRunId(), After: after, WaitMs: pollMax.Milliseconds()})
		if err != nil {
			return err
		}
		if err := api.SayServed(stream); err != nil {
			return err
		}
		for _, e := range reply.GetEntries() {
			if e.GetNumber() <= after {
				continue
			}
			after = e.GetNumber()
			if err := stream.Send(&api.WatchRunResponse{
				Entry: e.GetNumber(), At: timestamppb.New(time.UnixMicro(e.GetEntry().GetAtUs())), Events: e.GetEntry().GetEvents(),
			}); err != nil {
				return err
			}
		}
		// A poll carries a part of a long history: the end has come when an
		// ended run has no more.
		if reply.GetEnded() && len(reply.GetEntries()) == 0 {
			return nil
		}
	}
}

// CancelRun asks a run to end.
func (g *gateway) CancelRun(ctx context.Context, req *connect.Request[api.CancelRunRequest]) (*connect.Response[api.CancelRunResponse], error) {
	if err := messages.CheckFields(req.Msg); err != nil {
		return nil, err
	}
	if err := g.backend.CancelRun(ctx, &messages.CancelRun{RunId: req.Msg.GetRunId(), Reason: req.Msg.GetReason(), WithoutEndStep: req.Msg.GetWithoutEndStep()}); err != nil {
		return nil, err
	}
	return connect.NewResponse(&api.CancelRunResponse{}), nil
}

// SignalRun puts a message into a run's mailbox.
func (g *gateway) SignalRun(ctx context.Context, req *connect.Request[api.SignalRunRequest]) (*connect.Response[api.SignalRunResponse], error) {
	r := req.Msg
	if err := messages.CheckFields(r); err != nil {
		return nil, err
	}
	payload, err := checkedPayload("signal", r.GetName(), r.GetPayload())
	if err != nil {
		return nil, err
	}
	id := r.GetMessageId()
	if id == "" {
		id = messages.NewRequestID() // the backend may have to ask a second server
	}
	if err := g.backend.SignalRun(ctx, &messages.SignalRun{RunId: r.GetRunId(), Name: r.GetName(), MessageId: id, Payload: payload}); err != nil {
		return nil, err
	}
	return connect.NewResponse(&api.SignalRunResponse{}), nil
}

// AskRun asks the live state of a run.
func (g *gateway) AskRun(ctx context.Context, req *connect.Request[api.AskRunRequest]) (*connect.Response[api.AskRunResponse], error) {
	r := req.Msg
	if err := messages.CheckFields(r); err != nil {
		return nil, err
	}
	arg, err := checkedInput(r.GetArg(), func(raw []byte) error {
		return messages.CheckJSON(fmt.Sprintf("the argument of query %q", r.GetQuery()), raw)
	})
	if err != nil {
		return nil, err
	}
	within, err := queryTimeout(r.GetTimeout())
	if err != nil {
		return nil, err
	}
	answer, err := g.backend.AskRun(ctx, r.GetRunId(), r.GetQuery(), arg, within)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(answer), nil
}

func queryTimeout(asked *durationpb.Duration) (time.Duration, error) {
	const most = time.Duration(messages.QueryTimeoutMsMax) * time.Millisecond
	if asked == nil {
		return time.Duration(messages.DefaultQueryTimeoutMs) * time.Millisecond, nil
	}
	if err := asked.CheckValid(); err != nil {
		return 0, messages.Errorf(messages.CodeInvalidArgument, "timeout: %w", err)
	}
	switch d := asked.AsDuration(); {
	case d == 0:
		return time.Duration(messages.DefaultQueryTimeoutMs) * time.Millisecond, nil
	case d < time.Millisecond || d > most:
		return 0, messages.Errorf(messages.CodeInvalidArgument, "timeout is %v, not 1ms to %v (QueryTimeoutMsMax)", d, most)
	default:
		return d, nil
	}
}

// ReplayRun runs steps of a finished run again.
func (g *gateway) ReplayRun(ctx context.Context, req *connect.Request[api.ReplayRunRequest]) (*connect.Response[api.ReplayRunResponse], error) {
	if err := messages.CheckFields(req.Msg); err != nil {
		return nil, err
	}
	if n := len(req.Msg.GetSteps()); n > messages.StepsMax {
		return nil, messages.Errorf(messages.CodeLimitExceeded, "the call names %d steps, more than StepsMax = %d", n, messages.StepsMax)
	}
	request := req.Msg.GetRequestId()
	if request == "" {
		request = messages.NewRequestID() // the backend may have to ask a second server
	}
	if err := g.backend.ReplayRun(ctx, req.Msg.GetRunId(), req.Msg.GetSteps(), request); err != nil {
		return nil, err
	}
	return connect.NewResponse(&api.ReplayRunResponse{}), nil
}

// ListMembers returns the members of the cluster that this server sees, and how it fares
// itself. Of the journal no more is said than that: its errors name places of the inside.
func (g *gateway) ListMembers(ctx context.Context, _ *connect.Request[api.ListMembersRequest]) (*connect.Response[api.ListMembersResponse], error) {
	resp := &api.ListMembersResponse{Members: g.backend.Members(ctx)}
	if g.config.Member != nil {
		if err := g.config.Member(); err != nil {
			resp.NotReady = err.Error()
		}
	}
	if g.journal != nil {
		if err := g.journal.ask(ctx); err != nil {
			resp.JournalLost = "the journal does not answer"
		}
	}
	return connect.NewResponse(resp), nil
}
