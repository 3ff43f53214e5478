package gateway

import (
	"context"
	"time"

	"connectrpc.com/connect"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// drainMax limits the deadline of a drain.
const drainMax = 7 * 24 * time.Hour

// ListWorkers returns the workers that this server sees.
func (g *gateway) ListWorkers(ctx context.Context, _ *connect.Request[api.ListWorkersRequest]) (*connect.Response[api.ListWorkersResponse], error) {
	return connect.NewResponse(&api.ListWorkersResponse{Workers: g.backend.Workers(ctx)}), nil
}

// GetWorker returns one of them.
func (g *gateway) GetWorker(ctx context.Context, req *connect.Request[api.GetWorkerRequest]) (*connect.Response[api.GetWorkerResponse], error) {
	id := req.Msg.GetWorkerId()
	if err := messages.CheckFields(req.Msg); err != nil {
		return nil, err
	}
	for _, w := range g.backend.Workers(ctx) {
		if w.GetWorkerId() == id {
			return connect.NewResponse(&api.GetWorkerResponse{Worker: w, Events: g.backend.WorkerEvents(id)}), nil
		}
	}
	return nil, noWorker(id)
}

// DrainWorker lets a worker take on nothing new.
func (g *gateway) DrainWorker(ctx context.Context, req *connect.Request[api.DrainWorkerRequest]) (*connect.Response[api.DrainWorkerResponse], error) {
	if err := messages.CheckFields(req.Msg); err != nil {
		return nil, err
	}
	var deadline time.Duration
	if d := req.Msg.GetDeadline(); d != nil {
		deadline = d.AsDuration()
		if err := d.CheckValid(); err != nil || deadline < time.Millisecond || deadline > drainMax {
			return nil, messages.Errorf(messages.CodeInvalidArgument, "the deadline of the drain is %v, it must be 1ms to %v", deadline, drainMax)
		}
	}
	w, err := g.backend.DrainWorker(ctx, req.Msg.GetWorkerId(), deadline)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&api.DrainWorkerResponse{Worker: w}), nil
}

// UndrainWorker lets it take on new runs again.
func (g *gateway) UndrainWorker(ctx context.Context, req *connect.Request[api.UndrainWorkerRequest]) (*connect.Response[api.UndrainWorkerResponse], error) {
	if err := messages.CheckFields(req.Msg); err != nil {
		return nil, err
	}
	w, err := g.backend.UndrainWorker(ctx, req.Msg.GetWorkerId())
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&api.UndrainWorkerResponse{Worker: w}), nil
}
