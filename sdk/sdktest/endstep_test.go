package sdktest_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/sdktest"
	"github.com/limpetrun/limpet/sdk/worker"
)

// rentals is a workflow whose step ends as its input says, and whose end step says what
// it has found.
type rentals struct {
	*boxes
	w     *sdk.Workflow[string]
	state *sdk.Local[*box]
	began chan string // run ids

	mu sync.Mutex
	// freed are what end steps say, by run.
	freed map[string][]string
}

func newRentals(name string, sticky sdk.Sticky, onEnd sdk.OnEndConfig, free func(ctx sdk.Context, end sdk.End) error) *rentals {
	r := &rentals{boxes: newBoxes(), began: make(chan string, 100), freed: map[string][]string{}}
	r.w = sdk.NewWorkflow[string](name, sdk.WorkflowConfig{Sticky: sticky, OnEvents: []string{name}})
	r.state = sdk.NewLocal(r.w, sdk.LocalConfig[*box, string]{Release: r.release, Bind: func(ctx sdk.BindContext, _ string) (*box, error) { return r.bind(ctx, 0) }})
	sdk.AddStep(r.w, "rent", r.rent, sdk.StepConfig{ExecutionTimeout: 100 * time.Millisecond, LostAttemptsMax: 1})
	sdk.AddStep(r.w, "use", func(ctx sdk.Context, how string) (int, error) {
		if how == "is canceled" || how == "is terminated" || how == "loses its worker" {
			// The two steps run beside each other: whoever ends the run is to find a box.
			if _, err := r.state.Get(ctx); err != nil {
				return 0, err
			}
			r.began <- ctx.RunID()
			<-ctx.Done()
			return 0, ctx.Err()
		}
		return 2, nil
	}, sdk.StepConfig{LostAttemptsMax: 1})
	sdk.OnEnd(r.w, "free", func(ctx sdk.Context, _ string, end sdk.End) error {
		b, err := r.state.Get(ctx)
		found := "nothing"
		switch {
		case err == nil && !b.released.Load():
			found = "its box"
		case err == nil:
			found = "a released box"
		case !errors.Is(err, sdk.ErrStateNotThere):
			found = err.Error()
		}
		r.mu.Lock()
		r.freed[ctx.RunID()] = append(r.freed[ctx.RunID()], fmt.Sprintf("%s: %s %q", found, end.Status, end.FailedStep))
		r.mu.Unlock()
		return free(ctx, end)
	}, onEnd)
	return r
}

func (r *rentals) rent(ctx sdk.Context, how string) (int, error) {
	if _, err := r.state.Get(ctx); err != nil {
		return 0, err
	}
	switch how {
	case "fails":
		return 0, errors.New("no room")
	case "panics":
		panic("no room")
	case "times out":
		<-ctx.Done()
		return 0, ctx.Err()
	}
	return 1, nil
}

func (r *rentals) of(run string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.freed[run])
}

func nothing(sdk.Context, sdk.End) error { return nil }

// starters are the ways in which a run of rentals is started. Each calls meanwhile while
// the run goes on, and returns when that has ended.
func (r *rentals) starters(t *testing.T, e *sdktest.Engine, meanwhile func(how string)) map[string]func(how string) (*sdk.Run, error) {
	parent := sdk.NewWorkflow[string](r.w.Name() + "-parent")
	sdk.AddStep(parent, "spawns", func(ctx sdk.Context, how string) (string, error) {
		child, err := r.w.Spawn(ctx, how)
		if err != nil {
			return "", err
		}
		_ = child.Wait(ctx)
		if n := len(r.of(child.ID())); (n == 1) == (how == "is terminated") {
			return "", fmt.Errorf("the parent hears of the end after %d end steps", n)
		}
		return child.ID(), nil
	})
	if err := e.StartWorker(t.Context(), worker.Config{ID: "parents"}, parent); err != nil {
		t.Fatal(err)
	}
	ended := func(run *sdk.Run, how string) (*sdk.Run, error) {
		meanwhile(how)
		_, err := run.Ended(t.Context())
		return run, err
	}
	return map[string]func(how string) (*sdk.Run, error){
		"by hand": func(how string) (*sdk.Run, error) {
			run, err := r.w.Start(t.Context(), e.Client(), how)
			if err != nil {
				return nil, err
			}
			return ended(run, how)
		},
		"by an event": func(how string) (*sdk.Run, error) {
			pushed, err := e.Client().PushEvent(t.Context(), r.w.Name(), how)
			if err != nil {
				return nil, err
			}
			return ended(pushed.Runs[0].Run, how)
		},
		"by a parent": func(how string) (*sdk.Run, error) {
			run, err := parent.Start(t.Context(), e.Client(), how)
			if err != nil {
				return nil, err
			}
			meanwhile(how)
			var child string
			err = run.Result(t.Context(), &child)
			return e.Client().Run(child), err
		},
	}
}

// TestAnEndStepRunsOnceForEachEnd: whatever ends a run, and whatever has started it, but
// for a cancel that is to be without it. It finds the run's state, which is released only
// afterwards, and who waits for the run hears of its end after that.
func TestAnEndStepRunsOnceForEachEnd(t *testing.T) {
	r := newRentals("rentals", sdk.Soft, sdk.OnEndConfig{}, nothing)
	e := sdktest.Start(t, sdktest.Config{Workers: sdktest.Workers("w1", "w2")}, r.w)
	ends := map[string][]string{
		"succeeds":      {`its box: RUN_STATUS_SUCCEEDED ""`},
		"fails":         {`its box: RUN_STATUS_FAILED "rent"`},
		"panics":        {`its box: RUN_STATUS_FAILED "rent"`},
		"times out":     {`its box: RUN_STATUS_FAILED "rent"`},
		"is canceled":   {`its box: RUN_STATUS_CANCELED ""`},
		"is terminated": nil,
	}
	starters := r.starters(t, e, func(how string) {
		cancel := (*sdk.Run).Cancel
		switch how {
		case "is terminated":
			cancel = (*sdk.Run).CancelWithoutEnd
		case "is canceled":
		default:
			return
		}
		if err := cancel(e.Client().Run(<-r.began), t.Context(), "enough"); err != nil {
			t.Error(err)
		}
	})
	for by, start := range starters {
		for how, want := range ends {
			run, err := start(how)
			if err != nil {
				t.Fatalf("started %s, it %s: %v", by, how, err)
			}
			if said := r.of(run.ID()); !slices.Equal(said, want) {
				t.Errorf("started %s, it %s: its end step said %q, want %q", by, how, said, want)
			}
			if released := r.next(t); !strings.HasSuffix(released, "run-ended") {
				t.Errorf("started %s, it %s: released %s", by, how, released)
			}
		}
	}
}

// TestAnEndStepOfARunThatLostItsWorker is executed elsewhere, without the state, and
// builds none; whatever has started the run.
func TestAnEndStepOfARunThatLostItsWorker(t *testing.T) {
	r := newRentals("loses", sdk.Soft, sdk.OnEndConfig{}, func(ctx sdk.Context, _ sdk.End) error {
		if b := ctx.Binding(); !b.StateNew || b.StateReason != sdk.ReasonWorkerLost {
			return fmt.Errorf("%+v", b)
		}
		return nil
	})
	e := sdktest.Start(t, sdktest.Config{Workers: sdktest.Workers("w1", "w2")}, r.w)
	var bound string
	starters := r.starters(t, e, func(string) {
		run := e.Client().Run(<-r.began)
		// The other step, which runs beside it, is not to be lost with the worker.
		untilEvent(t, run, func(ev *messages.Event) bool { return ev.GetStepSucceeded().GetStep() == "rent" })
		bound = stepOf(t, run, "use").GetWorkerId()
		if err := e.KillWorker(bound); err != nil {
			t.Fatal(err)
		}
	})
	built := int32(0)
	for by, start := range starters {
		run, err := start("loses its worker")
		if err != nil {
			t.Fatal(by, err)
		}
		view, err := run.Get(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if said := r.of(run.ID()); len(said) != 1 || said[0] != `nothing: RUN_STATUS_FAILED "use"` {
			t.Errorf("started %s: the end step said %q", by, said)
		}
		if end := stepOf(t, run, "free"); end.GetWorkerId() == bound || end.GetPhase() != "succeeded" || view.GetEnding().GetFailedStep() != "use" {
			t.Errorf("started %s: %v, %v", by, end, view.GetEnding())
		}
		if built++; r.built.Load() != built {
			t.Errorf("started %s: %d boxes were built of %d runs", by, r.built.Load(), built)
		}
		if err := e.StartWorker(t.Context(), worker.Config{ID: bound}, r.w); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAFailedEndStepChangesNothing of how the run has ended. It is shown apart.
func TestAFailedEndStepChangesNothing(t *testing.T) {
	for _, sticky := range []sdk.Sticky{sdk.Soft, sdk.Hard} {
		r := newRentals("fails", sticky, sdk.OnEndConfig{Outcomes: []sdk.RunStatus{sdk.Failed, sdk.Succeeded}, Retries: 1, Backoff: time.Millisecond},
			func(sdk.Context, sdk.End) error { return errors.New("locked") })
		e := sdktest.Start(t, sdktest.Config{}, r.w)
		for how, want := range map[string]sdk.RunStatus{"fails": sdk.Failed, "succeeds": sdk.Succeeded, "is canceled": sdk.Canceled} {
			run, err := r.w.Start(t.Context(), e.Client(), how)
			if err != nil {
				t.Fatal(err)
			}
			if how == "is canceled" {
				<-r.began
				if err := run.Cancel(t.Context(), ""); err != nil {
					t.Fatal(err)
				}
			}
			view, err := run.Ended(t.Context())
			if err != nil || view.GetRun().GetStatus() != want {
				t.Fatalf("%v, %v", view.GetRun(), err)
			}
			end := stepOf(t, run, "free")
			switch {
			case how == "is canceled":
				if end.GetPhase() != "skipped" || view.GetEnding() != nil || len(r.of(run.ID())) != 0 {
					t.Errorf("%v of a run that %s: it is for others", end, how)
				}
			case end.GetPhase() != "failed" || end.GetFailure().GetMessage() != "locked" || len(r.of(run.ID())) != 2:
				t.Errorf("%v, of a run that %s", end, how)
			}
			if wait := run.Wait(t.Context()); (wait == nil) != (want == sdk.Succeeded) || wait != nil && strings.Contains(wait.Error(), "locked") {
				t.Errorf("a run that %s: %v", how, wait)
			}
		}
	}
}

// TestACancelDuringTheEndStep changes nothing, unless it is one without the end step.
func TestACancelDuringTheEndStep(t *testing.T) {
	ends := make(chan string, 1)
	r := newRentals("hangs", sdk.Soft, sdk.OnEndConfig{}, func(ctx sdk.Context, _ sdk.End) error {
		ends <- ctx.RunID()
		<-ctx.Done()
		return ctx.Err()
	})
	e := sdktest.Start(t, sdktest.Config{}, r.w)
	run, err := r.w.Start(t.Context(), e.Client(), "fails")
	if err != nil {
		t.Fatal(err)
	}
	<-ends
	if err := run.Cancel(t.Context(), "too late"); !errors.Is(err, sdk.ErrRunEnding) || !strings.Contains(err.Error(), `end step "free"`) {
		t.Errorf("a cancel once the outcome is decided: %v", err)
	}
	if err := run.CancelWithoutEnd(t.Context(), "it hangs"); err != nil {
		t.Fatal(err)
	}
	view, err := run.Ended(t.Context())
	if err != nil || view.GetRun().GetStatus() != sdk.Failed || stepOf(t, run, "free").GetPhase() != "canceled" {
		t.Errorf("%v, %v", view, err)
	}

	if run, err = r.w.Start(t.Context(), e.Client(), "is canceled"); err != nil {
		t.Fatal(err)
	}
	<-r.began
	if err := run.CancelWithoutEnd(t.Context(), "at once"); err != nil {
		t.Fatal(err)
	}
	view, err = run.Ended(t.Context())
	if err != nil || view.GetRun().GetStatus() != sdk.Canceled || len(r.of(run.ID())) != 0 {
		t.Errorf("%v, %v", view, err)
	}
}
