package worker_test

import (
	"context"
	"errors"
	"os"
	"syscall"
	"testing"

	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/sdktest"
	"github.com/limpetrun/limpet/sdk/worker"
)

// A worker that is told to stop takes on nothing new, but what runs ends and
// its result is kept.
func TestSIGTERMDrains(t *testing.T) {
	began, goOn := make(chan struct{}), make(chan struct{})
	w := sdk.NewWorkflow[int]("slow")
	slow := sdk.AddStep(w, "slow", func(ctx sdk.Context, in int) (int, error) {
		close(began)
		<-goOn
		return in, ctx.Err()
	})
	e := sdktest.Start(t, sdktest.Config{NoWorkers: true}, w)
	draining := make(chan struct{})
	serving, err := worker.New(worker.Config{
		ID: "w1", Join: []string{e.JoinAddress()}, Hooks: &worker.Hooks{Draining: func() { close(draining) }},
	}, w)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- serving.RunUntilSignal(t.Context()) }()
	<-serving.Ready()
	run, err := w.Start(t.Context(), e.Client(), 7)
	if err != nil {
		t.Fatal(err)
	}
	<-began
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-draining
	close(goOn)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if out, err := slow.Result(t.Context(), run); out != 7 || err != nil {
		t.Error(out, err)
	}
}

func TestAttemptsBeyondTheGraceAreGivenUp(t *testing.T) {
	began := make(chan struct{})
	w := sdk.NewWorkflow[int]("endless")
	sdk.AddStep(w, "endless", func(ctx sdk.Context, in int) (int, error) {
		close(began)
		<-ctx.Done()
		return 0, ctx.Err()
	})
	e := sdktest.Start(t, sdktest.Config{NoWorkers: true}, w)
	serving, err := worker.New(worker.Config{ID: "w1", Join: []string{e.JoinAddress()}, Grace: worker.NoGrace}, w)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error)
	go func() { ended <- serving.Run(ctx) }()
	<-serving.Ready()
	run, err := w.Start(t.Context(), e.Client(), 7)
	if err != nil {
		t.Fatal(err)
	}
	<-began
	stop()
	if err := <-ended; !errors.Is(err, sdk.ErrWorkerLost) {
		t.Errorf("the worker's end: %v", err)
	}
	got, err := run.Get(t.Context())
	if err != nil || got.Run.Status != sdk.Running {
		t.Errorf("the run goes on elsewhere: %v, %v", got.GetRun(), err)
	}
}
