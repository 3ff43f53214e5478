package run

import "github.com/limpetrun/limpet/messages"

// workerChanged handles the roster's news.
func (m *Machine) workerChanged(in WorkerChanged) {
	if m.s.Start == nil || m.s.Ended() {
		return
	}
	m.see(in)
	switch in.State {
	case WorkerGone:
		m.workerGone(in.Worker, in.Reason)
	case WorkerDraining:
		m.workerDraining(in.Worker)
	case WorkerUp:
		m.gone.back(in.Worker)
		m.workerUp(in)
	}
}

// see keeps the newest news of the bound worker id. That an earlier process has
// gone is none while another one is there.
func (m *Machine) see(in WorkerChanged) {
	if b := m.s.Binding.Worker; b == nil || b.WorkerId != in.Worker.WorkerId {
		return
	}
	if in.State == WorkerGone && m.seen != nil && m.seen.State != WorkerGone && !sameProcess(m.seen.Worker, in.Worker) {
		return
	}
	m.seen = &in
}

// workerDraining: what still waits in its queue may go elsewhere, except of a
// HARD run. What runs there goes on.
func (m *Machine) workerDraining(worker *messages.WorkerRef) {
	if sameProcess(m.s.Binding.Worker, worker) && !m.s.Binding.Lost {
		m.leaving.draining = true
		if m.leaving.handOff != nil && m.leaving.handOff.resumed {
			m.leaving.handOff.reason = messages.Reason_REASON_WORKER_DRAINING
		}
	}
	if m.s.hard() || m.s.Cancel != nil {
		return
	}
	m.endMove()
	for i := range m.s.Steps {
		if st := &m.s.Steps[i]; st.Phase == Live && m.contacts[i].queued && sameProcess(st.Worker, worker) {
			m.revoke(i, messages.Reason_REASON_WORKER_DRAINING)
		}
	}
}

// workerGone: the process will never answer again.
func (m *Machine) workerGone(worker *messages.WorkerRef, reason messages.Reason) {
	m.gone.add(worker, m.now)
	if m.s.isSticky() {
		if sameProcess(m.s.Binding.Worker, worker) && !m.s.Binding.Lost {
			m.loseBinding(reason)
			if m.spare != nil && !m.gone.has(m.spare.Worker, m.now) {
				m.workerUp(*m.spare)
			}
		}
		return
	}
	for i := range m.s.Steps {
		if st := &m.s.Steps[i]; st.Phase == Live && sameProcess(st.Worker, worker) {
			m.attemptLost(i, m.hadBegun(i), reason)
		}
	}
}

// loseBinding: a SOFT run gives its attempts up and binds again when a step is
// ready. A HARD run keeps them until the worker is back.
func (m *Machine) loseBinding(reason messages.Reason) {
	worker := m.s.Binding.Worker
	m.leaving.undrained()
	m.leaving.handOff = nil
	m.withdrawAll()
	for i := range m.s.Steps {
		if m.s.Steps[i].Phase == Live {
			m.recordStart(i)
		}
	}
	m.emit(&messages.Event{Kind: &messages.Event_BindingLost{BindingLost: &messages.BindingLost{Epoch: m.s.Binding.Epoch, Reason: reason}}})
	if m.s.hard() {
		m.suspendIdle(reason)
		return
	}
	m.loseAttempts(reason)
	m.later(Unbound{&messages.RunUnbound{RunId: m.s.RunID, Pool: m.pool(), WorkerId: worker.WorkerId}})
}

func (m *Machine) loseAttempts(reason messages.Reason) {
	for i := range m.s.Steps {
		if m.s.Steps[i].Phase == Live {
			m.attemptLost(i, m.hadBegun(i), reason)
		}
	}
}

// workerUp: a process of the bound worker id is there.
//
//	the bound process        It counts again: a HARD run restores its binding.
//	an earlier process       It counts only once the bound one is told to be gone.
//	another one, HARD run    The run is bound to it, if it has all steps.
//	another one, SOFT run    A binding that stood is lost. Placement may choose the
//	                         worker anew.
func (m *Machine) workerUp(in WorkerChanged) {
	b := m.s.Binding
	if b.Worker == nil || b.Worker.WorkerId != in.Worker.WorkerId {
		return
	}
	same, hasSteps := sameProcess(b.Worker, in.Worker), HasSteps(in.Info, m.s.Def)
	switch {
	case same && !b.Lost:
		m.leaving.undrained()
		return
	case !b.Lost && in.Worker.Incarnation < b.Worker.Incarnation:
		// An earlier process that woke up, most likely: the bound one counts
		// until it is told to be gone.
		m.spare = &in
		return
	case !b.Lost && hasSteps:
		m.loseBinding(messages.Reason_REASON_WORKER_RESTARTED)
	case !b.Lost:
		m.loseBinding(messages.Reason_REASON_STEP_GONE)
	}
	switch {
	case !m.s.hard() || !hasSteps:
	case same:
		m.restoreBinding()
	default:
		m.loseAttempts(messages.Reason_REASON_WORKER_RESTARTED)
		if m.s.Cancel == nil {
			m.bind(in.Worker, messages.Reason_REASON_WORKER_RESTARTED, 0)
		}
	}
}

// restoreBinding: the very process that a HARD run is bound to is back.
func (m *Machine) restoreBinding() {
	m.emit(&messages.Event{Kind: &messages.Event_BindingRestored{BindingRestored: &messages.BindingRestored{Epoch: m.s.Binding.Epoch}}})
	for i := range m.s.Steps {
		if m.s.Steps[i].Phase == Live {
			m.contacts[i] = contact{takeUp: true, takenUpAt: m.now}
			m.sendDispatch(i, 0)
		}
	}
}
