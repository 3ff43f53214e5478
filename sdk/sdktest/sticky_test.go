package sdktest_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/sdktest"
	"github.com/limpetrun/limpet/sdk/worker"
)

// at is where a step ran.
type at struct {
	Worker  string
	Attempt int
	Binding sdk.Binding
}

func here(ctx sdk.Context) at {
	return at{Worker: ctx.WorkerID(), Attempt: ctx.Attempt(), Binding: ctx.Binding()}
}

// paused is a workflow of two steps: the second one fails until goOn is closed,
// so that the run has nothing on its worker during the back-off.
type paused struct {
	*sdk.Workflow[int]
	first, second *sdk.Step[int, at]
	failed        chan string // at the first attempt
	attempts      atomic.Int64
}

func newPaused(config sdk.WorkflowConfig, step sdk.StepConfig, goOn <-chan struct{}) *paused {
	p := &paused{Workflow: sdk.NewWorkflow[int]("paused", config), failed: make(chan string, 1)}
	p.first = sdk.AddStep(p.Workflow, "first", func(ctx sdk.Context, _ int) (at, error) { return here(ctx), nil })
	step.Parents, step.Retries, step.BackoffMax = sdk.Steps(p.first), 1000, step.Backoff
	p.second = sdk.AddStep(p.Workflow, "second", func(ctx sdk.Context, _ int) (at, error) {
		p.attempts.Store(int64(ctx.Attempt()))
		if ctx.Attempt() == 1 {
			p.failed <- ctx.WorkerID()
		}
		select {
		case <-goOn:
			return here(ctx), nil
		default:
			return at{}, errors.New("not yet")
		}
	}, step)
	return p
}

// begin starts a run and returns when it is in its back-off, and where.
func (p *paused) begin(t *testing.T, e *sdktest.Engine) (*sdk.Run, string) {
	t.Helper()
	run, err := p.Start(t.Context(), e.Client(), 1)
	if err != nil {
		t.Fatal(err)
	}
	return run, <-p.failed
}

func TestSoftRunDoesNotFlapBack(t *testing.T) {
	g := newGated("gated", sdk.Soft)
	third := sdk.AddStep(g.Workflow, "third", func(ctx sdk.Context, _ int) (at, error) { return here(ctx), nil },
		sdk.StepConfig{Parents: sdk.Steps(g.last)})
	e := sdktest.Start(t, sdktest.Config{Workers: sdktest.Workers("w1", "w2")}, g)
	run := start(t, e, g)
	old := <-g.arrived
	if err := e.KillWorker(old); err != nil {
		t.Fatal(err)
	}
	moved := <-g.arrived
	if moved == old {
		t.Fatalf("the run went on at %s, which was killed", old)
	}
	if err := e.RestartWorker(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	g.released.Store(true)
	if err := e.KillWorker(moved); err != nil {
		t.Fatal(err)
	}
	if err := e.RestartWorker(t.Context(), moved); err != nil {
		t.Fatal(err)
	}
	out, err := third.Result(t.Context(), run)
	if err != nil {
		t.Fatal(err)
	}
	got, err := run.Get(t.Context())
	if err != nil || len(got.Bindings) != 3 || got.Bindings[1].WorkerId != moved || out.Binding.Epoch != 3 {
		t.Errorf("bindings %v, at the end %+v, %v", got.GetBindings(), out, err)
	}
}

func TestLostAttemptIsNotChargedToTheRetries(t *testing.T) {
	w := sdk.NewWorkflow[int]("once")
	began := make(chan string, 2)
	only := sdk.AddStep(w, "only", func(ctx sdk.Context, _ int) (at, error) {
		began <- ctx.WorkerID()
		if ctx.Attempt() == 1 {
			<-ctx.Done()
		}
		return here(ctx), ctx.Err()
	})
	e := sdktest.Start(t, sdktest.Config{Workers: sdktest.Workers("w1", "w2")}, w)
	run, err := w.Start(t.Context(), e.Client(), 1)
	if err != nil {
		t.Fatal(err)
	}
	lost := <-began
	if err := e.KillWorker(lost); err != nil {
		t.Fatal(err)
	}
	if out, err := only.Result(t.Context(), run); err != nil || out.Attempt != 2 || out.Worker == lost {
		t.Errorf("%+v, %v", out, err)
	}
}

func TestStepThatKillsItsWorkersFails(t *testing.T) {
	w := sdk.NewWorkflow[int]("killer", sdk.WorkflowConfig{Sticky: sdk.Soft})
	began := make(chan string, 9)
	sdk.AddStep(w, "kill", func(ctx sdk.Context, _ int) (int, error) {
		began <- ctx.WorkerID()
		<-ctx.Done()
		return 0, ctx.Err()
	}, sdk.StepConfig{LostAttemptsMax: 2})
	e := sdktest.Start(t, sdktest.Config{Workers: sdktest.Workers("w1", "w2", "w3")}, w)
	run, err := w.Start(t.Context(), e.Client(), 1)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := e.KillWorker(<-began); err != nil {
			t.Fatal(err)
		}
	}
	if err := run.Wait(t.Context()); !errors.Is(err, sdk.ErrWorkerLost) {
		t.Error(err)
	}
	if len(began) > 0 {
		t.Errorf("the step went on to %s", <-began)
	}
}

// A step that ends its worker again and again fails; one that is at work beside it
// goes down with it at first, is not charged for long, and succeeds.
func TestBystanderOfAStepThatKillsItsWorker(t *testing.T) {
	hard := sdk.WorkflowConfig{Sticky: sdk.Hard}
	killer, bystander := sdk.NewWorkflow[int]("killer", hard), sdk.NewWorkflow[int]("bystander", hard)
	began := make(chan struct{}, 99)
	sdk.AddStep(killer, "kill", func(ctx sdk.Context, _ int) (int, error) {
		began <- struct{}{}
		<-ctx.Done()
		return 0, ctx.Err()
	})
	works := make(chan struct{}, 99)
	sdk.AddStep(bystander, "work", func(ctx sdk.Context, _ int) (int, error) {
		works <- struct{}{}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
		return 0, ctx.Err()
	})
	config := worker.Config{ID: "w1", Slots: 2}
	e := sdktest.Start(t, sdktest.Config{Workers: []worker.Config{config}}, killer, bystander)
	beside, err := bystander.Start(t.Context(), e.Client(), 1)
	if err != nil {
		t.Fatal(err)
	}
	<-works
	run, err := killer.Start(t.Context(), e.Client(), 1)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- run.Wait(t.Context()) }()
	for kills := 0; ; kills++ {
		select {
		case <-began:
			if err := e.KillWorker("w1"); err != nil {
				t.Fatal(err)
			}
			if err := e.StartWorker(t.Context(), config); err != nil {
				t.Fatal(err)
			}
			continue
		case err := <-ended:
			if !errors.Is(err, sdk.ErrWorkerLost) || kills < 5 {
				t.Errorf("the step that killed its worker %d times: %v", kills, err)
			}
		}
		break
	}
	if err := beside.Wait(t.Context()); err != nil {
		t.Errorf("the one beside it: %v", err)
	}
}

// A function that goes on after its time has the only slot of its worker: the retry
// does not wait for it, although the run would wait for a busy worker for ever.
func TestRetryLeavesAWorkerWhoseSlotIsHeld(t *testing.T) {
	w := sdk.NewWorkflow[int]("deaf", sdk.WorkflowConfig{Sticky: sdk.Soft, BusyPatience: sdk.Never})
	began, release := make(chan struct{}), make(chan struct{})
	only := sdk.AddStep(w, "only", func(ctx sdk.Context, _ int) (at, error) {
		if ctx.Attempt() == 1 {
			close(began)
			<-release
		}
		return here(ctx), nil
	}, sdk.StepConfig{ExecutionTimeout: 100 * time.Millisecond, Retries: 1, Backoff: 10 * time.Millisecond})
	e := sdktest.Start(t, sdktest.Config{Workers: []worker.Config{{ID: "w1", Slots: 1}}}, w)
	defer close(release)
	run, err := w.Start(t.Context(), e.Client(), 1)
	if err != nil {
		t.Fatal(err)
	}
	<-began
	if err := e.StartWorker(t.Context(), worker.Config{ID: "w2", Slots: 1}); err != nil {
		t.Fatal(err)
	}
	out, err := only.Result(t.Context(), run)
	if err != nil || out.Worker != "w2" || out.Binding.StateReason != sdk.ReasonSlotsHeld {
		t.Errorf("%+v, %v; want w2, because the slots of w1 are held", out, err)
	}
}

func TestHardRunFailsAfterItsScheduleTimeout(t *testing.T) {
	p := newPaused(sdk.WorkflowConfig{Sticky: sdk.Hard}, sdk.StepConfig{Backoff: 20 * time.Millisecond, ScheduleTimeout: 2500 * time.Millisecond}, nil)
	e := sdktest.Start(t, sdktest.Config{Workers: sdktest.Workers("w1", "w2")}, p)
	run, bound := p.begin(t, e)
	if err := e.KillWorker(bound); err != nil {
		t.Fatal(err)
	}
	if err := run.Wait(t.Context()); !errors.Is(err, sdk.ErrScheduleTimeout) || !strings.Contains(err.Error(), bound) {
		t.Errorf("a hard run whose worker %s is gone: %v", bound, err)
	}
}

func TestBusyWorker(t *testing.T) {
	for name, tc := range map[string]struct {
		config sdk.WorkflowConfig
		moves  bool
	}{
		"soft, at once": {sdk.WorkflowConfig{Sticky: sdk.Soft, BusyPatience: sdk.AtOnce}, true},
		"soft, never":   {sdk.WorkflowConfig{Sticky: sdk.Soft, BusyPatience: sdk.Never}, false},
		"hard":          {sdk.WorkflowConfig{Sticky: sdk.Hard, BusyPatience: sdk.AtOnce}, false},
	} {
		t.Run(name, func(t *testing.T) {
			blocking, free := make(chan struct{}), make(chan struct{})
			p := newPaused(tc.config, sdk.StepConfig{Backoff: 200 * time.Millisecond}, blocking)
			blocker := sdk.NewWorkflow[int]("blocker", sdk.WorkflowConfig{Labels: []sdk.Label{sdk.Require("first").Equal("yes")}})
			sdk.AddStep(blocker, "block", func(sdk.Context, int) (int, error) {
				close(blocking)
				<-free
				return 0, nil
			})
			e := sdktest.Start(t, sdktest.Config{Workers: []worker.Config{{ID: "w1", Slots: 1, Labels: map[string]string{"first": "yes"}}}}, p, blocker)
			run, _ := p.begin(t, e)
			if _, err := blocker.Start(t.Context(), e.Client(), 1); err != nil {
				t.Fatal(err)
			}
			<-blocking
			if err := e.StartWorker(t.Context(), worker.Config{ID: "w2", Slots: 1}); err != nil {
				t.Fatal(err)
			}
			if !tc.moves {
				untilSentAgain(t, run, int32(p.attempts.Load()+1))
				close(free)
			}
			out, err := p.second.Result(t.Context(), run)
			if tc.moves {
				close(free)
			}
			if want := map[bool]string{true: "w2", false: "w1"}[tc.moves]; err != nil || out.Worker != want {
				t.Errorf("%+v, %v; want %s", out, err, want)
			}
			if tc.moves && (out.Binding.Epoch != 2 || out.Binding.StateReason != "worker busy" || out.Binding.PreviousWorker != "w1") {
				t.Errorf("binding %+v", out.Binding)
			}
		})
	}
}

// untilSentAgain follows the run's history until an attempt of its second step
// has been sent.
func untilSentAgain(t *testing.T, run *sdk.Run, attempt int32) {
	t.Helper()
	for entry, err := range run.Watch(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		for _, event := range entry.GetEvents() {
			if d := event.GetStepDispatched(); d.GetStep() == "second" && d.GetAttempt() == attempt {
				return
			}
		}
	}
	t.Fatal("the run ended before")
}

func TestDrainingWorker(t *testing.T) {
	for name, tc := range map[string]struct {
		sticky sdk.Sticky
		moves  bool
	}{"soft": {sdk.Soft, true}, "hard": {sdk.Hard, false}} {
		t.Run(name, func(t *testing.T) {
			w := sdk.NewWorkflow[int]("two", sdk.WorkflowConfig{Sticky: tc.sticky})
			began, goOn := make(chan string, 1), make(chan struct{})
			first := sdk.AddStep(w, "first", func(ctx sdk.Context, _ int) (at, error) {
				began <- ctx.WorkerID()
				<-goOn
				return here(ctx), nil
			})
			second := sdk.AddStep(w, "second", func(ctx sdk.Context, _ int) (at, error) {
				if tc.moves {
					return here(ctx), hasMoved(ctx)
				}
				return here(ctx), nil
			}, untilMoved(first))
			draining := make(chan struct{})
			var told atomic.Bool
			hooks := &worker.Hooks{Draining: func() {
				if !told.Swap(true) {
					close(draining)
				}
			}}
			e := sdktest.Start(t, sdktest.Config{Workers: []worker.Config{{ID: "w1", Grace: time.Minute, Hooks: hooks}, {ID: "w2", Grace: time.Minute, Hooks: hooks}}}, w)
			run, err := w.Start(t.Context(), e.Client(), 1)
			if err != nil {
				t.Fatal(err)
			}
			bound := <-began
			stopped := make(chan error)
			go func() { stopped <- e.StopWorker(bound) }()
			<-draining
			untilDrains(t, e, bound)
			close(goOn)
			out, err := second.Result(t.Context(), run)
			if err != nil || (out.Worker != bound) != tc.moves {
				t.Errorf("bound to %s, which drains: %+v, %v", bound, out, err)
			}
			if err := <-stopped; err != nil {
				t.Error(err)
			}
		})
	}
}

func TestStickyRunsMax(t *testing.T) {
	w := sdk.NewWorkflow[int]("held", sdk.WorkflowConfig{Sticky: sdk.Soft})
	began, goOn := make(chan string, 3), make(chan struct{})
	step := sdk.AddStep(w, "hold", func(ctx sdk.Context, _ int) (at, error) {
		began <- ctx.WorkerID()
		<-goOn
		return here(ctx), nil
	})
	e := sdktest.Start(t, sdktest.Config{Workers: []worker.Config{{ID: "w1", StickyRunsMax: 1}, {ID: "w2", StickyRunsMax: 1}}}, w)
	runs, err := w.StartMany(t.Context(), e.Client(), []int{1, 2, 3})
	if err != nil {
		t.Fatal(err)
	}
	if a, b := <-began, <-began; a == b {
		t.Errorf("two runs are bound to %s", a)
	}
	if len(began) > 0 {
		t.Error("a third run is bound")
	}
	close(goOn)
	for _, run := range runs {
		if _, err := step.Result(t.Context(), run); err != nil {
			t.Error(err)
		}
	}
}
