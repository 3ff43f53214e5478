package sdk_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/internal/parts"
)

// fakeCalls answers spawns by key and waits by id.
type fakeCalls struct {
	spawned []*messages.SpawnChild
	lines   []*messages.LogLine
	refuse  error
	ended   *messages.RunEnded
	outputs map[string][]byte
	waited  []string
	locals  map[string]any
	// records are calls by name and key; recording is called for each new one.
	records   map[string]*messages.CallRecorded
	recording func(*messages.CallRecorded) error
	// outcomes are how waits come out, and awaits those that there were.
	outcomes []*messages.CallRecorded
	awaits   []*messages.AwaitCall
	sent     []*messages.SendSignal
}

func (e *fakeCalls) RecordedCall(_ context.Context, name, key string) (*messages.CallRecorded, error) {
	return e.records[name+" "+key], nil
}

func (e *fakeCalls) AwaitCall(_ context.Context, w *messages.AwaitCall) (*messages.CallRecorded, error) {
	e.awaits = append(e.awaits, w)
	if e.ended != nil && w.Kind == messages.CallKind_CALL_KIND_CHILD {
		e.waited = append(e.waited, w.Branches[0].ChildRun)
		return &messages.CallRecorded{Kind: w.Kind, Name: w.Name, Key: w.Key, Child: &messages.ChildEnd{ChildRun: w.Branches[0].ChildRun, Status: e.ended.Status, Failure: e.ended.Failure}}, nil
	}
	if len(e.outcomes) == 0 {
		return nil, messages.Errorf(messages.CodeUnavailable, "nothing comes")
	}
	call := e.outcomes[0]
	e.outcomes = e.outcomes[1:]
	call.Kind, call.Name, call.Key = w.Kind, w.Name, w.Key
	return call, nil
}

func (e *fakeCalls) RecordCall(_ context.Context, call *messages.CallRecorded) error {
	if e.recording != nil {
		if err := e.recording(call); err != nil {
			return err
		}
	}
	if e.records == nil {
		e.records = make(map[string]*messages.CallRecorded)
	}
	e.records[call.Name+" "+call.Key] = call
	return nil
}

func (e *fakeCalls) SpawnChild(_ context.Context, s *messages.SpawnChild) (string, error) {
	e.spawned = append(e.spawned, s)
	if e.refuse != nil {
		return "", e.refuse
	}
	return messages.RunIDForChild(s.RunId, s.Step, s.Key), nil
}

func (e *fakeCalls) AwaitAll(ctx context.Context, all *messages.AwaitCall) (record *messages.CallRecorded, calls []*messages.CallRecorded, err error) {
	if record = e.records[all.Name+" "+all.Key]; record != nil {
		return record, nil, nil
	}
	for _, part := range messages.PartsOf(all) {
		call, err := e.AwaitCall(ctx, part)
		if err != nil {
			return nil, nil, err
		}
		calls = append(calls, call)
	}
	return &messages.CallRecorded{Kind: all.Kind, Name: all.Name, Key: all.Key}, calls, nil
}

func (e *fakeCalls) SendSignal(_ context.Context, s *messages.SendSignal) (*messages.CallRecorded, error) {
	e.sent = append(e.sent, s)
	if e.refuse != nil {
		return nil, e.refuse
	}
	if s.Keyed != nil {
		return &messages.CallRecorded{Kind: messages.CallKind_CALL_KIND_START, Name: s.Name, Key: s.Key, Outcome: &messages.CallRecorded_Output{Output: []byte(`"r7"`)}}, nil
	}
	return &messages.CallRecorded{Kind: messages.CallKind_CALL_KIND_SIGNAL, Name: s.Name, Key: s.Key}, nil
}

func (e *fakeCalls) Outputs(context.Context, *messages.ChildEnd) (map[string][]byte, error) {
	return e.outputs, nil
}

func (e *fakeCalls) Progress([]byte) error { return nil }

func (e *fakeCalls) WriteStream(context.Context, string, []byte) error { return nil }

func (e *fakeCalls) FlushStream(context.Context, string) error { return nil }

func (e *fakeCalls) Extend(time.Duration) error { return nil }

func (e *fakeCalls) Log(line func() *messages.LogLine) { e.lines = append(e.lines, line()) }

func (e *fakeCalls) Works() func() { return func() {} }

func (e *fakeCalls) LocalValue(_ context.Context, of *attempt.Local) (any, error) {
	return e.locals[of.Name], nil
}

// attemptOf makes an attempt of a step of workflow "w" on worker "gpu-1".
func attemptOf(step, input string, e attempt.Calls) *attempt.Attempt {
	return &attempt.Attempt{
		Dispatch: &messages.Dispatch{
			RunId: "run1", Workflow: "w", Step: step, Attempt: 2, Epoch: 3, Input: []byte(input),
			StateNew: true, StateReason: messages.Reason_REASON_WORKER_LOST, PreviousWorker: "gpu-0",
			Metadata: map[string]string{"user": "ada"}, ParentRun: "run0",
		},
		Worker: &messages.WorkerInfo{WorkerId: "gpu-1", Labels: map[string]string{"gpu": "a100"}},
		Calls:  e,
	}
}

type point struct {
	X int `json:"x"`
}

func TestStepFunctionDecodesAndEncodes(t *testing.T) {
	w := sdk.NewWorkflow[point]("w")
	sdk.AddStep(w, "double", func(_ sdk.Context, in point) (point, error) { return point{2 * in.X}, nil })
	out, err := parts.Functions(w)["double"](t.Context(), attemptOf("double", `{"x":21}`, nil))
	if err != nil || string(out) != `{"x":42}` {
		t.Errorf("%s, %v", out, err)
	}
}

func TestStepContext(t *testing.T) {
	var log bytes.Buffer
	w := sdk.NewWorkflow[any]("w")
	sdk.AddStep(w, "look", func(ctx sdk.Context, in any) (string, error) {
		if in != nil {
			t.Errorf("a run without input gave %v", in)
		}
		ctx.Logger().Info("here")
		derived, cancel := context.WithCancel(ctx)
		defer cancel()
		if same, ok := sdk.FromContext(derived); !ok || same.RunID() != ctx.RunID() {
			t.Error("a derived context does not lead back to the step")
		}
		return fmt.Sprint(ctx.RunID(), ctx.Workflow(), ctx.Step(), ctx.Attempt(), ctx.WorkerID(), ctx.WorkerLabels(), ctx.Metadata(), ctx.ParentRun(), ctx.Binding()), nil
	})
	logger := slog.New(slog.NewTextHandler(&log, nil))
	out, err := parts.Functions(w)["look"](sdk.WithLogger(t.Context(), logger), attemptOf("look", "", nil))
	want := `"run1wlook2gpu-1map[gpu:a100] map[user:ada]run0{3 true worker lost gpu-0 false false}"`
	if err != nil || string(out) != want {
		t.Errorf("%s, %v", out, err)
	}
	if !strings.Contains(log.String(), "msg=here run=run1 step=look attempt=2") {
		t.Errorf("log: %s", log.String())
	}
	if _, ok := sdk.FromContext(t.Context()); ok {
		t.Error("a context of no step leads to one")
	}
}

func TestErrorsOfSteps(t *testing.T) {
	own := errors.New("disk full")
	childFailed := &sdk.RunError{RunID: "c", Workflow: "child", Status: sdk.Failed,
		Failure: messages.Errorf(messages.CodeInvalidInput, "of the child")}
	for _, tc := range []struct {
		name  string
		err   error
		code  messages.Code
		final bool
	}{
		{"the user's own", own, messages.CodeUserError, false},
		{"not to be retried", fmt.Errorf("give up: %w", sdk.NonRetryable(own)), messages.CodeUserError, true},
		{"what the engine refused", fmt.Errorf("spawn: %w", messages.Errorf(messages.CodeLimitExceeded, "no")), messages.CodeLimitExceeded, false},
		{"a mistake of the program", fmt.Errorf("spawn: %w", messages.Errorf(messages.CodeChildNotSticky, "no")), messages.CodeChildNotSticky, true},
		{"a forgotten parent", fmt.Errorf("output: %w", messages.Errorf(messages.CodeInvalidArgument, "no")), messages.CodeInvalidArgument, true},
		{"what means another thing at a step", messages.Errorf(messages.CodeWorkerLost, "no"), messages.CodeUserError, false},
		{"a child's failure", fmt.Errorf("child: %w", childFailed), messages.CodeUserError, false},
	} {
		w := sdk.NewWorkflow[int]("w")
		sdk.AddStep(w, "fail", func(sdk.Context, int) (int, error) { return 0, tc.err })
		_, err := parts.Functions(w)["fail"](t.Context(), attemptOf("fail", "1", nil))
		f := messages.ToFailure(err)
		if f.GetCode() != string(tc.code) || f.GetFinal() != tc.final || f.GetMessage() != tc.err.Error() || !errors.Is(err, tc.err) {
			t.Errorf("%s: %v", tc.name, f)
		}
	}
	if sdk.NonRetryable(nil) != nil {
		t.Error("NonRetryable(nil) is an error")
	}
}

func TestInputAndOutputThatDoNotFitAreFinal(t *testing.T) {
	w := sdk.NewWorkflow[point]("w")
	sdk.AddStep(w, "s", func(_ sdk.Context, in point) (any, error) { return func() {}, nil })
	for input, code := range map[string]messages.Code{`{"x":"no"}`: messages.CodeInvalidInput, `{"x":1}`: messages.CodeInvalidOutput} {
		_, err := parts.Functions(w)["s"](t.Context(), attemptOf("s", input, nil))
		if f := messages.ToFailure(err); f.GetCode() != string(code) || !f.GetFinal() {
			t.Errorf("input %s: %v", input, f)
		}
	}
}

func TestOutputOfParents(t *testing.T) {
	w := sdk.NewWorkflow[int]("w")
	load := sdk.AddStep(w, "load", func(_ sdk.Context, in int) (point, error) { return point{in}, nil })
	skip := sdk.AddStep(w, "skip", noop[int])
	other := sdk.AddStep(sdk.NewWorkflow[int]("other"), "load", noop[int])
	sdk.AddStep(w, "use", func(ctx sdk.Context, _ int) (int, error) {
		derived, cancel := context.WithCancel(ctx)
		defer cancel()
		p, err := load.Output(derived)
		if err != nil {
			return 0, err
		}
		if _, err := skip.Output(ctx); !errors.Is(err, sdk.ErrInvalidArgument) || !strings.Contains(err.Error(), `step "skip" of workflow "w" is not a parent of step "use"`) {
			t.Errorf("a step that is no parent: %v", err)
		}
		if _, err := other.Output(ctx); !errors.Is(err, sdk.ErrInvalidArgument) {
			t.Errorf("a step of another workflow: %v", err)
		}
		return p.X, nil
	}, sdk.StepConfig{Parents: sdk.Steps(load)})
	a := attemptOf("use", "1", nil)
	a.Dispatch.Parents = map[string][]byte{"load": []byte(`{"x":7}`)}
	out, err := parts.Functions(w)["use"](t.Context(), a)
	if err != nil || string(out) != "7" {
		t.Errorf("%s, %v", out, err)
	}
	if _, err := load.Output(t.Context()); !errors.Is(err, sdk.ErrInvalidArgument) {
		t.Errorf("outside of a step: %v", err)
	}
	a.Dispatch.Parents["load"] = []byte(`"text"`)
	if _, err := parts.Functions(w)["use"](t.Context(), a); err == nil || !strings.Contains(err.Error(), `the output of step "load"`) {
		t.Errorf("an output of another type: %v", err)
	}
}

func TestSpawn(t *testing.T) {
	child := sdk.NewWorkflow[point]("child", sdk.WorkflowConfig{Sticky: sdk.Soft})
	first := sdk.AddStep(child, "first", noop[point])
	last := sdk.AddStep(child, "last", func(sdk.Context, point) (point, error) { return point{}, nil }, sdk.StepConfig{Parents: sdk.Steps(first)})
	second := sdk.NewWorkflow[int]("second")
	e := &fakeCalls{
		ended:   &messages.RunEnded{Status: sdk.Succeeded},
		outputs: map[string][]byte{"first": []byte(`{}`), "last": []byte(`{"x":5}`)},
	}
	ctx := parts.NewContext(t.Context(), attemptOf("spawner", "", e)).(sdk.Context)
	a, err := child.Spawn(ctx, point{1}, &sdk.SpawnOptions{Sticky: true, OnParentEnd: sdk.LeaveChild, AnewIfFailed: true, Priority: sdk.High, Metadata: map[string]string{"a": "b"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, spawn := range []func() (*sdk.Child, error){
		func() (*sdk.Child, error) { return child.Spawn(ctx, point{2}) },
		func() (*sdk.Child, error) { return second.Spawn(ctx, 3, nil) },
		func() (*sdk.Child, error) { return child.Spawn(ctx, point{4}, &sdk.SpawnOptions{Key: "mine"}) },
	} {
		if _, err := spawn(); err != nil {
			t.Fatal(err)
		}
	}
	var keys []string
	for _, s := range e.spawned {
		keys = append(keys, s.Key)
	}
	if got := strings.Join(keys, " "); got != "#0:child #1:child #0:second mine" {
		t.Errorf("keys: %s", got)
	}
	s := e.spawned[0]
	if s.RunId != "run1" || s.Step != "spawner" || s.Attempt != 2 || s.Epoch != 3 || s.Workflow != "child" || string(s.Input) != `{"x":1}` ||
		!s.Sticky || s.OnParentEnd != messages.ParentEnd_PARENT_END_LEAVE || !s.Anew || s.Priority != 1 || s.Metadata["a"] != "b" {
		t.Errorf("spawn: %v", s)
	}
	out, err := last.Result(ctx, a)
	var same point
	if errResult := a.Result(ctx, &same); err != nil || errResult != nil || out.X != 5 || same != out || a.ID() != e.waited[0] {
		t.Errorf("result %v %v, %v %v", out, err, same, errResult)
	}
	if _, err := sdk.AddStep(second, "x", noop[int]).Result(ctx, a); !errors.Is(err, sdk.ErrInvalidArgument) {
		t.Errorf("a step of another workflow: %v", err)
	}
}

func TestSpawnRefused(t *testing.T) {
	child := sdk.NewWorkflow[any]("child")
	e := &fakeCalls{refuse: messages.Errorf(messages.CodeChildNotSticky, "workflow child is not sticky")}
	ctx := parts.NewContext(t.Context(), attemptOf("spawner", "", e)).(sdk.Context)
	if _, err := child.Spawn(ctx, 1, &sdk.SpawnOptions{Sticky: true}); !errors.Is(err, sdk.ErrChildNotSticky) {
		t.Error(err)
	}
	if _, err := child.Spawn(t.Context(), 1); !errors.Is(err, sdk.ErrInvalidArgument) {
		t.Error(err)
	}
	if _, err := child.Spawn(ctx, 1, nil, nil); !errors.Is(err, sdk.ErrInvalidArgument) {
		t.Error(err)
	}
	if _, err := child.Spawn(ctx, 1, &sdk.SpawnOptions{Key: "#0"}); !errors.Is(err, sdk.ErrInvalidArgument) {
		t.Error(err)
	}
	if _, err := child.Spawn(ctx, func() {}); !errors.Is(err, sdk.ErrInvalidInput) {
		t.Error(err)
	}
	if _, err := child.Spawn(ctx, strings.Repeat("x", messages.PayloadBytesMax)); !errors.Is(err, sdk.ErrPayloadTooLarge) {
		t.Error(err)
	}
	if len(e.spawned) != 1 {
		t.Errorf("%d spawns went out", len(e.spawned))
	}
}

func TestFailedChild(t *testing.T) {
	child := sdk.NewWorkflow[int]("child")
	left := sdk.AddStep(child, "left", func(sdk.Context, int) (int, error) { return 0, nil })
	right := sdk.AddStep(child, "right", noop[int])
	e := &fakeCalls{
		ended: &messages.RunEnded{Status: sdk.Failed, Failure: &messages.Failure{
			Code: string(messages.CodeScheduleTimeout), Message: `step "right": no worker`}},
		outputs: map[string][]byte{"left": []byte("9")},
	}
	ctx := parts.NewContext(t.Context(), attemptOf("spawner", "", e)).(sdk.Context)
	ref, err := child.Spawn(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	err = ref.Wait(ctx)
	var runError *sdk.RunError
	if !errors.Is(err, sdk.ErrScheduleTimeout) || !errors.As(err, &runError) || runError.RunID != ref.ID() || errors.Is(err, sdk.ErrCanceled) {
		t.Error(err)
	}
	if want := "run " + ref.ID() + ` of workflow "child" failed: SCHEDULE_TIMEOUT: step "right": no worker`; err.Error() != want {
		t.Errorf("got %q\nwant %q", err, want)
	}
	if out, err := left.Result(ctx, ref); out != 9 || err != nil {
		t.Errorf("the step that succeeded: %d, %v", out, err)
	}
	if _, err := right.Result(ctx, ref); !errors.Is(err, sdk.ErrScheduleTimeout) {
		t.Errorf("the step that failed: %v", err)
	}
	// Once the step knows of an end it stays.
	again := func(ended *messages.RunEnded) (ref *sdk.Child) {
		e.ended = ended
		if ref, err = child.Spawn(ctx, 1); err != nil {
			t.Fatal(err)
		}
		return ref
	}
	ref = again(&messages.RunEnded{Status: sdk.Canceled})
	if err := ref.Wait(ctx); !errors.Is(err, sdk.ErrCanceled) {
		t.Errorf("a canceled child: %v", err)
	}
	ref = again(&messages.RunEnded{Status: sdk.Succeeded})
	var out int
	if err := ref.Result(ctx, &out); !errors.Is(err, sdk.ErrInvalidArgument) || !strings.Contains(err.Error(), "2 last steps (left, right)") {
		t.Errorf("a workflow with two last steps: %v", err)
	}
	if _, err := right.Result(ctx, ref); !errors.Is(err, sdk.ErrUnknownStep) {
		t.Errorf("a step that the child's version does not have: %v", err)
	}
}
