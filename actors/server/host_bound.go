package server

import (
	"context"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// stillBound asks an activation whether its run is bound to a worker. A run that
// is not in memory is not woken by it.
type stillBound struct {
	worker *messages.WorkerRef
	epoch  uint64
	to     *actor.PID
}

// stillBound answers a worker that has heard nothing of runs for a while:
// RunReleased may have been lost. Nothing is said of runs that are still bound
// to it, of those of other servers, and of those of which this server does not
// know enough: the worker asks again.
func (h *Host) stillBound(m *messages.StillBound) {
	asker := &messages.WorkerRef{WorkerId: m.WorkerId, Incarnation: m.Incarnation}
	to := actor.NewPID(m.ReplyAddress, m.ReplyActorId)
	for _, b := range m.Runs {
		if !h.owns(b.RunId) {
			continue
		}
		h.mu.RLock()
		pid := h.active[b.RunId]
		if pid != nil {
			h.root.Send(pid, &stillBound{asker, b.Epoch, to})
		}
		h.mu.RUnlock()
		if pid != nil {
			continue
		}
		ctx, cancel := context.WithTimeout(h.ctx, readWithin)
		_, row, err := h.cfg.Store.Entries(ctx, b.RunId, journal.EntriesMax, 1)
		cancel()
		switch {
		case messages.CodeOf(err) == messages.CodeUnknownRun:
			// It ended, and its time is over.
			h.tellReleased(to, b.RunId, b.Epoch, messages.ReleaseReason_RELEASE_REASON_RUN_ENDED)
		case err != nil:
			h.log.Debug("whether a run is still bound is not known", "run", b.RunId, "error", err)
			return
		default:
			if reason := releasedByRow(&row, asker.WorkerId, b.Epoch); reason != 0 && h.owns(b.RunId) {
				h.tellReleased(to, b.RunId, b.Epoch, reason)
			}
		}
	}
}

func (h *Host) tellReleased(to *actor.PID, runID string, epoch uint64, reason messages.ReleaseReason) {
	h.root.Send(to, &messages.RunReleased{RunId: runID, Epoch: epoch, Reason: reason})
}

// releasedByRow says why a run that nobody has in memory is not bound to a
// worker under an epoch any more; 0 if it is, or is not known not to be.
func releasedByRow(row *journal.Row, workerID string, epoch uint64) messages.ReleaseReason {
	switch {
	case journal.Finished(row.Status):
		return messages.ReleaseReason_RELEASE_REASON_RUN_ENDED
	case row.Epoch > epoch, row.Epoch == epoch && row.BoundWorker != workerID:
		return messages.ReleaseReason_RELEASE_REASON_REBOUND
	}
	return 0
}

// stillBound answers from a state that is durable, and that is not behind the
// asker.
func (a *runActor) stillBound(ctx actor.Context, m *stillBound) {
	if a.m.Appending() || !a.host.owns(a.id) {
		return
	}
	if reason := releasedByState(a.m.State(), m.worker, m.epoch); reason != 0 {
		ctx.Send(m.to, &messages.RunReleased{RunId: a.id, Epoch: m.epoch, Reason: reason})
	}
}

// releasedByState is releasedByRow of a run in memory. A HARD run stays with a
// worker that is out of reach.
func releasedByState(s *run.State, worker *messages.WorkerRef, epoch uint64) messages.ReleaseReason {
	b := s.Binding
	same := b.Worker.GetWorkerId() == worker.WorkerId && b.Worker.GetIncarnation() == worker.Incarnation
	switch {
	case s.Start == nil || s.Epoch < epoch:
		return 0
	case s.Ended():
		return messages.ReleaseReason_RELEASE_REASON_RUN_ENDED
	case !same, b.Lost && s.Def.Sticky != messages.Sticky_STICKY_HARD:
		return messages.ReleaseReason_RELEASE_REASON_REBOUND
	}
	return 0
}
