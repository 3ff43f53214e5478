package sdk_test

import (
	"errors"
	"testing"
	"time"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk"
)

func TestWaitEventIsACall(t *testing.T) {
	e := &fakeCalls{outcomes: []*messages.CallRecorded{{Event: &messages.CameEvent{Key: "order:7", EventId: "e1"}, Outcome: &messages.CallRecorded_Output{Output: []byte("7")}}}}
	got, err := sdk.WaitEvent[int](stepWith(t.Context(), e), "order:", &sdk.EventWait{Key: "k", Timeout: time.Minute, Prefix: true, If: "payload > 1", Since: time.Second})
	if err != nil || got.Key != "order:7" || got.ID != "e1" || got.Payload != 7 {
		t.Error(got, err)
	}
	w := e.awaits[0]
	if b := w.Branches[0]; w.Name != "order:" || w.Key != "k" || w.TimeoutMs != 60_000 || b.EventKey != "order:" || !b.EventPrefix || b.Condition != "payload > 1" || b.SinceMs != 1000 {
		t.Error(w)
	}
}

func TestWaitEventRefusesMistakes(t *testing.T) {
	e := &fakeCalls{}
	ctx := stepWith(t.Context(), e)
	first := func(b sdk.Branch) error {
		_, err := sdk.First(ctx, "turn", nil, b)
		return err
	}
	for name, err := range map[string]error{
		"no key":                first(sdk.OnEvent[int]("")),
		"a bad key":             second(sdk.WaitEvent[int](ctx, "a b")),
		"a look forward":        second(sdk.WaitEvent[int](ctx, "a", &sdk.EventWait{Since: -1})),
		"two options":           second(sdk.WaitEvent[int](ctx, "a", nil, nil)),
		"two of a branch":       first(sdk.OnEvent[int]("a", nil, nil)),
		"a key of a branch":     first(sdk.OnEvent[int]("a", &sdk.EventWait{Key: "k"})),
		"a timeout of a branch": first(sdk.OnEvent[int]("a", &sdk.EventWait{Timeout: time.Second})),
	} {
		if !errors.Is(err, sdk.ErrInvalidArgument) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(e.awaits) > 0 {
		t.Error(e.awaits)
	}
}
