package sdktest_test

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/sdktest"
	"github.com/limpetrun/limpet/sdk/worker"
)

// A retired workflow starts nothing more, by whatever door, and what there is goes
// on; a worker that registers it is told, and changes nothing.
func TestRetiredWorkflow(t *testing.T) {
	legacy := sdk.NewWorkflow[int]("legacy", sdk.WorkflowConfig{OnEvents: []string{"user:*"}})
	began, goOn := make(chan struct{}, 10), make(chan struct{})
	work := sdk.AddStep(legacy, "work", func(ctx sdk.Context, n int) (int, error) {
		if n > 0 {
			began <- struct{}{}
			select {
			case <-goOn:
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}
		return n, nil
	})
	fresh := sdk.NewWorkflow[int]("fresh", sdk.WorkflowConfig{OnEvents: []string{"user:create"}})
	sdk.AddStep(fresh, "spawn", func(ctx sdk.Context, _ int) (string, error) {
		_, err := legacy.Spawn(ctx, 0)
		return "", err
	})
	log := &lockedBuffer{}
	e := sdktest.Start(t, sdktest.Config{Logger: slog.New(slog.NewTextHandler(log, nil))}, legacy, fresh)
	ctx, c := t.Context(), e.Client()
	done, err := legacy.Start(ctx, c, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := work.Result(ctx, done); err != nil {
		t.Fatal(err)
	}
	running, err := legacy.Start(ctx, c, 1, &sdk.StartOptions{IdempotencyKey: "k"})
	if err != nil {
		t.Fatal(err)
	}
	<-began

	for range 2 {
		if w, err := c.RetireWorkflow(ctx, "legacy"); err != nil || w.GetRetiredAt() == nil || w.GetWorkers() != 1 {
			t.Fatalf("retired: %v, %v", w, err)
		}
	}
	if _, err := legacy.Start(ctx, c, 0); !errors.Is(err, sdk.ErrWorkflowRetired) {
		t.Errorf("a start: %v", err)
	}
	if again, err := legacy.Start(ctx, c, 1, &sdk.StartOptions{IdempotencyKey: "k"}); err != nil || !again.Existed || again.ID() != running.ID() {
		t.Errorf("the start of before again: %v, %v", again, err)
	}
	event, err := c.PushEvent(ctx, "user:create", 0)
	if err != nil || len(event.Runs) != 1 || event.Runs[0].Workflow != "fresh" || len(event.Refused) != 1 || !errors.Is(event.Refused[0].Err, sdk.ErrWorkflowRetired) {
		t.Fatalf("an event: %v, %v", event, err)
	}
	if spawned, err := event.Runs[0].Ended(ctx); err != nil || spawned.GetSteps()[0].GetFailure().GetCode() != string(messages.CodeWorkflowRetired) {
		t.Errorf("a spawn: %v, %v", spawned.GetSteps(), err)
	}

	close(goOn)
	if _, err := work.Result(ctx, running); err != nil {
		t.Errorf("the run that was under way: %v", err)
	}
	if err := done.Replay(ctx); err != nil {
		t.Errorf("replay: %v", err)
	} else if got, err := done.Ended(ctx); err != nil || got.GetSteps()[0].GetAttempts() != 2 {
		t.Errorf("replayed: %v, %v", got.GetSteps(), err)
	}

	if err := e.RestartServer(ctx); err != nil {
		t.Fatal(err)
	}
	if err := e.StopWorker("worker-1"); err != nil {
		t.Fatal(err)
	}
	if err := e.RestartWorker(ctx, "worker-1"); err != nil {
		t.Fatal(err)
	}
	log.mu.Lock()
	if want := "is retired and starts no new runs; `limpet workflow restore legacy`"; !strings.Contains(log.String(), want) {
		t.Errorf("the worker's log lacks %q", want)
	}
	log.mu.Unlock()
	all, err := c.ListWorkflows(ctx)
	if err != nil || len(all) != 2 || all[1].GetRetiredAt() == nil || all[0].GetRetiredAt() != nil {
		t.Errorf("listed: %v, %v", all, err)
	}
	restored := func(what string, do func() (*api.Workflow, error)) {
		if w, err := do(); err != nil || w.GetRetiredAt() != nil {
			t.Errorf("%s: %v, %v", what, w, err)
		}
	}
	restored("restored", func() (*api.Workflow, error) { return c.RestoreWorkflow(ctx, "legacy") })
	restored("again", func() (*api.Workflow, error) { return c.RestoreWorkflow(ctx, "legacy") })
	if _, err := legacy.Start(ctx, c, 0); err != nil {
		t.Errorf("a start of the restored: %v", err)
	}
	if _, err := c.RetireWorkflow(ctx, "legaci"); !errors.Is(err, sdk.ErrUnknownWorkflow) || !strings.Contains(err.Error(), `did you mean "legacy"`) {
		t.Errorf("an unknown one: %v", err)
	}
}

// A workflow whose worker was deployed away gets no events any more, until a worker
// serves it again.
func TestUnservedWorkflowGetsNoEvents(t *testing.T) {
	legacy := sdk.NewWorkflow[int]("legacy", sdk.WorkflowConfig{OnEvents: []string{"user:*"}})
	sdk.AddStep(legacy, "one", func(sdk.Context, int) (int, error) { return 1, nil })
	fresh := sdk.NewWorkflow[int]("fresh", sdk.WorkflowConfig{OnEvents: []string{"user:create"}})
	sdk.AddStep(fresh, "one", func(sdk.Context, int) (int, error) { return 1, nil })
	e := sdktest.Start(t, sdktest.Config{Workers: sdktest.Workers("w1"), UnservedAfter: time.Second}, legacy, fresh)
	ctx := t.Context()
	push := func() *sdk.Event {
		t.Helper()
		event, err := e.Client().PushEvent(ctx, "user:create", 0)
		if err != nil {
			t.Fatal(err)
		}
		return event
	}
	if event := push(); len(event.Runs) != 2 {
		t.Fatalf("served: %v", event)
	}
	if err := e.StopWorker("w1"); err != nil {
		t.Fatal(err)
	}
	if err := e.StartWorker(ctx, worker.Config{ID: "w1"}, fresh); err != nil {
		t.Fatal(err)
	}
	for listed := (*api.Workflow)(nil); listed.GetLeftOutSince() == nil; {
		all, err := e.Client().ListWorkflows(ctx)
		if err != nil || len(all) != 2 {
			t.Fatal(all, err)
		}
		listed = all[1]
	}
	event := push()
	if len(event.Runs) != 1 || event.Runs[0].Workflow != "fresh" || len(event.Refused) != 1 || !errors.Is(event.Refused[0].Err, sdk.ErrWorkflowUnserved) {
		t.Fatalf("unserved: %v", event)
	}
	if _, err := legacy.Start(ctx, e.Client(), 0); err != nil {
		t.Errorf("it can be started: %v", err)
	}
	if err := e.StartWorker(ctx, worker.Config{ID: "w2"}, legacy); err != nil {
		t.Fatal(err)
	}
	if event := push(); len(event.Runs) != 2 || len(event.Refused) != 0 {
		t.Errorf("served again: %v", event)
	}
}
