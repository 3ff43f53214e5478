package sdk

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"sync"

	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/messages"
)

// Context is what a step function is given: a context.Context that ends when
// the attempt is canceled, its execution timeout has passed or the worker stops
// for good, and what the step may want to know. Contexts derived from it serve
// as well wherever this package asks for the context of a step.
type Context interface {
	context.Context
	RunID() string
	Workflow() string
	Step() string
	// Attempt counts the executions of the step in this run, from 1.
	Attempt() int
	// WorkerID is the id of the worker that executes the step: the same after
	// the worker was restarted.
	WorkerID() string
	// WorkerLabels are the labels of that worker. The caller's to keep.
	WorkerLabels() map[string]string
	// Binding tells what a sticky run needs to know about local state.
	Binding() Binding
	// Logger adds run, step and attempt to what it logs.
	Logger() *slog.Logger
	// Metadata that the run was started with. The caller's to keep.
	Metadata() map[string]string
	// ParentRun is the id of the run that spawned this one; empty for none.
	ParentRun() string

	// Only this package makes a Context: NewContext, or sdktest for unit tests.
	sealed()
}

// Binding is how a sticky run is bound to its worker, as a step sees it.
type Binding struct {
	// Epoch starts at 1 and grows by one each time the run is bound anew; 0 for
	// a run that is not sticky.
	Epoch uint64
	// StateNew says that what earlier steps of this run left in the worker's
	// memory is not there: this is another worker, or another process of it.
	// It is true for a run's first steps.
	StateNew bool
	// StateReason says why: "first", "worker lost", "worker restarted" …
	StateReason string
	// PreviousWorker is the id of the worker that the run was bound to before;
	// empty for none.
	PreviousWorker string
}

// FromContext returns the Context of the step that ctx was derived from.
func FromContext(ctx context.Context) (Context, bool) {
	c, ok := ctx.Value(contextKey{}).(*stepContext)
	return c, ok
}

// NewContext makes the Context of an attempt. Workers call it; it is of use in
// tests of step functions too.
func NewContext(ctx context.Context, a *attempt.Attempt) Context {
	return &stepContext{Context: ctx, attempt: a, spawned: make(map[string]int)}
}

// WithLogger sets the logger that Context.Logger of steps below ctx derives
// from; slog.Default otherwise.
func WithLogger(ctx context.Context, l *slog.Logger) context.Context {
	return context.WithValue(ctx, loggerKey{}, l)
}

type (
	contextKey struct{}
	loggerKey  struct{}
)

// stepContext finds itself as a value, so that derived contexts lead to it.
type stepContext struct {
	context.Context
	attempt *attempt.Attempt

	mu sync.Mutex
	// spawned counts spawns without a key, by workflow.
	spawned map[string]int
}

func (c *stepContext) Value(key any) any {
	if key == (contextKey{}) {
		return c
	}
	return c.Context.Value(key)
}

func (c *stepContext) RunID() string     { return c.attempt.Dispatch.GetRunId() }
func (c *stepContext) Workflow() string  { return c.attempt.Dispatch.GetWorkflow() }
func (c *stepContext) Step() string      { return c.attempt.Dispatch.GetStep() }
func (c *stepContext) Attempt() int      { return int(c.attempt.Dispatch.GetAttempt()) }
func (c *stepContext) WorkerID() string  { return c.attempt.Worker.GetWorkerId() }
func (c *stepContext) ParentRun() string { return c.attempt.Dispatch.GetParentRun() }
func (c *stepContext) sealed()           {}

func (c *stepContext) WorkerLabels() map[string]string {
	return maps.Clone(c.attempt.Worker.GetLabels())
}

func (c *stepContext) Metadata() map[string]string {
	return maps.Clone(c.attempt.Dispatch.GetMetadata())
}

func (c *stepContext) Binding() Binding {
	d := c.attempt.Dispatch
	return Binding{
		Epoch: d.GetEpoch(), StateNew: d.GetStateNew(),
		StateReason: d.GetStateReason(), PreviousWorker: d.GetPreviousWorker(),
	}
}

func (c *stepContext) Logger() *slog.Logger {
	l, ok := c.Context.Value(loggerKey{}).(*slog.Logger)
	if !ok {
		l = slog.Default()
	}
	return l.With("run", c.RunID(), "step", c.Step(), "attempt", c.Attempt())
}

// spawnKey names a spawn without a key: the how manyth of the workflow it is
// in this attempt. A retried step that spawns in the same order meets the same
// children.
func (c *stepContext) spawnKey(workflow string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.spawned[workflow]
	c.spawned[workflow]++
	return fmt.Sprintf("#%d:%s", n, workflow)
}

// stepOf returns the step that a context belongs to; INVALID_ARGUMENT if none.
func stepOf(ctx context.Context, what string) (*stepContext, error) {
	c, ok := ctx.Value(contextKey{}).(*stepContext)
	if !ok {
		return nil, messages.Errorf(messages.CodeInvalidArgument, "%s needs the context that a step function was given, or one derived from it", what)
	}
	return c, nil
}
