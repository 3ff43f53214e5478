package server

import (
	"context"

	"github.com/limpetrun/limpet/actors/definitions"
	"github.com/limpetrun/limpet/actors/run"
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
func (e *Engine) Workflows(ctx context.Context) ([]definitions.Workflow, error) {
	ctx, cancel := reading(ctx)
	defer cancel()
	return e.host.definitions.All(ctx)
}

// Versions returns the versions of a workflow. Errors: UNKNOWN_WORKFLOW.
func (e *Engine) Versions(ctx context.Context, name string) ([]*api.WorkflowVersion, error) {
	ctx, cancel := reading(ctx)
	defer cancel()
	versions, current, err := e.host.definitions.Versions(ctx, name)
	if err != nil {
		return nil, err
	}
	serving := map[string]int32{}
	for _, d := range e.served() {
		if d.GetName() == name {
			serving[messages.HashDefinition(d)]++
		}
	}
	out := make([]*api.WorkflowVersion, len(versions))
	for i, v := range versions {
		out[i] = &api.WorkflowVersion{Hash: v.Hash, RegisteredAt: api.Moment(v.RegisteredAt), Workers: serving[v.Hash]}
		if v.Hash == current.Hash {
			out[i].Current, out[i].ChosenAt = true, api.Moment(current.ChosenAt)
		}
	}
	return out, nil
}

// served are the versions that workers serve which take new runs, as often as
// there are such workers.
func (e *Engine) served() (all []*messages.WorkflowDefinition) {
	for _, w := range e.host.roster.Workers() {
		if w.State == run.WorkerUp {
			all = append(all, w.Info.GetWorkflows()...)
		}
	}
	return all
}

// UseVersion makes a version of a workflow current. Errors: UNKNOWN_WORKFLOW, also
// for an unknown version; INVALID_ARGUMENT for the beginning of several.
func (e *Engine) UseVersion(ctx context.Context, name, hash string) (definitions.Workflow, error) {
	ctx, cancel := reading(ctx)
	defer cancel()
	w, err := e.host.definitions.Use(ctx, name, hash, e.host.clock.Now())
	if err == nil {
		e.host.log.Info("a version of a workflow was made current by hand", "workflow", name, "version", w.Hash)
	}
	return w, err
}
