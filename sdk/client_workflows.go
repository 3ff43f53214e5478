package sdk

import (
	"context"

	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/messages/api/apiconnect"
)

// ListWorkflows returns every workflow that a worker has registered, in its
// current version: the one that new runs start with. That is the version that was
// registered for the first time last, or one that was chosen after that with
// UseWorkflowVersion. An old process that registers again does not bring its
// version back. Runs keep the version that they started with.
//
// It says how many workers serve each, or since when none does. Events start no
// runs of one that none has served for a day (a setting of the servers), until a
// worker serves it again; it can be started.
func (c *Client) ListWorkflows(ctx context.Context) ([]*api.Workflow, error) {
	res, err := call(ctx, c, shortCall, apiconnect.LimpetServiceClient.ListWorkflows, &api.ListWorkflowsRequest{})
	return res.GetWorkflows(), err
}

// WorkflowVersions returns the versions of a workflow, the newest first, at most
// 1,000. Errors: ErrUnknownWorkflow.
func (c *Client) WorkflowVersions(ctx context.Context, workflow string) ([]*api.WorkflowVersion, error) {
	res, err := call(ctx, c, shortCall, apiconnect.LimpetServiceClient.ListWorkflowVersions, &api.ListWorkflowVersionsRequest{Workflow: workflow})
	return res.GetVersions(), err
}

// UseWorkflowVersion makes a version current, to go back to it, say. It stays
// current until a version is registered that was never there before. Runs that
// have started keep theirs. A version is the definition; the code of a step is that
// of the worker that runs it. hash may be how the hash begins, if that names one
// version. Other servers know of it within a second.
//
// Errors: ErrUnknownWorkflow, also for a version that there is not;
// ErrInvalidArgument if several begin so.
func (c *Client) UseWorkflowVersion(ctx context.Context, workflow, hash string) (*api.Workflow, error) {
	res, err := call(ctx, c, shortCall, apiconnect.LimpetServiceClient.UseWorkflowVersion, &api.UseWorkflowVersionRequest{Workflow: workflow, Hash: hash})
	return res.GetWorkflow(), err
}

// RetireWorkflow lets a workflow start no new runs: starts and spawns are refused
// with ErrWorkflowRetired, and events start none of it. Runs that there are go on,
// and may be replayed; a start, a spawn or an event that is repeated gets the run
// that it started before. It stays retired, whatever workers register, until
// RestoreWorkflow. Both may be repeated; other servers know of it within a second.
//
// Errors: ErrUnknownWorkflow.
func (c *Client) RetireWorkflow(ctx context.Context, workflow string) (*api.Workflow, error) {
	res, err := call(ctx, c, shortCall, apiconnect.LimpetServiceClient.RetireWorkflow, &api.RetireWorkflowRequest{Workflow: workflow})
	return res.GetWorkflow(), err
}

// RestoreWorkflow lets a workflow that was retired start new runs again. Errors:
// ErrUnknownWorkflow.
func (c *Client) RestoreWorkflow(ctx context.Context, workflow string) (*api.Workflow, error) {
	res, err := call(ctx, c, shortCall, apiconnect.LimpetServiceClient.RestoreWorkflow, &api.RestoreWorkflowRequest{Workflow: workflow})
	return res.GetWorkflow(), err
}
