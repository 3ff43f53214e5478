package sdktest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/sdktest"
)

// TestASleepGoesOnAfterARetry: it ends at the time that the first attempt has recorded,
// also when the server was away in between.
func TestASleepGoesOnAfterARetry(t *testing.T) {
	var engine *sdktest.Engine
	ready := make(chan struct{})
	e, run, step := receiver(t, sdk.Soft, func(ctx sdk.Context) (string, error) {
		<-ready
		began, err := sdk.Do(ctx, "began", func(sdk.Context) (time.Time, error) { return engine.Now(), nil })
		if err != nil {
			return "", err
		}
		if err := sdk.Sleep(ctx, 30*time.Hour); err != nil {
			return "", err
		}
		if ctx.Attempt() == 1 {
			return "", errors.New("again")
		}
		if err := sdk.SleepUntil(ctx, began.Add(48*time.Hour)); err != nil {
			return "", err
		}
		return engine.Now().Sub(began).Truncate(time.Hour).String(), nil
	})
	engine = e
	close(ready)
	untilWaits(t, run)
	advance(t, e, 20*time.Hour)
	if err := e.RestartServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	advance(t, e, 28*time.Hour+time.Minute)
	if got, err := step.Result(t.Context(), run); err != nil || got != "48h0m0s" {
		t.Error(got, err)
	}
}

// TestSleepsAcrossTheDaysOnWhichClocksChange: a moment is one, whatever the clocks of a zone
// show: a day of 23 or 25 hours is slept through, and an hour that is left out, or comes
// twice, wakes once.
func TestSleepsAcrossTheDaysOnWhichClocksChange(t *testing.T) {
	w := sdk.NewWorkflow[[]time.Time]("days", sdk.WorkflowConfig{KeepFor: sdk.NotAtAll})
	var engine *sdktest.Engine
	ready := make(chan struct{})
	step := sdk.AddStep(w, "sleeps", func(ctx sdk.Context, moments []time.Time) (woken []time.Time, err error) {
		<-ready
		for _, at := range moments {
			if err := sdk.SleepUntil(ctx, at); err != nil {
				return nil, err
			}
			now, err := sdk.Do(ctx, "woken", func(sdk.Context) (time.Time, error) { return engine.Now(), nil })
			if err != nil {
				return nil, err
			}
			woken = append(woken, now)
		}
		return woken, nil
	})
	e := sdktest.Start(t, sdktest.Config{}, w)
	engine = e
	close(ready)
	runs, wants := map[string]*sdk.Run{}, map[string][]time.Time{}
	for _, zone := range []string{"Europe/Berlin", "America/New_York"} {
		in, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		day := e.Now().AddDate(0, 0, 2).In(in)
		for range 2 {
			_, change := day.ZoneBounds()
			before := change.Add(-time.Second).In(in)
			noon := time.Date(before.Year(), before.Month(), before.Day()-1, 12, 0, 0, 0, in)
			moments := []time.Time{noon, {}, noon.AddDate(0, 0, 1), noon.AddDate(0, 0, 2)}
			minute := 30 // of the hour that comes twice, or
			switch long := moments[2].Sub(noon); long {
			case 25 * time.Hour:
			case 23 * time.Hour:
				minute = 90 // of the one that is left out
			default:
				t.Fatalf("the day on which clocks change in %s has %v", zone, long)
			}
			moments[1] = time.Date(before.Year(), before.Month(), before.Day(), before.Hour(), minute, 0, 0, in)
			name := zone + " " + change.String()
			run, err := w.Start(t.Context(), e.Client(), moments)
			if err != nil {
				t.Fatal(err)
			}
			runs[name], wants[name] = run, moments
			day = change.AddDate(0, 0, 2)
		}
	}
	advance(t, e, 366*24*time.Hour)
	for name, run := range runs {
		woken, err := step.Result(t.Context(), run)
		if err != nil || len(woken) != len(wants[name]) {
			t.Fatalf("%s: %v, %v", name, woken, err)
		}
		for i, at := range wants[name] {
			if late := woken[i].Sub(at); late < 0 || late > time.Minute {
				t.Errorf("%s: %v after %v", name, late, at)
			}
		}
	}
}

// TestALoserOfFirstTakesNothing: the message that came too late is there for the next
// call, and a time of six days keeps no run from its end.
func TestALoserOfFirstTakesNothing(t *testing.T) {
	e, run, step := receiver(t, sdk.Soft, func(ctx sdk.Context) (string, error) {
		ok, day := sdk.OnSignal[string]("ok"), sdk.OnSleep(24*time.Hour)
		var got []string
		for range 2 {
			came, err := sdk.First(ctx, "turn", nil, ok, day, sdk.OnSleep(6*24*time.Hour))
			switch {
			case err != nil:
				return "", err
			case came == day:
				got = append(got, "a day")
			case came == ok:
				got = append(got, ok.Value())
			}
		}
		late, err := sdk.Receive[string](ctx, "ok")
		if ctx.Attempt() == 1 && err == nil {
			err = errors.New("again")
		}
		return strings.Join(append(got, late), ", "), err
	})
	untilWaits(t, run)
	advance(t, e, 25*time.Hour)
	signal(t, run, "ok", "yes")
	signal(t, run, "ok", "too")
	if got, err := step.Result(t.Context(), run); err != nil || got != "a day, yes, too" {
		t.Error(got, err)
	}
}

// TestAllWaitsForManyChildrenInOneCall: 50 of them on one slot, one of which fails. A
// retry, and children that are replayed since, change nothing of what came out.
func TestAllWaitsForManyChildrenInOneCall(t *testing.T) {
	const many = 50
	child := sdk.NewWorkflow[int]("child")
	square := sdk.AddStep(child, "square", func(_ sdk.Context, n int) (int, error) {
		if n == 7 {
			return 0, sdk.NonRetryable(errors.New("not seven"))
		}
		return n * n, nil
	})
	w := sdk.NewWorkflow[int]("fan", sdk.WorkflowConfig{Sticky: sdk.Soft})
	step := sdk.AddStep(w, "fan", func(ctx sdk.Context, _ int) (int, error) {
		var all []sdk.Branch
		for n := range many {
			c, err := child.Spawn(ctx, n)
			if err != nil {
				return 0, err
			}
			all = append(all, sdk.OnChild(c))
		}
		err := sdk.All(ctx, "children", nil, all...)
		var failed *sdk.RunError
		if !errors.As(err, &failed) || !errors.Is(all[7].Err(), sdk.ErrUser) || strings.Count(err.Error(), "child ") != 1 {
			return 0, fmt.Errorf("unexpected: %w", err)
		}
		if ctx.Attempt() == 1 {
			return 0, errors.New("again")
		}
		sum := 0
		for n, b := range all {
			if n == 7 {
				continue
			}
			out, err := square.Result(ctx, b.(*sdk.ChildBranch).Child())
			if err != nil {
				return 0, err
			}
			sum += out
		}
		return sum, nil
	}, sdk.StepConfig{Retries: 1, Backoff: 1})
	e := sdktest.Start(t, one("w1"), w, child)
	run, err := w.Start(t.Context(), e.Client(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := step.Result(t.Context(), run); err != nil || got != 49*50*99/6-49 {
		t.Error(got, err)
	}
	entries := map[bool]int{}
	for entry, err := range run.Watch(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		waits := 0
		for _, ev := range entry.GetEvents() {
			if ev.GetCallWaits() != nil {
				waits++
			}
		}
		entries[waits > 0] += waits
		if waits != 0 && waits != many {
			t.Errorf("%d of %d children are waited for in one entry", waits, many)
		}
	}
	if entries[true] != many {
		t.Errorf("%d waits are on record", entries[true])
	}
}

// TestAChildIsWaitedForForSoLong: the wait has a timeout of its own, and the next one
// gets the end.
func TestAChildIsWaitedForForSoLong(t *testing.T) {
	child := sdk.NewWorkflow[int]("child")
	sdk.AddStep(child, "sleeps", func(ctx sdk.Context, _ int) (int, error) { return 5, sdk.Sleep(ctx, 2*time.Hour) })
	w := sdk.NewWorkflow[int]("parent", sdk.WorkflowConfig{Sticky: sdk.Hard})
	step := sdk.AddStep(w, "waits", func(ctx sdk.Context, _ int) (int, error) {
		c, err := child.Spawn(ctx, 1)
		if err != nil {
			return 0, err
		}
		for _, d := range []time.Duration{time.Hour, sdk.AtOnce} {
			if err := c.Wait(ctx, &sdk.WaitOptions{Timeout: d}); !errors.Is(err, sdk.ErrWaitTimeout) {
				return 0, fmt.Errorf("within %v: %w", d, err)
			}
		}
		var out int
		err = errors.Join(c.Wait(ctx), c.Result(ctx, &out))
		return out, err
	})
	e := sdktest.Start(t, one("w1"), w, child)
	run, err := w.Start(t.Context(), e.Client(), 1)
	if err != nil {
		t.Fatal(err)
	}
	untilWaits(t, run)
	advance(t, e, 3*time.Hour)
	if got, err := step.Result(t.Context(), run); err != nil || got != 5 {
		t.Error(got, err)
	}
}

// TestStepsSignalOtherRuns: once, however often the step is tried; and one that has
// ended says so.
func TestStepsSignalOtherRuns(t *testing.T) {
	listener := sdk.NewWorkflow[int]("listener")
	hears := sdk.AddStep(listener, "hears", func(ctx sdk.Context, _ int) (string, error) {
		first, err := sdk.Receive[string](ctx, "talk")
		if err != nil {
			return "", err
		}
		_, err = sdk.Receive[string](ctx, "talk", &sdk.WaitOptions{Timeout: time.Second})
		if !errors.Is(err, sdk.ErrWaitTimeout) {
			return "", fmt.Errorf("a second message: %w", err)
		}
		return first, nil
	})
	w := sdk.NewWorkflow[string]("talker")
	tried := atomic.Int32{}
	sdk.AddStep(w, "talks", func(ctx sdk.Context, to string) (bool, error) {
		if err := sdk.SignalRun(ctx, to, "talk", fmt.Sprint("attempt ", tried.Add(1))); err != nil {
			return errors.Is(err, sdk.ErrRunFinished), nil
		}
		if ctx.Attempt() == 1 {
			return false, errors.New("again")
		}
		return false, nil
	}, sdk.StepConfig{Retries: 1, Backoff: 1})
	e := sdktest.Start(t, one("w1"), w, listener)
	other, err := listener.Start(t.Context(), e.Client(), 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, ended := range []bool{false, true} {
		run, err := w.Start(t.Context(), e.Client(), other.ID())
		if err != nil {
			t.Fatal(err)
		}
		var got bool
		if err := run.Result(t.Context(), &got); err != nil || got != ended {
			t.Error(got, err)
		}
		if heard, err := hears.Result(t.Context(), other); err != nil || heard != "attempt 1" {
			t.Error(heard, err)
		}
	}
}

// TestACancelEndsEachKindOfWait: once, with ErrCanceled. The step cleans up by a call on
// a context that goes on, and the run ends canceled. One that is suspended runs again for
// that.
func TestACancelEndsEachKindOfWait(t *testing.T) {
	waits := func(t *testing.T, run *sdk.Run) { untilWaits(t, run) }
	suspended := func(t *testing.T, run *sdk.Run) { untilEvent(t, run, suspendedIn(1)) }
	for name, tc := range map[string]struct {
		config sdk.WorkflowConfig
		until  func(*testing.T, *sdk.Run)
	}{
		"kept":                {sdk.WorkflowConfig{}, waits},
		"suspended":           {sdk.WorkflowConfig{KeepFor: sdk.NotAtAll}, suspended},
		"suspended, and Hard": {sdk.WorkflowConfig{KeepFor: sdk.NotAtAll, Sticky: sdk.Hard}, suspended},
	} {
		t.Run(name, func(t *testing.T) { cancelEachKindOfWait(t, tc.config, tc.until) })
	}
}

func cancelEachKindOfWait(t *testing.T, config sdk.WorkflowConfig, until func(*testing.T, *sdk.Run)) {
	child := sdk.NewWorkflow[int]("child")
	sdk.AddStep(child, "waits", func(ctx sdk.Context, _ int) (int, error) { return 0, sdk.Sleep(ctx, time.Hour) })
	spawn := func(ctx sdk.Context) *sdk.Child {
		c, err := child.Spawn(ctx, 1)
		if err != nil {
			t.Error(err)
		}
		return c
	}
	kinds := map[string]func(ctx sdk.Context) error{
		"Sleep":      func(ctx sdk.Context) error { return sdk.Sleep(ctx, time.Hour) },
		"SleepUntil": func(ctx sdk.Context) error { return sdk.SleepUntil(ctx, time.Now().Add(time.Hour)) },
		"Receive": func(ctx sdk.Context) error {
			_, err := sdk.Receive[int](ctx, "ok")
			return err
		},
		"Child.Wait": func(ctx sdk.Context) error { return spawn(ctx).Wait(ctx) },
		"First": func(ctx sdk.Context) error {
			_, err := sdk.First(ctx, "turn", nil, sdk.OnSignal[int]("ok"), sdk.OnSleep(time.Hour))
			return err
		},
		"All": func(ctx sdk.Context) error {
			return sdk.All(ctx, "both", nil, sdk.OnSignal[int]("ok"), sdk.OnChild(spawn(ctx)))
		},
	}
	outcomes := make(chan error, len(kinds)+1)
	cleaned := make(chan string, len(kinds)+1)
	w := sdk.NewWorkflow[string]("waits", config)
	sdk.AddStep(w, "waits", func(ctx sdk.Context, kind string) (int, error) {
		err := kinds[kind](ctx)
		if errors.Is(err, sdk.ErrSuspended) {
			return 0, err
		}
		outcomes <- err
		who, failed := sdk.Do(context.WithoutCancel(ctx), "clean-up", func(sdk.Context) (string, error) { return kind, nil })
		if failed != nil {
			t.Error(kind, failed)
		}
		cleaned <- who
		return 0, err
	})
	e := sdktest.Start(t, sdktest.Config{Workers: sdktest.Workers("w1")}, w, child)
	for kind := range kinds {
		run, err := w.Start(t.Context(), e.Client(), kind)
		if err != nil {
			t.Fatal(err)
		}
		until(t, run)
		if err := run.Cancel(t.Context(), "enough"); err != nil {
			t.Fatal(err)
		}
		if err := run.Wait(t.Context()); !errors.Is(err, sdk.ErrCanceled) {
			t.Errorf("%s: the run: %v", kind, err)
		}
		if err := <-outcomes; !errors.Is(err, sdk.ErrCanceled) {
			t.Errorf("%s: %v", kind, err)
		}
		if who := <-cleaned; who != kind {
			t.Errorf("%s: cleaned up %s", kind, who)
		}
	}
	if len(outcomes) > 0 || len(cleaned) > 0 {
		t.Errorf("%d more waits ended", len(outcomes))
	}
}

// TestAWaitThatTheStepGivesUpTakesNothing: its context ends, it comes out as canceled for
// good, and the message goes to the next one that asks. A child may be waited for again.
func TestAWaitThatTheStepGivesUpTakesNothing(t *testing.T) {
	child := sdk.NewWorkflow[int]("child")
	sdk.AddStep(child, "receives", func(ctx sdk.Context, _ int) (int, error) { return sdk.Receive[int](ctx, "go") })
	w := sdk.NewWorkflow[int]("parent")
	step := sdk.AddStep(w, "waits", func(ctx sdk.Context, _ int) (string, error) {
		c, err := child.Spawn(ctx, 1)
		if err != nil {
			return "", err
		}
		short := func() context.Context {
			short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
			t.Cleanup(cancel)
			return short
		}
		if err := sdk.All(short(), "both", nil, sdk.OnSignal[string]("ok"), sdk.OnSignal[string]("ok"), sdk.OnChild(c)); strings.Count(fmt.Sprint(err), "CANCELED") != 3 {
			return "", fmt.Errorf("all: %w", err)
		}
		if _, err := sdk.First(short(), "turn", nil, sdk.OnSignal[string]("ok")); !errors.Is(err, sdk.ErrCanceled) {
			return "", fmt.Errorf("first: %w", err)
		}
		if err := c.Wait(short()); !errors.Is(err, context.DeadlineExceeded) {
			return "", fmt.Errorf("child: %w", err)
		}
		if err := sdk.SignalRun(ctx, ctx.RunID(), "ok", "to me"); err != nil {
			return "", err
		}
		if err := sdk.SignalRun(ctx, c.ID(), "go", 1); err != nil {
			return "", err
		}
		if err := c.Wait(ctx); err != nil {
			return "", err
		}
		return sdk.Receive[string](ctx, "ok")
	})
	e := sdktest.Start(t, sdktest.Config{Workers: sdktest.Workers("w1")}, w, child)
	run, err := w.Start(t.Context(), e.Client(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := step.Result(t.Context(), run); err != nil || got != "to me" {
		t.Error(got, err)
	}
}
