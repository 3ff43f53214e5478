package sdk

import (
	"context"

	"github.com/limpetrun/limpet/messages"
)

// SignalRun puts a message into the mailbox of another run, as Run.Signal does for a
// client: nil once it is durable there. It is a call as Do makes them: a later execution
// of the step does not send the message again. One that is made again before its outcome
// is on record sends the message under the same id, so that the other run has it once;
// if it would send another payload, that of the first time counts.
//
// That the other run has ended, or is not there, stays so, and is recorded: every
// execution of the step gets ErrRunFinished or ErrUnknownRun, and a step that returns it
// is not retried. Other errors are not recorded: ErrLimitExceeded for more than
// SignalsMax messages that were not received there, or for more than CallsMax calls;
// ErrPayloadTooLarge; ErrInvalidArgument; and those of Do.
//
// See CallOptions of how the call is known, and StartOrSignal of a run that may not be
// there yet.
func SignalRun(ctx context.Context, runID, signal string, payload any, options ...*CallOptions) error {
	c, opts, err := callNamed(ctx, "SignalRun", "signal", options)
	if err != nil {
		return err
	}
	if err := messages.CheckName("run id", runID); err != nil {
		return err
	}
	recorded, err := c.send(ctx, messages.CallKind_CALL_KIND_SIGNAL, opts, &messages.SendSignal{ToRun: runID, Signal: signal}, payload)
	if err != nil {
		return err
	}
	return failureOf(recorded, messages.CallKind_CALL_KIND_SIGNAL)
}

// StartOrSignal has the run of an idempotency key get a message, whether it is there or
// not, as Start with a Signal does for a client: a run that is there gets the message, and
// its input is not compared; else one is started that has it. Either is one entry of the
// history of that run, which is durable when StartOrSignal returns the id of the run.
//
//	id, err := chat.StartOrSignal(ctx, Chat{User: 7}, &sdk.StartOptions{
//		IdempotencyKey: "user-7", Signal: &sdk.Signal{Name: "said", Payload: text}})
//
// The StartOptions have to have an IdempotencyKey and a Signal, and the signal no ID: that
// follows from the call. Priority and Metadata are for a run that is started. Such a run
// is no child: it does not end with the run that started it.
//
// It is a call as SignalRun is: made once and for all, and sent again under the same id
// until its outcome is on record. What it says of the payload goes for the input, too.
//
// ErrRunFinished, for a run that has ended and does not have the message, is recorded: every
// execution of the step gets it. To go on, use another key. Other errors are not recorded:
// ErrUnknownWorkflow; ErrWorkflowRetired for a run that is not there, of a workflow that
// starts no new ones; ErrInvalidInput for an input that does not fit the workflow; and
// those of SignalRun.
//
// See CallOptions of how the call is known.
func (w *Workflow[In]) StartOrSignal(ctx context.Context, in In, start *StartOptions, options ...*CallOptions) (runID string, err error) {
	c, opts, err := callNamed(ctx, "StartOrSignal", "start", options)
	if err != nil {
		return "", err
	}
	keyed, signal, err := start.keyed(w.Name())
	if err != nil {
		return "", err
	}
	if keyed.Input, err = encodeInput(w.Name(), in); err != nil {
		return "", err
	}
	recorded, err := c.send(ctx, messages.CallKind_CALL_KIND_START, opts, &messages.SendSignal{Keyed: keyed, Signal: signal.Name}, signal.Payload)
	if err != nil {
		return "", err
	}
	return runID, outcomeOf(recorded, messages.CallKind_CALL_KIND_START, &runID)
}

// keyed is the run of a StartOrSignal, without its input, and the message for it.
func (o *StartOptions) keyed(workflow string) (*messages.KeyedRun, *Signal, error) {
	switch {
	case o == nil || o.IdempotencyKey == "":
		return nil, nil, messages.Errorf(messages.CodeInvalidArgument, "workflow %q: no IdempotencyKey is given: that says which run is to have the message", workflow)
	case o.Signal == nil:
		return nil, nil, messages.Errorf(messages.CodeInvalidArgument, "workflow %q: no Signal is given: use Spawn to start a run without a message", workflow)
	case o.Signal.ID != "":
		return nil, nil, messages.Errorf(messages.CodeInvalidArgument, "signal %q has the ID %q, and a step's message none: its id follows from the call", o.Signal.Name, o.Signal.ID)
	}
	return &messages.KeyedRun{Workflow: workflow, IdempotencyKey: o.IdempotencyKey, Priority: int32(o.Priority), Metadata: o.Metadata}, o.Signal, nil
}

// send returns the record of a call that sends a message to another run.
func (c *stepContext) send(ctx context.Context, kind messages.CallKind, opts CallOptions, send *messages.SendSignal, payload any) (recorded *messages.CallRecorded, err error) {
	if send.Payload, err = encodeSignal(send.Signal, payload); err != nil {
		return nil, err
	}
	call, ends, err := c.begin(ctx, kind, opts.Name, opts.Key)
	if err != nil {
		return nil, err
	}
	defer ends()
	send.RunId, send.Step, send.Attempt, send.Name, send.Key = c.RunID(), call.Step, call.Attempt, call.Name, call.Key
	if err := messages.CheckFields(send); err != nil {
		return nil, err
	}
	if recorded, err = c.attempt.Calls.RecordedCall(ctx, call.Name, call.Key); recorded != nil || err != nil {
		return recorded, err
	}
	return c.attempt.Calls.SendSignal(ctx, send)
}

// callNamed is the step that makes a call, and its options with the name that it goes by.
func callNamed(ctx context.Context, what, otherwise string, options []*CallOptions) (*stepContext, CallOptions, error) {
	c, err := callerOf(ctx, what)
	if err != nil {
		return nil, CallOptions{}, err
	}
	opts, err := onlyOptions(options)
	if opts.Name == "" {
		opts.Name = otherwise
	}
	if err == nil {
		err = checkCallKey(opts.Name, opts.Key)
	}
	return c, opts, err
}
