package worker

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/actors/local"
	"github.com/limpetrun/limpet/actors/pool"
	"github.com/limpetrun/limpet/messages"
)

const (
	// localReleaseWithin is how long the release of a value may take. Then it counts
	// as done, so that another value gets its room.
	localReleaseWithin = 30 * time.Second
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
	// linger is localsLinger, but for tests.
	linger time.Duration

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
	kind   *attempt.Local
	event  LocalEvent
	value  any
	cancel context.CancelCauseFunc
}

func newLocalShell(w *Worker) *localShell {
	limits := w.cfg.LocalLimits
	limits.WorkerID = w.info.WorkerId
	l := &localShell{
		worker: w, keeper: local.New(limits), asks: map[uint64]*localAsk{}, values: map[uint64]*localValue{},
		handoffs: map[handoffID]*handoffRequest{}, emptied: make(chan struct{}), linger: localsLinger, keysOf: make(chan struct{}, keysOfMax),
		releases: pool.NewLimited(releasesMax),
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
		if ask.key, err = keyOf(kind, d.Input); err != nil {
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
	}))
	return l.lastAsk
}

// keyOf calls the user's Key function. Errors: LIMIT_EXCEEDED for a key that is
// too long, STATE_NOT_BUILT if the function failed.
func keyOf(kind *attempt.Local, input []byte) (key string, err error) {
	err = calling(kind, "key", func() (err error) {
		key, err = kind.Key(input)
		return err
	})
	if err == nil && len(key) > messages.LocalKeyBytesMax {
		err = messages.Errorf(messages.CodeLimitExceeded, "local %q: its key has %d bytes, more than LocalKeyBytesMax = %d",
			kind.Name, len(key), messages.LocalKeyBytesMax)
	}
	return key, err
}

// calling calls a function of the user. Whatever becomes of it, it returns: an
// error is STATE_NOT_BUILT and wraps the user's.
func calling(kind *attempt.Local, what string, f func() error) error {
	return callingFor(kind, what, messages.CodeStateNotBuilt, f)
}

func callingFor(kind *attempt.Local, what string, code messages.Code, f func() error) (err error) {
	returned := false
	defer func() {
		if returned {
			return
		}
		p := recover()
		coded := messages.Errorf(code, "local %q: %s panicked: %v", kind.Name, what, p)
		coded.Message = truncate(coded.Message, failureMessageBytesMax)
		coded.Stack = truncate(string(debug.Stack()), failureStackBytesMax)
		err = coded
	}()
	err = f()
	returned = true
	if err != nil {
		err = messages.Errorf(code, "local %q: %s: %w", kind.Name, what, err)
	}
	return err
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
	v := &localValue{kind: ask.kind, event: event, cancel: cancel}
	l.values[id] = v
	b := &attempt.Build{Dispatch: d, Worker: l.worker.info, Key: ask.key}
	for _, s := range d.HandedOff {
		if !ask.kind.Shared() && s.Local == ask.kind.Name {
			b.HandedOff = s
		}
	}
	go func() {
		began := time.Now()
		var value any
		err := calling(v.kind, "bind", func() (err error) {
			value, err = v.kind.Bind(ctx, b)
			return err
		})
		cancel(nil)
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

// sizeOf is what a value declares; 0 if it cannot say.
func (l *localShell) sizeOf(kind *attempt.Local, value any, failed error) (bytes int64) {
	if failed != nil || kind.Size == nil {
		return 0
	}
	err := calling(kind, "size", func() error {
		bytes = kind.Size(value)
		return nil
	})
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

// callRelease calls Release and waits for it, for a while.
func (l *localShell) callRelease(v *localValue, why messages.ReleaseReason) error {
	kind := v.kind
	if kind.Release == nil {
		return nil
	}
	done := make(chan error, 1)
	go func() {
		done <- callingFor(kind, "release", messages.CodeUserError, func() error { return kind.Release(v.value, why) })
	}()
	timer := time.NewTimer(localReleaseWithin)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return fmt.Errorf("release has not returned within %v", localReleaseWithin)
	}
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
