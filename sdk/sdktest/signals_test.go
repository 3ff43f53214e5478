package sdktest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/sdktest"
)

// receiver is a workflow of one step, started in an engine of one worker with one
// slot.
func receiver[Out any](t *testing.T, sticky sdk.Sticky, receive func(ctx sdk.Context) (Out, error), workers ...string) (*sdktest.Engine, *sdk.Run, *sdk.Step[int, Out]) {
	t.Helper()
	w := sdk.NewWorkflow[int]("waits", sdk.WorkflowConfig{Sticky: sticky})
	step := sdk.AddStep(w, "waits", func(ctx sdk.Context, _ int) (Out, error) { return receive(ctx) }, sdk.StepConfig{Retries: 1, Backoff: 1})
	config := one("w1")
	if len(workers) > 0 {
		config = sdktest.Config{Workers: sdktest.Workers(workers...)}
	}
	other, _ := whereabouts("other", sdk.None)
	e := sdktest.Start(t, config, w, other)
	run, err := w.Start(t.Context(), e.Client(), 1)
	if err != nil {
		t.Fatal(err)
	}
	return e, run, step
}

// untilWaits returns once the run's history says that a call waits.
func untilWaits(t *testing.T, run *sdk.Run) {
	t.Helper()
	for entry, err := range run.Watch(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		for _, ev := range entry.GetEvents() {
			if ev.GetCallWaits() != nil {
				return
			}
		}
	}
	t.Fatal("the run has ended and nothing waits")
}

func signal(t *testing.T, run *sdk.Run, name string, payload any) {
	t.Helper()
	if err := run.Signal(t.Context(), name, payload); err != nil {
		t.Fatal(err)
	}
}

// TestReceiveTakesMessagesInOrder, those that came before it asked and those after,
// and a retry gets the same ones.
func TestReceiveTakesMessagesInOrder(t *testing.T) {
	begin := make(chan struct{})
	_, run, step := receiver(t, sdk.Soft, func(ctx sdk.Context) (string, error) {
		<-begin
		var got []string
		for range 3 {
			s, err := sdk.Receive[string](ctx, "talk")
			if err != nil {
				return "", err
			}
			got = append(got, s)
		}
		if ctx.Attempt() == 1 {
			return "", errors.New("again")
		}
		return strings.Join(got, " "), nil
	})
	signal(t, run, "talk", "a")
	signal(t, run, "other", 7)
	signal(t, run, "talk", "b")
	close(begin)
	untilWaits(t, run)
	signal(t, run, "talk", "c")
	if got, err := step.Result(t.Context(), run); err != nil || got != "a b c" {
		t.Error(got, err)
	}
	if err := run.Signal(t.Context(), "talk", "d"); !errors.Is(err, sdk.ErrRunFinished) {
		t.Error(err)
	}
	unread := false
	for entry, err := range run.Watch(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		for _, ev := range entry.GetEvents() {
			unread = unread || ev.GetRunEnded().GetUnreadSignals()["other"] == 1
		}
	}
	if !unread {
		t.Error("the end does not say what was not received")
	}
}

// TestAStepThatWaitsHoldsNoSlot: another run goes on in the only one.
func TestAStepThatWaitsHoldsNoSlot(t *testing.T) {
	e, run, step := receiver(t, sdk.Hard, func(ctx sdk.Context) (string, error) { return sdk.Receive[string](ctx, "go") })
	untilWaits(t, run)
	other, here := whereabouts("other", sdk.None)
	second, err := other.Start(t.Context(), e.Client(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if at, err := here.Result(t.Context(), second); err != nil || at != "w1" {
		t.Error(at, err)
	}
	view, err := run.Get(t.Context())
	if err != nil || !strings.Contains(view.GetRun().GetWaitingFor(), `signal "go" for step "waits"`) && !view.GetRun().GetDormant() {
		t.Errorf("it waits for %q: %v", view.GetRun().GetWaitingFor(), err)
	}
	signal(t, run, "go", "gone")
	if got, err := step.Result(t.Context(), run); err != nil || got != "gone" {
		t.Error(got, err)
	}
}

// TestWaitsComeOutOnce: the time, or an end of the context that the step gave, and
// the message that comes after goes to the next call.
func TestWaitsComeOutOnce(t *testing.T) {
	timedOut := make(chan struct{}, 2)
	_, run, step := receiver(t, sdk.None, func(ctx sdk.Context) (string, error) {
		_, atOnce := sdk.Receive[string](ctx, "go", &sdk.WaitOptions{Timeout: sdk.AtOnce})
		_, late := sdk.Receive[string](ctx, "go", &sdk.WaitOptions{Timeout: time.Millisecond})
		short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
		defer cancel()
		var canceled error
		if ctx.Attempt() == 1 {
			_, canceled = sdk.Receive[string](short, "go")
		} else {
			_, canceled = sdk.Receive[string](ctx, "go")
		}
		timedOut <- struct{}{}
		for i, err := range []error{atOnce, late} {
			if !errors.Is(err, sdk.ErrWaitTimeout) {
				return "", fmt.Errorf("wait %d: %w", i, err)
			}
		}
		if !errors.Is(canceled, sdk.ErrCanceled) {
			return "", fmt.Errorf("canceled: %w", canceled)
		}
		got, err := sdk.Receive[string](ctx, "go")
		if err == nil && ctx.Attempt() == 1 {
			err = errors.New("again")
		}
		return got, err
	})
	<-timedOut
	signal(t, run, "go", "gone")
	if got, err := step.Result(t.Context(), run); err != nil || got != "gone" {
		t.Error(got, err)
	}
}

// TestWaitsOutliveServerAndWorker.
func TestWaitsOutliveServerAndWorker(t *testing.T) {
	where := make(chan string, 4)
	e, run, step := receiver(t, sdk.Soft, func(ctx sdk.Context) (string, error) {
		where <- ctx.WorkerID()
		first, err := sdk.Receive[string](ctx, "talk")
		if err != nil {
			return "", err
		}
		second, err := sdk.Receive[string](ctx, "talk")
		return first + second, err
	}, "w1", "w2")
	at := <-where
	untilWaits(t, run)
	if err := e.RestartServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	signal(t, run, "talk", "a")
	if err := e.KillWorker(at); err != nil {
		t.Fatal(err)
	}
	signal(t, run, "talk", "b")
	if now := <-where; now == at {
		t.Errorf("the step runs on %s, which was killed", now)
	}
	if got, err := step.Result(t.Context(), run); err != nil || got != "ab" {
		t.Error(got, err)
	}
}

// TestWaitsAtOnce: each gets one message of the name.
func TestWaitsAtOnce(t *testing.T) {
	const n = 20
	_, run, step := receiver(t, sdk.Soft, func(ctx sdk.Context) (int, error) {
		var wait sync.WaitGroup
		got := make([]int, n)
		errs := make([]error, n)
		for i := range n {
			wait.Go(func() {
				got[i], errs[i] = sdk.Receive[int](ctx, "n", &sdk.WaitOptions{Key: fmt.Sprint(i)})
			})
		}
		wait.Wait()
		sum := 0
		for _, v := range got {
			sum += v
		}
		return sum, errors.Join(errs...)
	})
	for i := range n {
		signal(t, run, "n", 1<<i)
	}
	if sum, err := step.Result(t.Context(), run); err != nil || sum != 1<<n-1 {
		t.Error(sum, err)
	}
}

// TestSignalsAreChecked before anything is recorded, and a message that is none for
// the step comes out as an error.
func TestSignalsAreChecked(t *testing.T) {
	e, run, step := receiver(t, sdk.None, func(ctx sdk.Context) (bool, error) {
		_, none := sdk.Receive[int](ctx, "n")
		_, err := sdk.Receive[any](ctx, "end")
		return errors.Is(none, sdk.ErrInvalidInput), err
	})
	large := strings.Repeat("x", messages.PayloadBytesMax)
	for what, c := range map[string]struct{ got, want error }{
		"no name":      {run.Signal(t.Context(), "", 1), sdk.ErrInvalidArgument},
		"a bad name":   {run.Signal(t.Context(), "a b", 1), sdk.ErrInvalidArgument},
		"too large":    {run.Signal(t.Context(), "n", large), sdk.ErrPayloadTooLarge},
		"no JSON":      {run.Signal(t.Context(), "n", make(chan int)), sdk.ErrInvalidInput},
		"a bad id":     {run.Signal(t.Context(), "n", 1, &sdk.SignalOptions{ID: "\xff"}), sdk.ErrInvalidArgument},
		"no such run":  {e.Client().Run("nosuch").Signal(t.Context(), "n", 1), sdk.ErrUnknownRun},
		"once":         {run.Signal(t.Context(), "n", "text", &sdk.SignalOptions{ID: "m1"}), nil},
		"two options":  {run.Signal(t.Context(), "n", 1, nil, nil), sdk.ErrInvalidArgument},
		"another time": {run.Signal(t.Context(), "x", "else", &sdk.SignalOptions{ID: "m2"}), nil},
	} {
		if !errors.Is(c.got, c.want) {
			t.Errorf("%s: %v, want %v", what, c.got, c.want)
		}
	}
	if err := run.Signal(t.Context(), "n", "other", &sdk.SignalOptions{ID: "m2"}); !errors.Is(err, sdk.ErrIdempotencyMismatch) {
		t.Error(err)
	}
	signal(t, run, "end", nil)
	if ok, err := step.Result(t.Context(), run); err != nil || !ok {
		t.Error(ok, err)
	}
	if err := run.Signal(t.Context(), "n", "text", &sdk.SignalOptions{ID: "m1"}); err != nil {
		t.Errorf("the same message again: %v", err)
	}
}

// TestStartOrSignal: the run of a key has the message either way, however often and
// by however many it is sent at once.
func TestStartOrSignal(t *testing.T) {
	w := sdk.NewWorkflow[int]("chat")
	step := sdk.AddStep(w, "talk", func(ctx sdk.Context, in int) (string, error) {
		first, err := sdk.Receive[string](ctx, "said", &sdk.WaitOptions{Timeout: sdk.AtOnce})
		if err != nil {
			return "", err
		}
		seen := map[string]bool{first: true}
		for len(seen) < 8 {
			next, err := sdk.Receive[string](ctx, "said")
			if err != nil {
				return "", err
			}
			if seen[next] {
				return "", fmt.Errorf("%s came twice", next)
			}
			seen[next] = true
		}
		return fmt.Sprintf("%d messages", len(seen)), nil
	})
	e := sdktest.Start(t, one("w1"), w)
	send := func(in, n int) (*sdk.Run, error) {
		id := fmt.Sprintf("m%d", n)
		return w.Start(t.Context(), e.Client(), in, &sdk.StartOptions{IdempotencyKey: "user-7",
			Signal: &sdk.Signal{Name: "said", Payload: id, SignalOptions: sdk.SignalOptions{ID: id}}})
	}
	runs, errs := make([]*sdk.Run, 16), make([]error, 16)
	var wait sync.WaitGroup
	for i := range runs {
		wait.Go(func() { runs[i], errs[i] = send(i, i/2) })
	}
	wait.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	fresh := 0
	for _, r := range runs {
		if r.ID() != runs[0].ID() {
			t.Errorf("runs %s and %s", r.ID(), runs[0].ID())
		}
		if !r.Existed {
			fresh++
		}
	}
	if got, err := step.Result(t.Context(), runs[0]); err != nil || got != "8 messages" || fresh != 1 {
		t.Errorf("%q, started %d times: %v", got, fresh, err)
	}
	// The run has ended: what it has it has, and it takes nothing new.
	if r, err := send(1, 3); err != nil || r.ID() != runs[0].ID() || !r.Existed {
		t.Error(r, err)
	}
	if _, err := send(1, 99); !errors.Is(err, sdk.ErrRunFinished) {
		t.Error(err)
	}
	for what, opts := range map[string]*sdk.StartOptions{
		"no key":  {Signal: &sdk.Signal{Name: "said"}},
		"no name": {IdempotencyKey: "k", Signal: &sdk.Signal{Payload: 1}},
	} {
		if _, err := w.Start(t.Context(), e.Client(), 1, opts); !errors.Is(err, sdk.ErrInvalidArgument) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// A step that wants to leave no message takes what is there until there is none; what
// comes after that look, before the end, is counted, and after it refused.
func TestAMailboxIsEmptiedBeforeTheEnd(t *testing.T) {
	looked, end := make(chan struct{}), make(chan struct{})
	_, run, step := receiver(t, sdk.Soft, func(ctx sdk.Context) (string, error) {
		if _, err := sdk.Receive[int](ctx, "begin"); err != nil {
			return "", err
		}
		var got []string
		for {
			s, err := sdk.Receive[string](ctx, "talk", &sdk.WaitOptions{Timeout: sdk.AtOnce})
			if errors.Is(err, sdk.ErrWaitTimeout) {
				break
			} else if err != nil {
				return "", err
			}
			got = append(got, s)
		}
		close(looked)
		<-end
		return strings.Join(got, " "), nil
	})
	for _, text := range []string{"a", "b", "c"} {
		signal(t, run, "talk", text)
	}
	signal(t, run, "begin", 1)
	<-looked
	signal(t, run, "talk", "late")
	close(end)
	if got, err := step.Result(t.Context(), run); err != nil || got != "a b c" {
		t.Error(got, err)
	}
	got, err := run.Get(t.Context())
	if unread := got.GetUnreadSignals(); err != nil || len(unread) != 1 || unread["talk"] != 1 {
		t.Error(unread, err)
	}
	if err := run.Signal(t.Context(), "talk", "too late"); !errors.Is(err, sdk.ErrRunFinished) {
		t.Error(err)
	}
}
