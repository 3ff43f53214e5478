package gateway

import (
	"context"
	"time"

	"connectrpc.com/connect"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// CountRuns counts runs by their status, and by workflow. What it costs does not grow
// with the number of runs: beyond RunsCountedMax it says that there are more.
func (g *gateway) CountRuns(ctx context.Context, req *connect.Request[api.CountRunsRequest]) (*connect.Response[api.CountRunsResponse], error) {
	r := req.Msg
	filter, err := filterOf(&api.ListRunsRequest{Workflow: r.GetWorkflow(), WorkerId: r.GetWorkerId(), ParentRun: r.GetParentRun(), Roots: r.GetRoots(), Metadata: r.GetMetadata()})
	if err != nil {
		return nil, err
	}
	groups, err := g.backend.CountRuns(ctx, filter, messages.RunsCountedMax)
	if err != nil {
		return nil, err
	}
	if groups, err = g.countsWithin(ctx, groups); err != nil {
		return nil, err
	}
	if !r.GetByWorkflow() {
		for i := range groups {
			groups[i].Workflow = ""
		}
		groups = journal.CountsOf(groups, messages.RunsCountedMax)
	}
	resp := &api.CountRunsResponse{}
	for _, c := range groups {
		resp.Counts = append(resp.Counts, &api.StatusCount{Workflow: c.Workflow, Status: c.Status, Runs: int32(c.Rows), More: c.More})
	}
	return connect.NewResponse(resp), nil
}

// ListAttempts returns the attempts of a run, and when its steps waited; or those that a
// worker had in a time.
func (g *gateway) ListAttempts(ctx context.Context, req *connect.Request[api.ListAttemptsRequest]) (*connect.Response[api.ListAttemptsResponse], error) {
	r := req.Msg
	if err := messages.CheckFields(r); err != nil {
		return nil, err
	}
	switch {
	case (r.GetRunId() == "") == (r.GetWorkerId() == ""):
		return nil, messages.Errorf(messages.CodeInvalidArgument, "run id %q and worker id %q: give one of the two", r.GetRunId(), r.GetWorkerId())
	case r.GetWorkerId() != "":
		return g.workerAttempts(ctx, r)
	case r.GetFrom() != nil || r.GetTo() != nil || r.GetPageSize() != 0 || r.GetPageToken() != "":
		return nil, messages.Errorf(messages.CodeInvalidArgument, "from, to and pages are of the attempts of a worker, not of a run")
	}
	attempts, err := g.backend.Attempts(ctx, r.GetRunId())
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(attempts), nil
}

// farFuture is after all that is stored.
var farFuture = time.UnixMicro(1 << 60)

func (g *gateway) workerAttempts(ctx context.Context, r *api.ListAttemptsRequest) (*connect.Response[api.ListAttemptsResponse], error) {
	from, err := timeOf("from", r.GetFrom())
	if err != nil {
		return nil, err
	}
	to, err := timeOf("to", r.GetTo())
	switch {
	case err != nil:
		return nil, err
	case r.GetTo() == nil:
		to = farFuture
	case !from.Before(to):
		return nil, messages.Errorf(messages.CodeInvalidArgument, "from %s is not before to %s", from.UTC().Format(time.RFC3339Nano), to.UTC().Format(time.RFC3339Nano))
	}
	size, err := pageSize(r.GetPageSize())
	if err != nil {
		return nil, err
	}
	attempts, next, err := g.backend.WorkerAttempts(ctx, r.GetWorkerId(), from, to, size, r.GetPageToken())
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&api.ListAttemptsResponse{Attempts: attempts, NextPageToken: next}), nil
}
