package gateway

import (
	"context"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/limpetrun/limpet/actors/access"
	"github.com/limpetrun/limpet/actors/definitions"
	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// What callers see and do who are limited to some workflows. What lies beyond the limits
// is answered as what is not there, in the same words: else the answers would tell what
// there is. Each target of a call is asked for by itself.

// within returns why a request is for what lies beyond the limits.
func (g *gateway) within(ctx context.Context, view access.View, request any) error {
	switch r := request.(type) {
	case *api.StartRunRequest:
		return g.workflowWithin(ctx, view, r.GetWorkflow())
	case *api.StartRunsRequest:
		for i, run := range r.GetRuns() {
			if err := g.workflowWithin(ctx, view, run.GetWorkflow()); err != nil {
				return messages.Errorf(messages.CodeOf(err), "runs[%d]: %s", i, messageOf(err))
			}
		}
		return nil
	case *api.DrainWorkerRequest:
		return g.workerWithin(ctx, view, r.GetWorkerId())
	case *api.UndrainWorkerRequest:
		return g.workerWithin(ctx, view, r.GetWorkerId())
	case *api.ListRunsRequest, *api.CountRunsRequest:
		return nil // the answer is
	case *api.ListAttemptsRequest:
		if r.GetWorkerId() != "" && !slices.ContainsFunc(g.backend.Workers(ctx), func(w *api.Worker) bool { return w.GetWorkerId() == r.GetWorkerId() && seesWorker(view, w) }) {
			return noWorker(r.GetWorkerId())
		}
		if r.GetRunId() == "" {
			return nil // the answer is
		}
		return g.runWithin(ctx, view, r.GetRunId())
	case interface{ GetRunId() string }:
		return g.runWithin(ctx, view, r.GetRunId())
	case interface{ GetWorkflow() string }:
		return g.workflowWithin(ctx, view, r.GetWorkflow())
	}
	return nil
}

func (g *gateway) workflowWithin(ctx context.Context, view access.View, name string) error {
	w, err := g.backend.Workflow(ctx, name)
	switch {
	case err == nil && view.Sees(name, w.Def.GetPool()):
		return nil
	case err == nil, messages.CodeOf(err) == messages.CodeUnknownWorkflow:
		return messages.Errorf(messages.CodeUnknownWorkflow, "there is no workflow %q within the limits of the token", name)
	}
	return err
}

func (g *gateway) runWithin(ctx context.Context, view access.View, id string) error {
	run, err := g.backend.LoadRun(ctx, id)
	switch {
	case err == nil && view.Sees(run.GetRun().GetWorkflow(), run.GetRun().GetPool()):
		return nil
	case err == nil, messages.CodeOf(err) == messages.CodeUnknownRun:
		return messages.Errorf(messages.CodeUnknownRun, "there is no run %q within the limits of the token", id)
	}
	return err
}

// workerWithin wants all workflows of a worker to be within the limits, for what is done
// to it concerns them all.
func (g *gateway) workerWithin(ctx context.Context, view access.View, id string) error {
	for _, w := range g.backend.Workers(ctx) {
		if w.GetWorkerId() != id || !seesWorker(view, w) {
			continue
		}
		if slices.ContainsFunc(w.GetWorkflows(), func(name string) bool { return !view.Sees(name, w.GetPool()) }) {
			return messages.Errorf(messages.CodePermissionDenied, "worker %q also serves workflows beyond the limits of the token", id)
		}
		return nil
	}
	return noWorker(id)
}

func noWorker(id string) error {
	return messages.Errorf(messages.CodeUnknownWorker, "this server has seen no worker %q", id)
}

func seesWorker(view access.View, w *api.Worker) bool {
	return slices.ContainsFunc(w.GetWorkflows(), func(name string) bool { return view.Sees(name, w.GetPool()) })
}

// leaveOut takes out of an answer what lies beyond the limits.
func leaveOut(view access.View, answer proto.Message) error {
	switch a := answer.(type) {
	case *api.ListRunsResponse:
		a.Runs = keep(a.Runs, func(r *api.Run) bool { return view.Sees(r.GetWorkflow(), r.GetPool()) })
	case *api.ListWorkflowsResponse:
		a.Workflows = keep(a.Workflows, func(w *api.Workflow) bool {
			return view.Sees(w.GetDefinition().GetName(), w.GetDefinition().GetPool())
		})
	case *api.ListMembersResponse:
		a.Members = keep(a.Members, func(m *api.Member) bool { return m.GetRole() == "server" })
	case *api.ListWorkersResponse:
		a.Workers = keep(a.Workers, func(w *api.Worker) bool { return seesWorker(view, w) })
		for _, w := range a.Workers {
			showWorker(view, w)
		}
	case *api.GetWorkerResponse:
		if !seesWorker(view, a.GetWorker()) {
			return noWorker(a.GetWorker().GetWorkerId())
		}
		showWorker(view, a.GetWorker())
	case *api.GetRunResponse:
		a.Children = keep(a.Children, func(c *api.Child) bool { return view.Sees(c.GetWorkflow(), view.Pool) })
	case *api.ListAttemptsResponse:
		// Those of a run have no workflow: the run was asked for.
		a.Attempts = keep(a.Attempts, func(t *api.Attempt) bool { return t.GetWorkflow() == "" || view.Sees(t.GetWorkflow(), view.Pool) })
	case *api.WaitRunResponse:
		return leaveOut(view, a.GetRun())
	}
	return nil
}

func keep[T any](all []T, sees func(T) bool) []T {
	return slices.DeleteFunc(slices.Clone(all), func(v T) bool { return !sees(v) })
}

// showWorker leaves out which other workflows it serves.
func showWorker(view access.View, w *api.Worker) {
	w.Workflows = keep(w.Workflows, func(name string) bool { return view.Sees(name, w.GetPool()) })
}

// countsWithin leaves out workflows beyond the limits of the caller.
func (g *gateway) countsWithin(ctx context.Context, groups []journal.GroupCount) ([]journal.GroupCount, error) {
	caller, _ := access.From(ctx)
	if !caller.Limited() {
		return groups, nil
	}
	known, err := g.backend.Workflows(ctx)
	if err != nil {
		return nil, err
	}
	return keep(groups, func(c journal.GroupCount) bool {
		return slices.ContainsFunc(known, func(w definitions.Served) bool {
			return w.Def.GetName() == c.Workflow && caller.Sees(c.Workflow, w.Def.GetPool())
		})
	}), nil
}

// definitionName is of what has bytes that are no payloads.
var definitionName = (&messages.WorkflowDefinition{}).ProtoReflect().Descriptor().FullName()

// hidden is a copy of an answer without payloads: all bytes that users wrote. Names,
// metadata and the messages of failures are no payloads.
func hidden(answer proto.Message) proto.Message {
	answer = proto.Clone(answer)
	hide(answer.ProtoReflect())
	return answer
}

func hide(m protoreflect.Message) {
	if m.Descriptor().FullName() == definitionName {
		return
	}
	m.Range(func(field protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case field.Kind() == protoreflect.BytesKind, field.IsMap() && field.MapValue().Kind() == protoreflect.BytesKind:
			m.Clear(field)
		case field.IsMap():
			if field.MapValue().Message() != nil {
				v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
					hide(v.Message())
					return true
				})
			}
		case field.Message() == nil:
		case field.IsList():
			for i := range v.List().Len() {
				hide(v.List().Get(i).Message())
			}
		default:
			hide(v.Message())
		}
		return true
	})
}
