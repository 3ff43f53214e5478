package sdk_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/limpetrun/limpet/cluster/clustertest/bubble"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/internal/parts"
)

// stepWith is the context of an attempt that knows these records.
func stepWith(ctx context.Context, e *fakeCalls) sdk.Context {
	return parts.NewContext(ctx, attemptOf("s", "", e)).(sdk.Context)
}

func TestDoCallsOnceAndForAll(t *testing.T) {
	e := &fakeCalls{}
	called := 0
	var got []string
	for range 3 {
		ctx := stepWith(t.Context(), e)
		for _, options := range []*sdk.DoOptions{nil, {}, {Key: "mine"}} {
			s, err := sdk.Do(ctx, "think", func(ctx sdk.Context) (string, error) {
				called++
				return fmt.Sprintf("%s %d", ctx.Step(), called), nil
			}, options)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, s)
		}
	}
	if want := "[s 1 s 2 s 3 s 1 s 2 s 3 s 1 s 2 s 3]"; fmt.Sprint(got) != want || called != 3 {
		t.Errorf("%v after %d calls, want %s", got, called, want)
	}
	for _, key := range []string{"think #0", "think #1", "think mine"} {
		if c := e.records[key]; c == nil || c.Tries != 1 || c.Kind != messages.CallKind_CALL_KIND_DO {
			t.Errorf("%s: %v", key, c)
		}
	}
}

// TestDoReturnsWhatIsRecorded: the first time too, so that a step does not work with
// what a later attempt would not get.
func TestDoReturnsWhatIsRecorded(t *testing.T) {
	type reply struct {
		Text   string
		Hidden string `json:"-"`
	}
	e := &fakeCalls{}
	for range 2 {
		got, err := sdk.Do(stepWith(t.Context(), e), "think", func(sdk.Context) (reply, error) { return reply{"hi", "there"}, nil })
		if err != nil || got != (reply{Text: "hi"}) {
			t.Errorf("%+v %v", got, err)
		}
	}
	// Nothing is returned that is not recorded.
	e.recording = func(*messages.CallRecorded) error { return messages.Errorf(messages.CodeStaleAttempt, "not live") }
	if got, err := sdk.Do(stepWith(t.Context(), e), "other", func(sdk.Context) (int, error) { return 7, nil }); got != 0 || !errors.Is(err, sdk.ErrStaleAttempt) {
		t.Errorf("%v %v", got, err)
	}
}

func TestDoRecordsAnErrorOnlyIfItIsFinal(t *testing.T) {
	mine := errors.New("try again")
	e := &fakeCalls{}
	called := 0
	do := func(err error) error {
		_, err = sdk.Do(stepWith(t.Context(), e), "pay", func(sdk.Context) (int, error) { called++; return 0, err })
		return err
	}
	if err := do(mine); !errors.Is(err, mine) || len(e.records) != 0 {
		t.Error(err, e.records)
	}
	for range 2 {
		err := do(sdk.NonRetryable(errors.New("card refused")))
		if !errors.Is(err, sdk.ErrUser) || !strings.Contains(err.Error(), "card refused") {
			t.Error(err)
		}
		// A step that returns it is not retried: it would get the same error.
		w := sdk.NewWorkflow[int]("w")
		sdk.AddStep(w, "s", func(sdk.Context, int) (int, error) { return 0, err })
		if f := failureOf(t, w, "s"); !f.Final || f.Code != "USER_ERROR" {
			t.Errorf("%+v", f)
		}
	}
	if called != 2 {
		t.Errorf("called %d times", called)
	}
}

// failureOf runs a step and returns its failure.
func failureOf(t *testing.T, w *sdk.Workflow[int], step string) *messages.Failure {
	t.Helper()
	_, err := parts.Functions(w)[step](t.Context(), attemptOf(step, "1", &fakeCalls{}))
	return messages.ToFailure(err)
}

func TestDoRetries(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		e := &fakeCalls{}
		began, called := time.Now(), 0
		got, err := sdk.Do(stepWith(t.Context(), e), "flaky", func(sdk.Context) (int, error) {
			if called++; called < 4 {
				return 0, errors.New("not yet")
			}
			return 7, nil
		}, &sdk.DoOptions{Retries: 3, Backoff: time.Minute, BackoffMax: 2 * time.Minute})
		took := time.Since(began)
		if got != 7 || err != nil || e.records["flaky #0"].Tries != 4 {
			t.Error(got, err, e.records)
		}
		if took < 150*time.Second || took > 5*time.Minute {
			t.Errorf("pauses of %v, want 1 + 2 + 2 min at most, and half of that at least", took)
		}
		// The last error is returned, and an end of the context ends a pause.
		if _, err := sdk.Do(stepWith(t.Context(), e), "worse", func(sdk.Context) (int, error) { return 0, errors.New("never") }, &sdk.DoOptions{Retries: 1}); err == nil || err.Error() != "never" {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errors.New("enough"))
		defer cancel()
		if _, err := sdk.Do(stepWith(ctx, e), "slow", func(sdk.Context) (int, error) { return 0, errors.New("never") }, &sdk.DoOptions{Retries: 9, Backoff: time.Hour, BackoffMax: time.Hour}); err == nil || err.Error() != "enough" {
			t.Error(err)
		}
	})
}

// TestDoNeedsAKey where calls of one name are under way at once, at once.
func TestDoNeedsAKey(t *testing.T) {
	e := &fakeCalls{}
	ctx := stepWith(t.Context(), e)
	one := func(sdk.Context) (int, error) { return 1, nil }
	var inner, keyed, again, other error
	began, release := make(chan struct{}), make(chan struct{})
	done := make(chan error)
	go func() {
		_, err := sdk.Do(ctx, "fetch", func(sdk.Context) (int, error) { close(began); <-release; return 1, nil })
		done <- err
	}()
	<-began
	_, inner = sdk.Do(ctx, "fetch", one)
	_, keyed = sdk.Do(ctx, "fetch", one, &sdk.DoOptions{Key: "k"})
	_, again = sdk.Do(ctx, "fetch", one, &sdk.DoOptions{Key: "k"})
	_, other = sdk.Do(ctx, "other", one)
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if !errors.Is(inner, sdk.ErrCallNeedsKey) || !strings.Contains(inner.Error(), `"fetch"`) {
		t.Error(inner)
	}
	if keyed != nil || other != nil || !errors.Is(again, sdk.ErrInvalidArgument) {
		t.Error(keyed, other, again)
	}
	if _, err := sdk.Do(ctx, "fetch", one); err != nil || e.records["fetch #1"] == nil {
		t.Error(err, e.records)
	}
	w := sdk.NewWorkflow[int]("w")
	sdk.AddStep(w, "s", func(sdk.Context, int) (int, error) { return 0, inner })
	if f := failureOf(t, w, "s"); !f.Final || f.Code != "CALL_NEEDS_KEY" {
		t.Errorf("%+v", f)
	}
}

func TestDoRefusesWhatIsRecordedOtherwise(t *testing.T) {
	e := &fakeCalls{records: map[string]*messages.CallRecorded{
		"text #0": {Step: "s", Attempt: 1, Kind: messages.CallKind_CALL_KIND_DO, Name: "text", Key: "#0", Outcome: &messages.CallRecorded_Output{Output: []byte(`"hm"`)}},
		"late #0": {Step: "s", Attempt: 1, Kind: 99, Name: "late", Key: "#0", Outcome: &messages.CallRecorded_Output{Output: []byte(`1`)}},
	}}
	for name, says := range map[string][]string{
		"text": {`call "text" #0 of step "s"`, "attempt 1", "4 bytes", "no int"},
		"late": {`call "late" #0 of step "s"`, "recorded as kind 99", "is Do now"},
	} {
		_, err := sdk.Do(stepWith(t.Context(), e), name, func(sdk.Context) (int, error) { t.Error("called"); return 1, nil })
		if !errors.Is(err, sdk.ErrCallMismatch) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, text := range says {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%s: %v does not say %q", name, err, text)
			}
		}
		w := sdk.NewWorkflow[int]("w")
		sdk.AddStep(w, "s", func(sdk.Context, int) (int, error) { return 0, err })
		if f := failureOf(t, w, "s"); !f.Final || f.Code != "CALL_MISMATCH" {
			t.Errorf("%+v", f)
		}
	}
}

// TestDoRefusesMistakes before anything is called or recorded.
func TestDoRefusesMistakes(t *testing.T) {
	e := &fakeCalls{}
	ctx := stepWith(t.Context(), e)
	ended, cancel := context.WithCancelCause(ctx)
	cancel(errors.New("over"))
	one := func(sdk.Context) (int, error) { t.Error("called"); return 1, nil }
	for name, err := range map[string]error{
		"no name":          second(sdk.Do(ctx, "", one)),
		"a bad name":       second(sdk.Do(ctx, "a b", one)),
		"a long key":       second(sdk.Do(ctx, "a", one, &sdk.DoOptions{Key: strings.Repeat("k", messages.KeyBytesMax+1)})),
		"a key of ours":    second(sdk.Do(ctx, "a", one, &sdk.DoOptions{Key: "#0"})),
		"a key, no text":   second(sdk.Do(ctx, "a", one, &sdk.DoOptions{Key: "\xff"})),
		"retries":          second(sdk.Do(ctx, "a", one, &sdk.DoOptions{Retries: -1})),
		"backoff":          second(sdk.Do(ctx, "a", one, &sdk.DoOptions{Backoff: -1})),
		"two options":      second(sdk.Do(ctx, "a", one, nil, nil)),
		"no function":      second(sdk.Do[int](ctx, "a", nil)),
		"a result no JSON": second(sdk.Do(ctx, "a", func(sdk.Context) (chan int, error) { t.Error("called"); return nil, nil })),
		"another context":  second(sdk.Do(t.Context(), "a", one)),
	} {
		if !errors.Is(err, sdk.ErrInvalidArgument) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := sdk.Do(ended, "a", one); err == nil || err.Error() != "over" {
		t.Error(err)
	}
	if len(e.records) != 0 {
		t.Error(e.records)
	}
}

func second[T any](_ T, err error) error { return err }

// TestDoIsNotWithinAnother: once the outer one is recorded the inner one would not
// be counted.
func TestDoIsNotWithinAnother(t *testing.T) {
	child := sdk.NewWorkflow[int]("child")
	ctx := stepWith(t.Context(), &fakeCalls{})
	got, err := sdk.Do(ctx, "outer", func(ctx sdk.Context) (int, error) {
		below, cancel := context.WithCancel(ctx)
		defer cancel()
		for _, err := range []error{
			second(sdk.Do(below, "inner", func(sdk.Context) (int, error) { return 1, nil })),
			second(child.Spawn(ctx, 1)),
		} {
			if !errors.Is(err, sdk.ErrInvalidArgument) || !strings.Contains(err.Error(), `"outer"`) {
				t.Error(err)
			}
		}
		if c, ok := sdk.FromContext(below); !ok || c.Step() != "s" || ctx.Attempt() != 2 {
			t.Error("the context of a call is not that of its step")
		}
		return 1, nil
	})
	if got != 1 || err != nil {
		t.Error(got, err)
	}
}

// TestDoResultsThatCannotBeRecorded are mistakes that no retry mends.
func TestDoResultsThatCannotBeRecorded(t *testing.T) {
	e := &fakeCalls{}
	called := 0
	large := func(sdk.Context) (any, error) { called++; return strings.Repeat("x", messages.PayloadBytesMax), nil }
	nan := func(sdk.Context) (any, error) { called++; return math.NaN(), nil }
	for code, function := range map[string]func(sdk.Context) (any, error){"PAYLOAD_TOO_LARGE": large, "INVALID_OUTPUT": nan} {
		_, err := sdk.Do(stepWith(t.Context(), e), "think", function, &sdk.DoOptions{Retries: 5})
		if string(sdk.CodeOf(err)) != code || !strings.Contains(err.Error(), `"think"`) {
			t.Error(err)
		}
		size, limit := fmt.Sprint(messages.PayloadBytesMax+2), "PayloadBytesMax = "
		if code == "PAYLOAD_TOO_LARGE" && (!strings.Contains(err.Error(), size) || !strings.Contains(err.Error(), limit)) {
			t.Errorf("%v, without the size or the limit", err)
		}
		w := sdk.NewWorkflow[int]("w")
		sdk.AddStep(w, "s", func(sdk.Context, int) (int, error) { return 0, err })
		if f := failureOf(t, w, "s"); !f.Final || f.Code != code || strings.Contains(f.Message, code) {
			t.Errorf("%+v", f)
		}
	}
	if called != 2 || len(e.records) != 0 {
		t.Errorf("called %d times, %v", called, e.records)
	}
}

// TestDoAfterAPanic: the panic is the step's, and the call is not under way.
func TestDoAfterAPanic(t *testing.T) {
	ctx := stepWith(t.Context(), &fakeCalls{})
	func() {
		defer func() { _ = recover() }()
		_, _ = sdk.Do(ctx, "think", func(sdk.Context) (int, error) { panic("oh") })
	}()
	if _, err := sdk.Do(ctx, "think", func(sdk.Context) (int, error) { return 1, nil }); err != nil {
		t.Error(err)
	}
}
