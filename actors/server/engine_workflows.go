package server

import (
	"context"
	"time"

	"github.com/limpetrun/limpet/actors/definitions"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// Workflow returns a workflow in its current version. Errors: UNKNOWN_WORKFLOW.
func (e *Engine) Workflow(ctx context.Context, name string) (definitions.Workflow, error) {
	ctx, cancel := reading(ctx)
	defer cancel()
	return e.host.definitions.Current(ctx, name)
}

// Workflows returns every workflow in its current version.
func (e *Engine) Workflows(ctx context.Context) ([]definitions.Served, error) {
	ctx, cancel := reading(ctx)
	defer cancel()
	all, err := e.host.definitions.All(ctx)
	if err != nil {
		return nil, err
	}
	workers := e.host.workersOf((*messages.WorkflowDefinition).GetName)
	out := make([]definitions.Served, len(all))
	for i, w := range all {
		out[i] = e.host.served(w, workers)
	}
	return out, nil
}

// Versions returns the versions of a workflow. Errors: UNKNOWN_WORKFLOW.
func (e *Engine) Versions(ctx context.Context, name string) ([]*api.WorkflowVersion, error) {
	ctx, cancel := reading(ctx)
	defer cancel()
	versions, current, err := e.host.definitions.Versions(ctx, name)
	if err != nil {
		return nil, err
	}
	workers := e.host.workersOf(messages.HashDefinition)
	out := make([]*api.WorkflowVersion, len(versions))
	for i, v := range versions {
		out[i] = &api.WorkflowVersion{Hash: v.Hash, RegisteredAt: api.Moment(v.RegisteredAt), Workers: int32(workers[v.Hash])}
		if v.Hash == current.Hash {
			out[i].Current, out[i].ChosenAt = true, api.Moment(current.ChosenAt)
		}
	}
	return out, nil
}

// UseVersion makes a version of a workflow current. Errors: UNKNOWN_WORKFLOW, also
// for an unknown version; INVALID_ARGUMENT for the beginning of several.
func (e *Engine) UseVersion(ctx context.Context, name, hash string) (definitions.Served, error) {
	return e.changeWorkflow(ctx, "a version of a workflow was made current by hand", func(ctx context.Context) (definitions.Workflow, error) {
		return e.host.definitions.Use(ctx, name, hash, e.host.clock.Now())
	})
}

// RetireWorkflow lets a workflow start no new runs. Errors: UNKNOWN_WORKFLOW.
func (e *Engine) RetireWorkflow(ctx context.Context, name string) (definitions.Served, error) {
	return e.changeWorkflow(ctx, "a workflow is retired", func(ctx context.Context) (definitions.Workflow, error) {
		return e.host.definitions.Retire(ctx, name, e.host.clock.Now())
	})
}

// RestoreWorkflow takes that back. Errors: UNKNOWN_WORKFLOW.
func (e *Engine) RestoreWorkflow(ctx context.Context, name string) (definitions.Served, error) {
	return e.changeWorkflow(ctx, "a workflow is restored", func(ctx context.Context) (definitions.Workflow, error) {
		return e.host.definitions.Retire(ctx, name, time.Time{})
	})
}

func (e *Engine) changeWorkflow(ctx context.Context, said string, change func(context.Context) (definitions.Workflow, error)) (definitions.Served, error) {
	ctx, cancel := reading(ctx)
	defer cancel()
	w, err := change(ctx)
	if err != nil {
		return definitions.Served{}, err
	}
	e.host.log.Info(said, "workflow", w.Def.GetName(), "version", w.Hash)
	return e.host.served(w, e.host.workersOf((*messages.WorkflowDefinition).GetName)), nil
}
