package worker

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/actors/slots"
	"github.com/limpetrun/limpet/actors/usercode"
	"github.com/limpetrun/limpet/messages"
)

// What an attempt's actor hears from the worker's.
type (
	cancelFunction struct{ cause error }
	resumeFunction struct{ deadline time.Time }
)

// attemptActor runs one function, on a goroutine of its own: the mailbox stays
// free for a cancel. It belongs to the worker's actor and ends with it.
type attemptActor struct {
	worker   *Worker
	id       uint64
	dispatch *messages.Dispatch
	deadline time.Time
	lease    context.Context
	calls    *attemptCalls
	ctx      *attemptContext
	// ended: the function has, and nothing of this is used by its goroutine any more.
	ended atomic.Bool
}

// Receive routes.
func (a *attemptActor) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		a.start()
	case cancelFunction:
		a.worker.cfg.Hooks.canceled(a.dispatch, m.cause)
		a.ctx.end(m.cause)
	case resumeFunction:
		a.ctx.setDeadline(m.deadline)
		a.calls.resume()
	case extendFunction:
		a.ctx.setDeadline(m.deadline)
	case *actor.Stopping:
		a.ctx.end(context.Canceled)
	case *actor.Stopped:
		a.forget()
	}
}

// forget lets go of what the function had. The library keeps actors that have stopped:
// as many as there once were at a time.
func (a *attemptActor) forget() {
	if a.ended.Load() {
		a.dispatch, a.lease, a.calls, a.ctx = nil, nil, nil, nil
	}
}

func (a *attemptActor) start() {
	// The core cancels at the deadline too; here it is for the function to see when
	// it has to be done.
	a.ctx = newAttemptContext(a.lease, a.deadline, func() error {
		return messages.Errorf(messages.CodeExecutionTimeout, "step %q attempt %d has reached its execution timeout", a.dispatch.Step, a.dispatch.Attempt)
	})
	a.calls = &attemptCalls{worker: a.worker, id: a.id, dispatch: a.dispatch, life: a.ctx, limit: a.ctx, lease: a.lease, records: newRecords()}
	a.worker.dispatcher.Schedule(a.run)
}

// run calls the function and tells the worker's actor, even if the function
// ends its goroutine.
func (a *attemptActor) run() {
	var end functionEnded
	ctx := a.ctx
	within, spanEnds := a.worker.cfg.Spans.Began(ctx, a.dispatch, a.worker.info.WorkerId)
	end.id = a.id
	w, started := a.worker, time.Now()
	w.cfg.Hooks.started(a.dispatch)
	defer func() {
		unlabelled()
		cause := context.Cause(ctx) // before it ends by this
		ctx.end(context.Canceled)
		a.calls.ended()
		spanEnds(end.failure)
		w.news.came(attemptIDOf(a.dispatch))
		a.logEnd(end.failure, cause)
		a.calls.logEnded()
		w.cfg.Hooks.ended(a.dispatch, end.failure, time.Since(started))
		// Before the run hears of it: what it sends next may ask for the state.
		w.locals.returned(a.id, end.failure)
		a.ended.Store(true)
		w.root.Send(w.pid, end)
		w.functions.Done()
	}()
	if a.dispatch.Suspect {
		select {
		case <-time.After(slots.SuspectNotice):
		case <-ctx.Done():
		}
	}
	// The process may have been stopped since the start was decided, and have
	// another lease by now.
	if !w.mayAct() || ctx.Err() != nil {
		end.failure = messages.ToFailure(context.Cause(ctx))
		return
	}
	call := w.cfg.Functions[a.dispatch.Workflow][a.dispatch.Step]
	callFunction(labelled(within, a.id), call, &attempt.Attempt{Dispatch: a.dispatch, Worker: w.info, Calls: a.calls}, &end)
	if cause := suspended(ctx); cause != nil {
		a.logPanic(end.failure)
		// Whatever the function made of it.
		end.output, end.failure = nil, messages.ToFailure(cause)
	}
	if err := a.calls.closeStreams(); err != nil && end.failure == nil {
		end.output, end.failure = nil, messages.ToFailure(err)
	}
	w.mayAct() // Else the process may have been stopped, and its lease have ended unseen.
	cause := context.Cause(a.lease)
	if messages.CodeOf(cause) == messages.CodeLeaseExpired && end.failure.GetCode() != string(messages.CodeStepPanicked) {
		// Whatever the function made of it, and however long ago: the attempt is lost.
		end.output, end.failure = nil, messages.ToFailure(cause)
	}
}

// logEnd says in the worker's log that a step failed; a panic comes with its stack. If
// the attempt's context had ended, the cause of that is why, and not what the function
// made of it: a step of a run that was canceled has not failed.
func (a *attemptActor) logEnd(f *messages.Failure, cause error) {
	if f == nil || f.Code == string(messages.CodeSuspended) || a.logPanic(f) {
		return
	}
	if cause == nil {
		a.log().Warn("an attempt of a step failed", "code", f.Code, "error", f.Message)
		return
	}
	why := messages.ToFailure(cause)
	if why.Code == string(messages.CodeCanceled) {
		a.log().Info("an attempt of a step was canceled", "why", why.Message, "error", f.Message)
		return
	}
	a.log().Warn("an attempt of a step failed", "code", why.Code, "error", why.Message, "returned", f.Message)
}

// logPanic does so of a panic; false for another failure.
func (a *attemptActor) logPanic(f *messages.Failure) bool {
	if f.GetStack() == "" {
		return false
	}
	a.log().Error("a step panicked", "error", f.Message, "stack", f.Stack)
	return true
}

func (a *attemptActor) log() *slog.Logger {
	return a.worker.cfg.Logger.With("workflow", a.dispatch.Workflow, "run", a.dispatch.RunId, "step", a.dispatch.Step, "attempt", a.dispatch.Attempt, traceOf(a.dispatch))
}

// traceOf is the id of the trace, for the log; nothing if there is none.
func traceOf(d *messages.Dispatch) slog.Attr {
	if id := messages.TraceID(d.Traceparent); id != "" {
		return slog.String("trace", id)
	}
	return slog.Attr{}
}

// callFunction fills in what the function returned, or that it did not.
func callFunction(ctx context.Context, function attempt.Function, a *attempt.Attempt, end *functionEnded) {
	var output []byte
	var err error
	what := func() string { return fmt.Sprintf("step %q", a.Dispatch.Step) }
	usercode.Here(what, func() { output, err = function(ctx, a) }, func(fault *usercode.Fault) {
		switch {
		case fault != nil:
			end.failure = messages.ToFailure(fault.Coded(messages.CodeStepPanicked))
		case err != nil:
			end.failure = usercode.FailureOf(err)
		case len(output) == 0:
			end.output = []byte("null")
		default:
			end.output = output
		}
	})
}
