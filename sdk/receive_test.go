package sdk_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk"
)

// message is a call that received one.
func message(payload string) *messages.CallRecorded {
	return &messages.CallRecorded{Step: "s", MessageId: "m1", Outcome: &messages.CallRecorded_Output{Output: []byte(payload)}}
}

func TestReceiveIsACall(t *testing.T) {
	over := &messages.CallRecorded{Outcome: &messages.CallRecorded_Failure{Failure: &messages.Failure{Code: string(messages.CodeWaitTimeout), Message: "none"}}}
	e := &fakeCalls{outcomes: []*messages.CallRecorded{message(`1`), message(`2`), message(`"text"`), over}}
	ctx := stepWith(t.Context(), e)
	var got []int
	for _, options := range []*sdk.WaitOptions{nil, {Key: "mine", Timeout: time.Hour}} {
		n, err := sdk.Receive[int](ctx, "n", options)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, n)
	}
	if fmt.Sprint(got) != "[1 2]" {
		t.Error(got)
	}
	if _, err := sdk.Receive[int](ctx, "n", &sdk.WaitOptions{Timeout: sdk.AtOnce}); !errors.Is(err, sdk.ErrInvalidInput) {
		t.Error(err)
	}
	_, err := sdk.Receive[int](ctx, "n")
	if !errors.Is(err, sdk.ErrWaitTimeout) {
		t.Error(err)
	}
	// A step that returns it is not retried: it would come out the same.
	w := sdk.NewWorkflow[int]("w")
	sdk.AddStep(w, "s", func(sdk.Context, int) (int, error) { return 0, err })
	if f := failureOf(t, w, "s"); !f.Final || f.Code != "WAIT_TIMEOUT" {
		t.Errorf("%+v", f)
	}
	for i, want := range []struct {
		key string
		ms  int64
	}{{"#0", messages.WaitMsMax}, {"mine", time.Hour.Milliseconds()}, {"#1", 0}, {"#2", messages.WaitMsMax}} {
		if w := e.awaits[i]; w.Key != want.key || w.TimeoutMs != want.ms || w.Kind != messages.CallKind_CALL_KIND_RECEIVE {
			t.Errorf("wait %d: %v, want %v", i, w, want)
		}
	}
}

// TestReceiveOfWhatWasADo is a mismatch that names both.
func TestReceiveOfWhatWasADo(t *testing.T) {
	do := &messages.CallRecorded{Step: "s", Attempt: 1, Kind: messages.CallKind_CALL_KIND_DO, Name: "ok", Key: "#0", Outcome: &messages.CallRecorded_Output{Output: []byte("1")}}
	e := &fakeCalls{records: map[string]*messages.CallRecorded{"ok #0": do}}
	if _, err := sdk.Receive[int](stepWith(t.Context(), e), "ok"); !errors.Is(err, sdk.ErrCallMismatch) {
		t.Error(err)
	}
	do.Kind = messages.CallKind_CALL_KIND_RECEIVE
	_, err := sdk.Do(stepWith(t.Context(), e), "ok", func(sdk.Context) (int, error) { t.Error("called"); return 1, nil })
	if want := `CALL_MISMATCH: call "ok" #0 of step "s" is recorded as Receive, by attempt 1, and is Do now`; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestReceiveRefusesMistakes(t *testing.T) {
	e := &fakeCalls{}
	ctx := stepWith(t.Context(), e)
	for name, err := range map[string]error{
		"no name":       second(sdk.Receive[int](ctx, "")),
		"a key of ours": second(sdk.Receive[int](ctx, "a", &sdk.WaitOptions{Key: "#0"})),
		"a timeout":     second(sdk.Receive[int](ctx, "a", &sdk.WaitOptions{Timeout: -time.Second})),
		"never":         second(sdk.Receive[int](ctx, "a", &sdk.WaitOptions{Timeout: sdk.Never})),
		"two options":   second(sdk.Receive[int](ctx, "a", nil, nil)),
		"no step":       second(sdk.Receive[int](t.Context(), "a")),
	} {
		if !errors.Is(err, sdk.ErrInvalidArgument) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := sdk.Receive[int](ctx, "a", &sdk.WaitOptions{Timeout: 366 * 24 * time.Hour}); !errors.Is(err, sdk.ErrLimitExceeded) {
		t.Error(err)
	}
	if _, err := sdk.Do(ctx, "outer", func(ctx sdk.Context) (int, error) { return sdk.Receive[int](ctx, "a") }); !errors.Is(err, sdk.ErrInvalidArgument) {
		t.Error(err)
	}
	if len(e.awaits) > 0 {
		t.Error(e.awaits)
	}
}
