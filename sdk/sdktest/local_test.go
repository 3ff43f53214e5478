package sdktest_test

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/sdktest"
	"github.com/limpetrun/limpet/sdk/worker"
)

// box is a value of local state.
type box struct {
	number   int32
	worker   string
	released atomic.Bool
}

// boxes makes boxes and knows what became of them.
type boxes struct {
	built    atomic.Int32
	released chan string // "number why"
}

func newBoxes() *boxes { return &boxes{released: make(chan string, 100)} }

func (b *boxes) bind(ctx sdk.BindContext, _ int) (*box, error) {
	return &box{number: b.built.Add(1), worker: ctx.WorkerID()}, nil
}

func (b *boxes) release(v *box, why sdk.Why) error {
	if v.released.Swap(true) {
		b.released <- fmt.Sprintf("%d released twice", v.number)
	}
	b.released <- fmt.Sprintf("%d %s", v.number, why)
	return nil
}

// next returns what is released next.
func (b *boxes) next(t *testing.T) string {
	t.Helper()
	select {
	case s := <-b.released:
		return s
	case <-time.After(20 * time.Second):
		t.Fatal("nothing was released")
	}
	return ""
}

// seen is what a step saw of its local state.
type seen struct {
	Worker  string
	Box     int32
	Binding sdk.Binding
}

func look(ctx sdk.Context, l *sdk.Local[*box]) (seen, error) {
	v, err := l.Get(ctx)
	if err != nil {
		return seen{}, err
	}
	if v.released.Load() {
		return seen{}, errors.New("the value was released")
	}
	return seen{ctx.WorkerID(), v.number, ctx.Binding()}, nil
}

func TestLocalIsBuiltOnceAndKeptUntilTheRunEnds(t *testing.T) {
	for name, sticky := range map[string]sdk.Sticky{"soft": sdk.Soft, "hard": sdk.Hard} {
		t.Run(name, func(t *testing.T) {
			b := newBoxes()
			w := sdk.NewWorkflow[int]("kept", sdk.WorkflowConfig{Sticky: sticky})
			building := make(chan struct{})
			kept := sdk.NewLocal(w, sdk.LocalConfig[*box, int]{Release: b.release, Bind: func(ctx sdk.BindContext, in int) (*box, error) {
				<-building // until all roots run
				return b.bind(ctx, in)
			}})
			var roots []sdk.AnyStep
			var began atomic.Int32
			for i := range 3 {
				roots = append(roots, sdk.AddStep(w, fmt.Sprintf("root%d", i), func(ctx sdk.Context, _ int) (seen, error) {
					if began.Add(1) == 3 {
						close(building)
					}
					return look(ctx, kept)
				}))
			}
			last := sdk.AddStep(w, "last", func(ctx sdk.Context, _ int) (seen, error) { return look(ctx, kept) }, sdk.StepConfig{Parents: roots})
			e := sdktest.Start(t, sdktest.Config{Workers: sdktest.Workers("w1", "w2")}, w)
			run, err := w.Start(t.Context(), e.Client(), 1)
			if err != nil {
				t.Fatal(err)
			}
			if out, err := last.Result(t.Context(), run); err != nil || out.Box != 1 {
				t.Errorf("%+v, %v", out, err)
			}
			if got := b.next(t); got != "1 run-ended" || b.built.Load() != 1 {
				t.Errorf("%s, built %d", got, b.built.Load())
			}
		})
	}
}

func TestLocalIsReleasedWhenTheRunIsReboundElsewhere(t *testing.T) {
	b := newBoxes()
	w := sdk.NewWorkflow[int]("moves", sdk.WorkflowConfig{Sticky: sdk.Soft})
	kept := sdk.NewLocal(w, sdk.LocalConfig[*box, int]{Bind: b.bind, Release: b.release})
	arrived := make(chan string, 2)
	only := sdk.AddStep(w, "only", func(ctx sdk.Context, _ int) (seen, error) {
		out, err := look(ctx, kept)
		if ctx.Attempt() == 1 {
			arrived <- ctx.WorkerID()
			<-ctx.Done()
			return out, ctx.Err()
		}
		return out, err
	})
	e := sdktest.Start(t, sdktest.Config{Workers: sdktest.Workers("w1", "w2")}, w)
	run, err := w.Start(t.Context(), e.Client(), 1)
	if err != nil {
		t.Fatal(err)
	}
	old := <-arrived
	if err := e.KillWorker(old); err != nil {
		t.Fatal(err)
	}
	if got := b.next(t); got != "1 worker-stopping" {
		t.Error(got)
	}
	out, err := only.Result(t.Context(), run)
	if err != nil || out.Box != 2 || out.Worker == old || out.Binding.Epoch != 2 || out.Binding.Token() != 2 || out.Binding.StateReason != sdk.ReasonWorkerLost {
		t.Errorf("%+v, %v", out, err)
	}
	if got := b.next(t); got != "2 run-ended" {
		t.Error(got)
	}
}

func TestLocalIsReleasedAtTheWorkerThatTheRunLeaves(t *testing.T) {
	b := newBoxes()
	p := sdk.NewWorkflow[int]("leaves", sdk.WorkflowConfig{Sticky: sdk.Soft, BusyPatience: sdk.AtOnce})
	kept := sdk.NewLocal(p, sdk.LocalConfig[*box, int]{Bind: b.bind, Release: b.release})
	failed := make(chan string, 1)
	blocking, free := make(chan struct{}), make(chan struct{})
	only := sdk.AddStep(p, "only", func(ctx sdk.Context, _ int) (seen, error) {
		out, err := look(ctx, kept)
		if ctx.Attempt() == 1 {
			failed <- ctx.WorkerID()
		}
		select {
		case <-blocking:
			return out, err
		default:
			return out, errors.New("not yet")
		}
	}, sdk.StepConfig{Retries: 1000, Backoff: 200 * time.Millisecond, BackoffMax: 200 * time.Millisecond})
	blocker := sdk.NewWorkflow[int]("blocker", sdk.WorkflowConfig{Labels: []sdk.Label{sdk.Require("first").Equal("yes")}})
	sdk.AddStep(blocker, "block", func(sdk.Context, int) (int, error) {
		close(blocking)
		<-free
		return 0, nil
	})
	defer close(free)
	e := sdktest.Start(t, sdktest.Config{Workers: []worker.Config{{ID: "w1", Slots: 1, Labels: map[string]string{"first": "yes"}}}}, p, blocker)
	run, err := p.Start(t.Context(), e.Client(), 1)
	if err != nil {
		t.Fatal(err)
	}
	<-failed
	if _, err := blocker.Start(t.Context(), e.Client(), 1); err != nil {
		t.Fatal(err)
	}
	<-blocking
	if err := e.StartWorker(t.Context(), worker.Config{ID: "w2", Slots: 1}); err != nil {
		t.Fatal(err)
	}
	out, err := only.Result(t.Context(), run)
	if err != nil || out.Worker != "w2" || out.Box != 2 || out.Binding.StateReason != sdk.ReasonWorkerBusy {
		t.Errorf("%+v, %v", out, err)
	}
	// The two workers do not wait for each other.
	if one, two := b.next(t), b.next(t); min(one, two) != "1 rebound" || max(one, two) != "2 run-ended" {
		t.Errorf("released %q, %q", one, two)
	}
}

func TestLocalThatIsNotBuiltFailsTheStep(t *testing.T) {
	b := newBoxes()
	w := sdk.NewWorkflow[int]("fails", sdk.WorkflowConfig{Sticky: sdk.Soft})
	var tries atomic.Int32
	kept := sdk.NewLocal(w, sdk.LocalConfig[*box, int]{Name: "model", Release: b.release, Bind: func(ctx sdk.BindContext, in int) (*box, error) {
		switch n := tries.Add(1); {
		case in == 2:
			return nil, sdk.NonRetryable(errors.New("no such model"))
		case n == 1:
			return nil, errors.New("out of memory")
		case n == 2:
			panic("this cannot be")
		}
		return b.bind(ctx, in)
	}})
	only := sdk.AddStep(w, "only", func(ctx sdk.Context, _ int) (seen, error) {
		out, err := look(ctx, kept)
		if err != nil && !errors.Is(err, sdk.ErrStateNotBuilt) {
			t.Errorf("attempt %d: %v", ctx.Attempt(), err)
		}
		return out, err
	}, sdk.StepConfig{Retries: 2, Backoff: time.Millisecond})
	e := sdktest.Start(t, sdktest.Config{}, w)
	run, err := w.Start(t.Context(), e.Client(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := only.Result(t.Context(), run); err != nil || out.Box != 1 || tries.Load() != 3 {
		t.Errorf("%+v, %v after %d tries", out, err, tries.Load())
	}
	var failures []string
	for entry, err := range run.Watch(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		for _, event := range entry.GetEvents() {
			if f := event.GetAttemptFailed().GetFailure(); f != nil {
				failures = append(failures, fmt.Sprintf("%s: %s, %v", f.Code, f.Message, strings.Contains(f.Stack, "local_test.go")))
			}
		}
	}
	want := []string{
		`STATE_NOT_BUILT: local "model": bind: out of memory, false`,
		`STATE_NOT_BUILT: local "model": bind panicked: this cannot be, true`,
	}
	if strings.Join(failures, "\n") != strings.Join(want, "\n") {
		t.Errorf("failures %q", failures)
	}
	// What cannot be retried is not.
	tries.Store(0)
	run, err = w.Start(t.Context(), e.Client(), 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := run.Wait(t.Context()); !errors.Is(err, sdk.ErrStateNotBuilt) || !strings.Contains(err.Error(), "no such model") || tries.Load() != 1 {
		t.Errorf("%v after %d tries", err, tries.Load())
	}
}

func TestStateLostBuildsAnew(t *testing.T) {
	b := newBoxes()
	w := sdk.NewWorkflow[int]("lost", sdk.WorkflowConfig{Sticky: sdk.Hard})
	kept := sdk.NewLocal(w, sdk.LocalConfig[*box, int]{Bind: b.bind, Release: b.release})
	fill := sdk.AddStep(w, "fill", func(ctx sdk.Context, _ int) (seen, error) { return look(ctx, kept) }, sdk.StepConfig{BuildsState: true})
	use := sdk.AddStep(w, "use", func(ctx sdk.Context, _ int) (seen, error) {
		out, err := look(ctx, kept)
		if err == nil && out.Box == 1 {
			return out, fmt.Errorf("the child has died: %w", sdk.ErrStateLost)
		}
		return out, err
	}, sdk.StepConfig{NeedsState: true, Parents: sdk.Steps(fill)})
	e := sdktest.Start(t, sdktest.Config{}, w)
	run, err := w.Start(t.Context(), e.Client(), 1)
	if err != nil {
		t.Fatal(err)
	}
	out, err := use.Result(t.Context(), run)
	if err != nil || out.Box != 2 || out.Binding.Epoch != 1 {
		t.Errorf("%+v, %v", out, err)
	}
	// The result that was recorded stands.
	if first, err := fill.Result(t.Context(), run); err != nil || first.Box != 1 {
		t.Errorf("%+v, %v", first, err)
	}
	if one, two := b.next(t), b.next(t); one != "1 state-lost" || two != "2 run-ended" {
		t.Errorf("released %q, %q", one, two)
	}
}

func TestLocalOutsideOfItsSteps(t *testing.T) {
	w := sdk.NewWorkflow[int]("inside", sdk.WorkflowConfig{Sticky: sdk.Soft})
	kept := sdk.NewLocal(w, sdk.LocalConfig[*box, int]{Bind: newBoxes().bind})
	sdk.AddStep(w, "only", func(sdk.Context, int) (int, error) { return 0, nil })
	other := sdk.NewWorkflow[int]("outside", sdk.WorkflowConfig{Sticky: sdk.Soft})
	sdk.AddStep(other, "only", func(ctx sdk.Context, _ int) (seen, error) { return look(ctx, kept) })
	if _, err := kept.Get(t.Context()); !errors.Is(err, sdk.ErrInvalidArgument) {
		t.Errorf("without a step: %v", err)
	}
	e := sdktest.Start(t, sdktest.Config{}, w, other)
	run, err := other.Start(t.Context(), e.Client(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := run.Wait(t.Context()); !errors.Is(err, sdk.ErrInvalidArgument) || !strings.Contains(err.Error(), `workflow "outside"`) {
		t.Errorf("in a step of another workflow: %v", err)
	}
}

func TestLocalInAContextThatATestMakesUp(t *testing.T) {
	w := sdk.NewWorkflow[int]("alone", sdk.WorkflowConfig{Sticky: sdk.Soft})
	kept := sdk.NewLocal(w, sdk.LocalConfig[*box, int]{Bind: newBoxes().bind})
	ctx, err := sdktest.Context(t.Context(), sdktest.Attempt{Workflow: "alone", Locals: []sdktest.LocalValue{sdktest.LocalOf(kept, &box{number: 7})}})
	if err != nil {
		t.Fatal(err)
	}
	if out, err := look(ctx, kept); err != nil || out.Box != 7 {
		t.Errorf("%+v, %v", out, err)
	}
	if ctx, err = sdktest.Context(t.Context(), sdktest.Attempt{Workflow: "alone"}); err != nil {
		t.Fatal(err)
	}
	if _, err := look(ctx, kept); !errors.Is(err, sdk.ErrUnavailable) {
		t.Errorf("without a value: %v", err)
	}
}
