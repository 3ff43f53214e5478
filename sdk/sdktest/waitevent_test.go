package sdktest_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/sdktest"
)

// An event that was pushed just before the wait counts if it looks back.
func TestWaitEvent(t *testing.T) {
	type order struct{ N int }
	wf := sdk.NewWorkflow[int]("awaits")
	step := sdk.AddStep(wf, "wait", func(ctx sdk.Context, _ int) (string, error) {
		e, err := sdk.WaitEvent[order](ctx, "order:", &sdk.EventWait{Prefix: true, If: "payload.N > 1", Since: time.Minute})
		return e.Key, err
	})
	c := sdktest.Start(t, one("w1"), wf).Client()
	for n, key := range map[int]string{1: "order:small", 2: "order:large"} {
		if _, err := c.PushEvent(t.Context(), key, order{n}); err != nil {
			t.Fatal(err)
		}
	}
	run, err := wf.Start(t.Context(), c, 1)
	if err != nil {
		t.Fatal(err)
	}
	if key, err := step.Result(t.Context(), run); err != nil || key != "order:large" {
		t.Errorf("%q, %v", key, err)
	}
}

// A condition that cannot be evaluated is shown where the run waits, of an event that the
// wait looks back to, too; the first of each, and in the history.
func TestAConditionThatFailsIsShown(t *testing.T) {
	wf := sdk.NewWorkflow[int]("awaits")
	step := sdk.AddStep(wf, "wait", func(ctx sdk.Context, _ int) (string, error) {
		before, after := sdk.OnEvent[any]("before", &sdk.EventWait{If: "payload.n > 1", Since: time.Minute}), sdk.OnEvent[any]("after:", &sdk.EventWait{Prefix: true, If: "payload.n > 1"})
		came, err := sdk.First(ctx, "turn", nil, before, after)
		if err != nil || came != after {
			return "", fmt.Errorf("came %v: %w", came, err)
		}
		return after.Value().ID, nil
	})
	c := sdktest.Start(t, one("w1"), wf).Client()
	push := func(key, id string, payload any) {
		if _, err := c.PushEvent(t.Context(), key, payload, &sdk.EventOptions{ID: id}); err != nil {
			t.Fatal(err)
		}
	}
	push("before", "e1", map[string]string{"n": "seven"})
	run, err := wf.Start(t.Context(), c, 1)
	if err != nil {
		t.Fatal(err)
	}
	untilWaits(t, run)
	push("after:1", "e2", map[string]int{"m": 1})
	push("after:2", "e3", 7)
	// What the wait looks back to and what comes meanwhile have no order between them.
	if failed := failedConditions(t, run, 2); !slices.Equal(slices.Sorted(slices.Values(failed)), []string{"e1", "e2"}) {
		t.Error(failed)
	}
	got, err := run.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const want = `event "before": its condition could not be evaluated on event e1, key before: no such overload; ` +
		`event "after:*": its condition could not be evaluated on event e2, key after:1: no such key: n`
	if waits := got.GetSteps()[0].GetWaits(); len(waits) != 1 || waits[0].GetConditionFailed() != want || !strings.Contains(got.GetRun().GetWaitingFor(), "no such key: n") {
		t.Errorf("%v, %s", waits, got.GetRun().GetWaitingFor())
	}
	push("after:3", "e4", map[string]int{"n": 2})
	if id, err := step.Result(t.Context(), run); err != nil || id != "e4" {
		t.Error(id, err)
	}
	if failed := failedConditions(t, run, 3); len(failed) != 2 {
		t.Errorf("the run has ended, and it says of %v that their conditions failed", failed)
	}
}

// failedConditions returns the events of the first conditions of a run's history that
// could not be evaluated: so many, or all if the run ends before.
func failedConditions(t *testing.T, run *sdk.Run, most int) (events []string) {
	t.Helper()
	for entry, err := range run.Watch(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		for _, ev := range entry.GetEvents() {
			if f := ev.GetCallWaits().GetFailedCondition(); f != nil {
				events = append(events, f.GetEvent().GetEventId())
			}
		}
		if len(events) >= most {
			break
		}
	}
	return events
}

// Of an event and others the first to come decides, and a later attempt has it too; All
// has each with its own.
func TestOnEvent(t *testing.T) {
	wf := sdk.NewWorkflow[int]("turns", sdk.WorkflowConfig{Sticky: sdk.Soft})
	step := sdk.AddStep(wf, "wait", func(ctx sdk.Context, _ int) (string, error) {
		paid, other := sdk.OnEvent[int]("paid", &sdk.EventWait{Since: time.Minute}), sdk.OnEvent[string]("other")
		came, err := sdk.First(ctx, "turn", nil, sdk.OnSignal[int]("ok"), other, paid, sdk.OnSleep(time.Hour))
		if err != nil || came != paid || other.Value().ID != "" {
			return "", fmt.Errorf("came %v, %+v: %w", came, other.Value(), err)
		}
		never := sdk.OnEvent[int]("never")
		if _, err := sdk.First(ctx, "none", &sdk.WaitOptions{Timeout: time.Millisecond}, never); !errors.Is(err, sdk.ErrWaitTimeout) {
			return "", fmt.Errorf("none: %w", err)
		}
		left, right := sdk.OnEvent[int]("side:", &sdk.EventWait{Prefix: true, If: "payload < 2", Since: time.Minute}), sdk.OnEvent[bool]("side:b", &sdk.EventWait{Since: time.Minute})
		err = sdk.All(ctx, "sides", nil, left, right)
		if !errors.Is(err, sdk.ErrInvalidInput) || !errors.Is(right.Err(), sdk.ErrInvalidInput) || left.Err() != nil {
			return "", fmt.Errorf("a number that is no bool: %w", err)
		}
		if ctx.Attempt() == 1 {
			return "", errors.New("again")
		}
		return fmt.Sprintf("%d %s %d %s", paid.Value().Payload, paid.Value().Key, left.Value().Payload, left.Value().Key), nil
	}, sdk.StepConfig{Retries: 1, Backoff: time.Millisecond})
	c := sdktest.Start(t, one("w1"), wf).Client()
	for _, e := range []struct {
		key string
		n   int
	}{{"paid", 7}, {"paid", 8}, {"side:b", 3}, {"side:a", 1}} {
		if _, err := c.PushEvent(t.Context(), e.key, e.n); err != nil {
			t.Fatal(err)
		}
	}
	run, err := wf.Start(t.Context(), c, 1)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := step.Result(t.Context(), run); err != nil || got != "7 paid 1 side:a" {
		t.Errorf("%q, %v", got, err)
	}
}
