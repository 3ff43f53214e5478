package sdktest_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/sdktest"
	"github.com/limpetrun/limpet/sdk/worker"
)

// A worker that is told to stop gives the state of its Soft runs away before it
// goes: the next worker does not build it.
func TestLocalIsHandedOffWhenItsWorkerDrains(t *testing.T) {
	type counted struct{ N int }
	w := sdk.NewWorkflow[int]("counts", sdk.WorkflowConfig{Sticky: sdk.Soft})
	built, released := make(chan string, 10), make(chan sdk.Why, 10)
	count := sdk.NewLocal(w, sdk.LocalConfig[*counted, int]{
		Bind: func(ctx sdk.BindContext, _ int) (*counted, error) {
			data, handed := ctx.HandedOff()
			built <- fmt.Sprintf("%v %s", handed, data)
			v := &counted{}
			if handed {
				if _, err := fmt.Sscan(string(data), &v.N); err != nil {
					return nil, err
				}
			}
			return v, nil
		},
		Release: func(_ *counted, why sdk.Why) error {
			released <- why
			return nil
		},
		Handoff: func(_ context.Context, v *counted) ([]byte, error) { return fmt.Append(nil, v.N), nil },
	})
	began, goOn := make(chan string, 1), make(chan struct{})
	first := sdk.AddStep(w, "first", func(ctx sdk.Context, _ int) (int, error) {
		v, err := count.Get(ctx)
		if err != nil {
			return 0, err
		}
		v.N = 41
		began <- ctx.WorkerID()
		<-goOn
		return v.N, nil
	})
	second := sdk.AddStep(w, "second", func(ctx sdk.Context, _ int) (seen, error) {
		if err := hasMoved(ctx); err != nil {
			return seen{}, err
		}
		v, err := count.Get(ctx)
		if err != nil {
			return seen{}, err
		}
		v.N++
		return seen{ctx.WorkerID(), int32(v.N), ctx.Binding()}, nil
	}, untilMoved(first))
	e := sdktest.Start(t, sdktest.Config{Workers: []worker.Config{{ID: "w1", Grace: time.Minute}, {ID: "w2", Grace: time.Minute}}}, w)
	run, err := w.Start(t.Context(), e.Client(), 1)
	if err != nil {
		t.Fatal(err)
	}
	bound := <-began
	stopped := make(chan error, 1)
	go func() { stopped <- e.StopWorker(bound) }()
	untilDrains(t, e, bound)
	close(goOn)
	out, err := second.Result(t.Context(), run)
	if err != nil || out.Worker == bound || out.Box != 42 || !out.Binding.HandedOff || out.Binding.StateReason != sdk.ReasonWorkerDraining {
		t.Errorf("bound to %s, which drains: %+v, %v", bound, out, err)
	}
	if one, two := <-built, <-built; one != "false " || two != "true 41" {
		t.Errorf("built %q, then %q", one, two)
	}
	// The two workers do not wait for each other.
	if one, two := <-released, <-released; min(one, two) != sdk.Rebound || max(one, two) != sdk.RunEnded {
		t.Errorf("released %s, %s", one, two)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// hasMoved is the error of a step that has to wait for its run to move: a run
// hears that its worker drains a moment after the server does.
func hasMoved(ctx sdk.Context) error {
	if ctx.Binding().Epoch == 1 {
		return errors.New("the run has not left its worker yet")
	}
	return nil
}

// untilMoved has a step tried again until hasMoved is content.
func untilMoved(parent sdk.AnyStep) sdk.StepConfig {
	return sdk.StepConfig{Parents: sdk.Steps(parent), Retries: 1000, Backoff: 5 * time.Millisecond, BackoffMax: 5 * time.Millisecond}
}

// untilDrains returns when the server knows that a worker drains.
func untilDrains(t *testing.T, e *sdktest.Engine, id string) {
	t.Helper()
	for {
		workers, err := e.Client().ListWorkers(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range workers {
			if w.GetWorkerId() == id && w.GetState() != api.WorkerUp {
				return
			}
		}
		select {
		case <-t.Context().Done():
			t.Fatal("the worker does not drain")
		case <-time.After(5 * time.Millisecond):
		}
	}
}
