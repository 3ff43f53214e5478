package projection

import (
	"slices"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// What is told of a run, the newest.
const (
	attemptsMax = 10_000
	waitsMax    = 20_000
)

// Attempts are the executions of the steps of a run, and when the steps waited.
func Attempts(record *journal.Record, def *messages.WorkflowDefinition) *api.ListAttemptsResponse {
	f := &attempts{
		def: def, live: map[string]*api.Attempt{}, known: map[string][]*api.Attempt{}, rebuilds: map[string]bool{},
		ended: map[string]bool{}, ready: map[string]readiness{}, calls: map[string]*callsWait{},
	}
	for i, data := range record.Entries {
		e, err := run.DecodeEntry(data)
		if err != nil {
			continue
		}
		if i == 0 && record.After > 0 {
			e = run.FromLink(e)
		}
		f.at = time.UnixMicro(e.AtUs)
		for _, ev := range e.Events {
			f.add(ev)
		}
	}
	f.stillWaits(journal.Finished(record.Row.Status))
	slices.SortStableFunc(f.waits, func(a, b *api.StepWait) int { return a.From.AsTime().Compare(b.From.AsTime()) })
	left := max(0, len(f.all)-attemptsMax)
	return &api.ListAttemptsResponse{Attempts: f.all[left:], LeftOut: int32(left), Waits: f.waits[max(0, len(f.waits)-waitsMax):]}
}

// attempts folds the events of a run to its attempts.
type attempts struct {
	def *messages.WorkflowDefinition
	at  time.Time // of the present entry
	all []*api.Attempt
	// By step: the one that is live, and all.
	live     map[string]*api.Attempt
	known    map[string][]*api.Attempt
	rebuilds map[string]bool
	// ended are steps that have, ready are those that wait to be sent.
	ended map[string]bool
	ready map[string]readiness
	calls map[string]*callsWait
	waits []*api.StepWait
	// lost is since when the bound worker cannot be used, and why; zero while it can.
	lost   time.Time
	reason messages.Reason
}

// add takes an event: a case for each kind that matters here.
//
//gocyclo:ignore
func (f *attempts) add(ev *messages.Event) {
	switch k := ev.Kind.(type) {
	case *messages.Event_RunStarted, *messages.Event_RunContinued:
		f.begin(nil)
	case *messages.Event_RunReplayed:
		f.lost = time.Time{}
		f.begin(k.RunReplayed.Steps)
	case *messages.Event_Bound, *messages.Event_BindingRestored:
		f.bindingIsBack()
	case *messages.Event_BindingLost:
		f.lost, f.reason = f.at, k.BindingLost.Reason
	case *messages.Event_NotOffered:
		f.notOffered(k.NotOffered)
	case *messages.Event_RebuildBegan:
		f.rebuilds[k.RebuildBegan.Step] = true
		f.isReady(k.RebuildBegan.Step, f.at)
	case *messages.Event_StepDispatched:
		f.sent(k.StepDispatched)
	case *messages.Event_StepStarted:
		f.began(k.StepStarted.Step, k.StepStarted.StartedUs)
	case *messages.Event_StepSucceeded:
		f.began(k.StepSucceeded.Step, k.StepSucceeded.StartedUs)
		f.over(k.StepSucceeded.Step, "succeeded", 0, "")
		f.stepEnded(k.StepSucceeded.Step)
	case *messages.Event_StepRebuilt:
		f.began(k.StepRebuilt.Step, k.StepRebuilt.StartedUs)
		f.over(k.StepRebuilt.Step, "rebuilt", 0, "")
		delete(f.rebuilds, k.StepRebuilt.Step)
	case *messages.Event_AttemptFailed:
		f.failed(k.AttemptFailed)
	case *messages.Event_AttemptLost:
		f.over(k.AttemptLost.Step, "lost", k.AttemptLost.Reason, k.AttemptLost.Why())
		f.isReady(k.AttemptLost.Step, f.at)
		if k.AttemptLost.Reason == messages.Reason_REASON_STATE_LOST {
			f.ready[k.AttemptLost.Step] = readiness{f.at, "state_lost", "local state that is built anew"}
		}
	case *messages.Event_AttemptRevoked:
		f.over(k.AttemptRevoked.Step, "revoked", k.AttemptRevoked.Reason, k.AttemptRevoked.Reason.Words())
		f.isReady(k.AttemptRevoked.Step, f.at)
	case *messages.Event_AttemptSuspended:
		f.suspended(k.AttemptSuspended)
	case *messages.Event_CallWaits:
		f.callWaits(k.CallWaits)
	case *messages.Event_CallRecorded:
		f.callCame(k.CallRecorded)
	case *messages.Event_StepFailed:
		f.over(k.StepFailed.Step, "failed", 0, failureText(k.StepFailed.Failure))
		f.stepEnded(k.StepFailed.Step)
	case *messages.Event_StepSkipped:
		f.stepEnded(k.StepSkipped.Step)
	case *messages.Event_StepCanceled:
		f.over(k.StepCanceled.Step, "canceled", k.StepCanceled.Reason, k.StepCanceled.Why())
		f.stepEnded(k.StepCanceled.Step)
	case *messages.Event_ResultRefused:
		for _, a := range f.known[k.ResultRefused.Step] {
			if a.Number == k.ResultRefused.Attempt {
				a.ResultRefused = k.ResultRefused.Why()
			}
		}
	}
}

func failureText(f *messages.Failure) string { return f.GetCode() + ": " + f.GetMessage() }

func (f *attempts) sent(d *messages.StepDispatched) {
	a := &api.Attempt{
		Step: d.Step, Number: d.Attempt, WorkerId: d.Worker.GetWorkerId(), Incarnation: d.Worker.GetIncarnation(), Epoch: d.Epoch,
		SentAt: api.Moment(f.at), Outcome: api.OutcomeLive, Rebuild: f.rebuilds[d.Step],
	}
	f.callsOver(d.Step)
	f.readyIsOver(a)
	f.live[a.Step] = a
	f.known[a.Step] = append(f.known[a.Step], a)
	f.all = append(f.all, a)
}

func (f *attempts) began(step string, us int64) {
	if a := f.live[step]; a != nil && us > 0 && a.StartedAt == nil {
		a.StartedAt = api.Moment(time.UnixMicro(us))
	}
}

// over ends the live attempt of a step, if there is one.
func (f *attempts) over(step, outcome string, reason messages.Reason, why string) {
	f.callsOver(step)
	a := f.live[step]
	if a == nil {
		return
	}
	f.awayIsOver(a)
	a.EndedAt, a.Outcome, a.Reason, a.Why = api.Moment(f.at), outcome, reason, why
	f.queued(a)
	delete(f.live, step)
}

func (f *attempts) failed(k *messages.AttemptFailed) {
	f.began(k.Step, k.StartedUs)
	a := f.live[k.Step]
	f.over(k.Step, "failed", 0, failureText(k.Failure))
	if a != nil {
		a.Failure = k.Failure
	}
	if k.RetryAtUs > 0 {
		retry := time.UnixMicro(k.RetryAtUs)
		f.wait(k.Step, k.Attempt+1, waitBackoff, f.at, retry, "the pause before its next attempt")
		f.isReady(k.Step, retry)
	}
}

func (f *attempts) suspended(k *messages.AttemptSuspended) {
	a, c := f.live[k.Step], f.calls[k.Step]
	delete(f.calls, k.Step)
	f.over(k.Step, "suspended", k.Reason, k.Reason.Words())
	if a == nil || c == nil || len(c.open) == 0 {
		f.isReady(k.Step, f.at)
		return
	}
	f.calls[k.Step] = c // they go on
	c.suspended = true
	c.next(f, k.Attempt, c.words+", suspended: "+k.Reason.Words())
}
