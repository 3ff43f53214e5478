package projection

import (
	"cmp"
	"fmt"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// Run is a stored run with its steps, bindings and children. What it waits for is
// that of its row: who has it in memory knows better. toEngine is when the wall clock
// shows a time; nil while it shows engine time.
func Run(record *journal.Record, s *run.State, toEngine func(wall time.Time) time.Time) *api.GetRunResponse {
	view := &api.GetRunResponse{Run: Listed(&record.Row), Bindings: bindings(record), UnreadSignals: s.Unread(), Ending: s.Ending}
	view.Run.Input, view.Run.Metadata = s.Start.GetInput(), s.Start.GetMetadata()
	view.Run.Continued, view.Run.ContinuedAt = int32(s.Continued), api.Moment(s.ContinuedAt)
	number, chain := s.Links()
	for i, l := range chain {
		view.Links = append(view.Links, &api.Link{Number: int32(number + i), BeganAt: api.Moment(l.At), Entry: l.Entry, Step: l.Step})
	}
	view.Run.Failure, view.Run.ReplayedAt = s.Failure, api.Moment(s.ReplayedAt)
	if w := s.Binding.Worker; w != nil {
		view.Run.WorkerId = w.WorkerId
	}
	waits := s.OpenWaits(toEngine)
	for i := range s.Steps {
		st := &s.Steps[i]
		v := step(st)
		if s.Away(st) {
			v.Phase = api.PhaseAway
		}
		v.Waits = callWaits(waits[st])
		view.Steps = append(view.Steps, v)
	}
	for _, c := range s.Children {
		view.Children = append(view.Children, &api.Child{RunId: c.RunID, Workflow: c.Workflow, Step: c.Step, Key: c.Key, Sticky: c.Sticky})
	}
	return view
}

// Listed is a run of a listing.
func Listed(row *journal.Row) *api.Run {
	v := &api.Run{
		RunId: row.RunID, Workflow: row.Workflow, DefinitionHash: row.DefinitionHash, Status: row.Status, Sticky: row.Sticky,
		WorkerId: cmp.Or(row.BoundWorker, row.LastWorker), Epoch: row.Epoch, CreatedAt: api.Moment(row.CreatedAt), FinishedAt: api.Moment(row.FinishedAt),
		ParentRun: row.ParentRun, Trigger: row.Trigger, Priority: row.Priority, Pool: row.Pool, Dormant: row.Dormant,
		WaitingFor: waitingFor(row),
	}
	if row.FailureCode != "" {
		v.Failure = &messages.Failure{Code: row.FailureCode, Message: row.FailureMessage}
	}
	return v
}

// waitingFor says what a dormant run waits for.
func waitingFor(row *journal.Row) string {
	switch {
	case !row.Dormant:
		return ""
	case row.WakeOnUp != "":
		return fmt.Sprintf("worker %q to come back", row.WakeOnUp)
	case row.Line != 0:
		return fmt.Sprintf("its turn: others of workflow %q wait longer for a worker of pool %q", row.Workflow, row.Pool)
	case !row.WakeAt.IsZero():
		return "what is due at " + row.WakeAt.UTC().Format(time.RFC3339)
	case row.WakeOnGone != "":
		return fmt.Sprintf("a step on worker %q", row.WakeOnGone)
	}
	return ""
}

func step(st *run.Step) *api.Step {
	startedAt := st.StartedAt
	if st.Rebuild != nil {
		// What it shows is the recorded result; the attempt is another one's.
		startedAt = st.Rebuild.StartedAt
	}
	v := &api.Step{
		Name: st.Def.Name, Phase: phase(st), Attempts: st.Attempt, Failures: st.Failures, Lost: st.Lost,
		WorkerId: st.Worker.GetWorkerId(), ReadyAt: api.Moment(st.ReadyAt), StartedAt: api.Moment(startedAt),
		EndedAt: api.Moment(st.EndedAt), Output: st.Output, Failure: st.Failure, Parents: st.Def.Parents,
		EndStep: st.Def.IsEndStep(),
	}
	if p := st.Progress; p != nil {
		v.Progress, v.ProgressAt, v.ProgressAttempt = p.Value, api.Moment(p.At), p.Attempt
	}
	calls, last := st.Calls()
	v.Calls, v.LastCall = int32(calls), last
	if st.SkipReason != "" {
		code := messages.CodeStepFailed // a parent's
		if st.Phase == run.Canceled {
			code = messages.CodeCanceled
		}
		v.Failure = &messages.Failure{Code: string(code), Message: st.SkipReason}
	}
	return v
}

func callWaits(waits []run.OpenWait) []*api.CallWait {
	var all []*api.CallWait
	for _, w := range waits {
		all = append(all, &api.CallWait{Kind: w.Kind, Name: w.Name, Key: w.Key, Since: api.Moment(w.Since), Until: api.Moment(w.Until), WaitingFor: w.Words, ConditionFailed: w.Failed})
	}
	return all
}

// phases as the API names them, but for those of a live attempt.
var phases = map[run.Phase]string{
	run.Waiting:   api.PhaseWaiting,
	run.Ready:     api.PhaseReady,
	run.Backoff:   api.PhaseBackoff,
	run.Suspended: api.PhaseSuspended,
	run.Succeeded: api.PhaseSucceeded,
	run.Failed:    api.PhaseFailed,
	run.Skipped:   api.PhaseSkipped,
	run.Canceled:  api.PhaseCanceled,
}

func phase(st *run.Step) string {
	switch {
	case st.Rebuild != nil:
		return api.PhaseRebuilding
	case st.Phase != run.Live:
		return phases[st.Phase]
	case st.StartedAt.IsZero():
		return api.PhaseDispatched
	}
	return api.PhaseRunning
}
