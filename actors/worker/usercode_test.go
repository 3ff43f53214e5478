package worker

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/messages"
)

// nilError is an error whose methods panic.
type nilError struct{ text string }

func (e *nilError) Error() string      { return e.text }
func (e *nilError) Unwrap() error      { return errors.New(e.text) }
func (e *nilError) NonRetryable() bool { return e.text == "" }

// stray is how a function of a user may leave instead of returning; it returns
// an error for the way in which that is what does the harm.
type stray struct {
	name string
	way  func() error
	// met is closed when the function has been called.
	met chan struct{}
}

func strays(leave <-chan struct{}) []stray {
	return []stray{
		{name: "panic", way: func() error { panic("boom") }},
		{name: "nil panic", way: func() error { panic(nil) }}, //nolint:govet // one of the ways
		{name: "goexit", way: func() error { runtime.Goexit(); return nil }},
		{name: "bad error", way: func() error { return (*nilError)(nil) }},
		{name: "panic with a bad error", way: func() error { panic((*nilError)(nil)) }},
		{name: "hang", way: func() error { <-leave; return errors.New("left") }},
	}
}

// strayWorld is a worker whose local state and hooks leave as a test says, at
// one place, each way once.
type strayWorld struct {
	at  string
	way atomic.Pointer[stray]
}

// do leaves if it is at the place of the test and has not yet.
func (s *strayWorld) do(at string) error {
	if s.at != at {
		return nil
	}
	if way := s.way.Swap(nil); way != nil {
		close(way.met)
		return way.way()
	}
	return nil
}

func (s *strayWorld) must(at string) {
	if err := s.do(at); err != nil {
		panic(err)
	}
}

func (s *strayWorld) config() workerTestConfig {
	model := &attempt.Local{
		Name: "model",
		Bind: func(context.Context, *attempt.Build) (any, error) { return 1, s.do("bind") },
		Size: func(any) int64 { s.must("size"); return 1 },
		Key:  func(input []byte) (string, error) { return string(input), s.do("key") },
	}
	own := &attempt.Local{
		Name:    "own",
		Bind:    func(context.Context, *attempt.Build) (any, error) { return 2, nil },
		Release: func(any, messages.ReleaseReason) error { return s.do("release") },
		Handoff: func(context.Context, any) ([]byte, error) { return nil, s.do("handoff") },
	}
	model.Origin, own.Origin = model, own
	return workerTestConfig{
		slots: 1, locals: map[string]*attempt.Local{"model": model, "own": own},
		hooks: &Hooks{
			Started: func(*messages.Dispatch) { s.must("hook started") }, Ended: func(*messages.Dispatch, *messages.Failure, time.Duration) { s.must("hook ended") },
			LocalBuilt: func(LocalEvent, time.Duration, int64, error) { s.must("hook built") }, LocalHit: func(LocalEvent) { s.must("hook hit") },
			LocalReleased: func(LocalEvent, string, error) { s.must("hook released") }, Canceled: func(*messages.Dispatch, error) { s.must("hook canceled") },
		},
		functions: map[string]attempt.Function{
			"a": func(ctx context.Context, a *attempt.Attempt) ([]byte, error) {
				if _, err := a.Calls.LocalValue(ctx, model); err != nil {
					return nil, err
				}
				if _, err := a.Calls.LocalValue(ctx, own); err != nil {
					return nil, err
				}
				return []byte(`"good"`), s.do("step")
			},
			"waits": func(ctx context.Context, _ *attempt.Attempt) ([]byte, error) {
				<-ctx.Done()
				return nil, context.Cause(ctx)
			},
		},
	}
}

// Whatever a function of the user does instead of returning, the worker goes on,
// and the next run gets what it asks for.
func TestWorkerSurvivesWhatUsersCall(t *testing.T) {
	s := startWorkerServer(t)
	leave := make(chan struct{})
	defer close(leave)
	for _, at := range []string{"step", "bind", "size", "key", "release", "handoff",
		"hook started", "hook ended", "hook built", "hook hit", "hook released", "hook canceled"} {
		t.Run(at, func(t *testing.T) {
			s.t = t
			world := &strayWorld{at: at}
			w := mustStartTestWorker(t, s, world.config())
			const soon = 100 * time.Millisecond
			w.locals.linger, w.locals.bindLeaves, w.locals.methodWithin, w.locals.releaseWithin = soon, soon, soon, soon
			w.cfg.Hooks.calls.within = soon
			for _, way := range strays(leave) {
				if at != "step" || way.name != "hang" { // a step that takes long is within its rights
					surviveStray(t, w, world, way)
				}
			}
			select {
			case err := <-w.Done():
				t.Errorf("the worker ended: %v", err)
			default:
			}
		})
	}
}

// surviveStray has one run meet the stray, and another one after it.
func surviveStray(t *testing.T, w *workerUnderTest, world *strayWorld, way stray) {
	t.Helper()
	way.met = make(chan struct{})
	named := strings.NewReplacer(" ", "-").Replace
	s, run, next := w.server, named(world.at+" met "+way.name), named(world.at+" after "+way.name)
	input := func(d *messages.Dispatch) { d.Input = []byte(`"` + way.name + `"`) }
	if world.at != "hook canceled" {
		world.way.Store(&way)
	} else {
		w.dispatch(run, "waits", ofEpoch(1))
		nextHeard[*messages.Started](s)
		world.way.Store(&way)
		w.send(&messages.CancelAttempt{RunId: run, Step: "waits", Attempt: 1})
		r, _ := nextHeard[*messages.Result](s)
		w.ack(r)
	}
	w.dispatch(run, "a", ofEpoch(1), input, attemptNumber(2), func(d *messages.Dispatch) { d.ExecutionTimeoutMs = 1000 })
	first, _ := nextHeard[*messages.Result](s)
	w.ack(first)
	if f := first.GetFailure(); f != nil && (f.GetCode() == string(messages.CodeInternal) || f.GetMessage() == "") {
		t.Errorf("%s: the step fails with %v", way.name, f)
	}
	w.send(&messages.HandOff{RunId: run, Epoch: 1, WithinMs: 200, ReplyAddress: s.node.Self().Address, ReplyActorId: "reply"})
	nextHeard[*messages.HandedOff](s)
	w.send(&messages.RunReleased{RunId: run, Epoch: 1, Reason: messages.ReleaseReason_RELEASE_REASON_REBOUND})
	for i := range int32(2) {
		w.dispatch(next, "a", ofEpoch(1), input, attemptNumber(i+1))
		again, _ := nextHeard[*messages.Result](s)
		w.ack(again)
		if string(again.GetOutput()) != `"good"` {
			t.Errorf("%s: attempt %d of the next run: %v", way.name, i+1, again)
		}
	}
	select {
	case <-way.met: // what releases comes when it comes
	case <-time.After(20 * time.Second):
		t.Errorf("%s was never called", world.at)
	}
}
