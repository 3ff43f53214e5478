package sdk_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/sdktest"
	"github.com/limpetrun/limpet/sdk/worker"
)

// A workflow is a plain value. Mistakes do not panic: they are gathered and
// reported together, by Validate and when a worker registers the workflow.
func ExampleNewWorkflow() {
	type Order struct {
		ID string `json:"id"`
	}
	orders := sdk.NewWorkflow[Order]("orders", sdk.WorkflowConfig{OnEvents: []string{"order:*"}})
	reserve := sdk.AddStep(orders, "reserve", func(ctx sdk.Context, in Order) (int, error) { return 3, nil })
	sdk.AddStep(orders, "ship it", func(ctx sdk.Context, in Order) (string, error) {
		parcels, err := reserve.Output(ctx)
		return fmt.Sprintf("%d parcels of %s", parcels, in.ID), err
	}, sdk.StepConfig{Parents: sdk.Steps(reserve), Retries: -1})

	err := orders.Validate()
	fmt.Println(errors.Is(err, sdk.ErrInvalidDefinition))
	fmt.Println(err)
	// Output:
	// true
	// INVALID_DEFINITION: workflow "orders": step name "ship it": character ' ' at position 5 is not one of A-Z a-z 0-9 . _ : / -; step "ship it": retries is -1, must be 0 to 10000
}

// From start to result: a worker serves the workflow, a client starts a run and
// asks a step for what it returned.
func ExampleWorkflow_Start() {
	ctx := context.Background()
	type Text struct {
		Words []string `json:"words"`
	}
	count := sdk.NewWorkflow[Text]("count")
	letters := sdk.AddStep(count, "letters", func(ctx sdk.Context, in Text) (int, error) {
		n := 0
		for _, w := range in.Words {
			n += len(w)
		}
		return n, nil
	})
	double := sdk.AddStep(count, "double", func(ctx sdk.Context, in Text) (int, error) {
		n, err := letters.Output(ctx)
		return 2 * n, err
	}, sdk.StepConfig{Parents: sdk.Steps(letters)})

	e, err := sdktest.New(ctx, sdktest.Config{}, count)
	check(err)
	defer closeEngine(e)

	run, err := count.Start(ctx, e.Client(), Text{Words: []string{"sticky", "rock"}})
	check(err)
	n, err := double.Result(ctx, run)
	check(err)
	fmt.Println(n)

	// A second start with the same idempotency key is the same run.
	first, err := count.Start(ctx, e.Client(), Text{}, &sdk.StartOptions{IdempotencyKey: "nightly"})
	check(err)
	second, err := count.Start(ctx, e.Client(), Text{}, &sdk.StartOptions{IdempotencyKey: "nightly"})
	check(err)
	fmt.Println(first.ID() == second.ID(), second.Existed)
	// Output:
	// 20
	// true true
}

// Input that does not fit the type is refused before anything is stored, with
// an error that errors.Is knows, wherever it came from.
func ExampleClient_Start() {
	ctx := context.Background()
	type Order struct {
		Count int `json:"count"`
	}
	orders := sdk.NewWorkflow[Order]("orders")
	sdk.AddStep(orders, "ship", func(ctx sdk.Context, in Order) (int, error) { return in.Count, nil })
	e, err := sdktest.New(ctx, sdktest.Config{}, orders)
	check(err)
	defer closeEngine(e)

	_, err = e.Client().Start(ctx, "orders", map[string]any{"count": "many"})
	fmt.Println(errors.Is(err, sdk.ErrInvalidInput))
	_, err = e.Client().Start(ctx, "odrers", map[string]any{"count": 1})
	fmt.Println(errors.Is(err, sdk.ErrUnknownWorkflow), sdk.CodeOf(err).Hint())
	// Output:
	// true
	// true start a worker that registers the workflow, or check the name with `limpet workflow list`
}

// A step is tried again after a failure, unless it says that this is of no use.
// Why a run failed can be told by errors.Is and errors.As.
func ExampleNonRetryable() {
	ctx := context.Background()
	payments := sdk.NewWorkflow[string]("payments")
	charge := sdk.AddStep(payments, "charge", func(ctx sdk.Context, card string) (int, error) {
		if card == "stolen" {
			return 0, sdk.NonRetryable(errors.New("the card is blocked"))
		}
		if ctx.Attempt() < 3 {
			return 0, errors.New("the bank does not answer")
		}
		return ctx.Attempt(), nil
	}, sdk.StepConfig{Retries: 5, Backoff: 10 * time.Millisecond})
	e, err := sdktest.New(ctx, sdktest.Config{}, payments)
	check(err)
	defer closeEngine(e)

	run, err := payments.Start(ctx, e.Client(), "good")
	check(err)
	attempt, err := charge.Result(ctx, run)
	fmt.Println("attempt", attempt, err)

	run, err = payments.Start(ctx, e.Client(), "stolen")
	check(err)
	_, err = charge.Result(ctx, run)
	var failed *sdk.RunError
	fmt.Println(errors.As(err, &failed), failed.Failure)
	// Output:
	// attempt 3 <nil>
	// true USER_ERROR: step "charge": the card is blocked
}

// Workers have labels, steps have rules about them.
func ExampleRequire() {
	ctx := context.Background()
	train := sdk.NewWorkflow[string]("train")
	sdk.AddStep(train, "prepare", func(ctx sdk.Context, in string) (string, error) { return ctx.WorkerID(), nil })
	fit := sdk.AddStep(train, "fit", func(ctx sdk.Context, in string) (string, error) { return ctx.WorkerID(), nil }, sdk.StepConfig{
		Labels: []sdk.Label{
			sdk.Require("gpu").Equal("a100"),
			sdk.Require("memory-gb").AtLeast(64),
			sdk.Prefer("zone", 10).Equal("eu-1"),
		},
	})
	e, err := sdktest.New(ctx, sdktest.Config{Workers: []worker.Config{
		{ID: "small", Labels: map[string]string{"gpu": "a100", "memory-gb": "32", "zone": "eu-1"}},
		{ID: "far", Labels: map[string]string{"gpu": "a100", "memory-gb": "80", "zone": "us-1"}},
		{ID: "near", Labels: map[string]string{"gpu": "a100", "memory-gb": "80", "zone": "eu-1"}},
	}}, train)
	check(err)
	defer closeEngine(e)

	run, err := train.Start(ctx, e.Client(), "model")
	check(err)
	where, err := fit.Result(ctx, run)
	check(err)
	fmt.Println(where)
	// Output: near
}

func check(err error) {
	if err != nil {
		log.Panic(err)
	}
}

func closeEngine(e *sdktest.Engine) { check(e.Close()) }
