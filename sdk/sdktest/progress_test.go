package sdktest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/sdktest"
	"github.com/limpetrun/limpet/sdk/worker"
)

// counting is a workflow of one step that goes on from where the last attempt came to.
func counting(config sdk.StepConfig, count func(ctx sdk.Context, from int) (int, error)) *sdk.Workflow[int] {
	w := sdk.NewWorkflow[int]("count", sdk.WorkflowConfig{Sticky: sdk.Soft})
	config.Backoff = time.Millisecond
	sdk.AddStep(w, "count", func(ctx sdk.Context, _ int) (int, error) {
		from, _, err := sdk.LastProgress[int](ctx)
		if err != nil {
			return 0, err
		}
		return count(ctx, from)
	}, config)
	return w
}

func told(t *testing.T, run *sdk.Run) string {
	t.Helper()
	got, err := run.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s := got.GetSteps()[0]
	return fmt.Sprintf("%s of attempt %d", s.GetProgress(), s.GetProgressAttempt())
}

// TestTheNextAttemptGoesOnFromTheLastProgress, which was told right before an error or a
// panic, however many were told before it.
func TestTheNextAttemptGoesOnFromTheLastProgress(t *testing.T) {
	for name, end := range map[string]func() error{"error": func() error { return errors.New("again") }, "panic": func() error { panic("again") }} {
		t.Run(name, func(t *testing.T) {
			w := counting(sdk.StepConfig{Retries: 3}, func(ctx sdk.Context, from int) (int, error) {
				for n := from + 1; n <= from+5000; n++ {
					if err := ctx.Progress(n); err != nil {
						return 0, err
					}
				}
				if from == 15000 {
					return from, nil
				}
				return 0, end()
			})
			e := sdktest.Start(t, one("w1"), w)
			run := startOf(t, e, w, 1)
			var got int
			if err := run.Result(t.Context(), &got); err != nil || got != 15000 {
				t.Errorf("%d, %v", got, err)
			}
			if last := told(t, run); last != "20000 of attempt 4" {
				t.Errorf("the run shows %s", last)
			}
			if err := run.Replay(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := run.Result(t.Context(), &got); err != nil || got != 15000 {
				t.Errorf("a replay: %d, %v", got, err)
			}
			if last := told(t, run); last != "20000 of attempt 8" { // it began anew
				t.Errorf("after a replay the run shows %s", last)
			}
		})
	}
}

// TestProgressSurvivesItsWorker, as far as that was sent.
func TestProgressSurvivesItsWorker(t *testing.T) {
	w := counting(sdk.StepConfig{}, func(ctx sdk.Context, from int) (int, error) {
		if from > 0 {
			return from, nil
		}
		if err := ctx.Progress(7); err != nil {
			return 0, err
		}
		<-ctx.Done()
		return 0, ctx.Err()
	})
	e := sdktest.Start(t, sdktest.Config{Workers: sdktest.Workers("w1", "w2")}, w)
	run := startOf(t, e, w, 1)
	untilEvent(t, run, func(ev *messages.Event) bool { return ev.GetStepProgressed() != nil })
	if last := told(t, run); last != "7 of attempt 1" {
		t.Errorf("the run shows %s", last)
	}
	if err := e.KillWorker(boundTo(t, run)); err != nil {
		t.Fatal(err)
	}
	var got int
	if err := run.Result(t.Context(), &got); err != nil || got != 7 {
		t.Errorf("%d, %v", got, err)
	}
}

// TestASilentStepFailsAfterItsHeartbeat, and is retried; one that tells is not, nor one
// that waits.
func TestASilentStepFailsAfterItsHeartbeat(t *testing.T) {
	w := counting(sdk.StepConfig{Retries: 1, Heartbeat: time.Second}, func(ctx sdk.Context, from int) (int, error) {
		if ctx.Attempt() == 1 {
			_ = ctx.Progress(from + 1)
			<-ctx.Done()
			return 100, context.Cause(ctx) // returned nil or not, it has failed
		}
		_, err := sdk.Receive[bool](ctx, "never", &sdk.WaitOptions{Timeout: 1500 * time.Millisecond})
		if !errors.Is(err, sdk.ErrWaitTimeout) {
			return 0, err
		}
		return from, nil
	})
	e := sdktest.Start(t, one("w1"), w)
	run := startOf(t, e, w, 1)
	var got int
	if err := run.Result(t.Context(), &got); err != nil || got != 1 {
		t.Errorf("%d, %v", got, err)
	}
	untilEvent(t, run, func(ev *messages.Event) bool {
		return ev.GetAttemptFailed().GetFailure().GetCode() == string(messages.CodeHeartbeatTimeout)
	})
}

// TestExtendMovesTheExecutionTimeout of an attempt, as its context shows.
func TestExtendMovesTheExecutionTimeout(t *testing.T) {
	w := counting(sdk.StepConfig{ExecutionTimeout: 10 * time.Minute}, func(ctx sdk.Context, _ int) (int, error) {
		before, _ := ctx.Deadline()
		if err := ctx.Extend(time.Minute); err != nil { // it has more
			return 0, err
		}
		if err := ctx.Extend(time.Hour); err != nil {
			return 0, err
		}
		for {
			if after, _ := ctx.Deadline(); after.Sub(before) > 45*time.Minute {
				return 1, nil
			} else if !after.Equal(before) {
				return 0, fmt.Errorf("the deadline was %v, is %v", before, after)
			}
			time.Sleep(time.Millisecond)
		}
	})
	e := sdktest.Start(t, one("w1"), w)
	if err := startOf(t, e, w, 1).Wait(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestWhatIsNoProgressIsRefused, and nothing is kept of it.
func TestWhatIsNoProgressIsRefused(t *testing.T) {
	w := counting(sdk.StepConfig{}, func(ctx sdk.Context, _ int) (int, error) {
		for value, want := range map[any]error{strings.Repeat("x", messages.ProgressBytesMax): sdk.ErrPayloadTooLarge, make(chan int): sdk.ErrInvalidArgument} {
			if err := ctx.Progress(value); !errors.Is(err, want) {
				return 0, fmt.Errorf("progress: %w", err)
			}
		}
		for _, d := range []time.Duration{0, -1, time.Microsecond, 1 << 62} {
			if err := ctx.Extend(d); !errors.Is(err, sdk.ErrInvalidArgument) {
				return 0, fmt.Errorf("extend %v: %w", d, err)
			}
		}
		return 0, nil
	})
	e := sdktest.Start(t, sdktest.Config{Workers: []worker.Config{{ID: "w1"}}}, w)
	run := startOf(t, e, w, 1)
	if err := run.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	if last := told(t, run); last != " of attempt 0" {
		t.Errorf("the run shows %s", last)
	}
	bad := counting(sdk.StepConfig{Heartbeat: time.Millisecond}, nil)
	if err := bad.Validate(); !errors.Is(err, sdk.ErrInvalidDefinition) || !strings.Contains(err.Error(), "heartbeat") {
		t.Errorf("a heartbeat of 1 ms: %v", err)
	}
}
