package sdk

import (
	"context"
	"time"

	"connectrpc.com/connect"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/messages/api/apiconnect"
)

const (
	// waitDefault is how long a server takes for a WaitRun that does not say.
	waitDefault = 30 * time.Second
	// waitSlack is what the answer of a wait may be late.
	waitSlack = 10 * time.Second
	// bulkTimeout ends one try to start many runs.
	bulkTimeout = 2 * time.Minute
)

// shortCall is for calls that answer at once and may arrive twice.
var shortCall = callOptions{tryTimeout: tryTimeout}

// Service returns the plain API for tools. Its calls go from server to server
// as the client's do, and return errors of the catalogue; headers are neither
// sent nor returned. WatchRun and ReadStream alone are one stream of one server each:
// Run.Watch and Run.ReadStream go on where that one breaks.
func (c *Client) Service() apiconnect.LimpetServiceClient { return service{c} }

type service struct{ client *Client }

func wrapped[Res any](res *Res, err error) (*connect.Response[Res], error) {
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(res), nil
}

// StartRun draws the run's id here, so that the call may be sent again.
func (s service) StartRun(ctx context.Context, req *connect.Request[api.StartRunRequest]) (*connect.Response[api.StartRunResponse], error) {
	return wrapped(s.client.startRun(ctx, req.Msg))
}

func (c *Client) startRun(ctx context.Context, req *api.StartRunRequest) (*api.StartRunResponse, error) {
	drawn := drawRunID(req)
	if req.GetSignalName() != "" && req.GetSignalMessageId() == "" {
		req.SignalMessageId = messages.NewRequestID()
	}
	res, err := call(ctx, c, shortCall, apiconnect.LimpetServiceClient.StartRun, req)
	if drawn && res != nil {
		// It was this very call that started it.
		res.Existed = false
	}
	return res, err
}

// drawRunID names a run that has no name yet.
func drawRunID(req *api.StartRunRequest) bool {
	if req.GetIdempotencyKey() != "" || req.GetRunId() != "" {
		return false
	}
	req.RunId = messages.NewRunID()
	return true
}

func (s service) StartRuns(ctx context.Context, req *connect.Request[api.StartRunsRequest]) (*connect.Response[api.StartRunsResponse], error) {
	return wrapped(s.client.startRuns(ctx, req.Msg))
}

func (c *Client) startRuns(ctx context.Context, req *api.StartRunsRequest) (*api.StartRunsResponse, error) {
	drawn := make([]bool, len(req.GetRuns()))
	for i, r := range req.GetRuns() {
		drawn[i] = r != nil && drawRunID(r)
	}
	res, err := call(ctx, c, callOptions{tryTimeout: bulkTimeout}, apiconnect.LimpetServiceClient.StartRuns, req)
	if err == nil && len(res.GetRuns()) != len(drawn) {
		return nil, messages.Errorf(messages.CodeInternal, "the server answered %d of %d starts", len(res.GetRuns()), len(drawn))
	}
	for i, r := range res.GetRuns() {
		if drawn[i] {
			r.Existed = false
		}
	}
	return res, err
}

func (s service) GetRun(ctx context.Context, req *connect.Request[api.GetRunRequest]) (*connect.Response[api.GetRunResponse], error) {
	return wrapped(call(ctx, s.client, shortCall, apiconnect.LimpetServiceClient.GetRun, req.Msg))
}

func (s service) ListAttempts(ctx context.Context, req *connect.Request[api.ListAttemptsRequest]) (*connect.Response[api.ListAttemptsResponse], error) {
	return wrapped(call(ctx, s.client, shortCall, apiconnect.LimpetServiceClient.ListAttempts, req.Msg))
}

func (s service) CountRuns(ctx context.Context, req *connect.Request[api.CountRunsRequest]) (*connect.Response[api.CountRunsResponse], error) {
	return wrapped(call(ctx, s.client, shortCall, apiconnect.LimpetServiceClient.CountRuns, req.Msg))
}

func (s service) ListRuns(ctx context.Context, req *connect.Request[api.ListRunsRequest]) (*connect.Response[api.ListRunsResponse], error) {
	return wrapped(call(ctx, s.client, shortCall, apiconnect.LimpetServiceClient.ListRuns, req.Msg))
}

func (s service) WaitRun(ctx context.Context, req *connect.Request[api.WaitRunRequest]) (*connect.Response[api.WaitRunResponse], error) {
	return wrapped(s.client.waitRun(ctx, req.Msg))
}

func (c *Client) waitRun(ctx context.Context, req *api.WaitRunRequest) (*api.WaitRunResponse, error) {
	wait := req.GetWait().AsDuration()
	if wait <= 0 {
		wait = waitDefault
	}
	return call(ctx, c, callOptions{tryTimeout: wait + waitSlack}, apiconnect.LimpetServiceClient.WaitRun, req)
}

func (s service) WatchRun(ctx context.Context, req *connect.Request[api.WatchRunRequest]) (*connect.ServerStreamForClient[api.WatchRunResponse], error) {
	return s.client.pick(nil).service.WatchRun(ctx, req)
}

func (s service) Watch(ctx context.Context, req *connect.Request[api.WatchRequest]) (*connect.ServerStreamForClient[api.WatchResponse], error) {
	return s.client.pick(nil).service.Watch(ctx, req)
}

func (s service) ReadLog(ctx context.Context, req *connect.Request[api.ReadLogRequest]) (*connect.ServerStreamForClient[api.ReadLogResponse], error) {
	return s.client.pick(nil).service.ReadLog(ctx, req)
}

func (s service) ReadStream(ctx context.Context, req *connect.Request[api.ReadStreamRequest]) (*connect.ServerStreamForClient[api.ReadStreamResponse], error) {
	return s.client.pick(nil).service.ReadStream(ctx, req)
}

func (s service) CancelRun(ctx context.Context, req *connect.Request[api.CancelRunRequest]) (*connect.Response[api.CancelRunResponse], error) {
	return wrapped(s.client.cancelRun(ctx, req.Msg))
}

// cancelRun succeeds if an earlier try of it did: the run that has ended by
// then has been canceled.
func (c *Client) cancelRun(ctx context.Context, req *api.CancelRunRequest) (*api.CancelRunResponse, error) {
	resent := false
	options := shortCall
	options.resent = &resent
	res, err := call(ctx, c, options, apiconnect.LimpetServiceClient.CancelRun, req)
	if !resent || messages.CodeOf(err) != messages.CodeRunFinished {
		return res, err
	}
	run, getErr := call(ctx, c, shortCall, apiconnect.LimpetServiceClient.GetRun, &api.GetRunRequest{RunId: req.GetRunId()})
	if getErr == nil && run.GetRun().GetStatus() == Canceled {
		return &api.CancelRunResponse{}, nil
	}
	return nil, err
}

func (s service) ReplayRun(ctx context.Context, req *connect.Request[api.ReplayRunRequest]) (*connect.Response[api.ReplayRunResponse], error) {
	return wrapped(s.client.replayRun(ctx, req.Msg))
}

// replayRun names the request, so that it can be sent again.
func (c *Client) replayRun(ctx context.Context, req *api.ReplayRunRequest) (*api.ReplayRunResponse, error) {
	if req.GetRequestId() == "" {
		req.RequestId = messages.NewRequestID()
	}
	return call(ctx, c, shortCall, apiconnect.LimpetServiceClient.ReplayRun, req)
}

func (s service) AskRun(ctx context.Context, req *connect.Request[api.AskRunRequest]) (*connect.Response[api.AskRunResponse], error) {
	return wrapped(s.client.askRun(ctx, req.Msg))
}

func (s service) SignalRun(ctx context.Context, req *connect.Request[api.SignalRunRequest]) (*connect.Response[api.SignalRunResponse], error) {
	return wrapped(s.client.signalRun(ctx, req.Msg))
}

// signalRun names the message, so that it can be sent again.
func (c *Client) signalRun(ctx context.Context, req *api.SignalRunRequest) (*api.SignalRunResponse, error) {
	if req.GetMessageId() == "" {
		req.MessageId = messages.NewRequestID()
	}
	return call(ctx, c, shortCall, apiconnect.LimpetServiceClient.SignalRun, req)
}

func (s service) PushEvent(ctx context.Context, req *connect.Request[api.PushEventRequest]) (*connect.Response[api.PushEventResponse], error) {
	return wrapped(s.client.pushEvent(ctx, req.Msg))
}

// pushEvent draws the event's id here, so that the call may be sent again.
func (c *Client) pushEvent(ctx context.Context, req *api.PushEventRequest) (*api.PushEventResponse, error) {
	drawn := req.GetEventId() == ""
	if drawn {
		req.EventId = messages.NewEventID()
	}
	res, err := call(ctx, c, shortCall, apiconnect.LimpetServiceClient.PushEvent, req)
	if drawn {
		for _, r := range res.GetRuns() {
			r.Existed = false
		}
	}
	return res, err
}

func (s service) ListEvents(ctx context.Context, req *connect.Request[api.ListEventsRequest]) (*connect.Response[api.ListEventsResponse], error) {
	return wrapped(s.client.ListEvents(ctx, req.Msg))
}

func (s service) ListWorkers(ctx context.Context, req *connect.Request[api.ListWorkersRequest]) (*connect.Response[api.ListWorkersResponse], error) {
	return wrapped(call(ctx, s.client, shortCall, apiconnect.LimpetServiceClient.ListWorkers, req.Msg))
}

func (s service) GetWorker(ctx context.Context, req *connect.Request[api.GetWorkerRequest]) (*connect.Response[api.GetWorkerResponse], error) {
	return wrapped(call(ctx, s.client, shortCall, apiconnect.LimpetServiceClient.GetWorker, req.Msg))
}

func (s service) DrainWorker(ctx context.Context, req *connect.Request[api.DrainWorkerRequest]) (*connect.Response[api.DrainWorkerResponse], error) {
	return wrapped(call(ctx, s.client, shortCall, apiconnect.LimpetServiceClient.DrainWorker, req.Msg))
}

func (s service) UndrainWorker(ctx context.Context, req *connect.Request[api.UndrainWorkerRequest]) (*connect.Response[api.UndrainWorkerResponse], error) {
	return wrapped(call(ctx, s.client, shortCall, apiconnect.LimpetServiceClient.UndrainWorker, req.Msg))
}

func (s service) ListMembers(ctx context.Context, req *connect.Request[api.ListMembersRequest]) (*connect.Response[api.ListMembersResponse], error) {
	return wrapped(call(ctx, s.client, shortCall, apiconnect.LimpetServiceClient.ListMembers, req.Msg))
}

func (s service) ListWorkflowVersions(ctx context.Context, req *connect.Request[api.ListWorkflowVersionsRequest]) (*connect.Response[api.ListWorkflowVersionsResponse], error) {
	return wrapped(call(ctx, s.client, shortCall, apiconnect.LimpetServiceClient.ListWorkflowVersions, req.Msg))
}

func (s service) UseWorkflowVersion(ctx context.Context, req *connect.Request[api.UseWorkflowVersionRequest]) (*connect.Response[api.UseWorkflowVersionResponse], error) {
	return wrapped(call(ctx, s.client, shortCall, apiconnect.LimpetServiceClient.UseWorkflowVersion, req.Msg))
}

func (s service) RetireWorkflow(ctx context.Context, req *connect.Request[api.RetireWorkflowRequest]) (*connect.Response[api.RetireWorkflowResponse], error) {
	return wrapped(call(ctx, s.client, shortCall, apiconnect.LimpetServiceClient.RetireWorkflow, req.Msg))
}

func (s service) RestoreWorkflow(ctx context.Context, req *connect.Request[api.RestoreWorkflowRequest]) (*connect.Response[api.RestoreWorkflowResponse], error) {
	return wrapped(call(ctx, s.client, shortCall, apiconnect.LimpetServiceClient.RestoreWorkflow, req.Msg))
}

func (s service) ListWorkflows(ctx context.Context, req *connect.Request[api.ListWorkflowsRequest]) (*connect.Response[api.ListWorkflowsResponse], error) {
	return wrapped(call(ctx, s.client, shortCall, apiconnect.LimpetServiceClient.ListWorkflows, req.Msg))
}

func (s service) CreateToken(ctx context.Context, req *connect.Request[api.CreateTokenRequest]) (*connect.Response[api.CreateTokenResponse], error) {
	return wrapped(call(ctx, s.client, shortCall, apiconnect.LimpetServiceClient.CreateToken, req.Msg))
}

func (s service) ListAudit(ctx context.Context, req *connect.Request[api.ListAuditRequest]) (*connect.Response[api.ListAuditResponse], error) {
	return wrapped(call(ctx, s.client, shortCall, apiconnect.LimpetServiceClient.ListAudit, req.Msg))
}

func (s service) ListTokens(ctx context.Context, req *connect.Request[api.ListTokensRequest]) (*connect.Response[api.ListTokensResponse], error) {
	return wrapped(call(ctx, s.client, shortCall, apiconnect.LimpetServiceClient.ListTokens, req.Msg))
}

// RevokeToken is done if an earlier try has revoked the token.
func (s service) RevokeToken(ctx context.Context, req *connect.Request[api.RevokeTokenRequest]) (*connect.Response[api.RevokeTokenResponse], error) {
	var resent bool
	res, err := call(ctx, s.client, callOptions{tryTimeout: tryTimeout, resent: &resent}, apiconnect.LimpetServiceClient.RevokeToken, req.Msg)
	if resent && messages.CodeOf(err) == messages.CodeUnknownToken {
		res, err = &api.RevokeTokenResponse{}, nil
	}
	return wrapped(res, err)
}
