package sdktest_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/sdktest"
	"github.com/limpetrun/limpet/sdk/worker"
)

// starts remembers what happened at a worker, in order.
type starts struct {
	mu    sync.Mutex
	calls [][]string
	order []string
}

func (s *starts) note(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.order = append(s.order, what)
}

func (s *starts) hook(_ context.Context, bound []string) error {
	s.note("start")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, bound)
	return nil
}

// A worker learns at its start which HARD runs are bound to it, all of them, and
// before any step comes: what else lies on its disk may go.
func TestWorkerLearnsWhichRunsAreBoundToIt(t *testing.T) {
	seen := &starts{}
	// Each run fails once and waits for an hour, bound to its worker.
	waits := func(name string, sticky sdk.Sticky) *sdk.Workflow[int] {
		w := sdk.NewWorkflow[int](name, sdk.WorkflowConfig{Sticky: sticky})
		sdk.AddStep(w, "s", func(sdk.Context, int) (int, error) { return 0, errors.New("not yet") },
			sdk.StepConfig{Retries: 1, Backoff: time.Hour, BackoffMax: time.Hour})
		return w
	}
	hard, soft := waits("hard", sdk.Hard), waits("soft", sdk.Soft)
	// This one is at work when its worker dies.
	working := make(chan struct{})
	var again atomic.Bool
	work := sdk.NewWorkflow[int]("work", sdk.WorkflowConfig{Sticky: sdk.Hard})
	sdk.AddStep(work, "s", func(ctx sdk.Context, _ int) (int, error) {
		seen.note("step")
		if again.Swap(true) {
			return 0, nil
		}
		close(working)
		<-ctx.Done()
		return 0, ctx.Err()
	})
	e := sdktest.Start(t, sdktest.Config{NoWorkers: true}, hard, soft, work)
	config := worker.Config{ID: "w1", Slots: 50, OnStart: seen.hook}
	if err := e.StartWorker(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	// More than a page.
	const many = 1050
	inputs := make([]int, many)
	started, err := hard.StartMany(t.Context(), e.Client(), inputs)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, r := range started {
		want = append(want, r.ID())
	}
	left, err := soft.Start(t.Context(), e.Client(), 0)
	if err != nil {
		t.Fatal(err)
	}
	busy, err := work.Start(t.Context(), e.Client(), 0)
	if err != nil {
		t.Fatal(err)
	}
	<-working
	for _, r := range append(started, left) {
		untilFailedOnce(t, r)
	}
	if err := e.KillWorker("w1"); err != nil {
		t.Fatal(err)
	}
	// One ends while the worker is away.
	if err := started[7].Cancel(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if err := started[7].Wait(t.Context()); !errors.Is(err, sdk.ErrCanceled) {
		t.Fatal(err)
	}
	want = append(slices.Delete(want, 7, 8), busy.ID())
	slices.Sort(want)
	if err := e.RestartWorker(t.Context(), "w1"); err != nil {
		t.Fatal(err)
	}
	if err := busy.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	if err := e.RestartServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	seen.mu.Lock()
	defer seen.mu.Unlock()
	if len(seen.calls) != 2 || len(seen.calls[0]) != 0 || !slices.Equal(seen.calls[1], want) {
		t.Errorf("%d calls, the last with %d runs, want %d", len(seen.calls), len(seen.calls[len(seen.calls)-1]), len(want))
	}
	if got := strings.Join(seen.order, " "); got != "start step start step" {
		t.Errorf("%s", got)
	}
}

// untilFailedOnce returns when an attempt of the run has failed, on record.
func untilFailedOnce(t *testing.T, r *sdk.Run) {
	t.Helper()
	for entry, err := range r.Watch(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		for _, event := range entry.GetEvents() {
			if event.GetAttemptFailed() != nil {
				return
			}
		}
	}
	t.Fatalf("run %s has ended", r.ID())
}

// A worker whose OnStart fails does not begin.
func TestWorkerWhoseStartFails(t *testing.T) {
	w := sdk.NewWorkflow[int]("w")
	sdk.AddStep(w, "s", func(sdk.Context, int) (int, error) { return 0, nil })
	e := sdktest.Start(t, sdktest.Config{NoWorkers: true}, w)
	for want, hook := range map[string]func(context.Context, []string) error{
		"USER_ERROR: disk full":                 func(context.Context, []string) error { return errors.New("disk full") },
		"USER_ERROR: OnStart panicked: no disk": func(context.Context, []string) error { panic("no disk") },
		"INVALID_ARGUMENT: the disk is not mine": func(context.Context, []string) error {
			return messages.Errorf(messages.CodeInvalidArgument, "the disk is not mine")
		},
	} {
		if err := e.StartWorker(t.Context(), worker.Config{ID: "w1", OnStart: hook}); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
