package sdk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/messages"
)

// DoOptions describe a call. The zero value, and nil, is a call that is known by
// its number and not tried again.
type DoOptions struct {
	// Key names the call among those of its name in the step. Calls of one name
	// that are under way at once each need one, the same in every attempt: their
	// order may be another one next time. It must not begin with "#", and is used
	// once in an attempt. Defaults to the number of the call among those of its
	// name without a key, in the order in which they begin.
	Key string
	// Retries is how often the function is called again after it returned an error
	// that is not NonRetryable. Defaults to 0. The step keeps its slot meanwhile,
	// and its ExecutionTimeout goes on.
	Retries int
	// Backoff is the longest pause before the first retry; it doubles with each
	// one up to BackoffMax. Pauses are drawn between half of that and the whole.
	// They default to 1 s and 60 s.
	Backoff    time.Duration
	BackoffMax time.Duration
}

// Do calls the function once and for all: its result is durable before Do returns
// it. Any later execution of the step in this run, after a failure, the loss of the
// worker or a restart, gets that result from Do, and the function is not called.
//
//	reply, err := sdk.Do(ctx, "think", func(ctx sdk.Context) (Reply, error) { return model.Ask(ctx, question) })
//
// The function is called again only if its attempt ends before the result is
// durable: it runs at least once, like a step, and its effects are recorded at most
// once. What Do returns was encoded as JSON and decoded again, the first time too.
//
// An error is recorded only if it is NonRetryable: then Do returns it, with its
// code and message, in every execution. Another one is returned as it is once the
// Retries are used up, and a retry of the step calls the function again. A panic is
// the step's. A step that returns a recorded error is not retried.
//
// A call is known by its name and its key, or its number. A retried step has to
// make the same calls; what it does between them may differ. When a deploy changes
// a step that runs:
//
//   - a call with another name, or key, is a new one and is made;
//   - a record that nobody asks for any more is left where it is, and counts
//     towards CallsMax;
//   - a call in front of others of its name takes their numbers: give the new one
//     another name;
//   - a result that does not decode into the new type is ErrCallMismatch, and so is
//     a record of another kind of call. The step fails at once. Mended code goes on
//     after a replay that names the step; a replay of the whole run begins anew.
//
// A replay clears the calls of the steps that it replays, but for that. A step with
// BuildsState that runs again for its local state gets recorded results, too: build
// the state outside of calls.
//
// Within the function no other call may be made, nor Spawn. Once the run is canceled,
// Do still works with a context that goes on, such as context.WithoutCancel(ctx), to
// clean up: for 10 s at most.
//
// ctx is the context of a step, or one derived from it; the function gets it as a
// Context. Nothing is called if it has ended. At most one DoOptions may be given.
//
// Errors: ErrCallNeedsKey for a second call of a name while one without a key is
// under way; ErrCallMismatch; ErrLimitExceeded for more than CallsMax calls, before
// the function is called; ErrPayloadTooLarge for a result above PayloadBytesMax and
// INVALID_OUTPUT for one that is no JSON, both not retried; ErrStaleAttempt if the
// step goes on elsewhere; ErrInvalidArgument.
func Do[Out any](ctx context.Context, name string, function func(ctx Context) (Out, error), options ...*DoOptions) (Out, error) {
	var none Out
	c, err := callerOf(ctx, "Do")
	if err != nil {
		return none, err
	}
	opts, err := onlyOptions(options)
	if err != nil {
		return none, err
	}
	if err := opts.check(name, function == nil); err != nil {
		return none, err
	}
	call, ends, err := c.begin(ctx, messages.CallKind_CALL_KIND_DO, name, opts.Key)
	if err != nil {
		return none, err
	}
	defer ends()
	defer c.attempt.Calls.Works()()
	recorded, err := c.attempt.Calls.RecordedCall(ctx, call.Name, call.Key)
	if err != nil {
		return none, err
	}
	if recorded == nil {
		if err := c.make(ctx, call, &opts, func(ctx Context) (any, error) { return function(ctx) }, reflect.TypeFor[Out]()); err != nil {
			return none, err
		}
		recorded = call
	}
	var out Out
	return out, outcomeOf(recorded, call.Kind, &out)
}

// check returns INVALID_ARGUMENT for options that make no sense.
func (o *DoOptions) check(name string, noFunction bool) error {
	switch err := checkCallKey(name, o.Key); {
	case noFunction:
		return messages.Errorf(messages.CodeInvalidArgument, "call %q: the function is nil", name)
	case err != nil:
		return err
	case o.Retries < 0:
		return messages.Errorf(messages.CodeInvalidArgument, "call %q: Retries is %d, must be 0 or more", name, o.Retries)
	case o.Backoff < 0 || o.BackoffMax < 0:
		return messages.Errorf(messages.CodeInvalidArgument, "call %q: Backoff is %v and BackoffMax %v, must be 0 or more", name, o.Backoff, o.BackoffMax)
	}
	return nil
}

// checkCallKey returns INVALID_ARGUMENT for a key that a step may not give a call.
func checkCallKey(name, key string) error {
	if strings.HasPrefix(key, "#") {
		return messages.Errorf(messages.CodeInvalidArgument, "call %q: key %q must not begin with #", name, key)
	}
	return nil
}

func (o *DoOptions) pauses() backoff.Pauses {
	p := backoff.Pauses{First: o.Backoff, Most: o.BackoffMax}
	if p.First == 0 {
		p.First = time.Second
	}
	if p.Most == 0 {
		p.Most = time.Minute
	}
	return p
}

// callsOfName are the calls of one name that an attempt has made.
type callsOfName struct {
	// numbered counts those without a key; one of them is under way.
	numbered int
	underWay bool
	keys     map[string]bool
}

// begin returns a call that is under way until ends is called; none if ctx has ended.
func (c *stepContext) begin(ctx context.Context, kind messages.CallKind, name, key string) (call *messages.CallRecorded, ends func(), err error) {
	call = &messages.CallRecorded{Step: c.Step(), Attempt: int32(c.Attempt()), Kind: kind, Name: name}
	if ends, err = c.takeKey(call, key); err != nil {
		return nil, nil, err
	}
	if ctx.Err() != nil {
		ends()
		return nil, nil, context.Cause(ctx)
	}
	return call, ends, nil
}

// takeKey gives a call its key, and returns what ends it.
func (c *stepContext) takeKey(call *messages.CallRecorded, key string) (ends func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	of := c.calls[call.Name]
	if of == nil {
		of = &callsOfName{keys: make(map[string]bool)}
	}
	switch call.Key = key; {
	case of.keys[key]:
		return nil, messages.Errorf(messages.CodeInvalidArgument, "call %q: key %q was used in this attempt before; each call needs a key of its own", call.Name, key)
	case key == "" && of.underWay:
		return nil, messages.Errorf(messages.CodeCallNeedsKey, "call %q: another one without a key, its number %d, is under way, and a later attempt may make them in another order", call.Name, of.numbered)
	case key == "":
		call.Key = fmt.Sprintf("#%d", of.numbered)
	}
	if err := messages.CheckFields(call); err != nil {
		return nil, err
	}
	c.calls[call.Name] = of
	if key != "" {
		of.keys[key] = true
		return func() {}, nil
	}
	of.numbered++
	of.underWay = true
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		of.underWay = false
	}, nil
}

// make calls the function until it has a result, and has that recorded.
func (c *stepContext) make(ctx context.Context, call *messages.CallRecorded, opts *DoOptions, function func(Context) (any, error), out reflect.Type) error {
	if faults := unencodable(out); len(faults) > 0 {
		return messages.Errorf(messages.CodeInvalidArgument, "call %q: result type %v: %w", call.Name, out, faults[0])
	}
	pauses, began := opts.pauses(), time.Now()
	for {
		result, err := c.try(ctx, call.Name, function)
		call.Tries++
		if err == nil {
			if err := setResult(call, result); err != nil {
				return err
			}
			break
		}
		if final := (*nonRetryable)(nil); errors.As(err, &final) {
			call.Outcome = &messages.CallRecorded_Failure{Failure: messages.ToFailure(userError(err))}
			break
		}
		if int(call.Tries) > opts.Retries {
			return err
		}
		if backoff.Sleep(ctx, pauses.Next()) != nil {
			return context.Cause(ctx)
		}
	}
	call.TookMs = time.Since(began).Milliseconds()
	return c.attempt.Calls.RecordCall(ctx, call)
}

// try calls the function once. If the step has a span the call gets one below it.
func (c *stepContext) try(ctx context.Context, name string, function func(Context) (any, error)) (any, error) {
	if step := trace.SpanFromContext(ctx); step.IsRecording() {
		var span trace.Span
		ctx, span = step.TracerProvider().Tracer("limpet").Start(ctx, "do "+name)
		defer span.End()
	}
	return function(&callContext{stepContext: c, Context: ctx, name: name})
}

// setResult encodes what a function returned. A result that cannot be recorded is
// a mistake of the step, however often it is tried.
func setResult(call *messages.CallRecorded, result any) error {
	data, err := json.Marshal(result)
	if err != nil {
		return NonRetryable(messages.Errorf(messages.CodeInvalidOutput, "the result of call %q does not encode as JSON: %w", call.Name, err))
	}
	if err := messages.CheckPayload(fmt.Sprintf("the result of call %q", call.Name), data); err != nil {
		return NonRetryable(err)
	}
	call.Outcome = &messages.CallRecorded_Output{Output: data}
	return nil
}

// failureOf is what a record says to a call of a kind, but for its result.
func failureOf(recorded *messages.CallRecorded, kind messages.CallKind) error {
	if recorded.Kind != kind {
		return messages.Errorf(messages.CodeCallMismatch, "call %q %s of step %q is recorded as %s, by attempt %d, and is %s now",
			recorded.Name, recorded.Key, recorded.Step, recorded.Kind.Words(), recorded.Attempt, kind.Words())
	}
	if f := recorded.GetFailure(); f != nil {
		return NonRetryable(messages.FromFailure(f))
	}
	return nil
}

// outcomeOf is what a record says to a call of a kind.
func outcomeOf(recorded *messages.CallRecorded, kind messages.CallKind, into any) error {
	if err := failureOf(recorded, kind); err != nil {
		return err
	}
	if err := decode(recorded.GetOutput(), into); err != nil {
		return messages.Errorf(messages.CodeCallMismatch, "call %q %s of step %q was recorded by attempt %d with a result of %d bytes that is no %v: %w",
			recorded.Name, recorded.Key, recorded.Step, recorded.Attempt, len(recorded.GetOutput()), reflect.TypeOf(into).Elem(), err)
	}
	return nil
}

// callContext is the context of a step within the function of a call.
type callContext struct {
	*stepContext
	context.Context
	name string
}

type callContextKey struct{}

func (c *callContext) Value(key any) any {
	if key == (callContextKey{}) {
		return c
	}
	return c.Context.Value(key)
}
