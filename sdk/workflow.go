package sdk

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"time"

	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk/internal/parts"
)

// Sticky is the affinity of a workflow's runs to the worker that holds their
// state. The zero value is None.
type Sticky = messages.Sticky

const (
	// None places each step on its own.
	None = messages.Sticky_STICKY_NONE
	// Soft keeps all steps of a run on one worker and moves the run to another
	// one when that worker is lost, drains, or stays busy beyond BusyPatience.
	Soft = messages.Sticky_STICKY_SOFT
	// Hard keeps all steps of a run on one worker and waits for the worker to
	// come back when it is lost.
	Hard = messages.Sticky_STICKY_HARD
)

// Priority orders what waits for a slot. The zero value means Normal, or the
// workflow's where a run is started.
type Priority int32

const (
	High   Priority = 1
	Normal Priority = 2
	Low    Priority = 3
)

// Durations with a name.
const (
	// Never is a timeout or a patience that does not end.
	Never time.Duration = -1
	// AtOnce is a BusyPatience of none: a busy worker is left at once. As the Timeout of
	// a wait it takes what is there, or ends with ErrWaitTimeout.
	AtOnce time.Duration = -2
	// AsLongAsItWaits and NotAtAll are values of KeepFor: a step that waits is never
	// suspended, or as soon as it does nothing but wait.
	AsLongAsItWaits time.Duration = -1
	NotAtAll        time.Duration = -2
)

// AnyJSON is an InputSchema that accepts whatever is JSON.
const AnyJSON = "true"

// WorkflowConfig describes a workflow. The zero value is a workflow that is not
// sticky and that no event starts.
type WorkflowConfig struct {
	// Sticky defaults to None.
	Sticky Sticky
	// OnEvents are the event keys that start a run with the event's payload as
	// its input: exact ("user:create"), or a prefix that ends in "*" ("user:*").
	OnEvents []string
	// BusyPatience is how long a Soft run waits for a free slot of its worker
	// before it moves. Defaults to 30 s; Never and AtOnce are allowed. Hard and
	// None do not use it.
	BusyPatience time.Duration
	// KeepFor is how long a step that does nothing but wait, in Receive and the like,
	// stays on its worker as it is, without a slot. Then it is suspended:
	//
	//   - Its context ends with ErrSuspended, and so does every call that it still
	//     makes; nothing of that is recorded, and what the function returns is
	//     dropped. Deferred functions run, each time that this happens. Goroutines of
	//     the step that wait return side by side, as they began: what they share is
	//     theirs to guard. The next attempt begins when the function has returned, or
	//     5 s later if it does not.
	//   - If no step of the run is left on the worker, the run's local state there is
	//     handed off, if it has Handoff, and released, as Idle.
	//   - The wait goes on, with the time when it is over. Then the step runs again
	//     from its beginning, on the bound worker, if that is there: what is recorded
	//     returns at once. That is not charged to Retries.
	//
	// A step with a Do under way, or with goroutines that compute, is not suspended.
	// A worker that drains, is lost or restarts does the same to a step that waits, at
	// once.
	//
	// If the run is canceled meanwhile the step runs once more where it was, and its wait
	// ends with ErrCanceled, as that of a step which is kept: it can clean up. Like the
	// latter it has 10 s. If its worker is not there, or local state would have to be
	// built by another step first, it ends without: what must be cleaned up in any case
	// is for OnEnd.
	//
	// Defaults to 10 min; AsLongAsItWaits and NotAtAll are allowed.
	KeepFor time.Duration
	// Labels apply to every step.
	Labels []Label
	// Priority of runs that are started without one. Defaults to Normal.
	Priority Priority
	// Pool of workers that serves the workflow. Defaults to "default". Workers
	// of another pool refuse to register it.
	Pool string
	// ScheduleTimeout and ExecutionTimeout of steps that set none.
	ScheduleTimeout  time.Duration
	ExecutionTimeout time.Duration
	// InputSchema is the JSON Schema (draft 2020-12 or 7) that a run's input must
	// fit before it is accepted. References lead to places in it, and nowhere
	// else. AnyJSON turns the check off.
	//
	// Defaults to one inferred from the input type. It accepts what encoding/json
	// makes of a value, and nothing that it cannot read back:
	//   - A field is required, but for one that has omitempty or omitzero, one
	//     that may be null (pointer, slice, map), and one behind an embedded
	//     pointer.
	//   - Unknown fields are allowed.
	//   - A type that encodes itself accepts anything.
	InputSchema string
}

// Workflow is the definition of a workflow whose runs take an In. Make it with
// NewWorkflow, add all steps, then register or start it: once it is in use it
// must not change, and may be used concurrently.
type Workflow[In any] struct{ core *workflow }

// AnyWorkflow is a Workflow of whatever input: what a worker registers.
type AnyWorkflow interface {
	Name() string
	// Validate reports every mistake at once; INVALID_DEFINITION.
	Validate() error
	// Definition returns what the cluster keeps, or the error of Validate.
	Definition() (*messages.WorkflowDefinition, error)
	functions() map[string]attempt.Function
	locals() []*attempt.Local
	queries() map[string]attempt.Query
}

func init() {
	parts.Functions = func(w any) map[string]attempt.Function { return w.(AnyWorkflow).functions() }
	parts.Locals = func(w any) []*attempt.Local { return w.(AnyWorkflow).locals() }
	parts.Queries = func(w any) map[string]attempt.Query { return w.(AnyWorkflow).queries() }
	parts.NewQueryContext = func(ctx context.Context, q *attempt.Question) context.Context { return &queryContext{ctx, q} }
	parts.NewContext = func(ctx context.Context, a *attempt.Attempt) context.Context { return newStepContext(ctx, a) }
}

// NewWorkflow starts the definition of a workflow. In is anything that
// encoding/json can decode. A number in a value of type any is a float64; if the
// input has a number that no float64 can hold, each such number is a json.Number.
// At most one config may be given. Mistakes are reported by Validate, and when
// the workflow is registered.
func NewWorkflow[In any](name string, config ...WorkflowConfig) *Workflow[In] {
	w := &workflow{name: name}
	w.config = only(config, func(n int) { w.faultf("%d configs are given: at most one", n) })
	w.input = reflect.TypeFor[In]()
	for _, fault := range unencodable(w.input) {
		w.faultf("input type %v: %w", w.input, fault)
	}
	return &Workflow[In]{core: w}
}

// Name returns the name that the workflow was given.
func (w *Workflow[In]) Name() string { return w.erased().name }

// Validate reports every mistake in the definition at once; INVALID_DEFINITION.
func (w *Workflow[In]) Validate() error {
	_, err := w.erased().definition()
	return err
}

// Definition returns what the cluster keeps of the workflow, or the error of
// Validate.
func (w *Workflow[In]) Definition() (*messages.WorkflowDefinition, error) {
	return w.erased().definition()
}

func (w *Workflow[In]) functions() map[string]attempt.Function {
	functions := make(map[string]attempt.Function, len(w.erased().steps))
	for _, s := range w.erased().steps {
		if s.function != nil {
			functions[s.name] = s.function
		}
	}
	return functions
}

func (w *Workflow[In]) locals() []*attempt.Local { return slices.Clone(w.erased().locals) }

func (w *Workflow[In]) queries() map[string]attempt.Query {
	functions := make(map[string]attempt.Query, len(w.erased().queries))
	for name, q := range w.erased().queries {
		if q.function != nil {
			functions[name] = q.function
		}
	}
	return functions
}

// erased returns the definition without its type; for a workflow that
// NewWorkflow did not make, one that does not validate.
func (w *Workflow[In]) erased() *workflow {
	if w == nil || w.core == nil {
		return &workflow{faults: []error{errors.New("the workflow was not made by NewWorkflow")}}
	}
	return w.core
}

// workflow is a Workflow without its type.
type workflow struct {
	name   string
	config WorkflowConfig
	input  reflect.Type
	steps  []*step
	locals []*attempt.Local
	// queries by name; they are no part of the definition.
	queries map[string]*query
	// faults that only the Go values show.
	faults []error
}

func (w *workflow) faultf(format string, args ...any) {
	w.faults = append(w.faults, fmt.Errorf(format, args...))
}

func (w *workflow) definition() (*messages.WorkflowDefinition, error) {
	d := &messages.WorkflowDefinition{
		Name:           w.name,
		Sticky:         w.config.Sticky,
		OnEvents:       w.config.OnEvents,
		BusyPatienceMs: millis(w.config.BusyPatience),
		KeepForMs:      millis(w.config.KeepFor),
		Labels:         labelRules(w.config.Labels),
		Priority:       int32(w.config.Priority),
		Pool:           w.config.Pool,
		InputSchema:    w.config.InputSchema,
	}
	if d.InputSchema == "" && w.input != nil {
		d.InputSchema = inferSchema(w.input)
	}
	for _, s := range w.steps {
		d.Steps = append(d.Steps, s.definition())
	}
	for _, l := range w.locals {
		d.Locals = append(d.Locals, localDefinition(l))
	}
	faults := append(messages.DefinitionFaults(d), w.faults...)
	if err := messages.InvalidDefinition(w.name, faults...); err != nil {
		return nil, err
	}
	return d, nil
}

// lasts returns the names of the steps that are nobody's parents.
func (w *workflow) lasts() []string {
	d := &messages.WorkflowDefinition{}
	for _, s := range w.steps {
		d.Steps = append(d.Steps, s.definition())
	}
	var names []string
	for _, s := range d.Terminals() {
		names = append(names, s.GetName())
	}
	return names
}

// only returns the one config that may be given, the zero value for none, and
// tells how many there are if there are more.
func only[T any](given []T, tooMany func(n int)) T {
	var zero T
	switch len(given) {
	case 0:
		return zero
	case 1:
	default:
		tooMany(len(given))
	}
	return given[0]
}

// millis turns a duration of a config into milliseconds of a definition, at
// least 1 for what is above zero. Negative ones that have no name stay out of
// the range that validation allows.
func millis(d time.Duration) int64 {
	switch {
	case d == Never:
		return messages.TimeoutNeverMs
	case d == AtOnce:
		return messages.BusyPatienceAtOnceMs
	case d < 0:
		return min(d.Milliseconds(), messages.BusyPatienceAtOnceMs-1)
	}
	ms := d.Milliseconds()
	if time.Duration(ms)*time.Millisecond < d {
		ms++
	}
	return ms
}

// small turns a count into that of a definition; what does not fit stays out
// of the range that validation allows.
func small(n int) int32 { return int32(max(min(n, math.MaxInt32), math.MinInt32)) }
