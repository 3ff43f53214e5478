package sdktest_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/sdktest"
)

// What is JSON comes to the step, and back, as it was written: by a start, by
// an event and by a spawn.
func TestNumbersPassUnchanged(t *testing.T) {
	large := json.RawMessage(`{"rsa":2` + strings.Repeat("7", 616) + `,"far":1e309,"near":-1.50e-400,"exact":9007199254740993}`)
	config := sdk.WorkflowConfig{InputSchema: sdk.AnyJSON, OnEvents: []string{"numbers"}}
	child := sdk.NewWorkflow[any]("child", sdk.WorkflowConfig{InputSchema: sdk.AnyJSON})
	sdk.AddStep(child, "back", func(_ sdk.Context, in any) (any, error) { return in, nil })
	parent := sdk.NewWorkflow[json.RawMessage]("parent", config)
	sdk.AddStep(parent, "spawn", func(ctx sdk.Context, in json.RawMessage) (json.RawMessage, error) {
		var in2 any = in
		c, err := child.Spawn(ctx, in2)
		if err != nil {
			return nil, err
		}
		var out json.RawMessage
		return out, c.Result(ctx, &out)
	})
	e := sdktest.Start(t, sdktest.Config{}, parent, child)
	run, err := parent.Start(t.Context(), e.Client(), large)
	if err != nil {
		t.Fatal(err)
	}
	event, err := e.Client().PushEvent(t.Context(), "numbers", large)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []*sdk.Run{run, event.Runs[0].Run} {
		var out map[string]json.RawMessage
		if err := r.Result(t.Context(), &out); err != nil {
			t.Fatal(err)
		}
		var want map[string]json.RawMessage
		_ = json.Unmarshal(large, &want)
		for name, number := range want {
			if !bytes.Equal(out[name], number) {
				t.Errorf("%s is %s, was %s", name, out[name], number)
			}
		}
		got, err := r.Get(t.Context())
		if err != nil || !bytes.Equal(got.GetRun().GetInput(), large) {
			t.Errorf("the run's input is %s, %v", got.GetRun().GetInput(), err)
		}
	}
}
