package run

import (
	"time"

	"github.com/limpetrun/limpet/messages"
)

// Moves: a SOFT run leaves a busy worker when all its attempts have been queued
// there for longer than its patience; at once, whatever its patience is, when all
// slots are held there by functions that do not return.
//
//  1. Placement grants a slot of another worker.
//  2. The queued attempts are revoked.
//  3. The run is bound to the worker granted.
//
// An attempt that starts meanwhile ends the move.

// moveWhenBusy moves the run, or goes on to do so.
func (m *Machine) moveWhenBusy() {
	if m.leaving.move != nil {
		m.goOnMoving()
		return
	}
	at, wants := m.busyUntil()
	if !wants || m.now.Before(at) {
		m.withdraw(m.bindQuestion())
		return
	}
	p := m.placement(m.bindQuestion(), wish{exclude: m.s.Binding.Worker.WorkerId, since: at})
	if p == nil {
		return
	}
	m.leaving.move = &move{to: p, since: m.now, reason: messages.Reason_REASON_WORKER_BUSY}
	if m.slotsHeld() {
		m.leaving.move.reason = messages.Reason_REASON_SLOTS_HELD
	}
	for i := range m.s.Steps {
		if m.s.Steps[i].Phase == Live {
			m.revoke(i, m.leaving.move.reason)
		}
	}
}

// goOnMoving binds the run to the worker granted once nothing is queued at the
// busy one.
func (m *Machine) goOnMoving() {
	switch {
	case !m.anyLive():
		move := m.leaving.move
		m.leaving.move = nil
		m.moveTo(move.to, move.reason)
	case m.due(m.leaving.move.since.Add(m.cfg.MoveFor)):
		m.endMove()
	}
}

// busyUntil is when the patience of a SOFT run ends all of whose live
// attempts wait in its worker's queue; never that of an end step, for which the state is
// there.
func (m *Machine) busyUntil() (at time.Time, wants bool) {
	patience, kind := m.s.Def.BusyPatience()
	if m.slotsHeld() {
		patience = 0
	} else if kind == messages.PatienceForever || m.s.Ending != nil {
		return at, false
	}
	if !m.s.soft() || m.s.Cancel != nil {
		return at, false
	}
	for i := range m.s.Steps {
		st := &m.s.Steps[i]
		if st.Phase != Live {
			continue
		}
		if !m.contacts[i].queued || !st.StartedAt.IsZero() {
			return at, false
		}
		if until := st.DispatchedAt.Add(m.patienceAt(i, patience)); !wants || until.Before(at) {
			at, wants = until, true
		}
	}
	if wants && at.Before(m.leaving.moveRetryAt) {
		at = m.leaving.moveRetryAt
	}
	return at, wants
}

// patienceAt is the patience with which an attempt waits. What waits for suspects, and
// not for a slot, would only meet others elsewhere, and go round.
func (m *Machine) patienceAt(i int, patience time.Duration) time.Duration {
	if c := &m.contacts[i]; c.aside && !c.allHeld() {
		return max(patience, messages.DefaultBusyPatience)
	}
	return patience
}

// slotsHeld says that the bound worker holds all its slots for functions that do
// not return.
func (m *Machine) slotsHeld() bool {
	for i := range m.s.Steps {
		if m.s.Steps[i].Phase == Live && m.contacts[i].allHeld() {
			return true
		}
	}
	return false
}

// endMove gives up a move: the run stays where it is, and what was revoked is
// dispatched there again. The next try comes no sooner than MoveFor.
func (m *Machine) endMove() {
	if to := m.leaving.endMove(m.now.Add(m.cfg.MoveFor)); to != nil {
		m.giveBack("", to.Question)
	}
}
