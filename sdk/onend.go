package sdk

import (
	"context"
	"slices"
	"time"

	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/messages"
)

// End is how a run ends, as its end step is told.
type End struct {
	// Status is Succeeded, Failed or Canceled.
	Status RunStatus
	// FailedStep is the step that failed first; empty unless Failed.
	FailedStep string
	// Err is why the run failed or was canceled: errors.Is finds the code of the
	// failed step, and ErrCanceled. Nil for Succeeded.
	Err error
}

// OnEndConfig describes an end step. The zero value is one for every outcome that is
// not retried.
type OnEndConfig struct {
	// Outcomes are those for which the step is executed: Succeeded, Failed, Canceled.
	// For others it is skipped. Defaults to all three.
	Outcomes []RunStatus
	// Retries, Backoff, BackoffMax, LostAttemptsMax and Labels are as in StepConfig.
	Retries         int
	Backoff         time.Duration
	BackoffMax      time.Duration
	LostAttemptsMax int
	Labels          []Label
	// ScheduleTimeout is the longest time from the decided outcome, or the back-off, to
	// the start of the step. Defaults to 1 h, whatever the workflow's is; Never is
	// allowed. Until it has passed, a run without a worker for its end step has not
	// ended.
	ScheduleTimeout time.Duration
	// ExecutionTimeout is the longest time that one attempt may take. Defaults to
	// 10 min, whatever the workflow's is; Never is allowed.
	ExecutionTimeout time.Duration
}

// OnEnd adds the end step of a workflow: one that tidies up. It is executed once for
// each end of a run, when all other steps have ended and the outcome is decided.
//
//   - It is executed on the worker that the run is bound to, however busy that is, with
//     the run's local state still there: that is released only afterwards. Get of local
//     state takes what is there, and is STATE_NOT_THERE otherwise: an end step builds
//     none. Binding.StateNew says that the run has lost its worker.
//   - If a Soft run's worker is gone or drains, it is executed elsewhere, without that
//     state, or with what was handed off. A Hard run goes nowhere else: its end step
//     waits for the worker, at most for its ScheduleTimeout.
//   - A step that timed out has failed. A run is canceled when its steps have answered,
//     or were given up. Children that end with the run are canceled before the end step;
//     those that it spawns, after it.
//   - However it comes out, the run ends as was decided. A failure of the end step is its
//     own: `limpet run get` shows both.
//   - Who waits for the run, its parent among them, hears of the end when the end step is
//     over: its timeouts, retries and back-off bound that.
//   - A cancel that comes meanwhile is ErrRunEnding, or nil for a run that is canceled;
//     the step goes on. Run.CancelWithoutEnd ends it, or a run without it.
//   - A run that is recorded as canceled before it began has no end step: a child whose
//     start comes later than the end of its parent.
//   - A replay begins a new end, with an end step of its own. Replay of the end step alone
//     does it again for the outcome that it was for.
//
// It executes at least once, like every step. At most one config may be given; mistakes
// are reported by Validate.
func OnEnd[In any](w *Workflow[In], name string, fn func(ctx Context, in In, end End) error, config ...OnEndConfig) {
	wf := w.erased()
	c := only(config, func(n int) { wf.faultf("end step %q: %d configs are given: at most one", name, n) })
	s := &step{workflow: wf, name: name, onEnd: slices.Clone(c.Outcomes), config: StepConfig{
		Retries: c.Retries, Backoff: c.Backoff, BackoffMax: c.BackoffMax, LostAttemptsMax: c.LostAttemptsMax, Labels: c.Labels,
		ScheduleTimeout: c.ScheduleTimeout, ExecutionTimeout: c.ExecutionTimeout,
	}}
	if len(s.onEnd) == 0 {
		s.onEnd = []RunStatus{Succeeded, Failed, Canceled}
	}
	if fn == nil {
		wf.faultf("end step %q: the function is nil", name)
	} else {
		s.function = func(ctx context.Context, a *attempt.Attempt) ([]byte, error) {
			return execute(newStepContext(ctx, a), a.Dispatch.GetInput(), func(ctx Context, in In) (any, error) {
				return nil, fn(ctx, in, endOf(a.Dispatch.GetEnding()))
			})
		}
	}
	wf.steps = append(wf.steps, s)
}

func endOf(e *messages.RunEnding) End {
	return End{Status: e.GetStatus(), FailedStep: e.GetFailedStep(), Err: messages.FromFailure(e.GetFailure())}
}
