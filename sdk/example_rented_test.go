package sdk_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/sdktest"
)

// An end step frees what a failed run had rented. It runs on the run's worker, with the
// run's local state still there, which is released afterwards. Who waits for the run
// hears of its end when all is freed.
func Example_rented() {
	ctx := context.Background()
	type machine struct{ name string }
	training := sdk.NewWorkflow[string]("training", sdk.WorkflowConfig{Sticky: sdk.Soft})
	rented := sdk.NewLocal(training, sdk.LocalConfig[*machine, string]{
		Bind:    func(_ sdk.BindContext, size string) (*machine, error) { return &machine{"a " + size + " machine"}, nil },
		Release: func(*machine, sdk.Why) error { return nil },
	})
	sdk.AddStep(training, "train", func(ctx sdk.Context, _ string) (string, error) {
		if _, err := rented.Get(ctx); err != nil {
			return "", err
		}
		return "", errors.New("the loss is not a number")
	})
	sdk.OnEnd(training, "give-back", func(ctx sdk.Context, _ string, end sdk.End) error {
		m, err := rented.Get(ctx)
		if errors.Is(err, sdk.ErrStateNotThere) {
			return nil // Nothing was rented, or it went with its worker.
		}
		if err != nil {
			return err
		}
		fmt.Printf("step %q failed: %v: %s is given back\n", end.FailedStep, end.Err, m.name)
		return nil
	}, sdk.OnEndConfig{Outcomes: []sdk.RunStatus{sdk.Failed, sdk.Canceled}, Retries: 3})

	e, err := sdktest.New(ctx, sdktest.Config{}, training)
	check(err)
	defer closeEngine(e)

	run, err := training.Start(ctx, e.Client(), "large")
	check(err)
	fmt.Println("the run has failed:", run.Wait(ctx) != nil)
	// Output:
	// step "train" failed: USER_ERROR: step "train": the loss is not a number: a large machine is given back
	// the run has failed: true
}
