package run

import "github.com/limpetrun/limpet/messages"

// Drains: a SOFT run leaves its draining worker by itself, at the next boundary
// of a step: when none of its attempts is live. A HARD run stays.
//
//	a step is ready                 The run asks placement for another worker.
//	placement paces such moves      The run may be told to stay: it makes its ready
//	                                steps where it is, and asks again at the next
//	                                boundary.
//	a step backs off, none is ready The run leaves at once, and is bound when a step
//	                                is ready.

// A drain that the roster has not told of may be over before it does, and then it
// tells nothing. A run that has only the worker's word, with which that refused a
// dispatch, tries again after a while.

// drainToldByWorker says that the bound worker alone has said that it drains.
func (m *Machine) drainToldByWorker() bool {
	return m.leaving.draining && (m.seen == nil || m.seen.State != WorkerDraining)
}

// leavesDraining says that the run is to leave its worker, which drains, or may.
func (m *Machine) leavesDraining() bool {
	over := m.leaving.refused && m.drainToldByWorker() && m.due(m.leaving.refusedUntil(m.cfg.ResendAfter))
	return m.leaving.draining && m.s.soft() && !over
}

// forgetRefusal forgets that the worker refused a dispatch.
func (m *Machine) forgetRefusal() {
	m.leaving.refused = false
	if m.drainToldByWorker() {
		m.leaving.draining = false
		m.withdraw(m.bindQuestion())
	}
}

// leaveDraining moves a SOFT run away from its draining worker.
func (m *Machine) leaveDraining() {
	if m.anyLive() {
		return
	}
	since, any := m.readySince()
	switch {
	case !any:
		m.withdraw(m.bindQuestion())
		if m.backsOff() {
			m.leaveIdle()
		}
	case m.leaving.stay && !m.leaving.refused:
		m.leaving.stay = false
		m.dispatchReady(0)
	default:
		w := wish{exclude: m.s.Binding.Worker.WorkerId, move: !m.leaving.refused, since: since}
		if p := m.placement(m.bindQuestion(), w); p != nil {
			m.moveTo(p, messages.Reason_REASON_WORKER_DRAINING)
		}
	}
}

// backsOff says that a step waits for its next attempt.
func (m *Machine) backsOff() bool {
	for i := range m.s.Steps {
		if m.s.Steps[i].Phase == Backoff {
			return true
		}
	}
	return false
}

func (m *Machine) leaveIdle() {
	if m.handsOff() {
		m.leaving.handOff = &handOff{reason: messages.Reason_REASON_WORKER_DRAINING}
		m.awaitHandOff()
		return
	}
	m.leave(messages.Reason_REASON_WORKER_DRAINING, nil)
}
