package sdktest_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/sdktest"
	"github.com/limpetrun/limpet/sdk/worker"
)

// gated is a workflow whose second step, at its first attempt in each epoch,
// says where it is and then waits for its context to end, until it is released.
type gated struct {
	*sdk.Workflow[int]
	last     *sdk.Step[int, sdk.Binding]
	arrived  chan string
	released atomic.Bool
}

func newGated(name string, sticky sdk.Sticky) *gated {
	g := &gated{Workflow: sdk.NewWorkflow[int](name, sdk.WorkflowConfig{Sticky: sticky}), arrived: make(chan string, 10)}
	first := sdk.AddStep(g.Workflow, "first", func(sdk.Context, int) (int, error) { return 0, nil })
	g.last = sdk.AddStep(g.Workflow, "last", func(ctx sdk.Context, _ int) (sdk.Binding, error) {
		if !g.released.Load() {
			g.arrived <- ctx.WorkerID()
			<-ctx.Done()
			return sdk.Binding{}, ctx.Err()
		}
		return ctx.Binding(), nil
	}, sdk.StepConfig{Parents: sdk.Steps(first)})
	return g
}

func start(t *testing.T, e *sdktest.Engine, g *gated) *sdk.Run {
	t.Helper()
	run, err := g.Start(t.Context(), e.Client(), 1)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

func TestHardRunWaitsForItsWorker(t *testing.T) {
	g := newGated("hard", sdk.Hard)
	e := sdktest.Start(t, sdktest.Config{Workers: sdktest.Workers("w1", "w2")}, g)
	run := start(t, e, g)
	at := <-g.arrived
	if err := e.KillWorker(at); err != nil {
		t.Fatal(err)
	}
	g.released.Store(true)
	if err := e.RestartWorker(t.Context(), at); err != nil {
		t.Fatal(err)
	}
	b, err := g.last.Result(t.Context(), run)
	if err != nil || b.Epoch != 2 || !b.StateNew || b.PreviousWorker != at {
		t.Errorf("binding %+v, %v", b, err)
	}
	got, err := run.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, record := range got.Bindings {
		if record.WorkerId != at {
			t.Errorf("the run was bound to %s: %v", record.WorkerId, record)
		}
	}
}

func TestSoftRunMovesWhenItsWorkerIsKilled(t *testing.T) {
	g := newGated("soft", sdk.Soft)
	e := sdktest.Start(t, sdktest.Config{Workers: sdktest.Workers("w1", "w2")}, g)
	run := start(t, e, g)
	at := <-g.arrived
	g.released.Store(true)
	if err := e.KillWorker(at); err != nil {
		t.Fatal(err)
	}
	b, err := g.last.Result(t.Context(), run)
	if err != nil || b.Epoch != 2 || !b.StateNew || b.PreviousWorker != at {
		t.Errorf("binding %+v, %v", b, err)
	}
}

func TestStoppedWorkerFinishesWhatItRuns(t *testing.T) {
	began, goOn := make(chan struct{}), make(chan struct{})
	w := sdk.NewWorkflow[int]("slow")
	slow := sdk.AddStep(w, "slow", func(_ sdk.Context, in int) (int, error) {
		close(began)
		<-goOn
		return in, nil
	})
	e := sdktest.Start(t, sdktest.Config{Workers: []worker.Config{{ID: "w1", Grace: time.Minute}}}, w)
	run, err := w.Start(t.Context(), e.Client(), 7)
	if err != nil {
		t.Fatal(err)
	}
	<-began
	stopped := make(chan error)
	go func() { stopped <- e.StopWorker("w1") }()
	close(goOn)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if out, err := slow.Result(t.Context(), run); out != 7 || err != nil {
		t.Error(out, err)
	}
}

func TestRunsOutliveARestartOfTheServer(t *testing.T) {
	g := newGated("gated", sdk.Soft)
	began, goOn := make(chan struct{}), make(chan struct{})
	w := sdk.NewWorkflow[int]("slow")
	var executions atomic.Int32
	slow := sdk.AddStep(w, "slow", func(_ sdk.Context, in int) (int, error) {
		if executions.Add(1) == 1 {
			close(began)
		}
		<-goOn
		return in, nil
	})
	// A lease outlasts the restart.
	e := sdktest.Start(t, sdktest.Config{Preset: cluster.LANConfig()}, w, g)
	run, err := w.Start(t.Context(), e.Client(), 7)
	if err != nil {
		t.Fatal(err)
	}
	<-began
	if err := e.RestartServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	close(goOn)
	if out, err := slow.Result(t.Context(), run); out != 7 || err != nil || executions.Load() != 1 {
		t.Errorf("%d, %v after %d executions", out, err, executions.Load())
	}
}

func TestErrorsOfTheEngine(t *testing.T) {
	bad := sdk.NewWorkflow[int]("no steps")
	if _, err := sdktest.New(t.Context(), sdktest.Config{}, bad); !errors.Is(err, sdk.ErrInvalidDefinition) {
		t.Errorf("a bad workflow: %v", err)
	}
	w := sdk.NewWorkflow[int]("w")
	sdk.AddStep(w, "s", func(_ sdk.Context, in int) (int, error) { return in, nil })
	e := sdktest.Start(t, sdktest.Config{NoWorkers: true}, w)
	if err := e.StartWorker(t.Context(), worker.Config{ID: "w1"}); err != nil {
		t.Fatal(err)
	}
	if err := e.StartWorker(t.Context(), worker.Config{ID: "w1"}); !errors.Is(err, sdk.ErrWorkerIDTaken) {
		t.Errorf("a second worker w1: %v", err)
	}
	if err := e.KillWorker("nobody"); !errors.Is(err, sdk.ErrInvalidArgument) {
		t.Error(err)
	}
}

func TestContextOfAStepAlone(t *testing.T) {
	w := sdk.NewWorkflow[int]("w")
	load := sdk.AddStep(w, "load", func(sdk.Context, int) (string, error) { return "", nil })
	ctx, err := sdktest.Context(t.Context(), sdktest.Attempt{
		RunID: "r1", Workflow: "w", Step: "ask", WorkerID: "gpu-1", Binding: sdk.Binding{Epoch: 2, StateNew: true},
		Outputs: map[string]any{"load": "text"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if out, err := load.Output(ctx); out != "text" || err != nil {
		t.Error(out, err)
	}
	if ctx.Attempt() != 1 || ctx.WorkerID() != "gpu-1" || ctx.Binding().Epoch != 2 {
		t.Error(ctx.Attempt(), ctx.WorkerID(), ctx.Binding())
	}
	if _, err := w.Spawn(ctx, 1); !errors.Is(err, sdk.ErrUnavailable) {
		t.Error(err)
	}
	if _, err := sdktest.Context(context.Background(), sdktest.Attempt{Outputs: map[string]any{"f": func() {}}}); err == nil || !strings.Contains(err.Error(), `"f"`) {
		t.Error(err)
	}
}
