package sdk_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk"
)

// TestEveryKindOfCallRefusesTheRecordOfAnother, names both, and asks nothing.
func TestEveryKindOfCallRefusesTheRecordOfAnother(t *testing.T) {
	const name = "n"
	kinds := map[messages.CallKind]func(ctx context.Context) error{
		messages.CallKind_CALL_KIND_DO: func(ctx context.Context) error {
			_, err := sdk.Do(ctx, name, func(sdk.Context) (int, error) { return 1, errors.New("called") })
			return err
		},
		messages.CallKind_CALL_KIND_RECEIVE: func(ctx context.Context) error { return second(sdk.Receive[int](ctx, name)) },
		messages.CallKind_CALL_KIND_SLEEP: func(ctx context.Context) error {
			return sdk.Sleep(ctx, time.Hour, &sdk.CallOptions{Name: name})
		},
		messages.CallKind_CALL_KIND_FIRST: func(ctx context.Context) error {
			return second(sdk.First(ctx, name, nil, sdk.OnSleep(time.Hour)))
		},
		messages.CallKind_CALL_KIND_ALL: func(ctx context.Context) error { return sdk.All(ctx, name, nil, sdk.OnSleep(time.Hour)) },
		messages.CallKind_CALL_KIND_SIGNAL: func(ctx context.Context) error {
			return sdk.SignalRun(ctx, "other", "s", 1, &sdk.CallOptions{Name: name})
		},
	}
	for recorded := range kinds {
		for asked, call := range kinds {
			if asked == recorded {
				continue
			}
			e := &fakeCalls{records: map[string]*messages.CallRecorded{name + " #0": {
				Step: "s", Attempt: 1, Kind: recorded, Name: name, Key: "#0", Outcome: &messages.CallRecorded_Output{Output: []byte("1")},
			}}}
			err := call(stepWith(t.Context(), e))
			want := fmt.Sprintf("is recorded as %s, by attempt 1, and is %s now", recorded.Words(), asked.Words())
			if !errors.Is(err, sdk.ErrCallMismatch) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s of what was %s: %v", asked.Words(), recorded.Words(), err)
			}
			if len(e.awaits)+len(e.sent) > 0 {
				t.Errorf("%s of what was %s has asked for something", asked.Words(), recorded.Words())
			}
		}
	}
}
