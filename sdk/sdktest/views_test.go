package sdktest_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/sdktest"
)

// A listing says what a run waits for that no worker takes.
func TestListingSaysWhatAnUnboundRunWaitsFor(t *testing.T) {
	w := sdk.NewWorkflow[int]("picky", sdk.WorkflowConfig{Sticky: sdk.Soft, Labels: []sdk.Label{sdk.Require("gpu").Equal("h100")}})
	sdk.AddStep(w, "s", func(sdk.Context, int) (int, error) { return 0, nil })
	e := sdktest.Start(t, sdktest.Config{}, w)
	run, err := w.Start(t.Context(), e.Client(), 0)
	if err != nil {
		t.Fatal(err)
	}
	list, err := e.Client().Service().ListRuns(t.Context(), connect.NewRequest(&api.ListRunsRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	got, err := run.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if words := list.Msg.GetRuns()[0].GetWaitingFor(); !strings.Contains(words, "gpu") || words != got.GetRun().GetWaitingFor() {
		t.Errorf("the listing says %q, the run %q", words, got.GetRun().GetWaitingFor())
	}
}

// A listing says of a dormant run what the run itself says, and of a finished one
// where it was bound.
func TestListingSaysWhatTheRunSays(t *testing.T) {
	hard := sdk.NewWorkflow[int]("hard", sdk.WorkflowConfig{Sticky: sdk.Hard})
	sdk.AddStep(hard, "s", func(_ sdk.Context, in int) (int, error) {
		if in > 0 {
			return 0, errors.New("not today")
		}
		return in, nil
	}, sdk.StepConfig{Retries: 1, Backoff: 30 * time.Hour, BackoffMax: 30 * time.Hour})
	e := sdktest.Start(t, sdktest.Config{}, hard)
	for in, want := range map[int]string{0: "", 1: "what is due at 20"} {
		run, err := hard.Start(t.Context(), e.Client(), in)
		if err != nil {
			t.Fatal(err)
		}
		for entry, err := range run.Watch(t.Context(), 0) {
			if err != nil {
				t.Fatal(err)
			}
			if entry.GetEvents()[len(entry.GetEvents())-1].GetRunDormant() != nil {
				break
			}
		}
		listed, got := bothViews(t, e, run.ID())
		if listed.GetWorkerId() != "worker-1" || listed.GetWorkerId() != got.GetWorkerId() || !strings.HasPrefix(listed.GetWaitingFor(), want) ||
			(want == "") != (listed.GetWaitingFor() == "") || listed.GetWaitingFor() != got.GetWaitingFor() {
			t.Errorf("the listing says %v, the run %v", listed, got)
		}
	}
}

// bothViews is a run as the newest one of a listing and as it is by itself.
func bothViews(t *testing.T, e *sdktest.Engine, runID string) (listed, got *api.Run) {
	t.Helper()
	list, err := e.Client().Service().ListRuns(t.Context(), connect.NewRequest(&api.ListRunsRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	run, err := e.Client().Run(runID).Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if id := list.Msg.GetRuns()[0].GetRunId(); id != runID {
		t.Fatalf("the newest run is %s, not %s", id, runID)
	}
	return list.Msg.GetRuns()[0], run.GetRun()
}

// A parent's children are shown with what became of them, and a replayed run with
// when that began.
func TestChildrenHaveTheirStatus(t *testing.T) {
	child := sdk.NewWorkflow[int]("child")
	sdk.AddStep(child, "s", func(_ sdk.Context, in int) (int, error) {
		if in == 0 {
			return 0, errors.New("nothing")
		}
		return in, nil
	})
	parent := sdk.NewWorkflow[int]("parent")
	sdk.AddStep(parent, "s", func(ctx sdk.Context, _ int) (int, error) {
		for in := range 2 {
			c, err := child.Spawn(ctx, in)
			if err != nil {
				return 0, err
			}
			_ = c.Wait(ctx)
		}
		return 0, nil
	})
	e := sdktest.Start(t, sdktest.Config{}, child, parent)
	run, err := parent.Start(t.Context(), e.Client(), 0)
	if err != nil {
		t.Fatal(err)
	}
	got, err := run.Ended(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []messages.RunStatus{messages.RunStatus_RUN_STATUS_FAILED, messages.RunStatus_RUN_STATUS_SUCCEEDED}
	for i, c := range got.GetChildren() {
		if c.GetStatus() != want[i] {
			t.Errorf("child %d: %v, want %v", i, c.GetStatus(), want[i])
		}
	}
	if len(got.GetChildren()) != 2 || got.GetRun().GetReplayedAt() != nil {
		t.Errorf("%v", got)
	}
	if err := run.Replay(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err = run.Ended(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := got.GetRun(); !r.GetReplayedAt().AsTime().After(r.GetCreatedAt().AsTime()) || r.GetReplayedAt().AsTime().After(r.GetFinishedAt().AsTime()) {
		t.Errorf("created %v, replayed %v, ended %v", r.GetCreatedAt(), r.GetReplayedAt(), r.GetFinishedAt())
	}
}

// A HARD step is not shown as running while its worker is away, and its worker is
// gone for whoever wants to drain it.
func TestStepsOfAWorkerThatIsAway(t *testing.T) {
	began := make(chan struct{}, 2)
	w := sdk.NewWorkflow[int]("hard", sdk.WorkflowConfig{Sticky: sdk.Hard})
	sdk.AddStep(w, "s", func(ctx sdk.Context, _ int) (int, error) {
		began <- struct{}{}
		<-ctx.Done()
		return 0, ctx.Err()
	})
	e := sdktest.Start(t, sdktest.Config{}, w)
	run, err := w.Start(t.Context(), e.Client(), 0)
	if err != nil {
		t.Fatal(err)
	}
	<-began
	if err := e.KillWorker("worker-1"); err != nil {
		t.Fatal(err)
	}
	for entry, err := range run.Watch(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if entry.GetEvents()[0].GetBindingLost() != nil {
			break
		}
	}
	if listed, got := bothViews(t, e, run.ID()); !strings.Contains(got.GetWaitingFor(), `worker "worker-1" to come back (`) || listed.GetWaitingFor() != got.GetWaitingFor() {
		t.Errorf("the listing says %q, the run %q", listed.GetWaitingFor(), got.GetWaitingFor())
	}
	got, err := run.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if phase := got.GetSteps()[0].GetPhase(); phase != api.PhaseAway {
		t.Errorf("the step is %v", phase)
	}
	_, err = e.Client().Service().DrainWorker(t.Context(), connect.NewRequest(&api.DrainWorkerRequest{WorkerId: "worker-1"}))
	if messages.CodeOf(err) != messages.CodeWorkerGone {
		t.Errorf("drain: %v", err)
	}
}
