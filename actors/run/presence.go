package run

import (
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/messages"
)

// presence is how long a run stays in memory.
type presence struct {
	// idleSince: since then the run waits for what it could wait for elsewhere.
	idleSince time.Time
	// awakeSince: since then the stored row says that the run is dormant, and it
	// is not.
	awakeSince time.Time
	// lingerTo: an ended run that was brought back stays until then, for
	// whatever it was brought back for.
	lingerTo time.Time
	// stopped: the run has left.
	stopped bool
}

// rests notes that the run could leave memory, and says that it has been so for
// long enough.
func (p *presence) rests(now time.Time, after time.Duration) bool {
	p.awakeSince = time.Time{}
	if p.idleSince.IsZero() {
		p.idleSince = now
	}
	return !now.Before(p.idleSince.Add(after))
}

// works notes that the run must stay in memory. It says that the stored row has
// been wrong about that for long enough; dormant is what the row says.
func (p *presence) works(now time.Time, after time.Duration, dormant bool) bool {
	p.idleSince = time.Time{}
	switch {
	case !dormant:
		p.awakeSince = time.Time{}
	case p.awakeSince.IsZero():
		p.awakeSince = now
	case !now.Before(p.awakeSince.Add(after)):
		p.awakeSince = time.Time{}
		return true
	}
	return false
}

// stop says that the run leaves; false if it has.
func (p *presence) stop() bool {
	if p.stopped {
		return false
	}
	p.stopped, p.idleSince = true, time.Time{}
	return true
}

// timers: the run leaves memory, or says that it does not.
func (p *presence) timers(next *earliest, after time.Duration) {
	next.addIf(p.idleSince.Add(after), !p.idleSince.IsZero())
	next.addIf(p.awakeSince.Add(after), !p.awakeSince.IsZero())
}

// ---- deciding ------------------------------------------------------------------

// rest decides whether the run can leave memory: it has ended, or everything
// in it waits for its worker, a distant time, a child or its turn.
func (m *Machine) rest() {
	switch {
	case m.s.Start == nil:
		m.stop()
		return
	case m.s.Ended():
		if !m.tells() && m.due(m.presence.lingerTo) {
			m.stop()
		}
		return
	}
	d := m.dormancy()
	if d == nil {
		// Else somebody would try to wake it again and again.
		if m.presence.works(m.now, m.cfg.DormantAfter, m.wakesAgain()) {
			m.emit(&messages.Event{Kind: &messages.Event_RunWoken{RunWoken: &messages.RunWoken{}}})
		}
		return
	}
	if !m.presence.rests(m.now, m.cfg.DormantAfter) && !(m.lining.leaves && d.Line != 0) {
		return
	}
	if proto.Equal(m.s.Dormant, d) {
		m.stop()
		return
	}
	m.emit(&messages.Event{Kind: &messages.Event_RunDormant{RunDormant: d}})
}

// wakesAgain says that the stored row has the run woken although it is awake. A
// line wakes it once.
func (m *Machine) wakesAgain() bool {
	d := m.s.Dormant
	return d != nil && (d.Line == 0 || d.WakeAtUs != 0 && m.due(time.UnixMicro(d.WakeAtUs)))
}

func (m *Machine) stop() {
	if m.presence.stop() {
		m.do(Stop{})
	}
}

// resting is what the steps of a run say of its rest: that it is parked, the worker
// whose end wakes it, and the steps that are idle.
type resting struct {
	parked bool
	onGone string
	idle   []string
}

// dormancy returns what would wake the run if it left memory now; nil if it
// must stay.
func (m *Machine) dormancy() *messages.RunDormant {
	if m.questions.any(m.now) || m.children.anyStarting() || m.s.Cancel != nil || m.children.parting || m.leaving.under() || m.asks.open() || m.seeksEvents() || len(m.sends) > 0 {
		return nil
	}
	r := resting{parked: m.isParked()}
	for i := range m.s.Steps {
		if !m.mayRest(i, &r) {
			return nil
		}
	}
	d := &messages.RunDormant{WakeOnGone: r.onGone, IdleSteps: r.idle}
	if r.parked {
		since, _ := m.readySince()
		d.Line, d.LineSinceUs = m.lining.parked, since.UnixMicro()
	}
	return m.dormantUntil(d)
}

// dormantUntil adds to a dormancy what time and the bound worker wake it by; nil if
// that is too soon.
func (m *Machine) dormantUntil(d *messages.RunDormant) *messages.RunDormant {
	at, pending := m.stateDeadline(), m.s.pending() && m.needsWorker()
	soon := !at.IsZero() && at.Before(m.now.Add(m.cfg.DormantBackoff))
	switch {
	case pending && soon:
		return nil
	case pending:
		d.WakeOnUp = m.s.Binding.Worker.WorkerId
	case d.Line != 0:
	case d.WakeOnGone == "" && (at.IsZero() || soon):
		return nil
	}
	if !at.IsZero() {
		d.WakeAtUs = at.UnixMicro()
	}
	return d
}

// needsWorker says that a step waits for its worker, and not for something else.
func (m *Machine) needsWorker() bool {
	return slices.ContainsFunc(m.s.Steps, func(st Step) bool {
		return st.Phase == Live || st.Phase == Ready || st.Phase == Backoff
	})
}

// mayRest says that a step lets the run leave memory, and notes what else than
// time is to wake the run for it.
func (m *Machine) mayRest(i int, r *resting) bool {
	st := &m.s.Steps[i]
	switch {
	case m.contacts[i].told != nil:
		return false // it is recorded soon
	case m.s.pending(), st.Phase.Ended(), st.Phase == Waiting, st.Phase == Suspended:
		return true
	case st.Phase == Backoff && !m.ready(st):
		return true
	case r.parked && m.ready(st):
		return true
	case st.Phase == Live && m.contacts[i].waitingChild && m.contacts[i].heard:
		// Its worker has answered the last news. One worker can be watched, not two.
		if m.idle(i) {
			r.idle = append(r.idle, st.Def.Name)
		}
		another := r.onGone != "" && r.onGone != st.Worker.WorkerId
		r.onGone = st.Worker.WorkerId
		return !another
	}
	_, awaits := m.s.awaitsRebuild(i)
	return awaits
}
