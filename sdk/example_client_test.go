package sdk_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/sdktest"
)

// An event starts one run of each workflow that declares its key. With an id of
// your own it does so once, however often it is pushed.
func ExampleClient_PushEvent() {
	ctx := context.Background()
	type user struct {
		Name string `json:"name"`
	}
	hello := sdk.NewWorkflow[user]("hello", sdk.WorkflowConfig{OnEvents: []string{"user:create"}})
	greet := sdk.AddStep(hello, "greet", func(ctx sdk.Context, in user) (string, error) { return "hello " + in.Name, nil })
	audit := sdk.NewWorkflow[any]("audit", sdk.WorkflowConfig{OnEvents: []string{"user:*"}})
	sdk.AddStep(audit, "note", func(ctx sdk.Context, in any) (bool, error) { return true, nil })
	e, err := sdktest.New(ctx, sdktest.Config{}, hello, audit)
	check(err)
	defer closeEngine(e)

	for range 2 {
		event, err := e.Client().PushEvent(ctx, "user:create", user{Name: "ada"}, &sdk.EventOptions{ID: "signup-17"})
		check(err)
		for _, run := range event.Runs {
			fmt.Println(run.Workflow, run.Existed)
			if run.Workflow == hello.Name() {
				text, err := greet.Result(ctx, run)
				check(err)
				fmt.Println(text)
			}
		}
	}
	// Unordered output:
	// audit false
	// hello false
	// hello ada
	// audit true
	// hello true
	// hello ada
}

// A client of several servers goes to another one where one does not answer.
func ExampleNewClient_servers() {
	ctx := context.Background()
	w := sdk.NewWorkflow[int]("double")
	double := sdk.AddStep(w, "double", func(ctx sdk.Context, n int) (int, error) { return 2 * n, nil })
	e, err := sdktest.New(ctx, sdktest.Config{}, w)
	check(err)
	defer closeEngine(e)

	c, err := sdk.NewClient(sdk.ClientConfig{Address: "127.0.0.1:1," + e.Address()})
	check(err)
	run, err := w.Start(ctx, c, 21)
	check(err)
	n, err := double.Result(ctx, run)
	check(err)
	fmt.Println(n)
	// Output: 42
}

// Many runs are started by one call, and durable when it returns.
func ExampleWorkflow_StartMany() {
	ctx := context.Background()
	squares := sdk.NewWorkflow[int]("squares")
	square := sdk.AddStep(squares, "square", func(ctx sdk.Context, n int) (int, error) { return n * n, nil })
	e, err := sdktest.New(ctx, sdktest.Config{}, squares)
	check(err)
	defer closeEngine(e)

	runs, err := squares.StartMany(ctx, e.Client(), []int{1, 2, 3, 4}, &sdk.StartManyOptions{
		IdempotencyKey: func(i int) string { return fmt.Sprintf("batch-7/%d", i) },
	})
	check(err)
	sum := 0
	for _, run := range runs {
		n, err := square.Result(ctx, run)
		check(err)
		sum += n
	}
	fmt.Println(sum)
	// Output: 30
}

// Watch shows a run's history as it is written, to its end.
func ExampleRun_Watch() {
	ctx := context.Background()
	w := sdk.NewWorkflow[int]("increment")
	sdk.AddStep(w, "add", func(ctx sdk.Context, n int) (int, error) { return n + 1, nil })
	e, err := sdktest.New(ctx, sdktest.Config{}, w)
	check(err)
	defer closeEngine(e)

	run, err := w.Start(ctx, e.Client(), 1)
	check(err)
	for entry, err := range run.Watch(ctx, 0) {
		check(err)
		for _, event := range entry.GetEvents() {
			if done := event.GetStepSucceeded(); done != nil {
				fmt.Printf("step %s: %s\n", done.GetStep(), done.GetOutput())
			}
			if ended := event.GetRunEnded(); ended != nil {
				fmt.Println(ended.GetStatus())
			}
		}
	}
	// Output:
	// step add: 2
	// RUN_STATUS_SUCCEEDED
}

// A canceled run ends, and so do the contexts of its running steps.
func ExampleRun_Cancel() {
	ctx := context.Background()
	began := make(chan struct{})
	w := sdk.NewWorkflow[int]("patient")
	sdk.AddStep(w, "wait", func(ctx sdk.Context, n int) (int, error) {
		close(began)
		<-ctx.Done()
		return 0, ctx.Err()
	})
	e, err := sdktest.New(ctx, sdktest.Config{}, w)
	check(err)
	defer closeEngine(e)

	run, err := w.Start(ctx, e.Client(), 1)
	check(err)
	<-began
	check(run.Cancel(ctx, "the customer left"))
	fmt.Println(errors.Is(run.Wait(ctx), sdk.ErrCanceled))
	fmt.Println(errors.Is(run.Cancel(ctx, "again"), sdk.ErrRunFinished))
	// Output:
	// true
	// true
}

// Replay runs steps of an ended run again, and whatever descends from them.
func ExampleRun_Replay() {
	ctx := context.Background()
	var fixed atomic.Bool
	w := sdk.NewWorkflow[int]("report")
	load := sdk.AddStep(w, "load", func(ctx sdk.Context, n int) (int, error) { return n * 10, nil })
	render := sdk.AddStep(w, "render", func(ctx sdk.Context, n int) (string, error) {
		if !fixed.Load() {
			return "", errors.New("the template is broken")
		}
		rows, err := load.Output(ctx)
		return fmt.Sprintf("%d rows, attempt %d", rows, ctx.Attempt()), err
	}, sdk.StepConfig{Parents: sdk.Steps(load)})
	e, err := sdktest.New(ctx, sdktest.Config{}, w)
	check(err)
	defer closeEngine(e)

	run, err := w.Start(ctx, e.Client(), 4)
	check(err)
	fmt.Println(errors.Is(run.Wait(ctx), sdk.ErrUser))
	fixed.Store(true)
	check(run.Replay(ctx, render.Name()))
	out, err := render.Result(ctx, run)
	check(err)
	fmt.Println(out)
	// Output:
	// true
	// 40 rows, attempt 2
}
