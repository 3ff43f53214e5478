package sdk_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/internal/parts"
)

func bindNothing[In any](sdk.BindContext, In) (nothing, error) { return nothing{}, nil }

func TestDefinitionCarriesLocalState(t *testing.T) {
	w := sdk.NewWorkflow[string]("index", sdk.WorkflowConfig{Sticky: sdk.Soft})
	sdk.NewLocal(w, sdk.LocalConfig[nothing, string]{Bind: bindNothing[string], Handoff: func(context.Context, nothing) ([]byte, error) { return nil, nil }})
	shared := sdk.NewLocal(w, sdk.LocalConfig[nothing, string]{Name: "model", Bind: bindNothing[string], Key: func(in string) string { return in }})
	load := sdk.AddStep(w, "load", noop[string], sdk.StepConfig{BuildsState: true})
	sdk.AddStep(w, "ask", noop[string], sdk.StepConfig{NeedsState: true, Parents: sdk.Steps(load)})
	d, err := w.Definition()
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(d.Locals); !strings.Contains(got, `name:"local"`) || len(d.Locals) != 2 || d.Locals[0].Shared || !d.Locals[0].Handoff ||
		d.Locals[1].Name != "model" || !d.Locals[1].Shared || d.Locals[1].Handoff {
		t.Errorf("locals %s", got)
	}
	if !d.Steps[0].BuildsState || d.Steps[0].NeedsState || d.Steps[1].BuildsState || !d.Steps[1].NeedsState {
		t.Errorf("steps %v", d.Steps)
	}
	if shared.Name() != "model" || len(parts.Locals(w)) != 2 {
		t.Errorf("locals %v", parts.Locals(w))
	}
}

func TestValidateReportsMistakesOfLocalState(t *testing.T) {
	w := sdk.NewWorkflow[string]("index")
	own := sdk.NewLocal(w, sdk.LocalConfig[nothing, string]{})
	key := func(in string) string { return in }
	sdk.NewLocal(w, sdk.LocalConfig[nothing, string]{Name: "no spaces", Bind: bindNothing[string], Key: key})
	sdk.NewLocal(w, sdk.LocalConfig[nothing, string]{Bind: bindNothing[string], Key: key})
	model := sdk.NewLocal(w, sdk.LocalConfig[nothing, string]{Name: "model", Bind: bindNothing[string], Key: key})
	sdk.NewLocal(w, sdk.LocalConfig[nothing, string]{Name: "model", Bind: bindNothing[string], Key: key})
	sdk.NewLocal(w, sdk.LocalConfig[nothing, string]{Name: "moves", Bind: bindNothing[string], Key: key,
		Handoff: func(context.Context, nothing) ([]byte, error) { return nil, nil }})
	sdk.AddStep(w, "a", noop[string], sdk.StepConfig{BuildsState: true, NeedsState: true})
	other := sdk.NewWorkflow[int]("other")
	sdk.AddStep(other, "a", noop[int])
	sdk.ShareLocalAs(other, own, func(int) string { return "" })
	sdk.ShareLocal(other, model)
	sdk.ShareLocalAs[nothing, int, string](other, model, nil)
	var none *sdk.Local[nothing]
	sdk.ShareLocal(other, none)
	for _, tc := range []struct {
		of   sdk.AnyWorkflow
		want []string
	}{
		{w, []string{
			`local "local": Bind is nil`, `local "local": state of one run needs a sticky workflow`, `local name "no spaces"`,
			"a shared local has no name", `local "model": declared more than once`, `local "moves": shared local state cannot be handed off`,
			`step "a": builds state, which needs a sticky workflow`, `step "a": needs state, which needs a sticky workflow`,
		}},
		{other, []string{
			`local "local" has no Key`, `local "model" takes string as its input, not int`, `local "model": the function that makes its input is nil`,
			"a local was not made by NewLocal",
		}},
	} {
		err := tc.of.Validate()
		if !errors.Is(err, sdk.ErrInvalidDefinition) {
			t.Fatal(err)
		}
		for _, want := range tc.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: the report lacks %q", tc.of.Name(), want)
			}
		}
		if t.Failed() {
			t.Log(strings.ReplaceAll(err.Error(), "; ", ";\n"))
		}
	}
}

// What the worker calls has the types of the config again.
func TestLocalFunctionsHaveTheirTypes(t *testing.T) {
	w := sdk.NewWorkflow[point]("w", sdk.WorkflowConfig{Sticky: sdk.Soft})
	said := ""
	sdk.NewLocal(w, sdk.LocalConfig[*point, point]{
		Name: "p",
		Bind: func(ctx sdk.BindContext, in point) (*point, error) {
			data, ok := ctx.HandedOff()
			said = strings.Join([]string{ctx.RunID(), ctx.WorkerID(), ctx.Key(), ctx.Binding().PreviousWorker, fmt.Sprint(ok), string(data)}, " ")
			if _, isStep := sdk.FromContext(ctx); isStep {
				t.Error("the context of Bind is that of a step")
			}
			if in.X < 0 {
				return nil, errors.New("negative")
			}
			return &point{in.X + 1}, nil
		},
		Size:    func(p *point) int64 { return int64(p.X) },
		Release: func(p *point, why sdk.Why) error { return fmt.Errorf("%d %s", p.X, why) },
		Handoff: func(_ context.Context, p *point) ([]byte, error) { return fmt.Append(nil, p.X), nil },
	})
	l := parts.Locals(w)[0]
	d := attemptOf("s", `{"x":4}`, nil)
	v, err := l.Bind(t.Context(), &attempt.Build{Dispatch: d.Dispatch, Worker: d.Worker, Key: "k", HandedOff: &messages.HandedState{Data: []byte("state")}})
	if err != nil || said != "run1 gpu-1 k gpu-0 true state" {
		t.Fatalf("%v, %q", err, said)
	}
	data, err := l.Handoff(t.Context(), v)
	if l.Size(v) != 5 || string(data) != "5" || err != nil || l.Release(v, messages.ReleaseReason_RELEASE_REASON_EVICTED).Error() != "5 evicted" {
		t.Errorf("size %d, handed off %s, %v", l.Size(v), data, err)
	}
	if _, err := l.Bind(t.Context(), &attempt.Build{Dispatch: attemptOf("s", `{"x":-1}`, nil).Dispatch}); err == nil || err.Error() != "negative" {
		t.Errorf("%v", err)
	}
	if _, err := l.Bind(t.Context(), &attempt.Build{Dispatch: attemptOf("s", `{"x":"one"}`, nil).Dispatch}); !errors.Is(err, sdk.ErrInvalidInput) {
		t.Errorf("%v", err)
	}
}

// A nil value is a value.
func TestLocalGetReturnsNil(t *testing.T) {
	w := sdk.NewWorkflow[int]("w", sdk.WorkflowConfig{Sticky: sdk.Soft})
	l := sdk.NewLocal(w, sdk.LocalConfig[error, int]{Bind: func(sdk.BindContext, int) (error, error) { return nil, nil }})
	v, err := parts.Locals(w)[0].Bind(t.Context(), &attempt.Build{Dispatch: &messages.Dispatch{}})
	if err != nil {
		t.Fatal(err)
	}
	ctx := parts.NewContext(t.Context(), attemptOf("s", "1", &fakeCalls{locals: map[string]any{"local": v}})).(sdk.Context)
	if got, err := l.Get(ctx); got != nil || err != nil {
		t.Errorf("%v, %v", got, err)
	}
}

// unreadable is an error that cannot say what it is.
type unreadable struct{}

func (unreadable) Error() string { panic("no words") }

// An error whose Error panics fails the step in words of the engine, and not of fmt.
func TestErrorThatCannotBeRead(t *testing.T) {
	w := sdk.NewWorkflow[any]("w")
	sdk.AddStep(w, "s", func(sdk.Context, any) (int, error) { return 0, unreadable{} })
	_, err := parts.Functions(w)["s"](t.Context(), attemptOf("s", "", nil))
	var got *messages.Error
	const want = "a method of the error, a sdk_test.unreadable, panicked: no words"
	if !errors.As(err, &got) || got.Code != messages.CodeUserError || got.Message != want || got.Stack == "" {
		t.Errorf("%+v", err)
	}
}

func TestStateErrorsKeepTheirCodes(t *testing.T) {
	panicked := messages.Errorf(messages.CodeStateNotBuilt, `local "x": bind panicked`)
	panicked.Stack = "the stack"
	for name, tc := range map[string]struct {
		err  error
		want messages.Error
	}{
		"lost":     {fmt.Errorf("gone: %w", sdk.ErrStateLost), messages.Error{Code: messages.CodeStateLost, Message: "gone: " + sdk.ErrStateLost.Error()}},
		"panicked": {panicked, messages.Error{Code: messages.CodeStateNotBuilt, Message: `local "x": bind panicked`, Stack: "the stack"}},
		"final": {messages.Errorf(messages.CodeStateNotBuilt, "not built: %w", sdk.NonRetryable(errors.New("never"))),
			messages.Error{Code: messages.CodeStateNotBuilt, Message: "not built: never", Final: true}},
		"of a child": {&sdk.RunError{Failure: sdk.ErrStateLost}, messages.Error{Code: messages.CodeUserError}},
	} {
		w := sdk.NewWorkflow[any]("w")
		sdk.AddStep(w, "s", func(sdk.Context, any) (int, error) { return 0, tc.err })
		_, err := parts.Functions(w)["s"](t.Context(), attemptOf("s", "", nil))
		var got *messages.Error
		if !errors.As(err, &got) || got.Code != tc.want.Code || tc.want.Message != "" && got.Message != tc.want.Message ||
			got.Stack != tc.want.Stack || got.Final != tc.want.Final {
			t.Errorf("%s: %+v", name, err)
		}
	}
}
