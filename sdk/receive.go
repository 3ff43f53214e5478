package sdk

import (
	"context"
	"reflect"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// WaitOptions describe a wait. The zero value, and nil, is one that is known by its
// number and lasts for a year.
type WaitOptions struct {
	// Key names the wait among the calls of its name in the step, like that of
	// DoOptions.
	Key string
	// Timeout is how long is waited at most; then the error is ErrWaitTimeout. It
	// counts from the first time that the step makes the call: a retry, or a restart
	// of whatever, does not begin it anew. Defaults to a year, which is the most;
	// AtOnce takes what is there.
	Timeout time.Duration
}

// Receive takes the oldest message of a name out of the run's mailbox, or waits for
// one. Messages come by Run.Signal, SignalRun, `limpet run signal`, or with the start of
// the run: see StartOptions.Signal and StartOrSignal. A run that goes on keeps
// those that nobody asks for; one that ends counts them in its history, by their names.
// To end with none left, take what is there AtOnce until that is ErrWaitTimeout: a message
// that comes after it, before the end, is counted so, and one after the end is refused.
// There is no end that waits for an empty mailbox: somebody could keep it full.
//
//	ok, err := sdk.Receive[Approval](ctx, "approval", &sdk.WaitOptions{Timeout: 48 * time.Hour})
//	if errors.Is(err, sdk.ErrWaitTimeout) { … }
//
// It is a call as Do makes them, and shares the names with Do: known by name and key
// or number, its outcome durable, and the same in every execution of the step. Several
// that wait for one name, each with a key, get messages in the order in which they
// began to wait. A replay does not give messages again that were received.
//
// While it waits the step holds no slot, and its ExecutionTimeout stands still; of one
// whose goroutines wait see Child.Wait.
//
// If ctx ends first while the step's own context goes on, the call comes out as
// ErrCanceled for good, and the message goes to the next one that asks. A message whose
// payload does not decode is received, and ErrInvalidInput.
//
// Errors: ErrWaitTimeout, ErrCanceled, ErrInvalidInput, and those of Do.
func Receive[T any](ctx context.Context, name string, options ...*WaitOptions) (T, error) {
	var message, none T
	c, err := callerOf(ctx, "Receive")
	if err != nil {
		return none, err
	}
	opts, err := onlyOptions(options)
	if err != nil {
		return none, err
	}
	wait, err := opts.wait(name)
	if err != nil {
		return none, err
	}
	wait.Kind = messages.CallKind_CALL_KIND_RECEIVE
	call, err := c.await(ctx, wait, opts.Key)
	if err == nil {
		err = failureOf(call, wait.Kind)
	}
	if err == nil {
		err = messageIn(call, name, &message)
	}
	if err != nil {
		return none, err
	}
	return message, nil
}

// messageIn decodes the message that a call has received.
func messageIn(call *messages.CallRecorded, signal string, into any) error {
	if err := decode(call.GetOutput(), into); err != nil {
		return messages.Errorf(messages.CodeInvalidInput, "message %q of signal %q is no %v: %w", call.MessageId, signal, reflect.TypeOf(into).Elem(), err)
	}
	return nil
}

// wait is what the options say, or INVALID_ARGUMENT or LIMIT_EXCEEDED.
func (o *WaitOptions) wait(name string) (*messages.AwaitCall, error) {
	if err := checkCallKey(name, o.Key); err != nil {
		return nil, err
	}
	w := &messages.AwaitCall{Name: name, TimeoutMs: millis(o.Timeout)}
	switch {
	case o.Timeout == AtOnce:
		w.TimeoutMs = 0
	case o.Timeout == 0:
		w.TimeoutMs = messages.WaitMsMax
	case o.Timeout < 0:
		return nil, messages.Errorf(messages.CodeInvalidArgument, "call %q: Timeout is %v, must be AtOnce, or 0 or more", name, o.Timeout)
	case w.TimeoutMs > messages.WaitMsMax:
		return nil, messages.Errorf(messages.CodeLimitExceeded, "call %q: Timeout is %v, more than WaitMsMax = %d", name, o.Timeout, messages.WaitMsMax)
	}
	return w, nil
}

// await returns how a wait came out, in this execution or an earlier one.
func (c *stepContext) await(ctx context.Context, wait *messages.AwaitCall, key string) (*messages.CallRecorded, error) {
	call, ends, err := c.begin(ctx, wait.Kind, wait.Name, key)
	if err != nil {
		return nil, err
	}
	defer ends()
	recorded, err := c.attempt.Calls.RecordedCall(ctx, call.Name, call.Key)
	if recorded != nil || err != nil {
		return recorded, err
	}
	wait.Key = call.Key
	return c.attempt.Calls.AwaitCall(ctx, wait)
}
