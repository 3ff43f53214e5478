package run

import (
	"time"

	"github.com/limpetrun/limpet/messages"
)

// expire acts on deadlines that have passed.
func (m *Machine) expire() {
	m.expireWaits()
	for i := range m.s.Steps {
		st := &m.s.Steps[i]
		if st.hasNoDeadline() {
			continue
		}
		if c := &m.contacts[i]; c.startedUs != 0 && st.Phase == Live && m.due(c.recordAt) {
			m.recordStart(i)
		}
		if m.contacts[i].told != nil && m.due(m.progressDue(st)) {
			m.recordProgress(i)
		}
		if at, ok := m.scheduleDeadline(i); ok && m.due(at) && m.due(m.triedBy(i)) {
			m.scheduleExpired(i)
			continue
		}
		if at, ok := m.executionDeadline(i); ok && m.due(at) {
			limit, _ := st.Def.ExecutionTimeout()
			m.later(SendWorker{st.Worker, &messages.CancelAttempt{RunId: m.s.RunID, Step: st.Def.Name, Attempt: st.Attempt, Reason: messages.Reason_REASON_EXECUTION_TIMEOUT}})
			m.attemptFailed(i, messages.ToFailure(messages.Errorf(messages.CodeExecutionTimeout,
				"ran longer than its execution timeout of %s and worker %q did not report its end", limit, st.Worker.WorkerId)), st.StartedAt.UnixMicro(), true)
		}
	}
}

// hasNoDeadline says that no time is set for the step: it has not begun to wait for
// a worker, or has ended.
func (st *Step) hasNoDeadline() bool { return st.Phase == Waiting || st.Phase.Ended() }

// scheduleDeadline is when a step that has not started fails: what it may wait
// counts only the time in which a server was there.
func (m *Machine) scheduleDeadline(i int) (time.Time, bool) {
	st := &m.s.Steps[i]
	timeout, ok := st.Def.ScheduleTimeout()
	if !ok || m.contacts[i].revoke == messages.Reason_REASON_SCHEDULE_TIMEOUT && !m.s.pending() {
		return time.Time{}, false
	}
	since, waits := m.waitsSince(i)
	return m.absences.after(since, timeout), waits
}

// waitsSince is since when a step waits to be started: since it is ready, or
// will be. A step that had started on a HARD run's worker waits again from the
// loss of the worker.
func (m *Machine) waitsSince(i int) (time.Time, bool) {
	st := &m.s.Steps[i]
	if st.hasNoDeadline() || st.Phase == Suspended {
		return time.Time{}, false
	}
	if _, awaits := m.s.awaitsRebuild(i); awaits {
		return time.Time{}, false
	}
	switch started := !st.StartedAt.IsZero(); {
	case st.Phase != Live:
	case m.s.pending() && started:
		return m.s.Binding.LostAt, true
	case m.s.pending():
	case started || m.contacts[i].startedUs != 0:
		return time.Time{}, false
	}
	return st.ReadyAt, true
}

// triedBy is by when a step whose time is over has been tried: a server that has
// just taken the run up, or a placement that has just begun, may not know yet of
// a worker that is there. Zero for a step that was. For a parked run those ask that
// stand before it in its line.
func (m *Machine) triedBy(i int) time.Time {
	st := &m.s.Steps[i]
	switch {
	case m.isParked():
		return time.Time{}
	case m.s.pending() && (m.seen != nil || m.backAt.IsZero()):
		return time.Time{}
	case m.s.pending():
		return m.backAt.Add(m.cfg.TryFor)
	case st.Phase == Live && !m.contacts[i].queued:
		return st.DispatchedAt.Add(m.cfg.TryFor)
	case st.Phase == Live || m.s.bound():
		return time.Time{}
	}
	began := later(m.questions.from, later(st.ReadyAt, m.backAt))
	if q := m.questions.open[m.questionFor(i)]; q != nil {
		if q.answered && knows(q.reason) && (m.backAt.IsZero() || !notOffered(q.reason)) {
			return time.Time{}
		}
		began = later(q.began, began)
	}
	return began.Add(m.cfg.TryFor)
}

func (m *Machine) scheduleExpired(i int) {
	st := &m.s.Steps[i]
	waited := m.waitedFor(i)
	switch {
	case st.Phase != Live:
		m.failScheduleTimeout(st, waited)
	case m.s.pending():
		m.attemptLost(i, m.hadBegun(i), m.s.Binding.LostReason)
		if !st.Phase.Ended() {
			m.failScheduleTimeout(st, waited)
		}
	default:
		m.revoke(i, messages.Reason_REASON_SCHEDULE_TIMEOUT)
	}
}

func (m *Machine) failScheduleTimeout(st *Step, waited string) {
	limit, _ := st.Def.ScheduleTimeout()
	m.failStep(st, messages.ToFailure(messages.Errorf(messages.CodeScheduleTimeout,
		"not started within its schedule timeout of %s; it waited for %s", limit, waited)))
}

// executionDeadline is the backstop behind the worker's own deadline. A worker
// that was out of reach, or whose run was, gets the grace to say what became of
// the attempt.
func (m *Machine) executionDeadline(i int) (time.Time, bool) {
	end, ok := m.executionEnd(i)
	if !ok {
		return time.Time{}, false
	}
	return later(end, m.contacts[i].takenUpAt).Add(m.cfg.ExecutionGrace), true
}

// executionEnd is when the worker ends the attempt: never while that waits for a
// child. Without the worker's word no wait is known of.
func (m *Machine) executionEnd(i int) (time.Time, bool) {
	st, c := &m.s.Steps[i], &m.contacts[i]
	if st.Phase != Live || st.StartedAt.IsZero() || m.s.Binding.Lost || c.waitingChild {
		return time.Time{}, false
	}
	limit, ok := st.Def.ExecutionTimeout()
	if c.executesTo.IsZero() {
		return st.StartedAt.Add(limit), ok
	}
	return c.executesTo, ok
}

// resend repeats what nothing was heard of: questions and dispatches.
func (m *Machine) resend() {
	for _, q := range m.questions.open {
		if q != nil && q.placed == nil && m.due(q.again(m.cfg.ResendAfter)) {
			m.askAgain(q)
		}
	}
	for i := range m.s.Steps {
		at, ok := m.resendAt(i)
		switch {
		case !ok || m.now.Before(at):
		case m.contacts[i].revoke != 0:
			m.revoke(i, m.contacts[i].revoke)
		case m.contacts[i].heard:
			m.contacts[i].takeUp = true
			m.sendDispatch(i, 0)
		default:
			m.contacts[i].shares = false
			m.sendDispatch(i, 0)
		}
	}
}

// setTimer asks for the earliest time at which something is to be done.
func (m *Machine) setTimer() {
	at := m.nextTimer()
	if !at.Equal(m.timer.At) {
		m.timer.At = at
		m.do(&m.timer)
	}
}

// earliest is the first of some times; zero for none.
type earliest struct{ at time.Time }

// add takes a time into account, unless it is zero.
func (e *earliest) add(at time.Time) {
	if !at.IsZero() && (e.at.IsZero() || at.Before(e.at)) {
		e.at = at
	}
}

// addIf does so if ok.
func (e *earliest) addIf(at time.Time, ok bool) {
	if ok {
		e.add(at)
	}
}

// nextTimer is the earliest time at which something is to be done.
func (m *Machine) nextTimer() time.Time {
	var next earliest
	switch {
	case m.presence.stopped || m.s.Start == nil:
	case m.telling.of != 0 && m.s.Ended():
		next.add(earlier(m.telling.at.Add(m.cfg.ResendAfter), m.telling.began.Add(tellFor)))
	case m.s.Ended():
		next.add(m.presence.lingerTo)
	case m.turn.any():
		next.add(m.turn.at.Add(m.cfg.HoldFor))
	case m.s.Cancel != nil:
		m.cancelTimers(&next)
	default:
		next.add(m.stateDeadline())
		m.attemptTimers(&next)
		next.addIf(m.notOfferedAt())
		m.questions.timers(&next, m.now, m.cfg.ResendAfter)
		m.leaving.timers(&next, m.cfg)
		m.bindingTimers(&next)
		m.children.timers(&next, m.cfg.ResendAfter)
		m.presence.timers(&next, m.cfg.DormantAfter)
	}
	return next.at
}

// cancelTimers: attempts and children are told again, and attempts are given up.
func (m *Machine) cancelTimers(next *earliest) {
	next.addIf(m.s.CancelAt.Add(m.cfg.CancelGrace), m.anyLive())
	for i := range m.s.Steps {
		next.addIf(m.resendAt(i))
	}
	m.children.timers(next, m.cfg.ResendAfter)
}

// attemptTimers: messages are sent again, and starts are recorded.
func (m *Machine) attemptTimers(next *earliest) {
	for i := range m.s.Steps {
		if m.s.Steps[i].Phase == Live {
			next.addIf(m.resendAt(i))
			next.add(m.contacts[i].recordAt)
			next.addIf(m.progressDue(&m.s.Steps[i]), m.contacts[i].told != nil)
		}
	}
}

// bindingTimers: the patience with the bound worker, or with the one that was
// left, ends.
func (m *Machine) bindingTimers(next *earliest) {
	next.addIf(m.leaving.refusedUntil(m.cfg.ResendAfter), m.leaving.refused && m.s.bound() && (m.s.hard() || m.drainToldByWorker()))
	if m.leaving.move == nil {
		at, wants := m.busyUntil()
		next.addIf(at, wants && m.now.Before(at))
	}
	next.addIf(m.s.Binding.LostAt.Add(goneFor), m.justLeft() != "")
}

// stateDeadline is the earliest deadline that follows from the journal alone:
// what a dormant run has to wake up for; zero for none.
func (m *Machine) stateDeadline() time.Time {
	var next earliest
	for i := range m.s.Steps {
		st := &m.s.Steps[i]
		if st.hasNoDeadline() {
			continue
		}
		next.addIf(st.RetryAt, st.Phase == Backoff && !m.ready(st) && !m.s.pending())
		if at, ok := m.scheduleDeadline(i); ok {
			next.add(later(at, m.triedBy(i)))
		}
		next.addIf(m.executionDeadline(i))
		if len(st.waits) > 0 {
			m.waitTimers(st, &next)
		}
	}
	m.askTimers(&next)
	m.seekTimers(&next)
	if m.s.pending() {
		next.addIf(m.notOfferedAt())
	}
	return next.at
}
