package run

import (
	"github.com/limpetrun/limpet/messages"
)

// Drains: a SOFT run leaves its draining worker by itself, at the next boundary
// of a step: when none of its attempts is live. It asks placement for another
// worker. Placement paces such moves, and may let the run stay: it makes its
// ready steps where it is then, and asks again at the next boundary. A run that
// has nothing to do but to wait for a back-off leaves at once and is bound when
// a step is ready. A HARD run stays.

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

// moveTo binds the run to the worker granted, or, if it has local state to take
// along, gives the grant back and asks for the state first.
func (m *Machine) moveTo(p *messages.Placed, reason messages.Reason) {
	if !m.handsOff() {
		m.bind(p.Worker, reason, p.GrantId)
		return
	}
	m.questions.unuse(p)
	m.giveBack("", p.Question)
	m.leaving.handOff = &handOff{reason: reason}
	m.awaitHandOff()
}

// leave gives the binding to a live worker up, with what that handed off, if it
// was asked.
func (m *Machine) leave(reason messages.Reason, off *messages.StateHandedOff) {
	b := m.s.Binding
	if off != nil {
		m.emit(&messages.Event{Kind: &messages.Event_StateHandedOff{StateHandedOff: off}})
	}
	m.emit(&messages.Event{Kind: &messages.Event_BindingLost{BindingLost: &messages.BindingLost{Epoch: b.Epoch, Reason: reason}}})
	m.forgetBinding()
	m.gone.add(b.Worker, m.now)
	m.later(SendWorker{b.Worker, &messages.RunReleased{RunId: m.s.RunID, Epoch: b.Epoch, Reason: messages.ReleaseReason_RELEASE_REASON_REBOUND}})
	m.later(Unbound{&messages.RunUnbound{RunId: m.s.RunID, Pool: m.pool(), WorkerId: b.Worker.WorkerId}})
}

// justLeft is the worker that the run has left a moment ago, so that it is not
// bound there again: placement may not have heard that it drains, or find it
// less busy without this run. It is the only one left, perhaps, so after a while
// it counts again.
func (m *Machine) justLeft() string {
	b := m.s.Binding
	if b.Lost && m.s.soft() && (b.LostReason == messages.Reason_REASON_WORKER_DRAINING || b.LostReason == messages.Reason_REASON_WORKER_BUSY) && m.now.Before(b.LostAt.Add(goneFor)) {
		return b.Worker.WorkerId
	}
	return ""
}

// forgetBinding forgets what concerns the binding so far.
func (m *Machine) forgetBinding() {
	m.leaving.forget()
	m.spare = nil
}
