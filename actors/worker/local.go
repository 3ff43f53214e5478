package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/actors/local"
	"github.com/limpetrun/limpet/actors/pool"
	"github.com/limpetrun/limpet/actors/usercode"
	"github.com/limpetrun/limpet/messages"
)

const (
	// localReleaseWithin is how long the release of a value may take. Then it counts
	// as done, so that another value gets its room.
	localReleaseWithin = 30 * time.Second
	// bindLeavesWithin is how long Bind may take to return once its context has
	// ended. Then the value counts as not built, so that it can be asked for anew.
	bindLeavesWithin = 30 * time.Second
	// releasesMax bounds the releases that run at once.
	releasesMax = 16
	// localsLinger is how long a stopping worker waits for its values to be
	// released.
	localsLinger = 10 * time.Second
)

// localShell is the shell around local.Keeper: it holds the values and calls
// the user's functions, each on a goroutine of its own.
type localShell struct {
	worker *Worker
	life   context.Context // of builds
	end    context.CancelFunc

	mu       sync.Mutex
	keeper   *local.Keeper
	lastAsk  uint64
	asks     map[uint64]*localAsk
	values   map[uint64]*localValue
	handoffs map[handoffID]*handoffRequest
	timer    *time.Timer
	// told: the worker's actor knows that the held keys have changed.
	told     bool
	releases *pool.Pool
	// emptied is closed when a stopped keeper has no value left.
	stopped bool
	emptied chan struct{}
	// How long is waited for what the user wrote, the constants but for tests.
	linger, bindLeaves, methodWithin, releaseWithin time.Duration

	keysOf chan struct{} // a place for each question for keys that is answered
}

// localAsk is a step that waits for a value.
type localAsk struct {
	kind     *attempt.Local
	key      string
	dispatch *messages.Dispatch
	answer   chan localAnswer // has room for the one answer
}

type localAnswer struct {
	value any
	event LocalEvent
	hit   bool
	err   error
}

// localValue is a value that is being built, there, or being released.
type localValue struct {
	kind  *attempt.Local
	event LocalEvent
	value any
	// cancel ends the context that Bind is given, over the one that lives as long
	// as the value.
	cancel context.CancelCauseFunc
	over   context.CancelFunc
}

func newLocalShell(w *Worker) *localShell {
	limits := w.cfg.LocalLimits
	limits.WorkerID = w.info.WorkerId
	l := &localShell{
		worker: w, keeper: local.New(limits), asks: map[uint64]*localAsk{}, values: map[uint64]*localValue{},
		handoffs: map[handoffID]*handoffRequest{}, emptied: make(chan struct{}), keysOf: make(chan struct{}, keysOfMax),
		releases: pool.NewLimited(releasesMax), linger: localsLinger, bindLeaves: bindLeavesWithin, methodWithin: usercode.MethodWithin, releaseWithin: localReleaseWithin,
	}
	l.life, l.end = context.WithCancel(context.Background())
	return l
}

// began says that function number of an attempt is about to be called.
func (l *localShell) began(number uint64, d *messages.Dispatch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keeper.AttemptBegan(local.Attempt{
		Number: number, RunID: d.RunId, Epoch: d.Epoch, Sticky: d.Sticky != messages.Sticky_STICKY_NONE,
	})
}

// returned says that the function has returned, and what.
func (l *localShell) returned(number uint64, failure *messages.Failure) {
	stateLost := failure.GetCode() == string(messages.CodeStateLost)
	l.with(func(now time.Time) []local.Action { return l.keeper.AttemptEnded(now, number, stateLost) })
}

// released says that a run is over here under an epoch.
func (l *localShell) released(runID string, epoch uint64, why messages.ReleaseReason) {
	l.with(func(now time.Time) []local.Action { return l.keeper.Released(now, runID, epoch, why) })
}

// bytesOf is what the values that a run has for itself declare.
func (l *localShell) bytesOf(runID string) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.keeper.RunBytes(runID)
}

// with changes the keeper and carries out what it asks for.
func (l *localShell) with(change func(now time.Time) []local.Action) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.do(now, change(now))
}

// get returns the value of a kind of local state for a function that runs.
func (l *localShell) get(ctx context.Context, number uint64, d *messages.Dispatch, of *attempt.Local) (any, error) {
	kind := l.worker.cfg.Locals[d.Workflow][of.Name]
	if kind == nil || kind.Origin != of.Origin {
		return nil, messages.Errorf(messages.CodeInvalidArgument, "local %q is not one of workflow %q at this worker", of.Name, d.Workflow)
	}
	ask := &localAsk{kind: kind, dispatch: d, answer: make(chan localAnswer, 1)}
	if kind.Shared() {
		var err error
		if ask.key, err = l.keyOf(kind, d.Input); err != nil {
			return nil, err
		}
	}
	id := l.ask(number, ask)
	var a localAnswer
	select {
	case a = <-ask.answer:
	case <-ctx.Done():
		l.with(func(now time.Time) []local.Action {
			delete(l.asks, id)
			return l.keeper.GaveUp(now, id)
		})
		return nil, context.Cause(ctx)
	}
	if a.err == nil && a.hit {
		l.worker.cfg.Hooks.localHit(a.event)
	}
	return a.value, a.err
}

func (l *localShell) ask(number uint64, ask *localAsk) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lastAsk++
	l.asks[l.lastAsk] = ask
	now := time.Now()
	l.do(now, l.keeper.Get(now, local.Ask{
		ID: l.lastAsk, Attempt: number, Local: ask.kind.Name, Shared: ask.kind.Shared(), Key: ask.key, Handoff: ask.kind.Handoff != nil,
		Takes: takes(ask),
	}))
	return l.lastAsk
}

// takes says that no value is to be built for a step: an end step to which none was
// handed off.
func takes(ask *localAsk) bool {
	return ask.dispatch.Ending != nil && !slices.ContainsFunc(ask.dispatch.HandedOff, func(h *messages.HandedState) bool { return h.Local == ask.kind.Name })
}

// keyOf calls the user's Key function. Errors: LIMIT_EXCEEDED for a key that is
// too long, STATE_NOT_BUILT if the function failed.
func (l *localShell) keyOf(kind *attempt.Local, input []byte) (string, error) {
	key, err := calling(kind, "key", messages.CodeStateNotBuilt, l.methodWithin, func() (string, error) { return kind.Key(input) })
	if err == nil && len(key) > messages.LocalKeyBytesMax {
		err = messages.Errorf(messages.CodeLimitExceeded, "local %q: its key has %d bytes, more than LocalKeyBytesMax = %d",
			kind.Name, len(key), messages.LocalKeyBytesMax)
	}
	return key, err
}

// calling calls a function of the user and waits for it; with within above 0 no
// longer. Whatever becomes of it, it returns: an error has the code and wraps
// the user's.
func calling[T any](kind *attempt.Local, what string, code messages.Code, within time.Duration, f func() (T, error)) (T, error) {
	out, fault := usercode.Call(localCall(kind, what), within, coded(kind, what, code, f))
	if fault != nil {
		return out.value, fault.Coded(code)
	}
	return out.value, out.err
}

func localCall(kind *attempt.Local, what string) string {
	return fmt.Sprintf("local %q: %s", kind.Name, what)
}

// returned is what a function of the user has returned.
type returned[T any] struct {
	value T
	err   error
}

// coded gives the error of a function its code, where the error's own methods
// can do no harm.
func coded[T any](kind *attempt.Local, what string, code messages.Code, f func() (T, error)) func() returned[T] {
	return func() (out returned[T]) {
		if out.value, out.err = f(); out.err != nil {
			out.err = messages.Errorf(code, "%s: %w", localCall(kind, what), out.err)
		}
		return out
	}
}

// do carries actions out. Called with mu held.
func (l *localShell) do(now time.Time, actions []local.Action) {
	for _, act := range actions {
		switch act.Kind {
		case local.Build:
			l.build(act.Value, l.asks[act.Ask])
		case local.CancelBuild:
			l.values[act.Value].cancel(act.Err)
		case local.Give:
			v := l.values[act.Value]
			l.answer(act.Ask, localAnswer{value: v.value, event: v.event, hit: act.Hit})
		case local.Fail:
			l.answer(act.Ask, localAnswer{err: act.Err})
		case local.Release:
			v := l.values[act.Value]
			l.releases.Schedule(func() { l.release(act.Value, v, act.Why) })
		case local.HandOff:
			l.handOffValues(act)
		case local.HandedOff:
			l.handedOff(act)
		}
	}
	l.arm(now)
	if l.keeper.HeldChanged() && !l.told {
		l.told = true
		l.worker.root.Send(l.worker.pid, heldChanged{})
	}
	if l.stopped && l.keeper.Empty() {
		select {
		case <-l.emptied:
		default:
			close(l.emptied)
		}
	}
}

func (l *localShell) answer(id uint64, a localAnswer) {
	if ask := l.asks[id]; ask != nil {
		delete(l.asks, id)
		ask.answer <- a
	}
}

// arm sets the timer to the next time at which the keeper has something to do.
func (l *localShell) arm(now time.Time) {
	next := l.keeper.Next()
	switch {
	case next.IsZero():
		if l.timer != nil {
			l.timer.Stop()
		}
	case l.timer == nil:
		l.timer = time.AfterFunc(next.Sub(now), func() { l.with(l.keeper.Tick) })
	default:
		l.timer.Reset(next.Sub(now))
	}
}

// build calls Bind for a question.
func (l *localShell) build(id uint64, ask *localAsk) {
	d := ask.dispatch
	event := LocalEvent{Local: ask.kind.Name, Shared: ask.kind.Shared(), Key: ask.key, Workflow: d.Workflow, RunID: d.RunId}
	ctx, cancel := context.WithCancelCause(l.life)
	life, over := context.WithCancel(context.Background())
	v := &localValue{kind: ask.kind, event: event, cancel: cancel, over: over}
	l.values[id] = v
	b := &attempt.Build{Dispatch: d, Worker: l.worker.info, Key: ask.key, Life: life}
	for _, s := range d.HandedOff {
		if !ask.kind.Shared() && s.Local == ask.kind.Name {
			b.HandedOff = s
		}
	}
	go func() {
		began := time.Now()
		value, err := l.bind(ctx, v, b)
		cancel(attempt.ErrBindReturned)
		bytes := l.sizeOf(v.kind, value, err)
		l.worker.cfg.Hooks.localBuilt(event, time.Since(began), bytes, err)
		l.with(func(now time.Time) []local.Action {
			v.value = value
			if err != nil {
				delete(l.values, id)
			}
			return l.keeper.Built(now, id, bytes, err)
		})
	}()
}

// bind calls Bind and waits for it. Once its context has ended, because nobody
// waits any more, it does not wait for long: others may ask for the value. What
// Bind returns after that is released.
func (l *localShell) bind(ctx context.Context, v *localValue, b *attempt.Build) (any, error) {
	const what = "bind"
	call := usercode.Go(localCall(v.kind, what), coded(v.kind, what, messages.CodeStateNotBuilt, func() (any, error) { return v.kind.Bind(ctx, b) }))
	select {
	case <-call.Done:
		return l.bound(v, call)
	case <-ctx.Done():
	}
	timer := time.NewTimer(l.bindLeaves)
	defer timer.Stop()
	select {
	case <-call.Done:
		return l.bound(v, call)
	case <-timer.C:
	}
	go func() {
		<-call.Done
		if value, err := l.bound(v, call); err == nil {
			late := &localValue{kind: v.kind, event: v.event, value: value, over: v.over}
			_ = l.callRelease(late, messages.ReleaseReason_RELEASE_REASON_EVICTED) // nobody has had it
		}
	}()
	return nil, messages.Errorf(messages.CodeStateNotBuilt, "%s has not returned within %v of the end of its context", localCall(v.kind, what), l.bindLeaves)
}

func (l *localShell) bound(v *localValue, call *usercode.Running[returned[any]]) (any, error) {
	out, fault := call.Outcome()
	if fault != nil {
		out.err = fault.Coded(messages.CodeStateNotBuilt)
	}
	if out.err != nil {
		v.over()
	}
	return out.value, out.err
}

// sizeOf is what a value declares; 0 if it cannot say.
func (l *localShell) sizeOf(kind *attempt.Local, value any, failed error) int64 {
	if failed != nil || kind.Size == nil {
		return 0
	}
	bytes, err := calling(kind, "size", messages.CodeStateNotBuilt, l.methodWithin, func() (int64, error) { return kind.Size(value), nil })
	if err != nil {
		l.worker.cfg.Logger.Warn("the size of local state is not known and counts as none", "local", kind.Name, "error", err)
		return 0
	}
	return bytes
}

// release releases a value, and says so.
func (l *localShell) release(id uint64, v *localValue, why messages.ReleaseReason) {
	err := l.callRelease(v, why)
	if err != nil {
		l.worker.cfg.Logger.Warn("local state was not released in good order", "local", v.kind.Name,
			"run", v.event.RunID, "key", v.event.Key, "why", why.Words(), "error", err)
	}
	l.worker.cfg.Hooks.localReleased(v.event, why.Words(), err)
	l.with(func(now time.Time) []local.Action {
		delete(l.values, id)
		return l.keeper.ReleaseEnded(now, id)
	})
}

// callRelease calls Release and waits for it, for a while. Then the context that
// lives as long as the value ends.
func (l *localShell) callRelease(v *localValue, why messages.ReleaseReason) error {
	kind := v.kind
	if v.over != nil {
		defer v.over()
	}
	if kind.Release == nil {
		return nil
	}
	_, err := calling(kind, "release", messages.CodeUserError, l.releaseWithin, func() (any, error) { return nil, kind.Release(v.value, why) })
	return err
}

// stop releases everything and waits for it, for a while. Functions that the
// worker waited for have returned.
func (l *localShell) stop() {
	l.with(func(now time.Time) []local.Action {
		l.stopped = true
		return l.keeper.Stop(now)
	})
	timer := time.NewTimer(l.linger)
	defer timer.Stop()
	select {
	case <-l.emptied:
	case <-timer.C:
		l.mu.Lock()
		left := len(l.values)
		l.mu.Unlock()
		l.worker.cfg.Logger.Warn("the worker stops without having released all of its local state", "values", left, "error", errStillUsed)
	}
	l.end()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer != nil {
		l.timer.Stop()
	}
}

var errStillUsed = errors.New("in use by functions that have not returned, or being built or released")

// load adds to a load report what the worker holds.
func (l *localShell) load(report *messages.LoadReport) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.told = false
	report.HeldKeys = l.keeper.Held()
	report.Locals = l.keeper.Uses()
}

// LocalValue implements attempt.Calls.
func (c *attemptCalls) LocalValue(ctx context.Context, of *attempt.Local) (any, error) {
	if cause := c.released(); cause != nil {
		return nil, cause
	}
	defer c.Works()()
	return c.worker.locals.get(ctx, c.id, c.dispatch, of)
}

// heldChanged tells the worker's actor that other keys are held now.
type heldChanged struct{}

// actorOf is the PID of whoever sent a message with a reply address.
func actorOf(host, id string) *actor.PID {
	if host == "" || id == "" {
		return nil
	}
	return actor.NewPID(host, id)
}
