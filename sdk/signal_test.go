package sdk_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk"
)

func TestStartOrSignalIsACall(t *testing.T) {
	e := &fakeCalls{}
	ctx := stepWith(t.Context(), e)
	chat := sdk.NewWorkflow[int]("chat")
	start := func() *sdk.StartOptions {
		return &sdk.StartOptions{IdempotencyKey: "user-7", Priority: sdk.High, Metadata: map[string]string{"a": "b"},
			Signal: &sdk.Signal{Name: "said", Payload: "hello"}}
	}
	for range 2 {
		if id, err := chat.StartOrSignal(ctx, 5, start()); err != nil || id != "r7" {
			t.Error(id, err)
		}
	}
	s := e.sent[1]
	if k := s.Keyed; len(e.sent) != 2 || s.ToRun != "" || s.Signal != "said" || string(s.Payload) != `"hello"` || s.Name != "start" || s.Key != "#1" ||
		k.Workflow != "chat" || k.IdempotencyKey != "user-7" || string(k.Input) != "5" || k.Priority != int32(sdk.High) || k.Metadata["a"] != "b" {
		t.Error(s)
	}
	e.records = map[string]*messages.CallRecorded{
		"start k": {Kind: messages.CallKind_CALL_KIND_START, Name: "start", Key: "k", Outcome: &messages.CallRecorded_Output{Output: []byte(`"r9"`)}},
		"start over": {Kind: messages.CallKind_CALL_KIND_START, Name: "start", Key: "over",
			Outcome: &messages.CallRecorded_Failure{Failure: &messages.Failure{Code: string(messages.CodeRunFinished), Message: "over"}}},
		"start signal": {Kind: messages.CallKind_CALL_KIND_SIGNAL, Name: "start", Key: "signal", Outcome: &messages.CallRecorded_Output{Output: []byte("null")}},
	}
	for key, want := range map[string]error{"k": nil, "over": sdk.ErrRunFinished, "signal": sdk.ErrCallMismatch} {
		id, err := chat.StartOrSignal(ctx, 5, start(), &sdk.CallOptions{Key: key})
		if !errors.Is(err, want) || (id == "r9") != (want == nil) {
			t.Errorf("%s: run %q, %v", key, id, err)
		}
	}
	if len(e.sent) != 2 {
		t.Error(e.sent)
	}
}

func TestStartOrSignalRefusesMistakes(t *testing.T) {
	e := &fakeCalls{}
	ctx := stepWith(t.Context(), e)
	chat := sdk.NewWorkflow[string]("chat")
	said := &sdk.Signal{Name: "said"}
	key := strings.Repeat("k", messages.KeyBytesMax+1)
	for name, c := range map[string]struct {
		ctx   context.Context
		in    string
		start *sdk.StartOptions
		opts  *sdk.CallOptions
		want  error
	}{
		"no options":      {ctx, "", nil, nil, sdk.ErrInvalidArgument},
		"no key":          {ctx, "", &sdk.StartOptions{Signal: said}, nil, sdk.ErrInvalidArgument},
		"a long key":      {ctx, "", &sdk.StartOptions{Signal: said, IdempotencyKey: key}, nil, sdk.ErrInvalidArgument},
		"no signal":       {ctx, "", &sdk.StartOptions{IdempotencyKey: "k"}, nil, sdk.ErrInvalidArgument},
		"no name":         {ctx, "", &sdk.StartOptions{IdempotencyKey: "k", Signal: &sdk.Signal{Payload: 1}}, nil, sdk.ErrInvalidArgument},
		"an id":           {ctx, "", &sdk.StartOptions{IdempotencyKey: "k", Signal: &sdk.Signal{Name: "said", SignalOptions: sdk.SignalOptions{ID: "m"}}}, nil, sdk.ErrInvalidArgument},
		"a priority":      {ctx, "", &sdk.StartOptions{IdempotencyKey: "k", Signal: said, Priority: 9}, nil, sdk.ErrInvalidArgument},
		"our key":         {ctx, "", &sdk.StartOptions{IdempotencyKey: "k", Signal: said}, &sdk.CallOptions{Key: "#1"}, sdk.ErrInvalidArgument},
		"no step":         {context.Background(), "", &sdk.StartOptions{IdempotencyKey: "k", Signal: said}, nil, sdk.ErrInvalidArgument},
		"no JSON":         {ctx, "", &sdk.StartOptions{IdempotencyKey: "k", Signal: &sdk.Signal{Name: "said", Payload: make(chan int)}}, nil, sdk.ErrInvalidInput},
		"a large input":   {ctx, strings.Repeat("x", messages.PayloadBytesMax), &sdk.StartOptions{IdempotencyKey: "k", Signal: said}, nil, sdk.ErrPayloadTooLarge},
		"a large message": {ctx, "", &sdk.StartOptions{IdempotencyKey: "k", Signal: &sdk.Signal{Name: "said", Payload: strings.Repeat("x", messages.PayloadBytesMax)}}, nil, sdk.ErrPayloadTooLarge},
	} {
		if _, err := chat.StartOrSignal(c.ctx, c.in, c.start, c.opts); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(e.sent) > 0 {
		t.Error(e.sent)
	}
}
