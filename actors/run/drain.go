package run

import (
	"time"

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
	case m.stay && !m.refused:
		m.stay = false
		m.dispatchReady(0)
	default:
		w := wish{exclude: m.s.Binding.Worker.WorkerId, move: !m.refused, since: since}
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
		m.handOff = &handOff{reason: messages.Reason_REASON_WORKER_DRAINING}
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
	for i, spent := range m.spent {
		if spent == p {
			m.spent = append(m.spent[:i:i], m.spent[i+1:]...)
			break
		}
	}
	m.out = append(m.out, Withdraw{&messages.WithdrawPlace{RunId: m.s.RunID, Pool: m.pool(), Question: p.Question}})
	m.handOff = &handOff{reason: reason}
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
	m.gone[process(b.Worker)] = m.now
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

// undrained forgets what is known of a drain of the bound worker.
func (m *Machine) undrained() { m.draining, m.refused, m.stay, m.refusals = false, false, false, 0 }

// refusedMost is the longest wait of a HARD run between two tries at a worker
// that drains and whose deadline is over. Each try is an attempt and an entry,
// and the drain may last for weeks. That it is over is told at once.
const refusedMost = 5 * time.Minute

// refusedUntil is when a run that was refused by its draining worker tries
// again: after ResendAfter, doubled with each refusal in a row.
func (m *Machine) refusedUntil() time.Time {
	return m.refusedAt.Add(min(m.cfg.ResendAfter<<min(max(m.refusals-1, 0), 16), refusedMost))
}

// forgetBinding forgets what concerns the binding so far.
func (m *Machine) forgetBinding() {
	m.undrained()
	m.move, m.spare, m.handOff = nil, nil, nil
}
