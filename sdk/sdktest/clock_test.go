package sdktest_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/sdktest"
)

func advance(t *testing.T, e *sdktest.Engine, d time.Duration) {
	t.Helper()
	if err := e.Advance(t.Context(), d); err != nil {
		t.Fatal(err)
	}
}

// TestAnApprovalIsWaitedForTwoDays, not a minute less.
func TestAnApprovalIsWaitedForTwoDays(t *testing.T) {
	e, run, step := receiver(t, sdk.Soft, func(ctx sdk.Context) (string, error) {
		_, err := sdk.Receive[bool](ctx, "approval", &sdk.WaitOptions{Timeout: 48 * time.Hour})
		if errors.Is(err, sdk.ErrWaitTimeout) {
			return "nobody came", nil
		}
		return "", err
	})
	began := e.Now()
	advance(t, e, 47*time.Hour+59*time.Minute)
	if view, err := run.Get(t.Context()); err != nil || view.GetRun().GetFinishedAt() != nil {
		t.Fatal(view, err)
	}
	advance(t, e, time.Minute)
	if got, err := step.Result(t.Context(), run); err != nil || got != "nobody came" {
		t.Error(got, err)
	}
	view, err := run.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if took := view.GetRun().GetFinishedAt().AsTime().Sub(began); took < 48*time.Hour-time.Minute || took > 48*time.Hour+time.Minute {
		t.Errorf("it ended after %v", took)
	}
}

// TestARetryBacksOffForADay, as often as it is tried, in one go.
func TestARetryBacksOffForADay(t *testing.T) {
	w := sdk.NewWorkflow[int]("fails", sdk.WorkflowConfig{})
	step := sdk.AddStep(w, "fails", func(ctx sdk.Context, _ int) (int, error) {
		if ctx.Attempt() < 4 {
			return 0, errors.New("not today")
		}
		return ctx.Attempt(), nil
	}, sdk.StepConfig{Retries: 5, Backoff: 24 * time.Hour, BackoffMax: 24 * time.Hour})
	e := sdktest.Start(t, one("w1"), w)
	run, err := w.Start(t.Context(), e.Client(), 1)
	if err != nil {
		t.Fatal(err)
	}
	advance(t, e, 4*24*time.Hour)
	if got, err := step.Result(t.Context(), run); err != nil || got != 4 {
		t.Error(got, err)
	}
}

// TestNobodyServesAStepForADay: that counts as time with a server.
func TestNobodyServesAStepForADay(t *testing.T) {
	w, step := whereabouts("waits", sdk.Hard)
	e := sdktest.Start(t, one("w1"), w)
	if err := e.StopWorker("w1"); err != nil {
		t.Fatal(err)
	}
	run, err := w.Start(t.Context(), e.Client(), 1)
	if err != nil {
		t.Fatal(err)
	}
	advance(t, e, 25*time.Hour)
	if _, err := step.Result(t.Context(), run); !errors.Is(err, sdk.ErrScheduleTimeout) {
		t.Error(err)
	}
}

// TestTimesComeInOrder, those of several runs and those that follow from others, also
// after the server has begun anew.
func TestTimesComeInOrder(t *testing.T) {
	var mu sync.Mutex
	var order []int
	w := sdk.NewWorkflow[int]("ticks", sdk.WorkflowConfig{Sticky: sdk.Soft})
	sdk.AddStep(w, "ticks", func(ctx sdk.Context, hours int) (int, error) {
		for n := 1; n <= 4; n++ {
			if _, err := sdk.Receive[int](ctx, "never", &sdk.WaitOptions{Timeout: time.Duration(hours) * time.Hour}); !errors.Is(err, sdk.ErrWaitTimeout) {
				return 0, err
			}
			mu.Lock()
			order = append(order, n*hours*100+hours)
			mu.Unlock()
		}
		return 0, nil
	})
	e := sdktest.Start(t, one("w1"), w)
	for _, hours := range []int{7, 3} {
		if _, err := w.Start(t.Context(), e.Client(), hours); err != nil {
			t.Fatal(err)
		}
	}
	advance(t, e, 8*time.Hour)
	if err := e.RestartServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	advance(t, e, 21*time.Hour)
	if want := []int{303, 603, 707, 903, 1203, 1407, 2107, 2807}; !slices.Equal(order, want) {
		t.Errorf("it is %v, should be %v", order, want)
	}
}

// TestTheClockStandsWhileAStepIsExecuted, and says which.
func TestTheClockStandsWhileAStepIsExecuted(t *testing.T) {
	release := make(chan struct{})
	e, run, step := receiver(t, sdk.None, func(sdk.Context) (string, error) {
		<-release
		return "done", nil
	})
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	if err := e.Advance(ctx, time.Hour); err == nil || !strings.Contains(err.Error(), "enough") {
		t.Error(err)
	}
	close(release)
	advance(t, e, time.Hour)
	if got, err := step.Result(t.Context(), run); err != nil || got != "done" {
		t.Error(got, err)
	}
}
