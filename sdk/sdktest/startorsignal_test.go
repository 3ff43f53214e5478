package sdktest_test

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/sdktest"
)

// TestStepsStartOrSignal: the run of a key is started with the first message and gets the
// next one, each once, however often the step is tried; one that has ended says so.
func TestStepsStartOrSignal(t *testing.T) {
	chat := sdk.NewWorkflow[int]("chat")
	talk := sdk.AddStep(chat, "talk", func(ctx sdk.Context, in int) (string, error) {
		// What has started the run is there when its first step begins.
		first, err := sdk.Receive[string](ctx, "said", &sdk.WaitOptions{Timeout: sdk.AtOnce})
		if err != nil {
			return "", err
		}
		second, err := sdk.Receive[string](ctx, "said")
		return fmt.Sprint(in, " ", first, ", ", second), err
	})
	talker := sdk.NewWorkflow[string]("talker")
	tries := new(atomic.Int32)
	says := sdk.AddStep(talker, "says", func(ctx sdk.Context, text string) (string, error) {
		id, err := chat.StartOrSignal(ctx, int(tries.Add(1)), &sdk.StartOptions{
			IdempotencyKey: "user-7", Signal: &sdk.Signal{Name: "said", Payload: fmt.Sprint(text, ctx.Attempt())}})
		if err == nil && ctx.Attempt() < 3 {
			err = errors.New("again")
		}
		return id, err
	}, sdk.StepConfig{Retries: 2, Backoff: 1})
	e := sdktest.Start(t, one("w1"), chat, talker)
	say := func(text string) (string, error) {
		run, err := talker.Start(t.Context(), e.Client(), text)
		if err != nil {
			t.Fatal(err)
		}
		return says.Result(t.Context(), run)
	}
	one, err := say("hello ")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := e.Client().Run(one).Get(t.Context()); err != nil || got.GetRun().GetTrigger() != "step" || got.GetRun().GetParentRun() != "" {
		t.Error(got.GetRun(), err)
	}
	if two, err := say("bye "); err != nil || two != one {
		t.Error(two, one, err)
	}
	if got, err := talk.Result(t.Context(), e.Client().Run(one)); err != nil || got != "1 hello 1, bye 1" {
		t.Error(got, err)
	}
	tries.Store(0)
	if _, err := say("late "); err == nil || !strings.Contains(err.Error(), string(messages.CodeRunFinished)) || tries.Load() != 1 {
		t.Errorf("%v, after %d tries", err, tries.Load())
	}
}

// TestStepsStartOrSignalIsRefused: what no start may have starts nothing, and is not on
// record: a later try may do better. A workflow that is retired has its runs get messages.
func TestStepsStartOrSignalIsRefused(t *testing.T) {
	chat := sdk.NewWorkflow[int]("chat")
	sdk.AddStep(chat, "talk", func(ctx sdk.Context, _ int) (int, error) { return sdk.Receive[int](ctx, "end") })
	start := func(key string) *sdk.StartOptions {
		return &sdk.StartOptions{IdempotencyKey: key, Signal: &sdk.Signal{Name: "said"}}
	}
	kinds := map[string]struct {
		start func(sdk.Context) (string, error)
		want  messages.Code
	}{
		"no workflow": {func(ctx sdk.Context) (string, error) {
			return sdk.NewWorkflow[int]("chap").StartOrSignal(ctx, 1, start("k"))
		}, messages.CodeUnknownWorkflow},
		"input": {func(ctx sdk.Context) (string, error) {
			return sdk.NewWorkflow[string]("chat").StartOrSignal(ctx, "x", start("k"))
		}, messages.CodeInvalidInput},
		"retired": {func(ctx sdk.Context) (string, error) { return chat.StartOrSignal(ctx, 1, start("k")) }, messages.CodeWorkflowRetired},
		"there":   {func(ctx sdk.Context) (string, error) { return chat.StartOrSignal(ctx, 1, start("there")) }, ""},
	}
	talker := sdk.NewWorkflow[string]("talker")
	says := sdk.AddStep(talker, "says", func(ctx sdk.Context, kind string) (messages.Code, error) {
		_, err := kinds[kind].start(ctx)
		return messages.CodeOf(err), nil
	})
	e := sdktest.Start(t, one("w1"), chat, talker)
	there, err := chat.Start(t.Context(), e.Client(), 1, &sdk.StartOptions{IdempotencyKey: "there"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Client().RetireWorkflow(t.Context(), "chat"); err != nil {
		t.Fatal(err)
	}
	for kind, c := range kinds {
		run, err := talker.Start(t.Context(), e.Client(), kind)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := says.Result(t.Context(), run); err != nil || got != c.want {
			t.Errorf("%s: %q %v, want %q", kind, got, err, c.want)
		}
	}
	if got, err := there.Get(t.Context()); err != nil || got.GetUnreadSignals()["said"] != 1 {
		t.Error(got.GetUnreadSignals(), err)
	}
	if err := there.Cancel(t.Context(), "enough"); err != nil {
		t.Error(err)
	}
}
