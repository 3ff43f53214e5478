package sdk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"time"

	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/messages"
)

// StepConfig describes a step. The zero value is a step without parents that is
// not retried.
type StepConfig struct {
	// Parents must all have succeeded before the step starts. They are steps of
	// the same workflow; use Steps to list them.
	Parents []AnyStep
	// Retries is how often the step is tried again after it failed: returned an
	// error, panicked or ran longer than ExecutionTimeout. Attempts that are
	// lost with their worker are not counted. Defaults to 0.
	Retries int
	// Backoff is the wait before the first retry; it doubles with each one up
	// to BackoffMax. Default to 1 s and 60 s.
	Backoff    time.Duration
	BackoffMax time.Duration
	// ScheduleTimeout is the longest time from ready to started, after which
	// the step fails with ErrScheduleTimeout, whose message says what it waited
	// for, and how long. Time in which no server was there does not count.
	// Defaults to the workflow's, and that to 24 h; Never is allowed.
	ScheduleTimeout time.Duration
	// ExecutionTimeout is the longest time that one attempt may take; then its
	// context ends and it fails with ErrExecutionTimeout. It stands still while
	// the step waits for children, and the context's deadline moves with it.
	// Defaults to the workflow's, and that to 1 h; Never is allowed.
	ExecutionTimeout time.Duration
	// Heartbeat is how long an attempt may tell nothing by Context.Progress while it
	// works; waits, in Receive and the like, do not count. Then its context ends, and it
	// fails with ErrHeartbeatTimeout, whatever it returns after that; it is retried as
	// after ExecutionTimeout. At least 1 s. Defaults to none.
	Heartbeat time.Duration
	// LostAttemptsMax is how often the step's worker may be lost under it until
	// the step fails with ErrWorkerLost. Defaults to 5. A step that has lost
	// half as many worker processes may be what ends them: a worker executes one
	// such step at a time, 2 s after the last start of another step and 10 s
	// before the next, calls it 200 ms after it has said so, and a further loss
	// counts only if that was said. So a step that was merely at work beside the
	// one to blame is not charged for it again and again.
	LostAttemptsMax int
	// Labels of the step, beside those of the workflow. All rules of all steps
	// apply when a sticky run is bound.
	Labels []Label
	// BuildsState says that the step leaves state in its worker that later steps
	// with NeedsState need. When the run has moved, the step runs again before
	// them, with Binding.Rebuild set. What it returns then is dropped: the
	// result that was recorded stands. The workflow must be sticky.
	BuildsState bool
	// NeedsState says that the step needs what its ancestors with BuildsState
	// left in the worker. Those that have not run under the run's present
	// binding run again first, in order. The workflow must be sticky.
	NeedsState bool
}

// Step is a step of a workflow: takes the run's In, returns an Out. Make it
// with AddStep.
type Step[In, Out any] struct{ core *step }

// AnyStep is a Step of whatever types.
type AnyStep interface {
	Name() string
	erased() *step
}

// Steps lists steps of different types, as for StepConfig.Parents.
func Steps(steps ...AnyStep) []AnyStep { return steps }

// AddStep adds a step to a workflow. The function must honour its context and
// expect to be called again for the same run: steps execute at least once. Out
// is anything that encoding/json can encode. At most one config may be given.
// Mistakes are reported by Validate, and when the workflow is registered.
func AddStep[In, Out any](w *Workflow[In], name string, fn func(ctx Context, in In) (Out, error), config ...StepConfig) *Step[In, Out] {
	wf := w.erased()
	s := &step{workflow: wf, name: name}
	s.config = only(config, func(n int) { wf.faultf("step %q: %d configs are given: at most one", name, n) })
	if fn == nil {
		wf.faultf("step %q: the function is nil", name)
	} else {
		s.function = func(ctx context.Context, a *attempt.Attempt) ([]byte, error) {
			return execute(newStepContext(ctx, a), a.Dispatch.GetInput(), fn)
		}
	}
	out := reflect.TypeFor[Out]()
	for _, fault := range unencodable(out) {
		wf.faultf("step %q: output type %v: %w", name, out, fault)
	}
	wf.steps = append(wf.steps, s)
	s.linkParents()
	return &Step[In, Out]{core: s}
}

// execute is what the worker calls for one attempt.
func execute[In, Out any](ctx Context, input []byte, fn func(Context, In) (Out, error)) ([]byte, error) {
	in, err := decodeInput[In](input)
	if err != nil {
		return nil, err
	}
	out, err := fn(ctx, in)
	if err != nil {
		return nil, userError(hinted(ctx, err))
	}
	data, err := json.Marshal(out)
	if err != nil {
		return nil, final(messages.Errorf(messages.CodeInvalidOutput, "the output does not encode as JSON: %w", err))
	}
	return data, nil
}

func final(err *messages.Error) error {
	err.Final = true
	return err
}

// decodeInput decodes the input of a run. One that does not fit will not fit later.
func decodeInput[In any](data []byte) (in In, err error) {
	if err = decode(data, &in); err == nil || errors.Is(err, ErrCodecFailed) {
		return in, err
	}
	return in, final(messages.Errorf(messages.CodeInvalidInput, "the input of the run is no %T: %w", in, err))
}

// decode treats no data as null: a run may be started without an input.
//
// JSON has numbers that no float64 can hold. Where a value of type any would
// get one, it and all other such values get a json.Number.
func decode(data []byte, into any) error {
	switch {
	case len(data) == 0:
		data = []byte("null")
	case messages.IsEncoded(data):
		return messages.Errorf(messages.CodeCodecFailed, "%d bytes are encoded, and nothing here decodes them", len(data))
	}
	err := json.Unmarshal(data, into)
	var misfit *json.UnmarshalTypeError
	if !errors.As(err, &misfit) || misfit.Type.Kind() != reflect.Float64 {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if decoder.Decode(into) != nil {
		return err
	}
	return nil
}

// Name returns the name that the step was given.
func (s *Step[In, Out]) Name() string { return s.erased().name }

// Output returns what the step returned in the same run. ctx is the context of
// another step, or one derived from it. That step must have this one among its
// parents; else the error is INVALID_ARGUMENT, and a step that returns it is not
// retried.
func (s *Step[In, Out]) Output(ctx context.Context) (Out, error) {
	var out Out
	c, err := stepOf(ctx, "Output")
	if err != nil {
		return out, err
	}
	d := c.attempt.Dispatch
	data, ok := d.GetParents()[s.Name()]
	if !ok || d.GetWorkflow() != s.erased().workflow.name {
		return out, messages.Errorf(messages.CodeInvalidArgument, "step %q of workflow %q is not a parent of step %q of workflow %q: add it to its Parents",
			s.Name(), s.erased().workflow.name, d.GetStep(), d.GetWorkflow())
	}
	if err := decode(data, &out); err != nil {
		return out, messages.Errorf(messages.CodeInvalidArgument, "the output of step %q is no %T: %w", s.Name(), out, err)
	}
	return out, nil
}

// Result waits until the run has ended and returns what the step returned in
// it. The run is a Run that a client holds, or a Child that a step has spawned.
// A step that succeeded has a result even if its run failed later. For any other
// the error is a *RunError, which wraps why the run failed. It is UNKNOWN_STEP
// if the run's version of the workflow does not have the step.
func (s *Step[In, Out]) Result(ctx context.Context, run AnyRun) (Out, error) {
	var out Out
	o, err := run.outcome(ctx)
	if err != nil {
		return out, err
	}
	if wf := s.erased().workflow.name; o.workflow != wf {
		return out, messages.Errorf(messages.CodeInvalidArgument, "run %s is of workflow %q: step %q belongs to workflow %q", o.runID, o.workflow, s.Name(), wf)
	}
	return out, o.decode(s.Name(), &out)
}

func (s *Step[In, Out]) erased() *step {
	if s == nil || s.core == nil {
		return &step{workflow: &workflow{}}
	}
	return s.core
}

// step is a Step without its types.
type step struct {
	workflow *workflow
	name     string
	config   StepConfig
	parents  []string
	function attempt.Function
	// onEnd are the outcomes of an end step; empty for any other.
	onEnd []RunStatus
}

func (s *step) linkParents() {
	for _, p := range s.config.Parents {
		if p == nil || p.erased().workflow.name == "" && p.erased().name == "" {
			s.workflow.faultf("step %q: a parent is nil or was not made by AddStep", s.name)
			continue
		}
		parent := p.erased()
		if parent.workflow != s.workflow {
			s.workflow.faultf("step %q: parent %q is a step of workflow %q", s.name, parent.name, parent.workflow.name)
			continue
		}
		s.parents = append(s.parents, parent.name)
	}
}

func (s *step) definition() *messages.StepDefinition {
	schedule, execution := s.config.ScheduleTimeout, s.config.ExecutionTimeout
	inherits := len(s.onEnd) == 0
	if schedule == 0 && inherits {
		schedule = s.workflow.config.ScheduleTimeout
	}
	if execution == 0 && inherits {
		execution = s.workflow.config.ExecutionTimeout
	}
	return &messages.StepDefinition{
		Name:               s.name,
		Parents:            slices.Clone(s.parents),
		Retries:            small(s.config.Retries),
		BackoffMs:          millis(s.config.Backoff),
		BackoffMaxMs:       millis(s.config.BackoffMax),
		ScheduleTimeoutMs:  millis(schedule),
		ExecutionTimeoutMs: millis(execution),
		LostAttemptsMax:    small(s.config.LostAttemptsMax),
		HeartbeatMs:        millis(s.config.Heartbeat),
		Labels:             labelRules(s.config.Labels),
		BuildsState:        s.config.BuildsState,
		NeedsState:         s.config.NeedsState,
		OnEnd:              s.onEnd,
	}
}
