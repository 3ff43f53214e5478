package run

import (
	"fmt"
	"time"
)

// Rest is what keeps a run from waiting for time alone, and until when it would
// wait: for tests that move the clock.
type Rest struct {
	// Busy says in words what goes on; empty if nothing does. Queued says that it
	// waits for a worker or a slot which may come in a moment.
	Busy   string
	Queued bool
	// Next is when time does something to the run; zero for never.
	Next time.Time
}

// Rest returns that of now.
func (m *Machine) Rest() Rest {
	switch {
	case m.s.Start == nil || m.appending || m.turn.any():
		return Rest{Busy: "an entry is on its way to the journal"}
	case m.s.Ended() && m.telling.of != 0:
		return Rest{Busy: "its parent is told of its end"}
	case m.s.Ended():
		return Rest{}
	}
	r := Rest{Queued: m.isParked(), Next: m.restsUntil()}
	if m.children.anyStarting() || m.children.parting || m.asks.open() || m.leaving.under() {
		r.Busy = "children are told or asked for, or local state is handed off"
	}
	for i := range m.s.Steps {
		if m.goesOn(&m.s.Steps[i]) {
			m.restStep(i, &r)
		}
	}
	return r
}

// goesOn says that a step has something to do now, or would have it if it had a worker.
func (m *Machine) goesOn(st *Step) bool {
	switch {
	case m.s.pending() || st.Phase.Ended() || st.Phase == Waiting:
		return false
	case st.Phase == Backoff:
		return m.ready(st)
	}
	return true
}

// restStep adds a step that is ready or live.
func (m *Machine) restStep(i int, r *Rest) {
	st, c := &m.s.Steps[i], &m.contacts[i]
	switch {
	case st.Phase == Live && c.queued, m.isParked():
		r.Queued = true
	case st.Phase == Live && c.waitingChild && c.heard && len(st.waits) > 0:
	case st.Phase == Live:
		r.Busy = fmt.Sprintf("step %q is executed, attempt %d", st.Def.Name, st.Attempt)
	default:
		m.restPlacing(i, r)
	}
}

// restPlacing adds a step that has no worker yet.
func (m *Machine) restPlacing(i int, r *Rest) {
	q := m.questions.open[m.questionFor(i)]
	switch {
	case q == nil || !q.answered || q.placed != nil:
		r.Busy = fmt.Sprintf("step %q is given a worker", m.s.Steps[i].Def.Name)
	case !notOffered(q.reason):
		r.Queued = true
	}
}

// restsUntil is the earliest time that users see something happen at.
func (m *Machine) restsUntil() time.Time {
	if m.s.Cancel != nil {
		var next earliest
		next.addIf(m.s.CancelAt.Add(m.cfg.CancelGrace), m.anyLive())
		return next.at
	}
	next := earliest{m.stateDeadline()}
	at, wants := m.busyUntil()
	next.addIf(at, wants && m.now.Before(at))
	return next.at
}
