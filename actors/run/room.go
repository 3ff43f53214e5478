package run

import (
	"fmt"

	"github.com/limpetrun/limpet/messages"
)

// A run sends no more than there is room for; what is ready beyond that waits in
// the run, where it costs nothing.
//
//	slots  A sticky run has at most as many attempts on its worker as that has
//	       slots, and two if it has one: the second has the next slot, ahead of new
//	       runs. Those that wait for a child hold none.
//	bytes  Nothing more is sent while RunDispatchBytesMax of what was sent, or more,
//	       has not been answered.
//
// An input is not sent again while the worker has it for another attempt.
//
// So the slots that others free go to others too, and the size of an input does not
// multiply with the number of steps.

// room is what a run may send now.
type room struct{ slots, bytes int }

func (r room) any() bool { return r.slots > 0 && r.bytes > 0 }

// take takes the room of an attempt that was just sent.
func (r *room) take(c *contact) { r.slots, r.bytes = r.slots-1, r.bytes-c.unread }

// room is what may be sent to the bound worker, or, if the run is not sticky, to
// all: placement counts their slots.
func (m *Machine) room() room {
	r := room{messages.SlotsMax, messages.RunDispatchBytesMax}
	if m.s.isSticky() {
		// A worker that has not said yet how many it has has one.
		r.slots = max(2, int(m.cfg.InfoOf(m.s.Binding.Worker).GetSlots()))
	}
	for i := range m.s.Steps {
		c := &m.contacts[i]
		if m.s.Steps[i].Phase == Live && !c.waitingChild {
			r.take(c)
		}
	}
	return r
}

// hasInput says that a worker has the run's input for an attempt that is live, or
// will have it before what is sent to it now. Should it not, it says so.
func (m *Machine) hasInput(worker *messages.WorkerRef) bool {
	if len(m.s.Start.Input) < m.cfg.ShareFrom || !m.cfg.InfoOf(worker).GetSharesInputs() {
		return false
	}
	for i := range m.s.Steps {
		st, c := &m.s.Steps[i], &m.contacts[i]
		if st.Phase == Live && (c.heard || c.unread > 0) && c.revoke == 0 && sameProcess(st.Worker, worker) {
			return true
		}
	}
	return false
}

// awaitsRoom says what a step waits for that is ready, and whose run is bound.
func (m *Machine) awaitsRoom() string {
	return fmt.Sprintf("its turn on worker %q, which gets no more of a run at once than it has slots, and two if it has one", m.s.Binding.Worker.WorkerId)
}
