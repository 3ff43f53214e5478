package sdktest_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/sdktest"
	"github.com/limpetrun/limpet/sdk/worker"
)

func oneSlot() sdktest.Config {
	return sdktest.Config{Workers: []worker.Config{{ID: "w1", Slots: 1}}}
}

// A step that waits for several children at once, one goroutine each, holds no
// slot until the last of them has ended.
func TestParallelWaitsHoldNoSlot(t *testing.T) {
	quick := sdk.NewWorkflow[int]("quick")
	sdk.AddStep(quick, "one", func(sdk.Context, int) (int, error) { return 1, nil })
	chain := sdk.NewWorkflow[int]("chain", sdk.WorkflowConfig{ScheduleTimeout: 20 * time.Second})
	first := sdk.AddStep(chain, "first", func(sdk.Context, int) (int, error) { time.Sleep(200 * time.Millisecond); return 1, nil })
	sdk.AddStep(chain, "second", func(sdk.Context, int) (int, error) { return 2, nil }, sdk.StepConfig{Parents: sdk.Steps(first)})
	parent := sdk.NewWorkflow[int]("parent")
	sdk.AddStep(parent, "all", func(ctx sdk.Context, _ int) (int, error) {
		var waits sync.WaitGroup
		errs := make([]error, 4)
		for i := range errs {
			wf := quick
			if i%2 == 1 {
				wf = chain
			}
			child, err := wf.Spawn(ctx, i)
			if err != nil {
				return 0, err
			}
			waits.Go(func() { errs[i] = child.Wait(ctx) })
		}
		waits.Wait()
		return 3, errors.Join(errs...)
	})
	e := sdktest.Start(t, oneSlot(), quick, chain, parent)
	runs, err := parent.StartMany(t.Context(), e.Client(), make([]int, 3))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, run := range runs {
		if err := run.Wait(ctx); err != nil {
			t.Error(err)
		}
	}
}

// What is made from Lifetime lives as long as the value; what is made from the
// context of Bind ends with it, and says so.
func TestLocalStateHasALifetime(t *testing.T) {
	type browser struct{ bind, life context.Context }
	released := make(chan error, 1)
	w := sdk.NewWorkflow[int]("w", sdk.WorkflowConfig{Sticky: sdk.Soft})
	l := sdk.NewLocal(w, sdk.LocalConfig[browser, int]{
		Bind: func(ctx sdk.BindContext, _ int) (browser, error) { return browser{ctx, ctx.Lifetime()}, nil },
		Release: func(b browser, _ sdk.Why) error {
			released <- b.life.Err()
			context.AfterFunc(b.life, func() { released <- b.life.Err() })
			return nil
		},
	})
	first := sdk.AddStep(w, "first", func(ctx sdk.Context, _ int) (int, error) {
		b, err := l.Get(ctx)
		if err != nil {
			return 0, err
		}
		if err := b.bind.Err(); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "BindContext.Lifetime") {
			t.Errorf("the context of Bind says %v", err)
		}
		return 1, b.life.Err()
	})
	sdk.AddStep(w, "second", func(ctx sdk.Context, _ int) (int, error) {
		b, err := l.Get(ctx)
		if err != nil {
			return 0, err
		}
		if err := b.life.Err(); err != nil {
			t.Errorf("the lifetime is over: %v", err)
		}
		derived, cancel := context.WithCancel(b.bind)
		defer cancel()
		return 2, fmt.Errorf("open a page: %w", derived.Err())
	}, sdk.StepConfig{Parents: sdk.Steps(first)})
	e := sdktest.Start(t, sdktest.Config{}, w)
	run, err := w.Start(t.Context(), e.Client(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := run.Wait(t.Context()); err == nil || !strings.Contains(err.Error(), "BindContext.Lifetime") {
		t.Errorf("the step that used the context of Bind fails with %v", err)
	}
	if before, after := <-released, <-released; before != nil || !errors.Is(after, context.Canceled) {
		t.Errorf("at its release the lifetime says %v, after it %v", before, after)
	}
}

// badError is an error whose methods panic on a typed nil.
type badError struct{ text string }

func (e *badError) Error() string { return e.text }
func (e *badError) Is(error) bool { return e.text == "" }

// Mistakes of the program are final; a step that leaves in an unusual way is
// tried again, and takes no other with it.
func TestStrayStepsFailAlone(t *testing.T) {
	var calls [5]atomic.Int32
	w := sdk.NewWorkflow[int]("w")
	other := sdk.AddStep(w, "other", func(sdk.Context, int) (int, error) { return 1, nil })
	retried := sdk.StepConfig{Retries: 1, Backoff: time.Millisecond}
	for i, f := range []func(ctx sdk.Context) error{
		func(ctx sdk.Context) error { _, err := other.Output(ctx); return fmt.Errorf("look: %w", err) },
		func(sdk.Context) error { return (*badError)(nil) },
		func(sdk.Context) error { runtime.Goexit(); return nil },
		func(sdk.Context) error { panic(nil) }, //nolint:govet // one of the ways
		func(ctx sdk.Context) error { _, err := w.Spawn(context.Background(), 1); return err },
	} {
		sdk.AddStep(w, fmt.Sprint("s", i), func(ctx sdk.Context, _ int) (int, error) { calls[i].Add(1); return 0, f(ctx) }, retried)
	}
	good := sdk.NewWorkflow[int]("good")
	sdk.AddStep(good, "s", func(sdk.Context, int) (int, error) { return 7, nil })
	e := sdktest.Start(t, oneSlot(), w, good)
	for range 2 {
		run, err := w.Start(t.Context(), e.Client(), 1)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := run.Ended(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	run, err := good.Start(t.Context(), e.Client(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := run.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	if calls[0].Load() > 2 || calls[4].Load() > 2 {
		t.Errorf("mistakes of the program were tried %d and %d times in two runs", calls[0].Load(), calls[4].Load())
	}
}
