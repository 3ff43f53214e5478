package sdktest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/internal/parts"
)

// Attempt describes the execution of a step that a test makes up. The zero
// value is the first attempt of a step without a name.
type Attempt struct {
	RunID    string
	Workflow string
	Step     string
	// Number defaults to 1.
	Number    int
	WorkerID  string
	Labels    map[string]string
	Binding   sdk.Binding
	Metadata  map[string]string
	ParentRun string
	// Outputs of the step's parents, by name, that Step.Output decodes.
	Outputs map[string]any
	// Locals are the values that Local.Get returns; for any other it answers
	// UNAVAILABLE.
	Locals []LocalValue
	// LastProgress is what sdk.LastProgress returns; nil for nothing.
	LastProgress any
	// Streams are where what the step writes to streams goes, by name. What it writes to
	// others is dropped.
	Streams map[string]io.Writer
	// Recorded are results of calls by name, in the order of the calls: what an
	// earlier attempt has recorded. sdk.Do returns them and does not call the
	// function.
	Recorded map[string][]any
}

// LocalValue is a value of local state in the context that a test makes up.
type LocalValue struct {
	origin any
	value  any
}

// LocalOf gives local state a value in the context of a workflow's step.
func LocalOf[T any](l *sdk.Local[T], value T) LocalValue {
	return LocalValue{origin: l.Origin(), value: &value}
}

// Context makes what a step function is given, to test the function alone.
// Outputs and recorded results that do not encode as JSON are an error. Spawns
// answer UNAVAILABLE, for there is no engine. Calls by sdk.Do work, but nothing
// keeps their results.
func Context(ctx context.Context, a Attempt) (sdk.Context, error) {
	if a.Number == 0 {
		a.Number = 1
	}
	d := &messages.Dispatch{
		RunId: a.RunID, Workflow: a.Workflow, Step: a.Step, Attempt: int32(a.Number),
		Epoch: a.Binding.Epoch, StateNew: a.Binding.StateNew, StateReason: messages.ReasonOf(string(a.Binding.StateReason)), PreviousWorker: a.Binding.PreviousWorker,
		Metadata: a.Metadata, ParentRun: a.ParentRun, Parents: make(map[string][]byte, len(a.Outputs)),
	}
	for name, out := range a.Outputs {
		data, err := json.Marshal(out)
		if err != nil {
			return nil, messages.Errorf(messages.CodeInvalidArgument, "the output of step %q does not encode as JSON: %w", name, err)
		}
		d.Parents[name] = data
	}
	if a.LastProgress != nil {
		data, err := json.Marshal(a.LastProgress)
		if err != nil {
			return nil, messages.Errorf(messages.CodeInvalidArgument, "the last progress does not encode as JSON: %w", err)
		}
		d.LastProgress = data
	}
	recorded, err := recordsOf(a.Recorded)
	if err != nil {
		return nil, err
	}
	made := parts.NewContext(ctx, &attempt.Attempt{
		Dispatch: d, Worker: &messages.WorkerInfo{WorkerId: a.WorkerID, Labels: a.Labels}, Calls: noCalls{a.Locals, recorded, a.Streams},
	})
	return made.(sdk.Context), nil
}

// callID names a call within a step.
type callID struct{ name, key string }

func recordsOf(results map[string][]any) (map[callID]*messages.CallRecorded, error) {
	recorded := make(map[callID]*messages.CallRecorded)
	for name, all := range results {
		for i, result := range all {
			data, err := json.Marshal(result)
			if err != nil {
				return nil, messages.Errorf(messages.CodeInvalidArgument, "recorded result %d of call %q does not encode as JSON: %w", i, name, err)
			}
			call := &messages.CallRecorded{Kind: messages.CallKind_CALL_KIND_DO, Name: name, Key: fmt.Sprintf("#%d", i), Outcome: &messages.CallRecorded_Output{Output: data}}
			recorded[callID{name, call.Key}] = call
		}
	}
	return recorded, nil
}

// noCalls is for the context of a test: it knows local values and recorded calls, and
// nothing else.
type noCalls struct {
	locals   []LocalValue
	recorded map[callID]*messages.CallRecorded
	streams  map[string]io.Writer
}

func (e noCalls) RecordedCall(_ context.Context, name, key string) (*messages.CallRecorded, error) {
	return e.recorded[callID{name, key}], nil
}

func (noCalls) AwaitCall(context.Context, *messages.AwaitCall) (*messages.CallRecorded, error) {
	return nil, noEngine("wait")
}

func (noCalls) RecordCall(context.Context, *messages.CallRecorded) error { return nil }

func (noCalls) SpawnChild(context.Context, *messages.SpawnChild) (string, error) {
	return "", noEngine("spawn")
}

func (noCalls) AwaitAll(context.Context, *messages.AwaitCall) (*messages.CallRecorded, []*messages.CallRecorded, error) {
	return nil, nil, noEngine("wait")
}

func (noCalls) SendSignal(context.Context, *messages.SendSignal) (*messages.CallRecorded, error) {
	return nil, noEngine("send signals")
}

func (noCalls) Outputs(context.Context, *messages.ChildEnd) (map[string][]byte, error) {
	return nil, noEngine("spawn")
}

func noEngine(what string) error {
	return messages.Errorf(messages.CodeUnavailable, "this context has no engine: use sdktest.Start for steps that %s", what)
}

func (noCalls) Progress([]byte) error { return nil }

func (e noCalls) WriteStream(_ context.Context, name string, piece []byte) error {
	if err := messages.CheckStreamPiece(piece); err != nil {
		return err
	}
	if to := e.streams[name]; to != nil {
		_, err := to.Write(piece)
		return err
	}
	return nil
}

func (noCalls) FlushStream(context.Context, string) error { return nil }

func (noCalls) Extend(time.Duration) error { return nil }

func (noCalls) Log(func() *messages.LogLine) {}

func (noCalls) Works() func() { return func() {} }

func (e noCalls) LocalValue(_ context.Context, of *attempt.Local) (any, error) {
	for _, l := range e.locals {
		if l.origin == of.Origin {
			return l.value, nil
		}
	}
	return nil, messages.Errorf(messages.CodeUnavailable, "this context has no local %q: give it one by Attempt.Locals, or use sdktest.Start", of.Name)
}
