package run

import (
	"time"

	"github.com/limpetrun/limpet/messages"
)

// reaskAfter is the safety net for a question whose waiting placement has
// forgotten without saying so.
const reaskAfter = 30 * time.Second

// askPause is the wait after a grant of a worker that is known to be gone.
const askPause = 50 * time.Millisecond

// expire acts on deadlines that have passed.
func (m *Machine) expire() {
	for i := range m.s.Steps {
		st := &m.s.Steps[i]
		if c := &m.contacts[i]; c.startedUs != 0 && st.Phase == Live && !m.now.Before(c.recordAt) {
			m.recordStart(i)
		}
		if at, ok := m.scheduleDeadline(i); ok && !m.now.Before(at) {
			m.scheduleExpired(i)
			continue
		}
		if at, ok := m.executionDeadline(i); ok && !m.now.Before(at) {
			limit, _ := st.Def.ExecutionTimeout()
			m.later(SendWorker{st.Worker, &messages.CancelAttempt{RunId: m.s.RunID, Step: st.Def.Name, Attempt: st.Attempt, Reason: messages.Reason_REASON_EXECUTION_TIMEOUT}})
			m.attemptFailed(i, messages.ToFailure(messages.Errorf(messages.CodeExecutionTimeout,
				"ran longer than its execution timeout of %s and worker %q did not report its end", limit, st.Worker.WorkerId)), st.StartedAt.UnixMicro(), true)
		}
	}
}

// scheduleDeadline is when a step that has not started fails. A step that had
// started on a HARD run's worker waits again from the loss of the worker.
func (m *Machine) scheduleDeadline(i int) (time.Time, bool) {
	st := &m.s.Steps[i]
	timeout, ok := st.Def.ScheduleTimeout()
	if !ok {
		return time.Time{}, false
	}
	if _, awaits := m.s.awaitsRebuild(i); awaits {
		return time.Time{}, false
	}
	switch {
	case st.Phase == Ready, st.Phase == Backoff:
		return st.ReadyAt.Add(timeout), true
	case st.Phase != Live:
		return time.Time{}, false
	case m.s.pending() && !st.StartedAt.IsZero():
		return m.s.Binding.LostAt.Add(timeout), true
	case m.s.pending():
	case !st.StartedAt.IsZero() || m.contacts[i].startedUs != 0 || m.contacts[i].revoke == messages.Reason_REASON_SCHEDULE_TIMEOUT:
		return time.Time{}, false
	}
	return st.ReadyAt.Add(timeout), true
}

func (m *Machine) scheduleExpired(i int) {
	st := &m.s.Steps[i]
	waited := m.waitingFor(i)
	switch {
	case st.Phase != Live:
		m.failScheduleTimeout(st, waited)
	case m.s.pending():
		m.attemptLost(i, m.s.Binding.LostReason)
		if !st.Phase.Ended() {
			m.failScheduleTimeout(st, waited)
		}
	default:
		m.revoke(i, messages.Reason_REASON_SCHEDULE_TIMEOUT)
	}
}

func (m *Machine) failScheduleTimeout(st *Step, waitedFor string) {
	limit, _ := st.Def.ScheduleTimeout()
	m.failStep(st, messages.ToFailure(messages.Errorf(messages.CodeScheduleTimeout,
		"not started within its schedule timeout of %s; it waited for %s", limit, waitedFor)))
}

// executionDeadline is the backstop behind the worker's own. A worker that was
// out of reach, or whose run was, gets the grace to say what became of it.
func (m *Machine) executionDeadline(i int) (time.Time, bool) {
	st := &m.s.Steps[i]
	limit, ok := st.Def.ExecutionTimeout()
	if !ok || st.Phase != Live || st.StartedAt.IsZero() || m.s.Binding.Lost {
		return time.Time{}, false
	}
	end := st.StartedAt.Add(limit)
	if at := m.contacts[i].takenUpAt; at.After(end) {
		end = at
	}
	return end.Add(m.cfg.ExecutionGrace), true
}

// resendAt is when a message about a live attempt is sent again, or its worker
// is asked what became of it.
func (m *Machine) resendAt(i int) (time.Time, bool) {
	c := &m.contacts[i]
	switch {
	case m.s.Steps[i].Phase != Live || m.s.Binding.Lost:
		return time.Time{}, false
	case c.heard && m.s.Cancel == nil:
		return c.heardAt.Add(m.cfg.ReassureAfter), true
	}
	return c.sentAt.Add(m.cfg.ResendAfter), true
}

// resend repeats what nothing was heard of: questions and dispatches.
func (m *Machine) resend() {
	for _, q := range m.questions {
		if q != nil && q.placed == nil && !m.now.Before(m.reaskAt(q)) {
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
			m.sendDispatch(i, 0)
		}
	}
}

func (m *Machine) reaskAt(q *question) time.Time {
	if q.answered {
		return q.askedAt.Add(reaskAfter)
	}
	return q.askedAt.Add(m.cfg.ResendAfter)
}

// setTimer asks for the earliest time at which something is to be done.
func (m *Machine) setTimer() {
	at := m.nextTimer()
	if !at.Equal(m.timer) {
		m.timer = at
		if !at.IsZero() {
			at = at.Add(-m.ahead) // as the clock shows it then
		}
		m.out = append(m.out, SetTimer{at})
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
	case m.stopped || m.s.Start == nil:
	case m.s.Ended():
		next.add(m.lingerTo)
	case len(m.events) > 0:
		next.add(m.turnAt.Add(m.cfg.HoldFor))
	case m.s.Cancel != nil:
		m.cancelTimers(&next)
	default:
		next.add(m.stateDeadline())
		m.attemptTimers(&next)
		m.questionTimers(&next)
		m.leavingTimers(&next)
		m.restTimers(&next)
	}
	return next.at
}

// cancelTimers: attempts and children are told again, and attempts are given up.
func (m *Machine) cancelTimers(next *earliest) {
	next.addIf(m.s.CancelAt.Add(m.cfg.CancelGrace), m.anyLive())
	for i := range m.s.Steps {
		next.addIf(m.resendAt(i))
	}
	for _, c := range m.s.Children {
		if at, ok := m.childAcks[c.RunID]; ok && !m.childAcked[c.RunID] {
			next.add(at.Add(m.cfg.ResendAfter))
		}
	}
}

// attemptTimers: messages are sent again, and starts are recorded.
func (m *Machine) attemptTimers(next *earliest) {
	for i := range m.s.Steps {
		next.addIf(m.resendAt(i))
		next.addIf(m.contacts[i].recordAt, m.s.Steps[i].Phase == Live)
	}
}

// questionTimers: placement is asked, or asked again.
func (m *Machine) questionTimers(next *earliest) {
	for _, q := range m.questions {
		if q != nil && q.placed == nil {
			next.add(m.reaskAt(q))
		}
	}
	next.addIf(m.askFrom, m.now.Before(m.askFrom))
}

// leavingTimers: a move, a hand-off, or the patience with a worker ends.
func (m *Machine) leavingTimers(next *earliest) {
	next.addIf(m.refusedUntil(), m.refused && m.s.hard() && m.s.bound())
	if m.move != nil {
		next.add(m.move.since.Add(m.cfg.MoveFor))
	} else if at, wants := m.busyUntil(); wants && m.now.Before(at) {
		next.add(at)
	}
	if h := m.handOff; h != nil && !h.since.IsZero() {
		next.add(h.since.Add(m.cfg.HandoffFor))
		next.add(h.sentAt.Add(m.cfg.ResendAfter))
	}
	next.addIf(m.s.Binding.LostAt.Add(goneFor), m.justLeft() != "")
}

// restTimers: the run leaves memory, or says that it does not.
func (m *Machine) restTimers(next *earliest) {
	next.addIf(m.idleSince.Add(m.cfg.DormantAfter), !m.idleSince.IsZero())
	next.addIf(m.awakeSince.Add(m.cfg.DormantAfter), !m.awakeSince.IsZero())
}

// stateDeadline is the earliest deadline that follows from the journal alone:
// what a dormant run has to wake up for; zero for none.
func (m *Machine) stateDeadline() time.Time {
	var next earliest
	for i := range m.s.Steps {
		st := &m.s.Steps[i]
		next.addIf(st.RetryAt, st.Phase == Backoff && !m.ready(st) && !m.s.pending())
		next.addIf(m.scheduleDeadline(i))
		next.addIf(m.executionDeadline(i))
	}
	return next.at
}

// rest decides whether the run can leave memory: it has ended, or everything
// in it waits for its worker, a distant time or a child.
func (m *Machine) rest() {
	if m.s.Ended() || m.s.Start == nil {
		if !m.s.Ended() || !m.now.Before(m.lingerTo) {
			m.stop()
		}
		return
	}
	d := m.dormancy()
	if d == nil {
		m.idleSince = time.Time{}
		m.noteAwake()
		return
	}
	m.awakeSince = time.Time{}
	if m.idleSince.IsZero() {
		m.idleSince = m.now
	}
	if m.now.Before(m.idleSince.Add(m.cfg.DormantAfter)) {
		return
	}
	if have := m.s.Dormant; have != nil && have.WakeAtUs == d.WakeAtUs && have.WakeOnUp == d.WakeOnUp && have.WakeOnGone == d.WakeOnGone {
		m.stop()
		return
	}
	m.emit(&messages.Event{Kind: &messages.Event_RunDormant{RunDormant: d}})
}

// noteAwake corrects the row of a run that was dormant and now waits for
// something else in memory, so that nobody tries to wake it again and again.
func (m *Machine) noteAwake() {
	switch {
	case m.s.Dormant == nil:
		m.awakeSince = time.Time{}
	case m.awakeSince.IsZero():
		m.awakeSince = m.now
	case !m.now.Before(m.awakeSince.Add(m.cfg.DormantAfter)):
		m.awakeSince = time.Time{}
		m.emit(&messages.Event{Kind: &messages.Event_RunWoken{RunWoken: &messages.RunWoken{}}})
	}
}

func (m *Machine) stop() {
	if !m.stopped {
		m.stopped = true
		m.idleSince = time.Time{}
		m.out = append(m.out, Stop{})
	}
}

// dormancy returns what would wake the run if it left memory now; nil if it
// must stay.
func (m *Machine) dormancy() *messages.RunDormant {
	if m.asking() || len(m.spawns) > 0 || m.s.Cancel != nil || m.move != nil || m.handOff != nil {
		return nil
	}
	d := &messages.RunDormant{}
	for i := range m.s.Steps {
		if !m.mayRest(i, d) {
			return nil
		}
	}
	at := m.stateDeadline()
	switch {
	case m.s.pending():
		d.WakeOnUp = m.s.Binding.Worker.WorkerId
	case d.WakeOnGone == "" && (at.IsZero() || at.Before(m.now.Add(m.cfg.DormantBackoff))):
		return nil
	}
	if !at.IsZero() {
		d.WakeAtUs = at.UnixMicro()
	}
	return d
}

// mayRest says that a step lets the run leave memory, and notes what else than
// time is to wake the run for it.
func (m *Machine) mayRest(i int, d *messages.RunDormant) bool {
	st := &m.s.Steps[i]
	switch {
	case m.s.pending(), st.Phase.Ended(), st.Phase == Waiting:
		return true
	case st.Phase == Backoff && !m.ready(st):
		return true
	case st.Phase == Live && m.contacts[i].waitingChild:
		// One worker can be watched, not two.
		another := d.WakeOnGone != "" && d.WakeOnGone != st.Worker.WorkerId
		d.WakeOnGone = st.Worker.WorkerId
		return !another
	}
	_, awaits := m.s.awaitsRebuild(i)
	return awaits
}
