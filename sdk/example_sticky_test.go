package sdk_test

import (
	"context"
	"fmt"
	"sync"

	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/sdktest"
)

// where is what the steps of these examples return.
type where struct {
	Worker string `json:"worker"`
}

func whereAmI[In any](ctx sdk.Context, _ In) (where, error) { return where{ctx.WorkerID()}, nil }

// All steps of a sticky run execute on one worker, those that run side by side
// too: the run is bound to it before any of them is sent.
func Example_sticky() {
	ctx := context.Background()
	type user struct {
		Name string `json:"name"`
	}
	sticky := sdk.NewWorkflow[user]("sticky-workflow", sdk.WorkflowConfig{
		Sticky: sdk.Soft, OnEvents: []string{"user:create"},
	})
	step1a := sdk.AddStep(sticky, "step1a", whereAmI[user])
	step1b := sdk.AddStep(sticky, "step1b", whereAmI[user])
	step2 := sdk.AddStep(sticky, "step2", whereAmI[user], sdk.StepConfig{Parents: sdk.Steps(step1a, step1b)})

	e, err := sdktest.New(ctx, sdktest.Config{Workers: sdktest.Workers("worker-1", "worker-2", "worker-3")}, sticky)
	check(err)
	defer closeEngine(e)

	event, err := e.Client().PushEvent(ctx, "user:create", user{Name: "ada"})
	check(err)
	run := event.Runs[0]
	first, err := step1a.Result(ctx, run)
	check(err)
	for _, s := range []*sdk.Step[user, where]{step1a, step1b, step2} {
		at, err := s.Result(ctx, run)
		check(err)
		fmt.Println(s.Name(), "on the run's worker:", at == first)
	}
	// Output:
	// step1a on the run's worker: true
	// step1b on the run's worker: true
	// step2 on the run's worker: true
}

// A step spawns a sticky child: the child is bound to the worker of the step
// that spawned it. While the step waits for the child it holds no slot, so one
// slot is enough for both.
func ExampleWorkflow_Spawn() {
	ctx := context.Background()
	child := stickyChild()
	childStep := sdk.AddStep(child, "child-step", whereAmI[any])

	parent := sdk.NewWorkflow[any]("sticky-parent", sdk.WorkflowConfig{
		Sticky: sdk.Soft, OnEvents: []string{"sticky:parent"},
	})
	type both struct{ Parent, Child string }
	spawn := sdk.AddStep(parent, "spawn", func(ctx sdk.Context, in any) (both, error) {
		ref, err := child.Spawn(ctx, in, &sdk.SpawnOptions{Sticky: true})
		if err != nil {
			return both{}, err
		}
		at, err := childStep.Result(ctx, ref)
		return both{Parent: ctx.WorkerID(), Child: at.Worker}, err
	})

	workers := sdktest.Workers("worker-1", "worker-2")
	workers[0].Slots, workers[1].Slots = 1, 1
	e, err := sdktest.New(ctx, sdktest.Config{Workers: workers}, parent, child)
	check(err)
	defer closeEngine(e)

	event, err := e.Client().PushEvent(ctx, "sticky:parent", nil)
	check(err)
	at, err := spawn.Result(ctx, event.Runs[0])
	check(err)
	fmt.Println("the child ran where its parent did:", at.Parent == at.Child)
	// Output: the child ran where its parent did: true
}

// The child of the example above is a workflow like any other: an event may
// start it too, and then it is placed on its own.
func Example_stickyChildOnItsOwn() {
	ctx := context.Background()
	child := stickyChild()
	childStep := sdk.AddStep(child, "child-step", whereAmI[any])
	e, err := sdktest.New(ctx, sdktest.Config{Workers: sdktest.Workers("worker-1")}, child)
	check(err)
	defer closeEngine(e)

	event, err := e.Client().PushEvent(ctx, "sticky:child", nil)
	check(err)
	at, err := childStep.Result(ctx, event.Runs[0])
	check(err)
	fmt.Println(event.Runs[0].Workflow, "on", at.Worker)
	// Output: sticky-child on worker-1
}

func stickyChild() *sdk.Workflow[any] {
	return sdk.NewWorkflow[any]("sticky-child", sdk.WorkflowConfig{
		Sticky: sdk.Soft, OnEvents: []string{"sticky:child"},
	})
}

// What a sticky run keeps in its worker's memory may be lost with the worker.
// Binding tells the next step, which then builds it anew.
func ExampleBinding() {
	ctx := context.Background()
	type local struct {
		sync.Mutex
		models map[string]string // by run
	}
	memory := map[string]*local{"gpu-1": {models: map[string]string{}}, "gpu-2": {models: map[string]string{}}}
	loaded, killed := make(chan string), make(chan struct{})

	ask := sdk.NewWorkflow[string]("ask", sdk.WorkflowConfig{Sticky: sdk.Soft})
	load := func(ctx sdk.Context, model string) {
		m := memory[ctx.WorkerID()]
		m.Lock()
		defer m.Unlock()
		m.models[ctx.RunID()] = model
	}
	first := sdk.AddStep(ask, "load", func(ctx sdk.Context, model string) (string, error) {
		load(ctx, model)
		return ctx.WorkerID(), nil
	})
	answer := sdk.AddStep(ask, "answer", func(ctx sdk.Context, model string) (string, error) {
		if ctx.Binding().Epoch == 1 {
			loaded <- ctx.WorkerID()
			<-killed
			return "", ctx.Err()
		}
		b := ctx.Binding()
		if b.StateNew {
			load(ctx, model)
		}
		return fmt.Sprintf("epoch %d, state is new: %v, because: %s", b.Epoch, b.StateNew, b.StateReason), nil
	}, sdk.StepConfig{Parents: sdk.Steps(first)})

	e, err := sdktest.New(ctx, sdktest.Config{Workers: sdktest.Workers("gpu-1", "gpu-2")}, ask)
	check(err)
	defer closeEngine(e)
	run, err := ask.Start(ctx, e.Client(), "llama")
	check(err)
	check(e.KillWorker(<-loaded))
	close(killed)
	out, err := answer.Result(ctx, run)
	check(err)
	fmt.Println(out)
	// Output: epoch 2, state is new: true, because: worker lost
}
