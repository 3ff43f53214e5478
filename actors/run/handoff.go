package run

import (
	"slices"

	"github.com/limpetrun/limpet/messages"
)

// Hand-off: a run that leaves a live worker, because that drains or is busy,
// asks it first for the local state that the workflow declares can be handed
// off.
//
//   - What the worker gives goes into the entry that gives the binding up, and
//     from there into the dispatches under the next binding, until a step has
//     ended under that.
//   - A worker that does not answer in time, or fails to, is left without. One
//     that is gone is not asked.
//   - The grant that made the run leave is given back: a hand-off may take
//     longer than a grant holds.
//   - The run does not take the question back, even if the drain ends: a worker
//     that was asked executes nothing of the run under that epoch any more.
//   - An activation that does not know that an earlier one had asked is refused
//     by the worker, and asks again.

// handsOff says that the bound worker may have something to give away: a value
// that can be handed off, of an epoch under which a step has ended.
func (m *Machine) handsOff() bool {
	return m.s.WorkedEpoch == m.s.Binding.Epoch && !m.s.StateLost && m.declaresHandoff()
}

// declaresHandoff says that the workflow has local state that can be handed off.
func (m *Machine) declaresHandoff() bool {
	for _, l := range m.s.Def.Locals {
		if l.Handoff {
			return true
		}
	}
	return false
}

// handingOff says that the run waits for its local state.
func (m *Machine) handingOff() bool {
	if m.leaving.handOff != nil {
		m.awaitHandOff()
	}
	return m.leaving.handOff != nil
}

// awaitHandOff asks the worker, again after a while, and gives up in the end.
func (m *Machine) awaitHandOff() {
	h := m.leaving.handOff
	worker := m.s.Binding.Worker
	switch {
	case m.anyLive():
	case !h.since.IsZero() && m.due(h.since.Add(m.cfg.HandoffFor)):
		m.handOver(h.reason, &messages.StateHandedOff{Epoch: m.s.Binding.Epoch, Failure: messages.ToFailure(messages.Errorf(messages.CodeDeadline,
			"worker %q did not hand the local state off within %v", worker.WorkerId, m.cfg.HandoffFor))})
	case h.since.IsZero() || m.due(h.sentAt.Add(m.cfg.ResendAfter)):
		if h.since.IsZero() {
			h.since = m.now
		}
		h.sentAt = m.now
		m.later(SendWorker{worker, &messages.HandOff{RunId: m.s.RunID, Epoch: m.s.Binding.Epoch,
			WithinMs: h.since.Add(m.cfg.HandoffFor).Sub(m.now).Milliseconds()}})
	}
}

// handedOff takes the answer, if somebody still asks.
func (m *Machine) handedOff(msg *messages.HandedOff) {
	h := m.leaving.handOff
	if h == nil || h.since.IsZero() || msg.Epoch != m.s.Binding.Epoch || m.anyLive() {
		return
	}
	off := &messages.StateHandedOff{Epoch: msg.Epoch, States: m.s.withUnused(msg), Failure: msg.Failure}
	size := 0
	for _, st := range off.States {
		size += len(st.Data)
	}
	if size > messages.HandoffBytesMax {
		off.States, off.Failure = nil, messages.ToFailure(messages.Errorf(messages.CodeLimitExceeded,
			"the local state is handed off as %d bytes, the limit handoffBytesMax is %d", size, messages.HandoffBytesMax))
	}
	m.handOver(h.reason, off)
}

// handOver ends the binding for which the state was asked, as it was to end.
func (m *Machine) handOver(reason messages.Reason, off *messages.StateHandedOff) {
	if reason == messages.Reason_REASON_IDLE {
		m.bindAgain(off)
		return
	}
	m.leave(reason, off)
}

// withUnused adds what the worker had been handed itself, and no step has asked
// it for: of that it has no value to give away. A worker that failed may have
// changed it: then it is built anew.
func (s *State) withUnused(msg *messages.HandedOff) []*messages.HandedState {
	states := msg.States
	if s.Handed == nil || msg.Failure != nil {
		return states
	}
	for _, before := range s.Handed.States {
		if !slices.ContainsFunc(msg.States, func(st *messages.HandedState) bool { return st.Local == before.Local }) {
			states = append(states[:len(states):len(states)], before)
		}
	}
	return states
}

// goOnHandingOff: the worker was asked for the state by an earlier activation.
func (m *Machine) goOnHandingOff() {
	idle := m.s.suspendedThere()
	if m.leaving.handOff != nil || !m.s.soft() && !idle || !m.s.bound() {
		return
	}
	m.endMove()
	m.withdraw(m.bindQuestion())
	if idle && !(m.leaving.draining && m.s.soft()) {
		m.leaving.handOff = &handOff{reason: messages.Reason_REASON_IDLE}
		return
	}
	// That the worker drains may be heard of later.
	m.leaving.handOff = &handOff{reason: messages.Reason_REASON_WORKER_BUSY, resumed: true}
	if m.leaving.draining {
		m.leaving.handOff.reason = messages.Reason_REASON_WORKER_DRAINING
	}
}

// takeHanded folds that a binding follows a hand-off. If the state moved as a
// whole, what builds it has worked under the new epoch too. That is so if all
// local state that the workflow declares can be handed off, and the worker left
// nothing out. A value that was never built needs no builder to be run either.
func (s *State) takeHanded() {
	if s.Handed == nil || s.Handed.Failure != nil || len(s.Def.Locals) == 0 {
		return
	}
	for _, l := range s.Def.Locals {
		if !l.Handoff {
			return
		}
	}
	for i := range s.Steps {
		if st := &s.Steps[i]; st.BuiltEpoch >= s.Handed.Epoch {
			st.BuiltEpoch = s.Epoch
		}
	}
}

// dropHanded forgets what was handed off once a step has ended under a later
// epoch: the state is the worker's now.
func (s *State) dropHanded(st *Step) {
	if s.Handed != nil && st.Epoch > s.Handed.Epoch {
		s.Handed = nil
	}
}
