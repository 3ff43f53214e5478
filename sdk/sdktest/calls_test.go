package sdktest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/journal/sqlite"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/sdktest"
	"github.com/limpetrun/limpet/sdk/worker"
)

// caller is a workflow of one step that makes some calls, of which each counts.
type caller struct {
	workflow *sdk.Workflow[int]
	step     *sdk.Step[int, string]
	mu       sync.Mutex
	called   map[string]int
	// between is called after each call.
	between func(ctx sdk.Context, i int) error
}

func newCaller(sticky sdk.Sticky, retries int, calls int, between func(ctx sdk.Context, i int) error) *caller {
	c := &caller{called: map[string]int{}, between: between}
	c.workflow = sdk.NewWorkflow[int]("calls", sdk.WorkflowConfig{Sticky: sticky})
	c.step = sdk.AddStep(c.workflow, "calls", func(ctx sdk.Context, _ int) (string, error) {
		var all []string
		for i := range calls {
			got, err := sdk.Do(ctx, "think", func(ctx sdk.Context) (string, error) { return c.count(fmt.Sprintf("%d", i)), nil })
			if err != nil {
				return "", err
			}
			all = append(all, got)
			if err := c.between(ctx, i); err != nil {
				return "", err
			}
		}
		return strings.Join(all, " "), nil
	}, sdk.StepConfig{Retries: retries, Backoff: 1})
	return c
}

// count counts a call of a function.
func (c *caller) count(name string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.called[name]++
	return fmt.Sprintf("%s:%d", name, c.called[name])
}

// once checks that each function was called once.
func (c *caller) once(t *testing.T, calls int) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range calls {
		if n := c.called[fmt.Sprint(i)]; n != 1 {
			t.Errorf("call %d was made %d times", i, n)
		}
	}
}

func TestRetriedStepGetsItsCallsBack(t *testing.T) {
	c := newCaller(sdk.None, 9, 3, func(ctx sdk.Context, i int) error {
		if ctx.Attempt() == i+1 {
			return errors.New("again")
		}
		return nil
	})
	e := sdktest.Start(t, one("w1"), c.workflow)
	run, err := c.workflow.Start(t.Context(), e.Client(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := c.step.Result(t.Context(), run); err != nil || out != "0:1 1:1 2:1" {
		t.Error(out, err)
	}
	c.once(t, 3)
	view, err := run.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s := view.GetSteps()[0]; s.GetCalls() != 3 || s.GetLastCall() != "think #2" {
		t.Errorf("%d calls, the last is %q", s.GetCalls(), s.GetLastCall())
	}
}

// TestCallsOutliveTheirWorker: another one goes on with what is recorded, on the
// store that keeps it in a file.
func TestCallsOutliveTheirWorker(t *testing.T) {
	reached, again := make(chan string, 1), make(chan struct{})
	c := newCaller(sdk.Soft, 0, 3, func(ctx sdk.Context, i int) error {
		if i != 1 || ctx.Attempt() > 1 {
			return nil
		}
		reached <- ctx.WorkerID()
		<-ctx.Done()
		close(again)
		return ctx.Err()
	})
	store, err := sqlite.Open(t.Context(), sqlite.Config{Path: t.TempDir() + "/journal.db"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	e := sdktest.Start(t, sdktest.Config{Workers: sdktest.Workers("w1", "w2"), Store: store}, c.workflow)
	run, err := c.workflow.Start(t.Context(), e.Client(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.KillWorker(<-reached); err != nil {
		t.Fatal(err)
	}
	<-again
	if out, err := c.step.Result(t.Context(), run); err != nil || out != "0:1 1:1 2:1" {
		t.Error(out, err)
	}
	c.once(t, 3)
}

// TestCallsOutliveTheirServer: the step goes on where it is, and what it records
// while the server is away arrives later.
func TestCallsOutliveTheirServer(t *testing.T) {
	reached, goOn := make(chan struct{}, 1), make(chan struct{})
	c := newCaller(sdk.Hard, 0, 4, func(ctx sdk.Context, i int) error {
		if i == 1 {
			reached <- struct{}{}
			<-goOn
		}
		return nil
	})
	e := sdktest.Start(t, one("w1"), c.workflow)
	run, err := c.workflow.Start(t.Context(), e.Client(), 1)
	if err != nil {
		t.Fatal(err)
	}
	<-reached
	close(goOn)
	if err := e.RestartServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	if out, err := c.step.Result(t.Context(), run); err != nil || out != "0:1 1:1 2:1 3:1" {
		t.Error(out, err)
	}
	c.once(t, 4)
}

// TestLargeCallsAreReadInPages: together they are larger than what one message
// may carry.
func TestLargeCallsAreReadInPages(t *testing.T) {
	const calls = 40
	var called atomic.Int32
	w := sdk.NewWorkflow[int]("large")
	step := sdk.AddStep(w, "large", func(ctx sdk.Context, _ int) (int, error) {
		total := 0
		for i := range calls {
			got, err := sdk.Do(ctx, "load", func(sdk.Context) (string, error) {
				called.Add(1)
				return strings.Repeat("x", messages.PayloadBytesMax-2-i), nil
			})
			if err != nil {
				return 0, err
			}
			total += len(got)
		}
		if ctx.Attempt() == 1 {
			return 0, errors.New("again")
		}
		return total, nil
	}, sdk.StepConfig{Retries: 1, Backoff: 1})
	e := sdktest.Start(t, one("w1"), w)
	run, err := w.Start(t.Context(), e.Client(), 1)
	if err != nil {
		t.Fatal(err)
	}
	want := calls*(messages.PayloadBytesMax-2) - calls*(calls-1)/2
	if total, err := step.Result(t.Context(), run); err != nil || total != want || called.Load() != calls {
		t.Errorf("%d bytes of %d, %d calls: %v", total, want, called.Load(), err)
	}
}

// TestCallsAtOnce have keys; a retry makes them in another order and one more.
func TestCallsAtOnce(t *testing.T) {
	var called atomic.Int32
	w := sdk.NewWorkflow[int]("fan")
	step := sdk.AddStep(w, "fan", func(ctx sdk.Context, _ int) (int, error) {
		var wait sync.WaitGroup
		var sum atomic.Int64
		errs := make(chan error, 100)
		for i := range 50 + ctx.Attempt() {
			wait.Go(func() {
				n, err := sdk.Do(ctx, "fetch", func(sdk.Context) (int, error) { called.Add(1); return i, nil }, &sdk.DoOptions{Key: fmt.Sprint(i)})
				if err != nil {
					errs <- err
				}
				sum.Add(int64(n))
			})
		}
		wait.Wait()
		close(errs)
		if err := <-errs; err != nil || ctx.Attempt() == 1 {
			return 0, fmt.Errorf("again %w", err)
		}
		return int(sum.Load()), nil
	}, sdk.StepConfig{Retries: 1, Backoff: 1})
	e := sdktest.Start(t, one("w1"), w)
	run, err := w.Start(t.Context(), e.Client(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if sum, err := step.Result(t.Context(), run); err != nil || sum != 51*52/2 || called.Load() != 52 {
		t.Errorf("the sum is %d after %d calls: %v", sum, called.Load(), err)
	}
}

// TestMendedCodeGoesOn: a deploy changes the type of a result, the step fails at
// once, and goes on where it was once the code fits the records again.
func TestMendedCodeGoesOn(t *testing.T) {
	var first, second atomic.Int32
	reached := make(chan struct{})
	build := func(then func(ctx sdk.Context) (string, error)) (*sdk.Workflow[int], *sdk.Step[int, string]) {
		w := sdk.NewWorkflow[int]("changing", sdk.WorkflowConfig{Sticky: sdk.Hard})
		return w, sdk.AddStep(w, "s", func(ctx sdk.Context, _ int) (string, error) { return then(ctx) }, sdk.StepConfig{Retries: 3, Backoff: 1})
	}
	old, _ := build(func(ctx sdk.Context) (string, error) {
		_, err := sdk.Do(ctx, "think", func(sdk.Context) (string, error) { first.Add(1); return "hm", nil })
		if err == nil {
			close(reached)
			<-ctx.Done()
			err = ctx.Err()
		}
		return "", err
	})
	changed, _ := build(func(ctx sdk.Context) (string, error) {
		n, err := sdk.Do(ctx, "think", func(sdk.Context) (int, error) { return 7, nil })
		return fmt.Sprint(n), err
	})
	mended, step := build(func(ctx sdk.Context) (string, error) {
		s, err := sdk.Do(ctx, "think", func(sdk.Context) (string, error) { first.Add(1); return "no", nil })
		if err != nil {
			return "", err
		}
		n, err := sdk.Do(ctx, "think-2", func(sdk.Context) (int, error) { second.Add(1); return 7, nil })
		return fmt.Sprint(s, n), err
	})
	e := sdktest.Start(t, one("w1"), old)
	run, err := old.Start(t.Context(), e.Client(), 1)
	if err != nil {
		t.Fatal(err)
	}
	<-reached
	deploy := func(w sdk.AnyWorkflow) {
		t.Helper()
		if err := e.KillWorker("w1"); err != nil {
			t.Fatal(err)
		}
		if err := e.StartWorker(t.Context(), worker.Config{ID: "w1"}, w); err != nil {
			t.Fatal(err)
		}
	}
	deploy(changed)
	if err := run.Wait(t.Context()); !errors.Is(err, sdk.ErrCallMismatch) {
		t.Fatal(err)
	}
	deploy(mended)
	if err := run.Replay(t.Context(), step.Name()); err != nil {
		t.Fatal(err)
	}
	if got, err := step.Result(t.Context(), run); err != nil || got != "hm7" || first.Load() != 1 || second.Load() != 1 {
		t.Errorf("%q after %d and %d calls: %v", got, first.Load(), second.Load(), err)
	}
	// A replay of what succeeded begins anew.
	if err := run.Replay(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := step.Result(t.Context(), run); err != nil || got != "no7" {
		t.Errorf("%q: %v", got, err)
	}
}

// TestDeployChangesAStepThatWaits: what the documentation of Do says of each change,
// while the run waits for a message.
func TestDeployChangesAStepThatWaits(t *testing.T) {
	build := func(calls ...[2]string) (*sdk.Workflow[string], *sdk.Step[string, []string]) {
		w := sdk.NewWorkflow[string]("changing", sdk.WorkflowConfig{Sticky: sdk.Hard})
		return w, sdk.AddStep(w, "s", func(ctx sdk.Context, _ string) (all []string, err error) {
			for i, call := range calls {
				got, err := sdk.Do(ctx, call[0], func(sdk.Context) (string, error) {
					return fmt.Sprintf("%s, made as number %d by attempt %d", call, i, ctx.Attempt()), nil
				},
					&sdk.DoOptions{Key: call[1]})
				if err != nil {
					return nil, err
				}
				all = append(all, got)
			}
			got, err := sdk.Receive[string](ctx, "go")
			return append(all, got), err
		})
	}
	old, _ := build([2]string{"a"}, [2]string{"b"}, [2]string{"b"})
	changed, step := build([2]string{"c"}, [2]string{"b"}, [2]string{"b"}, [2]string{"b"}, [2]string{"b", "key"})
	e := sdktest.Start(t, one("w1"), old)
	run, err := old.Start(t.Context(), e.Client(), "in")
	if err != nil {
		t.Fatal(err)
	}
	untilWaits(t, run)
	if err := e.KillWorker("w1"); err != nil {
		t.Fatal(err)
	}
	if err := e.StartWorker(t.Context(), worker.Config{ID: "w1"}, changed); err != nil {
		t.Fatal(err)
	}
	signal(t, run, "go", "came")
	got, err := step.Result(t.Context(), run)
	want := []string{
		"[c ], made as number 0 by attempt 2",    // another name is a new call
		"[b ], made as number 1 by attempt 1",    // by name and number, not by place
		"[b ], made as number 2 by attempt 1",    //
		"[b ], made as number 3 by attempt 2",    // one more of the name is new
		"[b key], made as number 4 by attempt 2", // and so is another key
		"came",                                   // the wait went on
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%q: %v", got, err)
	}
	view, err := run.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := view.GetSteps()[0].GetCalls(); n != 7 {
		t.Errorf("%d calls are recorded: that which nobody asks for is one of seven", n)
	}
}

// TestCanceledStepCleansUp with a context that goes on.
func TestCanceledStepCleansUp(t *testing.T) {
	reached := make(chan struct{})
	result := make(chan error, 2)
	w := sdk.NewWorkflow[int]("sandbox")
	sdk.AddStep(w, "s", func(ctx sdk.Context, _ int) (int, error) {
		close(reached)
		<-ctx.Done()
		_, err := sdk.Do(ctx, "more", func(sdk.Context) (int, error) { return 1, nil })
		result <- err
		_, err = sdk.Do(context.WithoutCancel(ctx), "clean-up", func(sdk.Context) (string, error) { return "gone", nil })
		result <- err
		return 0, ctx.Err()
	})
	e := sdktest.Start(t, one("w1"), w)
	run, err := w.Start(t.Context(), e.Client(), 1)
	if err != nil {
		t.Fatal(err)
	}
	<-reached
	if err := run.Cancel(t.Context(), "enough"); err != nil {
		t.Fatal(err)
	}
	if err := <-result; !errors.Is(err, sdk.ErrCanceled) {
		t.Error(err)
	}
	if err := <-result; err != nil {
		t.Error(err)
	}
	if err := run.Wait(t.Context()); !errors.Is(err, sdk.ErrCanceled) {
		t.Error(err)
	}
	view, err := run.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s := view.GetSteps()[0]; s.GetLastCall() != "clean-up #0" {
		t.Errorf("the last call is %q", s.GetLastCall())
	}
}

// TestExecutionTimeoutKeepsWhatWasDone: a call whose function has returned is
// recorded, although the attempt's time was over by then.
func TestExecutionTimeoutKeepsWhatWasDone(t *testing.T) {
	var called atomic.Int32
	w := sdk.NewWorkflow[int]("slow")
	step := sdk.AddStep(w, "s", func(ctx sdk.Context, _ int) (int, error) {
		return sdk.Do(ctx, "slow", func(ctx sdk.Context) (int, error) {
			called.Add(1)
			<-ctx.Done()
			return 7, nil
		})
	}, sdk.StepConfig{Retries: 1, Backoff: 1, ExecutionTimeout: 50 * time.Millisecond})
	e := sdktest.Start(t, one("w1"), w)
	run, err := w.Start(t.Context(), e.Client(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := step.Result(t.Context(), run); err != nil || got != 7 || called.Load() != 1 {
		t.Errorf("%d after %d calls: %v", got, called.Load(), err)
	}
}

func TestContextOfAStepAloneKnowsRecordedCalls(t *testing.T) {
	ctx, err := sdktest.Context(t.Context(), sdktest.Attempt{Number: 2, Recorded: map[string][]any{"think": {"hm", "oh"}}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for range 3 {
		s, err := sdk.Do(ctx, "think", func(sdk.Context) (string, error) { return "new", nil })
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, s)
	}
	if fmt.Sprint(got) != "[hm oh new]" {
		t.Error(got)
	}
	if _, err := sdktest.Context(t.Context(), sdktest.Attempt{Recorded: map[string][]any{"think": {make(chan int)}}}); !errors.Is(err, sdk.ErrInvalidArgument) {
		t.Error(err)
	}
}
