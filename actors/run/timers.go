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

func (m *Machine) nextTimer() time.Time {
	var next time.Time
	want := func(at time.Time, ok bool) {
		if ok && !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	if m.stopped || m.s.Start == nil || m.s.Ended() {
		want(m.lingerTo, !m.stopped && m.s.Ended())
		return next
	}
	if len(m.events) > 0 {
		want(m.turnAt.Add(m.cfg.HoldFor), true)
		return next
	}
	if m.s.Cancel != nil {
		want(m.s.CancelAt.Add(m.cfg.CancelGrace), m.anyLive())
		for i := range m.s.Steps {
			want(m.resendAt(i))
		}
		for _, c := range m.s.Children {
			if at, ok := m.childAcks[c.RunID]; ok && !m.childAcked[c.RunID] {
				want(at.Add(m.cfg.ResendAfter), true)
			}
		}
		return next
	}
	want(m.stateDeadline())
	for i := range m.s.Steps {
		want(m.resendAt(i))
		want(m.contacts[i].recordAt, m.s.Steps[i].Phase == Live)
	}
	for _, q := range m.questions {
		if q != nil && q.placed == nil {
			want(m.reaskAt(q), true)
		}
	}
	want(m.askFrom, m.now.Before(m.askFrom))
	want(m.refusedUntil(), m.refused && m.s.hard() && m.s.bound())
	if m.move != nil {
		want(m.move.since.Add(m.cfg.MoveFor), true)
	} else if at, wants := m.busyUntil(); wants && m.now.Before(at) {
		want(at, true)
	}
	if h := m.handOff; h != nil && !h.since.IsZero() {
		want(h.since.Add(m.cfg.HandoffFor), true)
		want(h.sentAt.Add(m.cfg.ResendAfter), true)
	}
	if m.justLeft() != "" {
		want(m.s.Binding.LostAt.Add(goneFor), true)
	}
	if !m.idleSince.IsZero() {
		want(m.idleSince.Add(m.cfg.DormantAfter), true)
	}
	if !m.awakeSince.IsZero() {
		want(m.awakeSince.Add(m.cfg.DormantAfter), true)
	}
	return next
}

// stateDeadline is the earliest deadline that follows from the journal alone:
// what a dormant run has to wake up for.
func (m *Machine) stateDeadline() (next time.Time, any bool) {
	want := func(at time.Time, ok bool) {
		if ok && (!any || at.Before(next)) {
			next, any = at, true
		}
	}
	for i := range m.s.Steps {
		st := &m.s.Steps[i]
		if st.Phase == Backoff && !m.ready(st) {
			want(st.RetryAt, !m.s.pending())
		}
		want(m.scheduleDeadline(i))
		want(m.executionDeadline(i))
	}
	return next, any
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
	backoffOnly := true
	for i := range m.s.Steps {
		st := &m.s.Steps[i]
		_, awaits := m.s.awaitsRebuild(i)
		switch {
		case m.s.pending() || st.Phase.Ended() || st.Phase == Waiting || awaits:
		case st.Phase == Backoff && !m.ready(st):
		case st.Phase == Live && m.contacts[i].waitingChild:
			backoffOnly = false
			if d.WakeOnGone != "" && d.WakeOnGone != st.Worker.WorkerId {
				return nil
			}
			d.WakeOnGone = st.Worker.WorkerId
		default:
			return nil
		}
	}
	at, any := m.stateDeadline()
	switch {
	case m.s.pending():
		d.WakeOnUp = m.s.Binding.Worker.WorkerId
	case backoffOnly && (!any || at.Before(m.now.Add(m.cfg.DormantBackoff))):
		return nil
	}
	if any {
		d.WakeAtUs = at.UnixMicro()
	}
	return d
}
