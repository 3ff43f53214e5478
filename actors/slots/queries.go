package slots

import "github.com/limpetrun/limpet/messages"

// MayAsk says whether a query may look at what a run has here under an epoch: nil, or
// why not, with a code. It changes nothing, takes no slot, and does not count as
// something heard of the run.
func (c *Core) MayAsk(runID string, epoch uint64) error {
	r := c.runs[runID]
	switch {
	case c.stopped || c.leaseless:
		return messages.Errorf(messages.CodeWorkerAway, "worker %q may not act for run %s now: it has no lease, or comes to its end", c.cfg.WorkerID, runID)
	case r == nil:
		return nil
	case epoch <= r.releasedEpoch:
		return messages.Errorf(messages.CodeStateNotThere, "worker %q has let go of run %s, which was bound to it under epoch %d", c.cfg.WorkerID, runID, epoch)
	case epoch < r.epoch:
		return messages.Errorf(messages.CodeNotBound, "run %s is bound to worker %q under epoch %d by now, not %d", runID, c.cfg.WorkerID, r.epoch, epoch)
	}
	return nil
}
