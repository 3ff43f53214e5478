package sdk

import (
	"context"
	"fmt"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// EventWait says which events a call waits for. The zero value, and nil, is one with
// exactly the key, pushed after the call has begun to wait.
type EventWait struct {
	// Key names the call, not the event, and Timeout bounds it, as those of WaitOptions
	// do. Not for OnEvent: First and All have options of their own.
	Key     string
	Timeout time.Duration
	// Prefix takes events whose key begins with the one that is given.
	Prefix bool
	// If is a condition in CEL over payload, key and id: `payload.amount > 10`. Numbers of
	// a payload are doubles; has(payload.x) asks for a field. An event for which it
	// cannot be evaluated does not fit, and the call waits on. The run says why, of the
	// first such event: in what it waits for (`limpet run get`), in its history and in an
	// ErrWaitTimeout. So do the answer to the push and the log of the server. Empty for
	// none; at most ConditionBytesMax.
	If string
	// Since takes the earliest event of this time before the call began to wait, too, if
	// there is one. At most as long as the server keeps events: an hour by default.
	Since time.Duration
}

// PushedEvent is an event that came to a call.
type PushedEvent[T any] struct {
	Key, ID string
	// At is when it was pushed.
	At      time.Time
	Payload T
}

// EventBranch waits for an event.
type EventBranch[T any] struct {
	came
	key   string
	opts  EventWait
	fault error
	value PushedEvent[T]
}

// OnEvent waits for an event, as WaitEvent does. At most one EventWait may be given; it
// has no Key and no Timeout: First and All have those, and return ErrInvalidArgument for
// one that has.
func OnEvent[T any](key string, options ...*EventWait) *EventBranch[T] {
	opts, fault := onlyOptions(options)
	if fault == nil && (opts.Key != "" || opts.Timeout != 0) {
		fault = messages.Errorf(messages.CodeInvalidArgument, "event %q: OnEvent takes no Key and no Timeout: give them to First or All", key)
	}
	return &EventBranch[T]{key: key, opts: opts, fault: fault}
}

// Value is the event that came; the zero value if none did.
func (b *EventBranch[T]) Value() PushedEvent[T] { return b.value }

func (b *EventBranch[T]) words() string { return fmt.Sprintf("event %q", b.key) }

func (b *EventBranch[T]) asks() (*messages.WaitBranch, error) {
	b.value = PushedEvent[T]{}
	switch {
	case b.fault != nil:
		return nil, b.fault
	case b.opts.Since < 0:
		return nil, messages.Errorf(messages.CodeInvalidArgument, "event %q: Since is %v, must be 0 or more", b.key, b.opts.Since)
	}
	w := &messages.WaitBranch{Kind: messages.CallKind_CALL_KIND_EVENT, EventKey: b.key, EventPrefix: b.opts.Prefix, Condition: b.opts.If, SinceMs: millis(b.opts.Since)}
	if b.key == "" && b.opts.Prefix {
		return w, nil
	}
	return w, messages.CheckName("event key", b.key)
}

func (b *EventBranch[T]) takes(call *messages.CallRecorded) bool {
	e := call.GetEvent()
	if e == nil {
		return false
	}
	b.value = PushedEvent[T]{Key: e.Key, ID: e.EventId, At: time.UnixMicro(e.AtUs).UTC()}
	if err := decode(call.GetOutput(), &b.value.Payload); err != nil {
		b.err = messages.Errorf(messages.CodeInvalidInput, "the payload of event %q, id %q, is no %T: %w", e.Key, e.EventId, b.value.Payload, err)
	}
	return true
}

// WaitEvent waits for an event of the cluster, which comes by Client.PushEvent or
// `limpet event push`: to all calls that wait for it.
//
//	paid, err := sdk.WaitEvent[Payment](ctx, "order:paid", &sdk.EventWait{If: "payload.order == 7", Since: 10 * time.Minute})
//
// It is a call as Do makes them, named by the key of the event. See Receive of what
// waiting means, and of ctx. The event is on record, and stays when the cluster keeps
// it no longer. An event that comes while the step is being retried is not missed.
//
// Errors: those of Receive; ErrInvalidArgument at once for a condition that is none, and
// for a Since that is longer than the server keeps events.
func WaitEvent[T any](ctx context.Context, key string, options ...*EventWait) (PushedEvent[T], error) {
	var none PushedEvent[T]
	c, err := callerOf(ctx, "WaitEvent")
	if err != nil {
		return none, err
	}
	opts, err := onlyOptions(options)
	if err != nil {
		return none, err
	}
	name := key
	if name == "" {
		name = "event"
	}
	b := OnEvent[T](key, &EventWait{Prefix: opts.Prefix, If: opts.If, Since: opts.Since})
	wait, err := waitFor(messages.CallKind_CALL_KIND_EVENT, name, WaitOptions{Key: opts.Key, Timeout: opts.Timeout}, []Branch{b})
	if err != nil {
		return none, err
	}
	call, err := c.await(ctx, wait, opts.Key)
	if err == nil {
		err = failureOf(call, wait.Kind)
	}
	if err != nil {
		return none, err
	}
	b.takes(call)
	return b.value, b.err
}
