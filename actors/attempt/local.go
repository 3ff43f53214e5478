package attempt

import (
	"context"

	"github.com/limpetrun/limpet/messages"
)

// Local is local state of a workflow as a worker keeps it: without its type.
// Its functions may panic; whoever calls them catches that.
type Local struct {
	// Name of the state, as in its definition.
	Name string
	// Origin is what the user declared, which several workflows may share. Two
	// with the same origin are the same state; comparable, never nil.
	Origin any
	// Bind builds the value.
	Bind func(ctx context.Context, b *Build) (any, error)
	// Release is nil for a value with nothing to tidy up.
	Release func(value any, why messages.ReleaseReason) error
	// Key of the shared value that a run with this input, in JSON, uses; nil
	// for a private value.
	Key func(input []byte) (string, error)
	// Size is what a value takes, in bytes; nil for nothing worth counting.
	Size func(value any) int64
	// Handoff returns a private value in a form that Bind on another worker is
	// given; nil if it cannot be handed off.
	Handoff func(ctx context.Context, value any) ([]byte, error)
}

// Shared says whether runs with the same key use one value.
func (l *Local) Shared() bool { return l.Key != nil }

// Locals of a worker, by workflow and name of the state.
type Locals map[string]map[string]*Local

// Build is what Bind is given to build a value.
type Build struct {
	// Dispatch of the attempt that asked first; not to be changed.
	Dispatch *messages.Dispatch
	// Worker is the process that the value is built in.
	Worker *messages.WorkerInfo
	// Key of a shared value; empty for a private one.
	Key string
	// Life ends once the value has been released, or Bind has failed: for what the
	// value consists of. The context of Bind itself ends when Bind returns, with
	// the cause ErrBindReturned.
	Life context.Context
	// HandedOff is what the run's previous worker gave away; nil for nothing.
	HandedOff *messages.HandedState
}

// ErrBindReturned is why the context that Bind was given has ended after Bind.
var ErrBindReturned error = bindReturned{}

type bindReturned struct{}

func (bindReturned) Error() string {
	return "context canceled: it was that of Bind, which has returned; BindContext.Lifetime is one that lives as long as the value"
}

func (bindReturned) Is(target error) bool { return target == context.Canceled }
