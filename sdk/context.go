package sdk

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/messages"
)

// Context is what a step function is given. As a context.Context it ends when
// the attempt is canceled, when its execution timeout has passed, or when the
// worker stops. Its methods tell what the step may want to know. Wherever this
// package asks for the context of a step, one derived from it does, too.
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
	// Logger adds run, step and attempt to what it logs, and the trace if there is one. It
	// logs where the worker does. Beside that the first 1,000 lines of an attempt, up to
	// 256 KiB, of INFO and above, are kept with the run: `limpet run logs` shows them.
	// They are sent twice a second; a worker that is lost takes the last ones with it.
	Logger() *slog.Logger
	// Metadata that the run was started with. The caller's to keep.
	Metadata() map[string]string
	// ParentRun is the id of the run that spawned this one; empty for none.
	ParentRun() string
	// Progress tells how far the step is: anything that encoding/json can encode, up to
	// 64 KiB. The newest is shown by `limpet run get` and `run watch`, the dashboard and
	// the API, and the next attempt of the step gets it by LastProgress. It is a sign of
	// life: see StepConfig.Heartbeat.
	//
	// It does not wait, and may be called as often as one likes: in between only the
	// newest counts. What was told last before the step returned, failed or panicked is
	// kept in any case, and so is what the worker had sent, twice a second, if that is
	// lost. It is recorded when it is told first, then once a second, later once in a
	// sixtieth of the attempt's time, at least every 10 s.
	//
	// Errors: INVALID_ARGUMENT for what does not encode, PAYLOAD_TOO_LARGE, and the
	// cause of the attempt's context once that has ended.
	Progress(value any) error
	// Stream is what the step writes under a name, piece by piece, such as the tokens of
	// an answer: `limpet run stream`, Run.ReadStream and the API read it while it is
	// written. See Stream.
	Stream(name string) *Stream
	// Extend lets the attempt take at least d from now on, beyond its ExecutionTimeout;
	// waits do not count. It never gets less time by that; the context's deadline moves
	// a moment later. Errors: INVALID_ARGUMENT unless d is from 1 ms to ten years, and
	// the cause of the attempt's context once that has ended.
	Extend(d time.Duration) error

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
	// StateReason says why; empty unless StateNew.
	StateReason StateReason
	// PreviousWorker is the id of the worker that the run was bound to before;
	// empty for none.
	PreviousWorker string
	// Rebuild says that the step had succeeded before and runs again for the
	// local state that it builds; what it returns is dropped.
	Rebuild bool
	// HandedOff says that the previous worker handed local state off, which
	// Bind receives.
	HandedOff bool
}

// Token is a fencing token. Each binding of a run has a larger token than the
// ones before it, and no two workers ever have the same. Give it to what a step
// writes to outside, and let that refuse a token that is smaller than the
// largest it has seen for the run. Then a worker that does not know yet that the
// run went elsewhere changes nothing. The token of a run that is not sticky is
// 0: it has no binding.
func (b Binding) Token() uint64 { return b.Epoch }

// StateReason says why what a run left in a worker's memory is not there.
type StateReason string

const (
	// ReasonFirst: the run is bound for the first time.
	ReasonFirst StateReason = "first"
	// ReasonChild: the run is a child that was bound to its parent's worker.
	ReasonChild StateReason = "child"
	// ReasonWorkerLost: the previous worker was declared gone.
	ReasonWorkerLost StateReason = "worker lost"
	// ReasonWorkerLeft: the previous worker ended in good order.
	ReasonWorkerLeft StateReason = "worker left"
	// ReasonWorkerRestarted: it is the same worker, but another process.
	ReasonWorkerRestarted StateReason = "worker restarted"
	// ReasonWorkerSuperseded: another process took the previous worker's id.
	ReasonWorkerSuperseded StateReason = "worker superseded"
	// ReasonWorkerDraining: the previous worker takes on nothing new.
	ReasonWorkerDraining StateReason = "worker draining"
	// ReasonWorkerBusy: the previous worker had no slot within BusyPatience.
	ReasonWorkerBusy StateReason = "worker busy"
	// ReasonSlotsHeld: all slots of the previous worker were held by functions that
	// did not return.
	ReasonSlotsHeld StateReason = "slots held"
	// ReasonStepGone: the previous worker no longer has a step of the workflow.
	ReasonStepGone StateReason = "step gone"
	// ReasonStateLost: a step of the run found its local state gone.
	ReasonStateLost StateReason = "state lost"
	// ReasonIdle: the worker let the state go while the run waited: see
	// WorkflowConfig.KeepFor.
	ReasonIdle StateReason = "idle"
	// ReasonReplayed: the run had ended and was replayed.
	ReasonReplayed StateReason = "replayed"
)

// FromContext returns the Context of the step that ctx was derived from.
func FromContext(ctx context.Context) (Context, bool) {
	c, ok := ctx.Value(contextKey{}).(*stepContext)
	return c, ok
}

func newStepContext(ctx context.Context, a *attempt.Attempt) *stepContext {
	return &stepContext{Context: ctx, attempt: a, spawned: make(map[string]int), waited: make(map[string]int), calls: make(map[string]*callsOfName)}
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

	// usedLocal: the step has got local state.
	usedLocal atomic.Bool

	mu sync.Mutex
	// spawned counts spawns without a key, by workflow.
	spawned map[string]int
	// waited counts waits without a key, by child.
	waited map[string]int
	// calls are those that were made, by name.
	calls map[string]*callsOfName
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
		StateReason: StateReason(d.GetStateReason().Words()), PreviousWorker: d.GetPreviousWorker(),
		Rebuild: d.GetRebuild(), HandedOff: len(d.GetHandedOff()) > 0,
	}
}

func (c *stepContext) Logger() *slog.Logger {
	l := c.baseLogger().With("run", c.RunID(), "step", c.Step(), "attempt", c.Attempt())
	if id := messages.TraceID(c.attempt.Dispatch.GetTraceparent()); id != "" {
		l = l.With("trace", id)
	}
	if c.attempt.Calls == nil {
		return l
	}
	return slog.New(&lineHandler{base: l.Handler(), calls: c.attempt.Calls})
}

func (c *stepContext) baseLogger() *slog.Logger { return loggerOf(c.Context) }

func loggerOf(ctx context.Context) *slog.Logger {
	if l, ok := ctx.Value(loggerKey{}).(*slog.Logger); ok {
		return l
	}
	return slog.Default()
}

// spawnKey names a spawn without a key by its number among the spawns of the
// workflow in this attempt. A retried step that spawns in the same order gets
// the same children.
func (c *stepContext) spawnKey(workflow string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.spawned[workflow]
	c.spawned[workflow]++
	return fmt.Sprintf("#%d:%s", n, workflow)
}

// waitKey names a wait for a child without a key by its number among those for that
// child in this attempt. Children are waited for in any order.
func (c *stepContext) waitKey(child string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.waited[child]
	c.waited[child]++
	return fmt.Sprintf("%s#%d", child, n)
}

// stepOf returns the step that a context belongs to; INVALID_ARGUMENT if none.
func stepOf(ctx context.Context, what string) (*stepContext, error) {
	c, ok := ctx.Value(contextKey{}).(*stepContext)
	if q, asked := ctx.Value(queryContextKey{}).(*queryContext); asked {
		return nil, messages.Errorf(messages.CodeInvalidArgument, "%s in query %q, which changes nothing and waits for nothing: it gets local state by Peek, the rest is for steps", what, q.Query())
	}
	if !ok {
		return nil, messages.Errorf(messages.CodeInvalidArgument, "%s needs the context that a step function was given, or one derived from it", what)
	}
	return c, nil
}

// callerOf is stepOf for what is known by its number in the step. Within a call it
// would get another number once that is recorded.
func callerOf(ctx context.Context, what string) (*stepContext, error) {
	if within, ok := ctx.Value(callContextKey{}).(*callContext); ok {
		return nil, messages.Errorf(messages.CodeInvalidArgument, "%s within the function of call %q, which is not called again once it is recorded: do it before or after that", what, within.name)
	}
	return stepOf(ctx, what)
}
