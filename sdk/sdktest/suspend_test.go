package sdktest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/sdktest"
)

// untilEvent returns once the history of a run has one of a kind.
func untilEvent(t *testing.T, run *sdk.Run, is func(*messages.Event) bool) {
	t.Helper()
	for entry, err := range run.Watch(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		for _, ev := range entry.GetEvents() {
			if is(ev) {
				return
			}
		}
	}
	t.Fatal("the run has ended without it")
}

func suspendedIn(attempt int32) func(*messages.Event) bool {
	return func(ev *messages.Event) bool { return ev.GetAttemptSuspended().GetAttempt() == attempt }
}

func stepOf(t *testing.T, run *sdk.Run, name string) *api.Step {
	t.Helper()
	view, err := run.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, st := range view.GetSteps() {
		if st.GetName() == name {
			return st
		}
	}
	t.Fatalf("no step %q", name)
	return nil
}

// TestAStepThatWaitsIsSuspended: everything of it is let go, and after the wait it runs
// again on its worker, where what is recorded returns at once.
func TestAStepThatWaitsIsSuspended(t *testing.T) {
	for name, sticky := range map[string]sdk.Sticky{"soft": sdk.Soft, "hard": sdk.Hard} {
		t.Run(name, func(t *testing.T) {
			b := newBoxes()
			w := sdk.NewWorkflow[int]("suspends", sdk.WorkflowConfig{Sticky: sticky, KeepFor: sdk.NotAtAll})
			state := sdk.NewLocal(w, sdk.LocalConfig[*box, int]{Bind: b.bind, Release: b.release})
			var called atomic.Int32
			unwound := make(chan string, 10)
			step := sdk.AddStep(w, "waits", func(ctx sdk.Context, _ int) (seen, error) {
				think := func(sdk.Context) (int32, error) { return called.Add(1), nil }
				if n, err := sdk.Do(ctx, "think", think); err != nil || n != 1 {
					return seen{}, fmt.Errorf("%d, %w", n, err)
				}
				at, err := look(ctx, state)
				if err != nil {
					return seen{}, err
				}
				_, err = sdk.Receive[string](ctx, "go")
				if errors.Is(err, sdk.ErrSuspended) {
					detached := context.WithoutCancel(ctx)
					_, do := sdk.Do(detached, "cleanup", think)
					_, receive := sdk.Receive[string](detached, "go")
					_, local := state.Get(detached)
					for _, err := range []error{context.Cause(ctx), do, receive, local} {
						if !errors.Is(err, sdk.ErrSuspended) {
							unwound <- fmt.Sprint(err)
						}
					}
					unwound <- fmt.Sprintf("attempt %d", ctx.Attempt())
				}
				return at, err
			})
			e := sdktest.Start(t, sdktest.Config{Workers: sdktest.Workers("w1", "w2")}, w)
			run, err := w.Start(t.Context(), e.Client(), 1)
			if err != nil {
				t.Fatal(err)
			}
			untilEvent(t, run, suspendedIn(1))
			if got := b.next(t); got != "1 idle" {
				t.Errorf("released %s", got)
			}
			if got := <-unwound; got != "attempt 1" {
				t.Errorf("a call of a suspended step: %s", got)
			}
			first := stepOf(t, run, "waits")
			view, err := run.Get(t.Context())
			if words := view.GetRun().GetWaitingFor(); err != nil || first.GetPhase() != api.PhaseSuspended ||
				!strings.Contains(words, `signal "go" for step "waits"`) && !view.GetRun().GetDormant() || view.GetRun().GetWorkerId() != first.GetWorkerId() {
				t.Errorf("%v, %q, on %q: %v", first, words, view.GetRun().GetWorkerId(), err)
			}
			signal(t, run, "go", "on")
			out, err := step.Result(t.Context(), run)
			if err != nil || out.Worker != first.GetWorkerId() || out.Box != 2 || out.Binding.StateReason != sdk.ReasonIdle || out.Binding.Epoch != 2 {
				t.Errorf("%+v, %v", out, err)
			}
			if st := stepOf(t, run, "waits"); called.Load() != 1 || st.GetAttempts() != 2 || st.GetFailures() != 0 || st.GetLost() != 0 {
				t.Errorf("called %d times: %v", called.Load(), st)
			}
		})
	}
}

// TestGoroutinesOfASuspendedStep: each that waits is told once, nothing is recorded of what
// they call then, and the next attempt begins when the function has returned, although
// what it waits for has come before.
func TestGoroutinesOfASuspendedStep(t *testing.T) {
	names := []string{"a", "b", "c"}
	var begun, told, beside atomic.Int32
	leaves := make(chan struct{})
	w := sdk.NewWorkflow[int]("side-by-side", sdk.WorkflowConfig{Sticky: sdk.Soft, KeepFor: sdk.NotAtAll})
	step := sdk.AddStep(w, "waits", func(ctx sdk.Context, _ int) (string, error) {
		if begun.Add(1) > 1 {
			beside.Add(1)
		}
		defer begun.Add(-1)
		heard := make([]string, len(names))
		errs := make([]error, len(names))
		var group sync.WaitGroup
		for i, name := range names {
			group.Go(func() {
				if heard[i], errs[i] = sdk.Receive[string](ctx, name); !errors.Is(errs[i], sdk.ErrSuspended) {
					return
				}
				told.Add(1)
				if _, err := sdk.Do(context.WithoutCancel(ctx), "late", func(sdk.Context) (int, error) { return 1, nil }, &sdk.DoOptions{Key: name}); !errors.Is(err, sdk.ErrSuspended) {
					t.Errorf("a call of a goroutine that is told: %v", err)
				}
			})
		}
		group.Wait()
		if err := errors.Join(errs...); err != nil {
			<-leaves
			return "", err
		}
		return strings.Join(heard, ""), nil
	})
	e := sdktest.Start(t, sdktest.Config{}, w)
	run, err := w.Start(t.Context(), e.Client(), 1)
	if err != nil {
		t.Fatal(err)
	}
	untilEvent(t, run, suspendedIn(1))
	for _, name := range names {
		signal(t, run, name, name)
	}
	untilEvent(t, run, func(ev *messages.Event) bool { return ev.GetStepDispatched().GetAttempt() == 2 })
	close(leaves)
	out, err := step.Result(t.Context(), run)
	if err != nil || out != "abc" || told.Load()%3 != 0 || told.Load() == 0 || beside.Load() != 0 {
		t.Errorf("%q, %v; %d were told, %d attempts began beside another one", out, err, told.Load(), beside.Load())
	}
	if st := stepOf(t, run, "waits"); st.GetCalls() != 3 {
		t.Errorf("%v", st)
	}
}

// TestWhatWorksIsNotSuspended: neither while a call is made, nor while a goroutine
// computes.
func TestWhatWorksIsNotSuspended(t *testing.T) {
	for name, works := range map[string]func(ctx sdk.Context, until *atomic.Bool){
		"do": func(ctx sdk.Context, until *atomic.Bool) {
			_, _ = sdk.Do(ctx, "long", func(ctx sdk.Context) (int, error) {
				for !until.Load() {
					time.Sleep(time.Millisecond)
				}
				return 1, nil
			})
		},
		"computes": func(_ sdk.Context, until *atomic.Bool) {
			for n := 0; !until.Load(); n++ {
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := sdk.NewWorkflow[int]("works", sdk.WorkflowConfig{KeepFor: sdk.NotAtAll})
			var until atomic.Bool
			step := sdk.AddStep(w, "works", func(ctx sdk.Context, _ int) (int, error) {
				var group sync.WaitGroup
				if ctx.Attempt() == 1 {
					group.Go(func() { works(ctx, &until) })
				}
				_, err := sdk.Receive[int](ctx, "go")
				group.Wait()
				return ctx.Attempt(), err
			})
			e := sdktest.Start(t, one("w1"), w)
			run, err := w.Start(t.Context(), e.Client(), 1)
			if err != nil {
				t.Fatal(err)
			}
			untilWaits(t, run)
			// It is looked at twice within that time.
			time.Sleep(100 * time.Millisecond)
			if st := stepOf(t, run, "works"); st.GetPhase() == api.PhaseSuspended {
				t.Errorf("it is %v", st)
			}
			until.Store(true)
			untilEvent(t, run, suspendedIn(1))
			signal(t, run, "go", 1)
			if n, err := step.Result(t.Context(), run); err != nil || n != 2 {
				t.Error(n, err)
			}
		})
	}
}

// TestSuspendedStateIsHandedOff, and kept for the wake-up.
func TestSuspendedStateIsHandedOff(t *testing.T) {
	w := sdk.NewWorkflow[int]("handed", sdk.WorkflowConfig{Sticky: sdk.Hard, KeepFor: sdk.NotAtAll})
	type turns struct{ N int }
	state := sdk.NewLocal(w, sdk.LocalConfig[*turns, int]{
		Bind: func(ctx sdk.BindContext, _ int) (*turns, error) {
			v := &turns{}
			if data, handed := ctx.HandedOff(); handed {
				_, err := fmt.Sscan(string(data), &v.N)
				return v, err
			}
			return v, nil
		},
		Handoff: func(_ context.Context, v *turns) ([]byte, error) { return fmt.Append(nil, v.N), nil },
	})
	step := sdk.AddStep(w, "turns", func(ctx sdk.Context, _ int) (int, error) {
		v, err := state.Get(ctx)
		if err != nil {
			return 0, err
		}
		v.N++
		for range 2 {
			if _, err := sdk.Receive[int](ctx, "go"); err != nil {
				return 0, err
			}
		}
		return v.N, nil
	})
	e := sdktest.Start(t, one("w1"), w)
	run, err := w.Start(t.Context(), e.Client(), 1)
	if err != nil {
		t.Fatal(err)
	}
	for attempt := range int32(2) {
		untilEvent(t, run, suspendedIn(attempt+1))
		signal(t, run, "go", 1)
	}
	if n, err := step.Result(t.Context(), run); err != nil || n != 3 {
		t.Errorf("%d turns: %v", n, err)
	}
}

// TestAWaitOutlivesItsWorker: nothing runs before it is over.
func TestAWaitOutlivesItsWorker(t *testing.T) {
	began := make(chan string, 4)
	e, run, step := receiver(t, sdk.Soft, func(ctx sdk.Context) (string, error) {
		began <- ctx.WorkerID()
		return sdk.Receive[string](ctx, "go")
	}, "w1", "w2")
	at := <-began
	untilEvent(t, run, func(ev *messages.Event) bool { return len(ev.GetRunDormant().GetIdleSteps()) > 0 })
	if err := e.KillWorker(at); err != nil {
		t.Fatal(err)
	}
	untilEvent(t, run, suspendedIn(1))
	select {
	case where := <-began:
		t.Errorf("it runs on %s before the wait is over", where)
	default:
	}
	signal(t, run, "go", "on")
	if got, err := step.Result(t.Context(), run); err != nil || got != "on" {
		t.Error(got, err)
	}
	if st := stepOf(t, run, "waits"); st.GetWorkerId() == at || st.GetLost() != 0 {
		t.Errorf("%v", st)
	}
}

// TestADrainDoesNotWaitForASignal.
func TestADrainDoesNotWaitForASignal(t *testing.T) {
	began := make(chan string, 4)
	e, run, step := receiver(t, sdk.Hard, func(ctx sdk.Context) (string, error) {
		began <- ctx.WorkerID()
		return sdk.Receive[string](ctx, "go")
	})
	<-began
	untilWaits(t, run)
	if err := e.StopWorker("w1"); err != nil {
		t.Fatal(err)
	}
	if st := stepOf(t, run, "waits"); st.GetPhase() != api.PhaseSuspended {
		t.Errorf("%v", st)
	}
	signal(t, run, "go", "on")
	if err := e.RestartWorker(t.Context(), "w1"); err != nil {
		t.Fatal(err)
	}
	if got, err := step.Result(t.Context(), run); err != nil || got != "on" {
		t.Error(got, err)
	}
}
