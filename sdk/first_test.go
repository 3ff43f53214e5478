package sdk_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk"
)

func TestSleepIsACall(t *testing.T) {
	e := &fakeCalls{outcomes: []*messages.CallRecorded{{}, {}, {}, {}}}
	ctx := stepWith(t.Context(), e)
	at := time.Date(2031, 3, 30, 2, 30, 0, 1, time.UTC)
	for _, err := range []error{
		sdk.Sleep(ctx, time.Hour+1),
		sdk.Sleep(ctx, -time.Hour),
		sdk.Sleep(ctx, time.Minute, &sdk.CallOptions{Name: "pause", Key: "k"}),
		sdk.SleepUntil(ctx, at),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	for i, want := range []struct {
		name, key string
		ms, us    int64
	}{{"sleep", "#0", time.Hour.Milliseconds() + 1, 0}, {"sleep", "#1", 0, 0}, {"pause", "k", 60_000, 0}, {"sleep", "#2", 0, at.UnixMicro() + 1}} {
		w := e.awaits[i]
		if b := w.Branches[0]; w.Name != want.name || w.Key != want.key || b.SleepMs != want.ms || b.UntilWallUs != want.us || w.Kind != messages.CallKind_CALL_KIND_SLEEP {
			t.Errorf("sleep %d: %v, want %v", i, w, want)
		}
	}
	for name, err := range map[string]error{
		"no time":     sdk.SleepUntil(ctx, time.Time{}),
		"no step":     sdk.Sleep(t.Context(), 1),
		"our key":     sdk.Sleep(ctx, 1, &sdk.CallOptions{Key: "#7"}),
		"two options": sdk.Sleep(ctx, 1, nil, nil),
		"within Do": second(sdk.Do(ctx, "outer", func(ctx sdk.Context) (int, error) {
			return 0, sdk.Sleep(ctx, 1)
		})),
	} {
		if !errors.Is(err, sdk.ErrInvalidArgument) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, d := range []time.Duration{366 * 24 * time.Hour, math.MaxInt64} {
		if err := sdk.Sleep(ctx, d); !errors.Is(err, sdk.ErrLimitExceeded) {
			t.Errorf("%v: %v", d, err)
		}
	}
	if len(e.awaits) != 4 {
		t.Error(e.awaits)
	}
}

// TestFirstSaysWhichCame: the branch is the one that is on record, and has its value.
func TestFirstSaysWhichCame(t *testing.T) {
	failed := &messages.CallRecorded{Branch: 2, Child: &messages.ChildEnd{Status: sdk.Failed, Failure: &messages.Failure{Code: "USER_ERROR", Message: "no"}}}
	got := message(`7`)
	got.Branch = 1
	text := message(`"seven"`)
	text.Branch = 1
	e := &fakeCalls{outcomes: []*messages.CallRecorded{got, {Branch: 0}, failed, text, {Branch: 3}, {Branch: 1}}}
	ctx := stepWith(t.Context(), e)
	child, err := sdk.NewWorkflow[int]("child").Spawn(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	failed.Child.ChildRun = child.ID()
	sleep, number, ends := sdk.OnSleep(time.Hour), sdk.OnSignal[int]("n"), sdk.OnChild(child)
	first := func() (sdk.Branch, error) {
		return sdk.First(ctx, "turn", &sdk.WaitOptions{Timeout: 2 * time.Hour}, sleep, number, ends)
	}
	if came, err := first(); err != nil || came != number || number.Value() != 7 {
		t.Error(came, err, number.Value())
	}
	// What came before is gone.
	if came, err := first(); err != nil || came != sleep || number.Value() != 0 {
		t.Error(came, err)
	}
	var failure *sdk.RunError
	if came, err := first(); came != ends || !errors.As(err, &failure) || failure.RunID != child.ID() || ends.Err() == nil {
		t.Error(came, err)
	}
	// The end of the child is there: nothing more is waited for.
	if err := child.Wait(ctx); !errors.As(err, &failure) {
		t.Error(err)
	}
	if came, err := first(); came != number || !errors.Is(err, sdk.ErrInvalidInput) {
		t.Error(came, err)
	}
	// On record is a branch that is not there now, and one of another kind.
	for range 2 {
		if came, err := first(); came != nil || !errors.Is(err, sdk.ErrCallMismatch) {
			t.Error(came, err)
		}
	}
	if w := e.awaits[0]; w.TimeoutMs != (2*time.Hour).Milliseconds() || w.Key != "#0" || len(w.Branches) != 3 || len(e.awaits) != 6 {
		t.Error(e.awaits)
	}
}

func TestAllJoinsTheErrorsInOrder(t *testing.T) {
	over := &messages.CallRecorded{Outcome: &messages.CallRecorded_Failure{Failure: &messages.Failure{Code: string(messages.CodeWaitTimeout), Message: "none"}}}
	e := &fakeCalls{outcomes: []*messages.CallRecorded{over, message(`5`), {}, message(`"x"`)}}
	ctx := stepWith(t.Context(), e)
	a, b, sleep, c := sdk.OnSignal[int]("a"), sdk.OnSignal[int]("b"), sdk.OnSleep(time.Second), sdk.OnSignal[int]("c")
	err := sdk.All(ctx, "all", nil, a, b, sleep, c)
	if !errors.Is(err, sdk.ErrWaitTimeout) || !errors.Is(err, sdk.ErrInvalidInput) || !strings.HasPrefix(err.Error(), `signal "a": WAIT_TIMEOUT`) {
		t.Error(err)
	}
	if b.Value() != 5 || b.Err() != nil || !errors.Is(a.Err(), sdk.ErrWaitTimeout) || sleep.Err() != nil || c.Err() == nil {
		t.Error(a.Err(), b.Err(), sleep.Err(), c.Err())
	}
	for i, key := range []string{"##0/0", "##0/1", "##0/2", "##0/3"} {
		if e.awaits[i].Key != key {
			t.Error(e.awaits[i])
		}
	}
	for name, err := range map[string]error{
		"no branch":   sdk.All(ctx, "none", nil),
		"a nil":       sdk.All(ctx, "none", nil, nil),
		"no child":    sdk.All(ctx, "none", nil, sdk.OnChild(nil)),
		"no signal":   second(sdk.First(ctx, "none", nil, sdk.OnSignal[int](""))),
		"no name":     second(sdk.First(ctx, "", nil, sleep)),
		"a timeout":   sdk.All(ctx, "none", &sdk.WaitOptions{Timeout: -1}, sleep),
		"a long name": sdk.All(ctx, strings.Repeat("x", 129), nil, sleep),
	} {
		if !errors.Is(err, sdk.ErrInvalidArgument) {
			t.Errorf("%s: %v", name, err)
		}
	}
	many := make([]sdk.Branch, messages.BranchesMax+1)
	for i := range many {
		many[i] = sleep
	}
	if err := sdk.All(ctx, "many", nil, many...); !errors.Is(err, sdk.ErrLimitExceeded) || !strings.Contains(err.Error(), "BranchesMax = 1000") {
		t.Error(err)
	}
}

// TestEachKindOfCallKnowsTheOthers: a record of another kind under the name of a call
// is a mismatch that names both.
func TestEachKindOfCallKnowsTheOthers(t *testing.T) {
	child := sdk.NewWorkflow[int]("child")
	calls := map[messages.CallKind]func(ctx sdk.Context) error{
		messages.CallKind_CALL_KIND_DO: func(ctx sdk.Context) error {
			return second(sdk.Do(ctx, "x", func(sdk.Context) (int, error) { return 1, nil }))
		},
		messages.CallKind_CALL_KIND_RECEIVE: func(ctx sdk.Context) error { return second(sdk.Receive[int](ctx, "x")) },
		messages.CallKind_CALL_KIND_SLEEP: func(ctx sdk.Context) error {
			return sdk.Sleep(ctx, 1, &sdk.CallOptions{Name: "x"})
		},
		messages.CallKind_CALL_KIND_FIRST: func(ctx sdk.Context) error {
			return second(sdk.First(ctx, "x", nil, sdk.OnSleep(1)))
		},
		messages.CallKind_CALL_KIND_ALL: func(ctx sdk.Context) error { return sdk.All(ctx, "x", nil, sdk.OnSleep(1)) },
		messages.CallKind_CALL_KIND_SIGNAL: func(ctx sdk.Context) error {
			return sdk.SignalRun(ctx, "r", "ok", 1, &sdk.CallOptions{Name: "x"})
		},
		messages.CallKind_CALL_KIND_CHILD: func(ctx sdk.Context) error {
			c, err := child.Spawn(ctx, 1)
			if err != nil {
				return err
			}
			return c.Wait(ctx)
		},
	}
	for is, call := range calls {
		for was := range calls {
			if was == is {
				continue
			}
			record := &messages.CallRecorded{Step: "s", Attempt: 1, Kind: was, Name: "x", Key: "#0"}
			e := &fakeCalls{records: map[string]*messages.CallRecorded{"x #0": record}}
			ctx := stepWith(t.Context(), e)
			if is == messages.CallKind_CALL_KIND_CHILD {
				e.records["child "+messages.RunIDForChild("run1", "s", "#0:child")+"#0"] = record
			}
			err := call(ctx)
			if want := fmt.Sprintf("is recorded as %s, by attempt 1, and is %s now", was.Words(), is.Words()); !errors.Is(err, sdk.ErrCallMismatch) || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want that it %s", err, want)
			}
			if len(e.awaits) > 0 || len(e.sent) > 0 {
				t.Errorf("%v after %v was made", is, was)
			}
		}
	}
}

func TestSignalRunIsACall(t *testing.T) {
	e := &fakeCalls{}
	ctx := stepWith(t.Context(), e)
	for range 2 {
		if err := sdk.SignalRun(ctx, "r2", "ok", map[string]int{"n": 1}); err != nil {
			t.Error(err)
		}
	}
	if s := e.sent[1]; len(e.sent) != 2 || s.ToRun != "r2" || s.Signal != "ok" || s.Name != "signal" || s.Key != "#1" || string(s.Payload) != `{"n":1}` {
		t.Error(e.sent)
	}
	e.records = map[string]*messages.CallRecorded{"signal k": {Kind: messages.CallKind_CALL_KIND_SIGNAL,
		Outcome: &messages.CallRecorded_Failure{Failure: &messages.Failure{Code: string(messages.CodeRunFinished), Message: "over"}}}}
	if err := sdk.SignalRun(ctx, "r2", "ok", 1, &sdk.CallOptions{Key: "k"}); !errors.Is(err, sdk.ErrRunFinished) {
		t.Error(err)
	}
	for name, err := range map[string]error{
		"no run":    sdk.SignalRun(ctx, "", "ok", 1),
		"no signal": sdk.SignalRun(ctx, "r", "", 1),
		"our key":   sdk.SignalRun(ctx, "r", "ok", 1, &sdk.CallOptions{Key: "#1"}),
		"no step":   sdk.SignalRun(context.Background(), "r", "ok", 1),
	} {
		if !errors.Is(err, sdk.ErrInvalidArgument) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := sdk.SignalRun(ctx, "r", "ok", make(chan int)); !errors.Is(err, sdk.ErrInvalidInput) {
		t.Error(err)
	}
	if err := sdk.SignalRun(ctx, "r", "ok", strings.Repeat("x", messages.PayloadBytesMax)); !errors.Is(err, sdk.ErrPayloadTooLarge) {
		t.Error(err)
	}
	if len(e.sent) != 2 {
		t.Error(e.sent)
	}
}
