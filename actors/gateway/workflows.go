package gateway

import (
	"context"

	"connectrpc.com/connect"

	"github.com/limpetrun/limpet/actors/definitions"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// ListWorkflows returns every workflow in its current version.
func (g *gateway) ListWorkflows(ctx context.Context, _ *connect.Request[api.ListWorkflowsRequest]) (*connect.Response[api.ListWorkflowsResponse], error) {
	workflows, err := g.backend.Workflows(ctx)
	if err != nil {
		return nil, err
	}
	response := &api.ListWorkflowsResponse{}
	for _, w := range workflows {
		response.Workflows = append(response.Workflows, shown(w))
	}
	return connect.NewResponse(response), nil
}

// shown is a workflow as the API has it.
func shown(w definitions.Served) *api.Workflow {
	return &api.Workflow{
		Definition: w.Def, Hash: w.Hash, RegisteredAt: api.Moment(w.RegisteredAt), ChosenAt: api.Moment(w.ChosenAt),
		RetiredAt: api.Moment(w.RetiredAt), Workers: int32(w.Workers), UnservedSince: api.Moment(w.UnservedSince), LeftOutSince: api.Moment(w.LeftOutSince),
	}
}

// ListWorkflowVersions returns the versions of a workflow.
func (g *gateway) ListWorkflowVersions(ctx context.Context, req *connect.Request[api.ListWorkflowVersionsRequest]) (*connect.Response[api.ListWorkflowVersionsResponse], error) {
	if err := messages.CheckFields(req.Msg); err != nil {
		return nil, err
	}
	versions, err := g.backend.Versions(ctx, req.Msg.GetWorkflow())
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&api.ListWorkflowVersionsResponse{Versions: versions}), nil
}

// UseWorkflowVersion makes a version current.
func (g *gateway) UseWorkflowVersion(ctx context.Context, req *connect.Request[api.UseWorkflowVersionRequest]) (*connect.Response[api.UseWorkflowVersionResponse], error) {
	if err := messages.CheckFields(req.Msg); err != nil {
		return nil, err
	}
	w, err := g.backend.UseVersion(ctx, req.Msg.GetWorkflow(), req.Msg.GetHash())
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&api.UseWorkflowVersionResponse{Workflow: shown(w)}), nil
}

// RetireWorkflow lets a workflow start no new runs.
func (g *gateway) RetireWorkflow(ctx context.Context, req *connect.Request[api.RetireWorkflowRequest]) (*connect.Response[api.RetireWorkflowResponse], error) {
	if err := messages.CheckFields(req.Msg); err != nil {
		return nil, err
	}
	w, err := g.backend.RetireWorkflow(ctx, req.Msg.GetWorkflow())
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&api.RetireWorkflowResponse{Workflow: shown(w)}), nil
}

// RestoreWorkflow takes that back.
func (g *gateway) RestoreWorkflow(ctx context.Context, req *connect.Request[api.RestoreWorkflowRequest]) (*connect.Response[api.RestoreWorkflowResponse], error) {
	if err := messages.CheckFields(req.Msg); err != nil {
		return nil, err
	}
	w, err := g.backend.RestoreWorkflow(ctx, req.Msg.GetWorkflow())
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&api.RestoreWorkflowResponse{Workflow: shown(w)}), nil
}
