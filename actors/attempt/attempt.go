// Package attempt is the seam between the worker actor and the user's
// functions: what one execution of a step is given, what it may ask for while it
// runs, and how local state is built and released. The SDK turns typed functions
// into Function and Local; the worker actor calls them.
//
// Imports only messages.
package attempt

import (
	"context"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// Function executes one attempt of a step and returns its output as JSON. The
// context ends on a cancel, on the execution timeout and when the worker stops.
// A panic is caught by the caller and reported as STEP_PANICKED. The caller
// reports a returned error by messages.ToFailure: what user code returned comes
// as USER_ERROR wrapping the user's error, marked Final for no further retry.
type Function func(ctx context.Context, a *Attempt) ([]byte, error)

// Functions of a worker, by workflow and step name.
type Functions map[string]map[string]Function

// Attempt is one execution of a step. It belongs to the function until the
// function returns.
type Attempt struct {
	// Dispatch is what the run sent; not to be changed.
	Dispatch *messages.Dispatch
	// Worker is the process that executes the attempt.
	Worker *messages.WorkerInfo
	// Calls is what the step may ask for while it runs.
	Calls Calls
}

// Calls are what a running step asks of its run, of others and of its worker.
// They try again by themselves until ctx ends.
type Calls interface {
	// SpawnChild starts a child run, or returns the earlier one of the same
	// step and key. It returns the child's run id once the child is durable.
	// Errors: CHILD_NOT_STICKY, CHILD_NOT_ON_WORKER, UNKNOWN_WORKFLOW,
	// INVALID_INPUT, PAYLOAD_TOO_LARGE, STALE_ATTEMPT.
	SpawnChild(ctx context.Context, s *messages.SpawnChild) (childRun string, err error)
	// Outputs returns those of a child's succeeded steps, by name, at an end that a
	// call has recorded.
	Outputs(ctx context.Context, end *messages.ChildEnd) (map[string][]byte, error)
	// RecordedCall returns the record of a call that an earlier attempt made; nil
	// if there is none, and the call is to be made. Errors: LIMIT_EXCEEDED if there
	// may be no more, STALE_ATTEMPT.
	RecordedCall(ctx context.Context, name, key string) (*messages.CallRecorded, error)
	// RecordCall returns when the call is durable; step and attempt are filled in.
	// It goes on for some seconds when ctx has ended, for the call has been made.
	// Errors: STALE_ATTEMPT, LIMIT_EXCEEDED, PAYLOAD_TOO_LARGE.
	RecordCall(ctx context.Context, call *messages.CallRecorded) error
	// AwaitCall returns how a call came out that waits; run, step and attempt are
	// filled in. The slot of the attempt is free while it waits and taken again before
	// it returns. If ctx ends first the call comes out as CANCELED, if not otherwise.
	// Errors: STALE_ATTEMPT, LIMIT_EXCEEDED, and why the attempt's context has ended.
	AwaitCall(ctx context.Context, wait *messages.AwaitCall) (*messages.CallRecorded, error)
	// AwaitAll is AwaitCall for an ALL: it returns the record of the call, and those of
	// its parts once each has come out, in order. A record of another kind has none.
	AwaitAll(ctx context.Context, all *messages.AwaitCall) (*messages.CallRecorded, []*messages.CallRecorded, error)
	// SendSignal returns the record of a call that sends a message to another run; run,
	// step and attempt are filled in. Errors: those of a mailbox that may take it later,
	// and of a start; STALE_ATTEMPT, LIMIT_EXCEEDED.
	SendSignal(ctx context.Context, send *messages.SendSignal) (*messages.CallRecorded, error)
	// Progress tells the run how far the step is, in JSON; the newest counts. It does not
	// wait. Errors: PAYLOAD_TOO_LARGE, and why the attempt's context has ended.
	Progress(progress []byte) error
	// WriteStream adds a piece to a stream of the run. It returns once the worker has it,
	// which is when there is room, or ctx ends. It copies the piece. Errors:
	// PAYLOAD_TOO_LARGE, LIMIT_EXCEEDED, STREAM_IN_USE, STALE_ATTEMPT, and why the
	// attempt's context has ended.
	WriteStream(ctx context.Context, stream string, piece []byte) error
	// FlushStream returns once what was written to the stream is durable. Errors: those of
	// WriteStream.
	FlushStream(ctx context.Context, stream string) error
	// Extend lets the attempt execute for at least so long from now on, waits not
	// counted. Errors: why the attempt's context has ended.
	Extend(more time.Duration) error
	// Log takes a line of the step's log. It does not wait, and asks for the line only if
	// it may be kept. The line is the receiver's.
	Log(line func() *messages.LogLine)
	// Works says that the function does what nobody else can bring to an end, until over
	// is called: the attempt is not suspended meanwhile.
	Works() (over func())
	// LocalValue returns the value of local state that the run has in this
	// worker, built if it is not there. It is not released before the function
	// has returned. Errors: INVALID_ARGUMENT if the attempt's workflow does not
	// have it, STATE_NOT_BUILT, LIMIT_EXCEEDED, STALE_ATTEMPT, UNAVAILABLE when
	// the worker stops.
	LocalValue(ctx context.Context, of *Local) (any, error)
}
