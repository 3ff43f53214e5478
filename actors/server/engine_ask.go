package server

import (
	"context"
	"errors"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// askSlack is what an answer that says why there is none may come late.
const askSlack = 200 * time.Millisecond

// AskRun asks the live state of a run, on the worker that the run is bound to. It
// changes nothing and brings no run into memory. If the run is bound anew meanwhile the
// next worker is asked.
//
// Errors: UNKNOWN_RUN, RUN_FINISHED; NOT_BOUND, WORKER_AWAY and STATE_NOT_THERE as soon
// as that is known; UNKNOWN_QUERY, QUERY_TIMED_OUT, QUERY_PANICKED, QUERY_FAILED,
// LIMIT_EXCEEDED for too many at a time, PAYLOAD_TOO_LARGE for a large answer.
func (e *Engine) AskRun(ctx context.Context, runID, query string, arg []byte, within time.Duration) (*api.AskRunResponse, error) {
	until := time.Now().Add(within)
	ctx, cancel := context.WithTimeoutCause(ctx, within+askSlack,
		messages.Errorf(messages.CodeQueryTimedOut, "query %q of run %s has no answer after %v", query, runID, within))
	defer cancel()
	var asked *messages.FoundRun
	var err error
	for {
		found, failed := e.find(ctx, runID)
		if failed == nil {
			failed = mayAsk(runID, found)
		}
		switch {
		case failed != nil:
			return nil, failed
		case asked != nil && found.Epoch == asked.Epoch:
			return nil, err
		}
		asked = found
		ask := &messages.AskWorker{RunId: runID, Epoch: found.Epoch, Workflow: found.Workflow, Query: query, Arg: arg, WithinMs: max(time.Until(until).Milliseconds(), 1)}
		var answer []byte
		if answer, err = e.askWorker(ctx, found.BoundTo, ask); err == nil {
			return &api.AskRunResponse{Answer: answer, WorkerId: found.BoundTo.WorkerId, Epoch: found.Epoch, Entry: found.Entry}, nil
		}
		switch messages.CodeOf(err) {
		case messages.CodeWorkerAway, messages.CodeNotBound, messages.CodeStateNotThere:
		default:
			return nil, err
		}
	}
}

// mayAsk is why a run has no live state that could be asked; nil if it may have.
func mayAsk(runID string, f *messages.FoundRun) error {
	switch {
	case journal.Finished(f.Status):
		return messages.Errorf(messages.CodeRunFinished, "run %s has ended: it has no live state to ask", runID)
	case f.Sticky == messages.Sticky_STICKY_NONE:
		return messages.Errorf(messages.CodeNotBound, "run %s is of workflow %q, which is not sticky: no worker keeps state of it", runID, f.Workflow)
	case f.BoundTo == nil:
		return messages.Errorf(messages.CodeNotBound, "run %s is not bound to a worker now", runID)
	case f.Lost && f.Sticky == messages.Sticky_STICKY_HARD:
		return messages.Errorf(messages.CodeWorkerAway, "run %s waits for worker %q, to which it is bound: %s", runID, f.BoundTo.WorkerId, f.LostReason.Words())
	case f.Lost:
		return messages.Errorf(messages.CodeNotBound, "run %s was bound to worker %q, and is to be bound anew: %s", runID, f.BoundTo.WorkerId, f.LostReason.Words())
	}
	return nil
}

// find asks the owner of a run where the run is, until it answers.
func (e *Engine) find(ctx context.Context, runID string) (found *messages.FoundRun, err error) {
	err = e.onOwner(ctx, runID, func() { found = e.host.find(ctx, runID) }, func(owner cluster.Member) (answered bool, err error) {
		found, err = askHost[*messages.FoundRun](ctx, e, owner, &messages.FindRun{RunId: runID}, hostTry+readWithin)
		return err == nil, err
	})
	switch {
	case err == nil:
		return found, messages.FromFailure(found.Error)
	case ctx.Err() != nil:
		return nil, messages.Errorf(messages.CodeQueryTimedOut, "%w", err)
	}
	return nil, err
}

// find says where a run is: its activation knows, or else its history.
func (h *Host) find(ctx context.Context, runID string) *messages.FoundRun {
	h.mu.RLock()
	a := h.core.Active(runID)
	h.mu.RUnlock()
	if a != nil {
		try, cancel := context.WithTimeout(ctx, hostTry)
		reply, err := h.cfg.Node.Request(try, a.Address.(*actor.PID), &messages.FindRun{RunId: runID})
		cancel()
		// One that waits for the journal, or leaves memory, does not say.
		if m, ok := reply.(*messages.FoundRun); ok && err == nil && messages.Code(m.Error.GetCode()) != messages.CodeUnavailable {
			return m
		}
	}
	ctx, cancel := reading(ctx)
	defer cancel()
	var stored *messages.FoundRun
	err := h.guard.Do(func() error {
		_, m, err := h.engine.stored(ctx, runID)
		if err == nil {
			stored = m.State().Found()
		}
		return err
	})
	if err != nil {
		return &messages.FoundRun{Error: messages.ToFailure(err)}
	}
	return stored
}

// askWorker asks a process, and gives up when that is gone.
func (e *Engine) askWorker(ctx context.Context, to *messages.WorkerRef, ask *messages.AskWorker) ([]byte, error) {
	node := e.host.cfg.Node
	away := messages.Errorf(messages.CodeWorkerAway, "worker %q, to which run %s is bound, is gone or out of reach", to.WorkerId, ask.RunId)
	pid, ok := e.pidOf(to)
	if !ok {
		return nil, away
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		if _, err := node.Await(ctx, func(v *cluster.View) bool { return !hasProcess(v, to) }); err == nil {
			cancel(away)
		}
	}()
	reply, err := node.Request(ctx, pid, ask)
	if answer, ok := reply.(*messages.AskWorkerReply); ok && err == nil {
		return answer.Answer, messages.FromFailure(answer.Error)
	}
	if ctx.Err() != nil {
		return nil, notAsked(ctx, ask)
	}
	return nil, away
}

// notAsked is why a question has come to its end without an answer.
func notAsked(ctx context.Context, ask *messages.AskWorker) error {
	cause := context.Cause(ctx)
	var coded *messages.Error
	switch {
	case errors.As(cause, &coded):
		return cause
	case errors.Is(cause, context.DeadlineExceeded):
		return messages.Errorf(messages.CodeQueryTimedOut, "query %q of run %s has no answer in the time of the call: %w", ask.Query, ask.RunId, cause)
	}
	return messages.Errorf(messages.CodeCanceled, "query %q of run %s: %w", ask.Query, ask.RunId, cause)
}

// hasProcess says that the process of a worker is among the live members.
func hasProcess(v *cluster.View, w *messages.WorkerRef) bool {
	for i := range v.Members {
		if m := &v.Members[i]; m.Role == cluster.RoleWorker && m.WorkerID == w.WorkerId && m.Incarnation == w.Incarnation {
			return true
		}
	}
	return false
}

// pidOf is the actor of a worker's process; false if that is gone.
func (e *Engine) pidOf(to *messages.WorkerRef) (*actor.PID, bool) {
	w, known := e.host.roster.Worker(to.WorkerId)
	switch {
	case known && (w.State == run.WorkerGone || w.Incarnation != to.Incarnation):
		return nil, false
	case to.Address != "":
		return actor.NewPID(to.Address, to.ActorId), true
	case known:
		return actor.NewPID(w.Info.GetAddress(), w.Info.GetActorId()), true
	}
	return nil, false
}
