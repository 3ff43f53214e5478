package activation

import (
	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// A worker that has heard nothing of a run for a while asks whether it is still
// bound to it: RunReleased may have been lost. Nothing is said of a run that is
// still bound to it, of one of another server, and of one of which this server
// does not know enough: the worker asks again.

// stillBound asks the activation; a run that is not in memory is not woken by it.
func (h *Host) stillBound(in StillBound) {
	switch a := h.active.Get(in.RunID); {
	case !h.facts.Owns(in.RunID):
	case a != nil:
		h.tell(a, &in.Bound, nil)
	default:
		h.act(ReadRow{StillBound: in})
	}
}

func (h *Host) rowRead(in RowRead) {
	asked := in.Of.StillBound
	var reason messages.ReleaseReason
	switch {
	case messages.CodeOf(in.Err) == messages.CodeUnknownRun:
		// It ended, and its time is over.
		reason = messages.ReleaseReason_RELEASE_REASON_RUN_ENDED
	case in.Err == nil && h.facts.Owns(asked.RunID):
		reason = releasedByRow(&in.Row, asked.Worker.WorkerId, asked.Epoch)
	}
	if reason != 0 {
		h.act(Respond{To: asked.To, Message: &messages.RunReleased{RunId: asked.RunID, Epoch: asked.Epoch, Reason: reason}})
	}
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
func (a *Activation) stillBound(in *Bound) {
	if a.m.Appending() || !a.facts.Owns(a.RunID) {
		return
	}
	if reason := releasedByState(a.m.State(), in.Worker, in.Epoch); reason != 0 {
		a.respond(in.To, &messages.RunReleased{RunId: a.RunID, Epoch: in.Epoch, Reason: reason})
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
	case !same, b.Epoch > epoch, b.Lost && s.Def.Sticky != messages.Sticky_STICKY_HARD:
		return messages.ReleaseReason_RELEASE_REASON_REBOUND
	}
	return 0
}
