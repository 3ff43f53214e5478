package run

import (
	"fmt"

	"github.com/limpetrun/limpet/messages"
)

// Suspects: a step may end the process that executes it, and take others down
// with it. Which of those that were at work did so, nobody can tell from one loss.
//
//	the first losses    count for all that were at work, and for those of which it
//	                    is not known that they were not
//	from then on        the step is a suspect. Its worker executes one of these at a
//	                    time, and says so before it calls the function. A loss counts
//	                    if that was said: then it was the only suspect at work, and
//	                    nothing else had just begun.
//
// So whoever ends its processes is soon alone in it, and what went down with it is
// not charged again.

// suspect says that the step may be what ends its workers: it has lost half of the
// processes that it may lose. After the first loss already, all steps of a machine
// that failed would be executed one after the other.
func (st *Step) suspect() bool {
	return st.Downs > 0 && int(st.Downs) >= st.Def.LossesMax()/2
}

// processEnded says that an attempt lost for a reason went down with its process.
func processEnded(reason messages.Reason) bool {
	switch reason {
	case messages.Reason_REASON_WORKER_LOST, messages.Reason_REASON_WORKER_LEFT,
		messages.Reason_REASON_WORKER_RESTARTED, messages.Reason_REASON_WORKER_SUPERSEDED:
		return true
	}
	return false
}

// hadBegun says that a live attempt counts as begun when its worker is lost: of one
// that the worker has not spoken of it is assumed, unless it would have.
func (m *Machine) hadBegun(i int) bool {
	st, c := &m.s.Steps[i], &m.contacts[i]
	if !st.StartedAt.IsZero() || c.startedUs != 0 {
		return true
	}
	return !c.queued && !st.suspect()
}

// awaitsTurn says what an attempt waits for that suspects keep from beginning.
func awaitsTurn(st *Step) string {
	if !st.suspect() {
		return fmt.Sprintf("its turn on worker %q, which begins nothing beside a step that has lost workers and has just begun", st.Worker.WorkerId)
	}
	return fmt.Sprintf("its turn on worker %q: it has lost %d workers, and a worker executes one such step at a time, apart from what has just begun", st.Worker.WorkerId, st.Downs)
}
