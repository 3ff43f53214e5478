package server

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// rowOf projects a run to its stored row.
func rowOf(s *run.State) *journal.Row {
	row := &journal.Row{
		RunID: s.RunID, Shard: cluster.Shard(s.RunID), Workflow: s.Start.Workflow, DefinitionHash: s.Start.DefinitionHash,
		Pool: s.Def.EffectivePool(), Sticky: s.Def.Sticky, Status: s.Status,
		Priority:  messages.EffectivePriority(s.Start.Priority, s.Def.Priority),
		ParentRun: s.Start.ParentRun, Trigger: s.Start.Trigger,
		BoundWorker: s.BoundWorker(), Epoch: s.Epoch, CreatedAt: s.CreatedAt, FinishedAt: s.FinishedAt,
	}
	if d := s.Dormant; d != nil {
		row.Dormant, row.WakeOnUp, row.WakeOnGone = true, d.WakeOnUp, d.WakeOnGone
		if d.WakeAtUs != 0 {
			row.WakeAt = time.UnixMicro(d.WakeAtUs)
		}
	}
	if s.Failure != nil {
		row.FailureCode, row.FailureMessage = s.Failure.Code, s.Failure.Message
	}
	return row
}

// viewOf folds a stored run into what the API shows.
func viewOf(record *journal.Record, s *run.State) *api.GetRunResponse {
	view := &api.GetRunResponse{Run: rowView(&record.Row), Bindings: bindings(record)}
	view.Run.Input, view.Run.Metadata = s.Start.GetInput(), s.Start.GetMetadata()
	view.Run.Failure = s.Failure
	if w := s.Binding.Worker; w != nil {
		view.Run.WorkerId = w.WorkerId
	}
	for i := range s.Steps {
		view.Steps = append(view.Steps, stepView(&s.Steps[i]))
	}
	for _, c := range s.Children {
		view.Children = append(view.Children, &api.Child{RunId: c.RunID, Workflow: c.Workflow, Step: c.Step, Key: c.Key, Sticky: c.Sticky})
	}
	return view
}

// rowView is a run as listings show it.
func rowView(row *journal.Row) *api.Run {
	v := &api.Run{
		RunId: row.RunID, Workflow: row.Workflow, DefinitionHash: row.DefinitionHash, Status: row.Status, Sticky: row.Sticky,
		WorkerId: row.BoundWorker, Epoch: row.Epoch, CreatedAt: timestamp(row.CreatedAt), FinishedAt: timestamp(row.FinishedAt),
		ParentRun: row.ParentRun, Trigger: row.Trigger, Priority: row.Priority, Pool: row.Pool, Dormant: row.Dormant,
	}
	if row.FailureCode != "" {
		v.Failure = &messages.Failure{Code: row.FailureCode, Message: row.FailureMessage}
	}
	return v
}

func stepView(st *run.Step) *api.Step {
	phase := st.Phase.String()
	if st.Phase == run.Live {
		phase = "dispatched"
		if !st.StartedAt.IsZero() {
			phase = "running"
		}
	}
	startedAt := st.StartedAt
	if st.Rebuild != nil {
		// What it shows is the recorded result; the attempt is another one's.
		phase, startedAt = "rebuilding", st.Rebuild.StartedAt
	}
	v := &api.Step{
		Name: st.Def.Name, Phase: phase, Attempts: st.Attempt, Failures: st.Failures, Lost: st.Lost,
		WorkerId: st.Worker.GetWorkerId(), ReadyAt: timestamp(st.ReadyAt), StartedAt: timestamp(startedAt),
		EndedAt: timestamp(st.EndedAt), Output: st.Output, Failure: st.Failure, Parents: st.Def.Parents,
	}
	if st.SkipReason != "" {
		code := messages.CodeStepFailed // a parent's
		if st.Phase == run.Canceled {
			code = messages.CodeCanceled
		}
		v.Failure = &messages.Failure{Code: string(code), Message: st.SkipReason}
	}
	return v
}

func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() || t.UnixMicro() == 0 {
		return nil
	}
	return timestamppb.New(t)
}
