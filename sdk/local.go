package sdk

import (
	"context"
	"reflect"
	"sync"

	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/messages"
)

// Why says why a value of local state is released.
type Why string

const (
	// RunEnded: the run that the value was of has ended.
	RunEnded Why = "run-ended"
	// Rebound: the run was bound anew, to another worker or another process, or
	// after it was replayed.
	Rebound Why = "rebound"
	// WorkerStopping: the worker comes to its end.
	WorkerStopping Why = "worker-stopping"
	// Evicted: nobody uses the shared value, and it was idle for too long or
	// its room was needed; or a value did not fit beside those in use.
	Evicted Why = "evicted"
	// StateLost: a step that used the value returned ErrStateLost.
	StateLost Why = "state-lost"
	// Idle: all that the run had under way here is suspended: see
	// WorkflowConfig.KeepFor.
	Idle Why = "idle"
)

// LocalConfig describes local state: a value of T that a worker keeps in memory
// for the runs of a workflow whose input is In. Bind is required.
//
// Without Key each run has a value of its own. It is built when a step first
// asks for it, and kept for the later steps. It is released when the run ends or
// is bound anew, or when the worker stops. The workflow must be Soft or Hard.
//
// With Key all runs with the same key on a worker share one value. It is in use
// while any of them is bound there, or, in a workflow that is not sticky, while
// their steps run. Then it stays until it was idle for as long as the worker's
// configuration says, or until another value needs its room. New runs are placed
// where their key is held, if they can be.
type LocalConfig[T, In any] struct {
	// Name of the state in the worker listing and in errors. It is unique in
	// the workflow; that of shared state is unique among all workflows of a
	// worker. Defaults to "local"; required with Key.
	Name string
	// Bind builds the value. It is called once at a time for a run, or a key,
	// and all steps that ask for the value wait for it. It must honour its
	// context, which ends when nobody waits any more, and when Bind returns: make
	// what the value consists of from ctx.Lifetime(). If it fails or panics, those
	// steps fail with ErrStateNotBuilt, which wraps the error. Their retries call
	// Bind again, unless the error is NonRetryable. It counts as failed if it has
	// not returned 30 s after the end of its context; what it returns later is
	// released.
	Bind func(ctx BindContext, in In) (T, error)
	// Release tidies the value up. It is called once, on a goroutine of its
	// own, after every step that got the value has returned. What it returns is
	// logged. It is waited for 30 s; when the worker stops, 10 s. A worker that
	// is killed does not call it. Nil if there is nothing to tidy up.
	Release func(value T, why Why) error
	// Key names the value that runs with this input share, in up to 256 bytes.
	// It must depend on the input alone, for it is also called before the run
	// is placed. It may take 10 s. Nil if each run has a value of its own.
	Key func(in In) string
	// Size returns the bytes that a value takes. The worker listing shows them,
	// and they count towards the worker's limit of shared values. It is called
	// once, after Bind, and may take 10 s. Nil counts as 0 bytes.
	Size func(value T) int64
	// Handoff returns the value as bytes, or where it was put. Bind on the run's
	// next worker gets them by BindContext.HandedOff. It is called when the run
	// leaves a worker in good order, while no step of it runs; Release follows.
	// All states of a run together may take 1 MiB. If it fails, the state is
	// built anew. Only without Key. Nil if the value cannot be handed off.
	Handoff func(ctx context.Context, value T) ([]byte, error)
}

// Local is local state of a workflow, or of several: make it with NewLocal.
type Local[T any] struct{ core *local }

// NewLocal declares local state of a workflow. Mistakes are reported by the
// workflow's Validate, and when it is registered.
func NewLocal[T, In any](w *Workflow[In], config LocalConfig[T, In]) *Local[T] {
	wf := w.erased()
	l := &local{name: config.Name, shared: config.Key != nil, input: reflect.TypeFor[In](), kinds: map[string]*attempt.Local{}}
	switch {
	case l.name == "" && l.shared:
		wf.faultf("a shared local has no name: give one that is unique among all workflows of a worker")
	case l.name == "":
		l.name = "local"
	}
	if config.Bind == nil {
		wf.faultf("local %q: Bind is nil", l.name)
	}
	l.erase = func(input func([]byte) (any, error)) *attempt.Local { return eraseLocal(l, config, input) }
	l.add(wf, func(data []byte) (any, error) { return decodeInput[In](data) })
	return &Local[T]{core: l}
}

// ShareLocal lets the steps of a further workflow with the same input type use
// shared local state: runs of all its workflows with the same key share a
// value. A mistake, such as state that is not shared, is reported by Validate
// of that workflow.
func ShareLocal[T, In any](w *Workflow[In], l *Local[T]) {
	ShareLocalAs(w, l, func(in In) In { return in })
}

// ShareLocalAs is ShareLocal for a workflow with another input type: as makes
// of its input what Bind and Key take.
func ShareLocalAs[T, In, LocalIn any](w *Workflow[In], l *Local[T], as func(in In) LocalIn) {
	wf, core := w.erased(), l.erased()
	switch {
	case core.input == nil:
		wf.faultf("a local was not made by NewLocal")
		return
	case !core.shared:
		wf.faultf("local %q has no Key: only shared local state serves several workflows", core.name)
	case as == nil:
		wf.faultf("local %q: the function that makes its input is nil", core.name)
	case core.input != reflect.TypeFor[LocalIn]():
		wf.faultf("local %q takes %v as its input, not %v: use ShareLocalAs", core.name, core.input, reflect.TypeFor[LocalIn]())
	}
	core.add(wf, func(data []byte) (any, error) {
		in, err := decodeInput[In](data)
		if err != nil {
			return nil, err
		}
		return as(in), nil
	})
}

// Name of the state.
func (l *Local[T]) Name() string { return l.erased().name }

// Origin identifies the state among others. It can be compared, and nothing else.
func (l *Local[T]) Origin() any { return l.erased() }

// Get returns the value for the run of a step; ctx is the step's context or one
// derived from it. If the value is not there, Get builds it, or waits for who
// builds it; the step keeps its slot meanwhile. The value is not released before
// the step function returns, whatever becomes of the run.
//
// Errors, each of which a step may return as it is:
//   - STATE_NOT_BUILT: see LocalConfig.Bind;
//   - LIMIT_EXCEEDED: the worker has no room for another shared value;
//   - STATE_NOT_THERE: it is the workflow's end step, and its run has no value here;
//   - STALE_ATTEMPT: the run is not bound here any more;
//   - UNAVAILABLE: the worker stops;
//   - INVALID_ARGUMENT: ctx is of no step, or of one whose workflow does not have
//     the state;
//   - the cause of ctx, if that ends.
func (l *Local[T]) Get(ctx context.Context) (T, error) {
	var none T
	core := l.erased()
	c, err := stepOf(ctx, "Get of a local")
	if err != nil {
		return none, err
	}
	kind := core.of(c.Workflow())
	if kind == nil {
		return none, messages.Errorf(messages.CodeInvalidArgument, "local %q is not one of workflow %q: declare it there", core.name, c.Workflow())
	}
	value, err := c.attempt.Calls.LocalValue(ctx, kind)
	if err != nil {
		return none, err
	}
	typed, ok := value.(*T)
	if !ok {
		return none, messages.Errorf(messages.CodeInternal, "local %q: the worker holds a %T, not a %T", core.name, value, typed)
	}
	c.usedLocal.Store(true)
	return *typed, nil
}

func (l *Local[T]) erased() *local {
	if l == nil || l.core == nil {
		return &local{}
	}
	return l.core
}

// local is a Local without its type.
type local struct {
	name   string
	shared bool
	input  reflect.Type
	// erase makes what a worker keeps, given how to read a run's input.
	erase func(input func(data []byte) (any, error)) *attempt.Local

	mu    sync.Mutex
	kinds map[string]*attempt.Local // by workflow
}

// add declares the state for a workflow.
func (l *local) add(wf *workflow, input func([]byte) (any, error)) {
	kind := l.erase(input)
	l.mu.Lock()
	l.kinds[wf.name] = kind
	l.mu.Unlock()
	wf.locals = append(wf.locals, kind)
}

func (l *local) of(workflow string) *attempt.Local {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.kinds[workflow]
}

// eraseLocal wraps the functions of a config in those without types. Values
// travel as *T, so that nil interfaces are values too.
func eraseLocal[T, In any](l *local, config LocalConfig[T, In], input func([]byte) (any, error)) *attempt.Local {
	read := func(data []byte) (in In, err error) {
		value, err := input(data)
		if err != nil {
			return in, err
		}
		in, _ = value.(In)
		return in, nil
	}
	kind := &attempt.Local{Name: l.name, Origin: l}
	kind.Bind = func(ctx context.Context, b *attempt.Build) (any, error) {
		in, err := read(b.Dispatch.GetInput())
		if err != nil {
			return nil, err
		}
		value, err := config.Bind(&bindContext{stepContext: newStepContext(ctx, &attempt.Attempt{Dispatch: b.Dispatch, Worker: b.Worker}), local: l.name, build: b}, in)
		if err != nil {
			return nil, err
		}
		return &value, nil
	}
	if config.Release != nil {
		kind.Release = func(value any, why messages.ReleaseReason) error {
			return config.Release(*value.(*T), Why(why.Words()))
		}
	}
	if config.Size != nil {
		kind.Size = func(value any) int64 { return config.Size(*value.(*T)) }
	}
	if config.Handoff != nil {
		kind.Handoff = func(ctx context.Context, value any) ([]byte, error) { return config.Handoff(ctx, *value.(*T)) }
	}
	if config.Key != nil {
		kind.Key = func(data []byte) (string, error) {
			in, err := read(data)
			if err != nil {
				return "", err
			}
			return config.Key(in), nil
		}
	}
	return kind
}

func localDefinition(l *attempt.Local) *messages.LocalDefinition {
	return &messages.LocalDefinition{Name: l.Name, Shared: l.Shared(), Handoff: l.Handoff != nil}
}
