package sdk

import (
	"context"
	"errors"

	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/actors/usercode"
	"github.com/limpetrun/limpet/messages"
)

// Error is an error of the engine: a Code and a message. Use errors.Is with
// the values below, or errors.As with *Error for the code, the message and the
// stack of a step that panicked.
type Error = messages.Error

// Code names a kind of Error. Code.Hint says what to do next.
type Code = messages.Code

// Errors to compare with errors.Is. They match whatever came back from a
// client, a spawn or the result of a run, however far it travelled.
var (
	ErrUnknownWorkflow     = sentinel(messages.CodeUnknownWorkflow)
	ErrWorkflowRetired     = sentinel(messages.CodeWorkflowRetired)
	ErrWorkflowUnserved    = sentinel(messages.CodeWorkflowUnserved)
	ErrUnknownRun          = sentinel(messages.CodeUnknownRun)
	ErrUnknownStep         = sentinel(messages.CodeUnknownStep)
	ErrUnknownQuery        = sentinel(messages.CodeUnknownQuery)
	ErrNotBound            = sentinel(messages.CodeNotBound)
	ErrWorkerAway          = sentinel(messages.CodeWorkerAway)
	ErrStateNotThere       = sentinel(messages.CodeStateNotThere)
	ErrQueryTimedOut       = sentinel(messages.CodeQueryTimedOut)
	ErrQueryPanicked       = sentinel(messages.CodeQueryPanicked)
	ErrQueryFailed         = sentinel(messages.CodeQueryFailed)
	ErrUnknownStream       = sentinel(messages.CodeUnknownStream)
	ErrStreamInUse         = sentinel(messages.CodeStreamInUse)
	ErrUnknownWorker       = sentinel(messages.CodeUnknownWorker)
	ErrWorkerEnding        = sentinel(messages.CodeWorkerEnding)
	ErrInvalidArgument     = sentinel(messages.CodeInvalidArgument)
	ErrInvalidInput        = sentinel(messages.CodeInvalidInput)
	ErrInvalidDefinition   = sentinel(messages.CodeInvalidDefinition)
	ErrPayloadTooLarge     = sentinel(messages.CodePayloadTooLarge)
	ErrLimitExceeded       = sentinel(messages.CodeLimitExceeded)
	ErrIdempotencyMismatch = sentinel(messages.CodeIdempotencyMismatch)
	ErrRunFinished         = sentinel(messages.CodeRunFinished)
	ErrRunEnding           = sentinel(messages.CodeRunEnding)
	ErrRunNotFinished      = sentinel(messages.CodeRunNotFinished)
	ErrRunSetAside         = sentinel(messages.CodeRunSetAside)
	ErrWorkerIDTaken       = sentinel(messages.CodeWorkerIDTaken)
	ErrWorkerSuperseded    = sentinel(messages.CodeWorkerSuperseded)
	ErrChildNotSticky      = sentinel(messages.CodeChildNotSticky)
	ErrChildNotOnWorker    = sentinel(messages.CodeChildNotOnWorker)
	ErrSpawnKeyReused      = sentinel(messages.CodeSpawnKeyReused)
	ErrCallNeedsKey        = sentinel(messages.CodeCallNeedsKey)
	ErrCallMismatch        = sentinel(messages.CodeCallMismatch)
	ErrWaitTimeout         = sentinel(messages.CodeWaitTimeout)
	ErrSuspended           = sentinel(messages.CodeSuspended)
	ErrStaleAttempt        = sentinel(messages.CodeStaleAttempt)
	ErrCodecFailed         = sentinel(messages.CodeCodecFailed)
	ErrUser                = sentinel(messages.CodeUserError)
	ErrStepPanicked        = sentinel(messages.CodeStepPanicked)
	ErrScheduleTimeout     = sentinel(messages.CodeScheduleTimeout)
	ErrExecutionTimeout    = sentinel(messages.CodeExecutionTimeout)
	ErrHeartbeatTimeout    = sentinel(messages.CodeHeartbeatTimeout)
	ErrWorkerLost          = sentinel(messages.CodeWorkerLost)
	ErrStateNotBuilt       = sentinel(messages.CodeStateNotBuilt)
	ErrCanceled            = sentinel(messages.CodeCanceled)
	ErrUnauthenticated     = sentinel(messages.CodeUnauthenticated)
	ErrUnavailable         = sentinel(messages.CodeUnavailable)
)

// ErrStateLost is for a step to return, or to wrap, when local state that it
// needs is gone or broken: a child process has died, a file is not there. Then
//   - the worker drops the run's own values, and the shared ones that the step
//     got, once nobody uses them;
//   - the run runs its steps that declare BuildsState again, in order, and this
//     step after them.
//
// That is not charged to the step's retries. After LostAttemptsMax times the step
// fails with it.
var ErrStateLost = sentinel(messages.CodeStateLost)

func sentinel(c messages.Code) error { return &messages.Error{Code: c, Message: c.Hint()} }

// CodeOf returns the code of the first Error in err's chain, INTERNAL for
// another error and "" for nil.
func CodeOf(err error) Code { return messages.CodeOf(err) }

// NonRetryable marks an error that a step returns: the step fails for good, even
// if it has retries left. It returns nil for nil.
func NonRetryable(err error) error {
	if err == nil {
		return nil
	}
	return &nonRetryable{err}
}

type nonRetryable struct{ err error }

func (n *nonRetryable) Error() string { return n.err.Error() }
func (n *nonRetryable) Unwrap() error { return n.err }

// kept are the codes that say more about a step's failure than USER_ERROR: what
// the engine refused to do for the step.
var kept = map[Code]bool{
	messages.CodeChildNotSticky:   true,
	messages.CodeChildNotOnWorker: true,
	messages.CodeSpawnKeyReused:   true,
	messages.CodeCallNeedsKey:     true,
	messages.CodeCallMismatch:     true,
	messages.CodeWaitTimeout:      true,
	messages.CodeUnknownWorkflow:  true,
	messages.CodeWorkflowRetired:  true,
	messages.CodeInvalidInput:     true,
	messages.CodeInvalidArgument:  true,
	messages.CodeInvalidOutput:    true,
	messages.CodePayloadTooLarge:  true,
	messages.CodeLimitExceeded:    true,
	messages.CodeStateLost:        true,
	messages.CodeStateNotBuilt:    true,
	messages.CodeCodecFailed:      true,
}

// mistakes are codes of what a program does wrong however often it does it.
var mistakes = map[Code]bool{
	messages.CodeInvalidArgument: true,
	messages.CodeChildNotSticky:  true,
	messages.CodeSpawnKeyReused:  true,
	messages.CodeCallNeedsKey:    true,
	messages.CodeCallMismatch:    true,
}

// userError turns what a step function returned into the error that its run
// records. Another run's failure that passes through stays a USER_ERROR: it is
// this step that failed, for whatever reason.
func userError(err error) error {
	out, fault := usercode.Read(err, readUserError)
	if fault != nil {
		return fault.Coded(messages.CodeUserError)
	}
	return out
}

func readUserError(err error) *messages.Error {
	var final *nonRetryable
	var engine *messages.Error
	var ended *RunError
	code := messages.CodeUserError
	if !errors.As(err, &ended) && errors.As(err, &engine) && kept[engine.Code] {
		code = engine.Code
	}
	text := err.Error() // fmt would make words of its panic
	out := messages.Errorf(code, "%w", err)
	out.Message = text
	if code != messages.CodeUserError {
		// The stack of a Bind that panicked.
		out.Stack = engine.Stack
		if marked, ok := err.(*nonRetryable); err == error(engine) || ok && marked.err == error(engine) {
			out.Message = engine.Message
		}
	}
	out.Final = errors.As(err, &final) || mistakes[code]
	return out
}

// bindContextHint is added to an error that says that a context was canceled
// while that of the step goes on.
const bindContextHint = " (the step's own context has not ended: local state that is made from the context of Bind ends with Bind; make it from BindContext.Lifetime)"

// hinted adds the hint where it may apply.
func hinted(ctx Context, err error) error {
	c, ok := FromContext(ctx)
	if step, isStep := c.(*stepContext); !ok || !isStep || !step.usedLocal.Load() || ctx.Err() != nil {
		return err
	}
	canceled, _ := usercode.Read(err, func(err error) bool {
		return errors.Is(err, context.Canceled) && !errors.Is(err, attempt.ErrBindReturned)
	})
	if !canceled {
		return err
	}
	return &withHint{err}
}

type withHint struct{ err error }

func (h *withHint) Error() string { return h.err.Error() + bindContextHint }
func (h *withHint) Unwrap() error { return h.err }
