package worker

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/limpetrun/limpet/sdk"
)

func sharing(workflow, local string) (*sdk.Workflow[string], *sdk.Local[int]) {
	w := sdk.NewWorkflow[string](workflow, sdk.WorkflowConfig{Sticky: sdk.Soft})
	sdk.AddStep(w, "a", func(sdk.Context, string) (int, error) { return 0, nil })
	return w, sdk.NewLocal(w, sdk.LocalConfig[int, string]{
		Name: local, Bind: func(sdk.BindContext, string) (int, error) { return 0, nil }, Key: func(in string) string { return in },
	})
}

func TestSharedLocalsOfOneNameAreOne(t *testing.T) {
	one, model := sharing("one", "model")
	two, _ := sharing("two", "model")
	own := sdk.NewWorkflow[string]("own", sdk.WorkflowConfig{Sticky: sdk.Soft})
	sdk.AddStep(own, "a", func(sdk.Context, string) (int, error) { return 0, nil })
	sdk.NewLocal(own, sdk.LocalConfig[int, string]{Name: "model", Bind: func(sdk.BindContext, string) (int, error) { return 0, nil }})
	three := sdk.NewWorkflow[string]("three")
	sdk.AddStep(three, "a", func(sdk.Context, string) (int, error) { return 0, nil })
	sdk.ShareLocal(three, model)
	config := Config{ID: "w1", Join: []string{"127.0.0.1:1"}}
	if _, err := New(config, one, three); err != nil {
		t.Error(err)
	}
	for _, other := range []sdk.AnyWorkflow{two, own} {
		_, err := New(config, one, other)
		if !errors.Is(err, sdk.ErrInvalidDefinition) || !strings.Contains(err.Error(), `local "model" of workflow "one"`) {
			t.Errorf("with %s: %v", other.Name(), err)
		}
	}
}

func TestLimitsOfSharedLocals(t *testing.T) {
	w, _ := sharing("w", "model")
	_, err := New(Config{ID: "w1", Join: []string{"127.0.0.1:1"}, SharedLocalsMax: 5000, SharedLocalsBytesMax: -1, SharedLocalsIdle: -3}, w)
	if !errors.Is(err, sdk.ErrInvalidArgument) {
		t.Fatal(err)
	}
	for _, want := range []string{"shared locals max is 5000", "shared locals bytes max is -1", "shared locals idle is -3ns"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %q", err, want)
		}
	}
	for idle, want := range map[time.Duration]time.Duration{0: 0, time.Minute: time.Minute, NoIdle: -1, sdk.Never: math.MaxInt64} {
		c := Config{SharedLocalsMax: 7, SharedLocalsBytesMax: 8, SharedLocalsIdle: idle}
		if l := c.localLimits(); l.IdleFor != want || l.SharedMax != 7 || l.SharedBytesMax != 8 {
			t.Errorf("%v: %+v", idle, l)
		}
	}
}
