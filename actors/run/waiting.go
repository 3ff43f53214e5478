package run

import "fmt"

// waitingFor says in words what a step waits for.
func (m *Machine) waitingFor(i int) string {
	st, c, b := &m.s.Steps[i], &m.contacts[i], m.s.Binding
	builder, awaits := m.s.awaitsRebuild(i)
	switch {
	case m.s.pending():
		return fmt.Sprintf("worker %q to come back (%s)", b.Worker.WorkerId, b.LostReason.Words())
	case awaits:
		return fmt.Sprintf("step %q, which is run again for its local state", builder.Def.Name)
	case st.Phase == Live && c.queued:
		return fmt.Sprintf("a slot of worker %q: all %d are busy, %d attempts were ahead", st.Worker.WorkerId, c.slots, c.ahead)
	case st.Phase == Live:
		return fmt.Sprintf("worker %q to start it", st.Worker.WorkerId)
	case m.leaving.handOff != nil:
		return fmt.Sprintf("worker %q to hand the local state off", b.Worker.WorkerId)
	case m.leaving.refused && m.s.hard():
		return fmt.Sprintf("worker %q, which is draining", b.Worker.WorkerId)
	}
	if m.s.isSticky() {
		i = m.bindQuestion()
	}
	if q := m.questions.open[i]; q != nil && q.waits != "" {
		return q.waits
	}
	return fmt.Sprintf("a worker of pool %q", m.pool())
}

// WaitingFor says in words what the run waits for; empty if it does not.
func (m *Machine) WaitingFor() string {
	for i := range m.s.Steps {
		st := &m.s.Steps[i]
		inDoubt := !st.Phase.Ended() && st.Phase != Waiting && m.s.pending()
		if m.ready(st) || inDoubt || st.Phase == Live && m.contacts[i].queued {
			return m.waitingFor(i)
		}
	}
	if n := len(m.children.left); n > 0 {
		return fmt.Sprintf("%d children that end with it to take note", n)
	}
	return ""
}
