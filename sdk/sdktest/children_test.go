package sdktest_test

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/sdktest"
	"github.com/limpetrun/limpet/sdk/worker"
)

func one(id string) sdktest.Config {
	return sdktest.Config{Workers: []worker.Config{{ID: id, Slots: 1}}}
}

// whereabouts is a workflow of one step that returns its worker's id.
func whereabouts(name string, sticky sdk.Sticky) (*sdk.Workflow[int], *sdk.Step[int, string]) {
	w := sdk.NewWorkflow[int](name, sdk.WorkflowConfig{Sticky: sticky})
	return w, sdk.AddStep(w, "here", func(ctx sdk.Context, _ int) (string, error) { return ctx.WorkerID(), nil })
}

func TestParentWithAStickyHardChildCompletesOnOneSlot(t *testing.T) {
	child, here := whereabouts("child", sdk.Hard)
	parent := sdk.NewWorkflow[int]("parent", sdk.WorkflowConfig{Sticky: sdk.Hard})
	spawn := sdk.AddStep(parent, "spawn", func(ctx sdk.Context, in int) ([]string, error) {
		ref, err := child.Spawn(ctx, in, &sdk.SpawnOptions{Sticky: true})
		if err != nil {
			return nil, err
		}
		at, err := here.Result(ctx, ref)
		return []string{ctx.WorkerID(), at}, err
	})
	e := sdktest.Start(t, one("w1"), parent, child)
	run, err := parent.Start(t.Context(), e.Client(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if at, err := spawn.Result(t.Context(), run); err != nil || at[0] != "w1" || at[1] != "w1" {
		t.Error(at, err)
	}
}

func TestStickyChildIsCheckedAtTheSpawn(t *testing.T) {
	loose, _ := whereabouts("loose", sdk.None)
	elsewhere, _ := whereabouts("elsewhere", sdk.Soft)
	nowhere, _ := whereabouts("nowhere", sdk.Soft)
	parent := sdk.NewWorkflow[int]("parent")
	var errs [3]error
	spawn := sdk.AddStep(parent, "spawn", func(ctx sdk.Context, in int) (int, error) {
		for i, child := range []*sdk.Workflow[int]{loose, elsewhere, nowhere} {
			_, errs[i] = child.Spawn(ctx, in, &sdk.SpawnOptions{Sticky: true})
		}
		return 0, errs[0]
	})
	e := sdktest.Start(t, one("w1"), parent, loose)
	if err := e.StartWorker(t.Context(), worker.Config{ID: "w2"}, elsewhere); err != nil {
		t.Fatal(err)
	}
	run, err := parent.Start(t.Context(), e.Client(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := spawn.Result(t.Context(), run); !errors.Is(err, sdk.ErrChildNotSticky) {
		t.Errorf("the spawn's error at the client: %v", err)
	}
	for i, want := range []error{sdk.ErrChildNotSticky, sdk.ErrChildNotOnWorker, sdk.ErrUnknownWorkflow} {
		if !errors.Is(errs[i], want) {
			t.Errorf("spawn %d: %v, want %v", i, errs[i], want)
		}
	}
}

// TestWhatIsSaidOfAChildIsChecked: as a caller's start is.
func TestWhatIsSaidOfAChildIsChecked(t *testing.T) {
	child, _ := whereabouts("child", sdk.None)
	parent := sdk.NewWorkflow[int]("parent")
	spawn := sdk.AddStep(parent, "spawn", func(ctx sdk.Context, in int) (int, error) {
		for _, bad := range []*sdk.SpawnOptions{
			{Key: "\xff"}, {Key: strings.Repeat("k", messages.KeyBytesMax+1)}, {Metadata: map[string]string{"a b": ""}}, {Metadata: map[string]string{"a": "\xff"}},
		} {
			if _, err := child.Spawn(ctx, in, bad); !errors.Is(err, sdk.ErrInvalidArgument) {
				return 0, fmt.Errorf("%+v: %w", bad, err)
			}
		}
		return 1, nil
	})
	e := sdktest.Start(t, one("w1"), parent, child)
	run, err := parent.Start(t.Context(), e.Client(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := spawn.Result(t.Context(), run); err != nil || ok != 1 {
		t.Error(ok, err)
	}
}

func TestRetriedStepGetsItsChildBack(t *testing.T) {
	var children atomic.Int32
	child := sdk.NewWorkflow[int]("child")
	count := sdk.AddStep(child, "count", func(sdk.Context, int) (int32, error) { return children.Add(1), nil })
	parent := sdk.NewWorkflow[int]("parent")
	spawn := sdk.AddStep(parent, "spawn", func(ctx sdk.Context, in int) (int32, error) {
		first, err := child.Spawn(ctx, in)
		if err != nil {
			return 0, err
		}
		if ctx.Attempt() < 3 {
			return 0, errors.New("again")
		}
		second, err := child.Spawn(ctx, in, &sdk.SpawnOptions{Key: "second"})
		if err != nil {
			return 0, err
		}
		if err := first.Wait(ctx); err != nil {
			return 0, err
		}
		if _, err := count.Result(ctx, second); err != nil {
			return 0, err
		}
		return children.Load(), nil
	}, sdk.StepConfig{Retries: 3, Backoff: 1})
	e := sdktest.Start(t, one("w1"), parent, child)
	run, err := parent.Start(t.Context(), e.Client(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := spawn.Result(t.Context(), run); n != 2 || err != nil {
		t.Errorf("%d children ran, %v", n, err)
	}
	got, err := run.Get(t.Context())
	if err != nil || len(got.Children) != 2 {
		t.Errorf("children %v, %v", got.GetChildren(), err)
	}
}

func TestCancelIsPassedDownUnlessTheChildIsToGoOn(t *testing.T) {
	canceled, goOn := make(chan string, 2), make(chan struct{})
	child := sdk.NewWorkflow[string]("child")
	sdk.AddStep(child, "wait", func(ctx sdk.Context, name string) (int, error) {
		select {
		case <-ctx.Done():
			canceled <- name
			return 0, ctx.Err()
		case <-goOn:
			return 0, nil
		}
	})
	spawned := make(chan [2]string, 1)
	parent := sdk.NewWorkflow[int]("parent")
	sdk.AddStep(parent, "spawn", func(ctx sdk.Context, in int) (int, error) {
		a, err := child.Spawn(ctx, "goes down")
		if err != nil {
			return 0, err
		}
		b, err := child.Spawn(ctx, "goes on", &sdk.SpawnOptions{OnParentEnd: sdk.LeaveChild})
		if err != nil {
			return 0, err
		}
		spawned <- [2]string{a.ID(), b.ID()}
		return 0, a.Wait(ctx)
	})
	e := sdktest.Start(t, sdktest.Config{}, parent, child)
	run, err := parent.Start(t.Context(), e.Client(), 1)
	if err != nil {
		t.Fatal(err)
	}
	ids := <-spawned
	if err := run.Cancel(t.Context(), "not needed"); err != nil {
		t.Fatal(err)
	}
	if err := run.Wait(t.Context()); !errors.Is(err, sdk.ErrCanceled) {
		t.Errorf("the parent: %v", err)
	}
	if err := e.Client().Run(ids[0]).Wait(t.Context()); !errors.Is(err, sdk.ErrCanceled) {
		t.Errorf("the child that goes down: %v", err)
	}
	close(goOn)
	if err := e.Client().Run(ids[1]).Wait(t.Context()); err != nil {
		t.Errorf("the child that goes on: %v", err)
	}
}

func TestErrorsOfAChildReachItsParent(t *testing.T) {
	child := sdk.NewWorkflow[int]("child")
	sdk.AddStep(child, "boom", func(sdk.Context, int) (int, error) { panic("boom") })
	parent := sdk.NewWorkflow[int]("parent")
	var waited error
	spawn := sdk.AddStep(parent, "spawn", func(ctx sdk.Context, in int) (int, error) {
		ref, err := child.Spawn(ctx, in)
		if err != nil {
			return 0, err
		}
		waited = ref.Wait(ctx)
		return 0, waited
	})
	e := sdktest.Start(t, one("w1"), parent, child)
	run, err := parent.Start(t.Context(), e.Client(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := spawn.Result(t.Context(), run); !errors.Is(err, sdk.ErrUser) {
		t.Errorf("the parent: %v", err)
	}
	var failed *sdk.RunError
	var panicked *sdk.Error
	if !errors.Is(waited, sdk.ErrStepPanicked) || !errors.As(waited, &failed) || !errors.As(waited, &panicked) || panicked.Stack == "" {
		t.Errorf("the child: %v", waited)
	}
}

// patient is a workflow whose run goes on until it is canceled or let go.
func patient(name string) (w *sdk.Workflow[string], letGo chan struct{}) {
	letGo = make(chan struct{})
	w = sdk.NewWorkflow[string](name)
	sdk.AddStep(w, "wait", func(ctx sdk.Context, _ string) (int, error) {
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-letGo:
			return 0, nil
		}
	})
	return w, letGo
}

// Whatever ends a parent ends its children, unless they are left to themselves.
func TestChildrenEndWithTheirParent(t *testing.T) {
	for name, end := range map[string]struct {
		ends func(sdk.Context) error
		as   error
		cfg  sdk.StepConfig
	}{
		"success": {ends: func(sdk.Context) error { return nil }},
		"failure": {ends: func(sdk.Context) error { return errors.New("broken") }, as: sdk.ErrUser},
		"panic":   {ends: func(sdk.Context) error { panic("broken") }, as: sdk.ErrStepPanicked},
		"timeout": {ends: func(ctx sdk.Context) error { <-ctx.Done(); return ctx.Err() }, as: sdk.ErrExecutionTimeout, cfg: sdk.StepConfig{ExecutionTimeout: 200 * time.Millisecond}},
	} {
		t.Run(name, func(t *testing.T) {
			child, letGo := patient("child")
			spawned := make(chan [2]string, 1)
			parent := sdk.NewWorkflow[int]("parent")
			sdk.AddStep(parent, "spawn", func(ctx sdk.Context, in int) (int, error) {
				a, err := child.Spawn(ctx, "ends with it")
				if err != nil {
					return 0, err
				}
				b, err := child.Spawn(ctx, "goes on", &sdk.SpawnOptions{OnParentEnd: sdk.LeaveChild})
				if err != nil {
					return 0, err
				}
				spawned <- [2]string{a.ID(), b.ID()}
				return 0, end.ends(ctx)
			}, end.cfg)
			e := sdktest.Start(t, sdktest.Config{}, parent, child)
			run, err := parent.Start(t.Context(), e.Client(), 1)
			if err != nil {
				t.Fatal(err)
			}
			ids := <-spawned
			if err := run.Wait(t.Context()); !errors.Is(err, end.as) {
				t.Errorf("the parent: %v", err)
			}
			if err := e.Client().Run(ids[0]).Wait(t.Context()); !errors.Is(err, sdk.ErrCanceled) || !strings.Contains(err.Error(), "parent run "+run.ID()) {
				t.Errorf("the child that ends with its parent: %v", err)
			}
			if got, err := e.Client().Run(ids[1]).Get(t.Context()); err != nil || got.GetRun().GetStatus() != sdk.Running {
				t.Errorf("the child that goes on: %v, %v", got.GetRun(), err)
			}
			close(letGo)
			if err := e.Client().Run(ids[1]).Wait(t.Context()); err != nil {
				t.Errorf("the child that goes on: %v", err)
			}
		})
	}
}

// A key, and an index, stand for one input: another one is a mistake of the
// program, which no retry mends.
func TestAKeyIsNotSpawnedWithAnotherInput(t *testing.T) {
	child := sdk.NewWorkflow[int]("child")
	sdk.AddStep(child, "double", func(_ sdk.Context, in int) (int, error) { return 2 * in, nil })
	other := sdk.NewWorkflow[int]("other")
	sdk.AddStep(other, "nothing", func(sdk.Context, int) (int, error) { return 0, nil })
	for name, spawn := range map[string]func(ctx sdk.Context) error{
		"key": func(ctx sdk.Context) error {
			for in := range 2 {
				if _, err := child.Spawn(ctx, in, &sdk.SpawnOptions{Key: "k"}); err != nil {
					return err
				}
			}
			return nil
		},
		"another workflow": func(ctx sdk.Context) error {
			if _, err := child.Spawn(ctx, 1, &sdk.SpawnOptions{Key: "k"}); err != nil {
				return err
			}
			_, err := other.Spawn(ctx, 1, &sdk.SpawnOptions{Key: "k"})
			return err
		},
		"index of a retry": func(ctx sdk.Context) error {
			if _, err := child.Spawn(ctx, ctx.Attempt()); err != nil {
				return err
			}
			return errors.New("again")
		},
	} {
		t.Run(name, func(t *testing.T) {
			parent := sdk.NewWorkflow[int]("parent")
			step := sdk.AddStep(parent, "spawn", func(ctx sdk.Context, _ int) (int, error) { return 0, spawn(ctx) }, sdk.StepConfig{Retries: 5, Backoff: 1})
			e := sdktest.Start(t, sdktest.Config{}, parent, child, other)
			run, err := parent.Start(t.Context(), e.Client(), 1)
			if err != nil {
				t.Fatal(err)
			}
			_, err = step.Result(t.Context(), run)
			if !errors.Is(err, sdk.ErrSpawnKeyReused) || !strings.Contains(err.Error(), "hash "+messages.HashInput([]byte("1"))) {
				t.Errorf("the step: %v", err)
			}
			attempts := int32(1)
			if name == "index of a retry" {
				attempts = 2
			}
			if got, err := run.Get(t.Context()); err != nil || got.GetSteps()[0].GetAttempts() != attempts {
				t.Errorf("attempts: %v, %v", got.GetSteps(), err)
			}
		})
	}
}

// A retried step meets its failed child again, unless it asks for another one.
func TestAFailedChildIsSpawnedAnewIfAsked(t *testing.T) {
	for _, anew := range []bool{false, true} {
		t.Run(fmt.Sprintf("anew=%v", anew), func(t *testing.T) {
			var ran atomic.Int32
			child := sdk.NewWorkflow[int]("child")
			count := sdk.AddStep(child, "count", func(sdk.Context, int) (int32, error) {
				if n := ran.Add(1); n > 2 {
					return n, nil
				}
				return 0, errors.New("not yet")
			})
			parent := sdk.NewWorkflow[int]("parent")
			step := sdk.AddStep(parent, "spawn", func(ctx sdk.Context, in int) (int32, error) {
				opts := &sdk.SpawnOptions{Key: "k", AnewIfFailed: anew}
				c, err := child.Spawn(ctx, in, opts)
				if err != nil {
					return 0, err
				}
				n, failed := count.Result(ctx, c)
				// In the same attempt it stays the same child.
				if again, err := child.Spawn(ctx, in, opts); err != nil || again.ID() != c.ID() {
					return 0, sdk.NonRetryable(fmt.Errorf("then it is %v, %w", again, err))
				}
				return n, failed
			}, sdk.StepConfig{Retries: 3, Backoff: 1})
			e := sdktest.Start(t, sdktest.Config{}, parent, child)
			run, err := parent.Start(t.Context(), e.Client(), 1)
			if err != nil {
				t.Fatal(err)
			}
			n, err := step.Result(t.Context(), run)
			got, errGet := run.Get(t.Context())
			switch {
			case errGet != nil:
				t.Fatal(errGet)
			case anew && (n != 3 || err != nil || len(got.GetChildren()) != 3):
				t.Errorf("%d, %v, children %v", n, err, got.GetChildren())
			case !anew && (ran.Load() != 1 || !errors.Is(err, sdk.ErrUser) || len(got.GetChildren()) != 1):
				t.Errorf("it ran %d times, %v, children %v", ran.Load(), err, got.GetChildren())
			}
		})
	}
}
