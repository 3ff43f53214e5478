package run

import (
	"fmt"
	"strings"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// What a step waits for is said as it is now, whatever was waited for before.

// waitingFor says in words what a step waits for. It is a list: one case for each
// thing.
//
//gocyclo:ignore
func (m *Machine) waitingFor(i int) string {
	st, c, b := &m.s.Steps[i], &m.contacts[i], m.s.Binding
	builder, awaits := m.s.awaitsRebuild(i)
	switch {
	case m.s.pending():
		return m.awaited()
	case awaits:
		return fmt.Sprintf("step %q, which is run again for its local state", builder.Def.Name)
	case st.Phase == Live && c.queued && c.aside:
		return awaitsTurn(st)
	case st.Phase == Live && c.queued:
		return fmt.Sprintf("a slot of worker %q: all %d are busy%s, %d attempts were ahead", st.Worker.WorkerId, c.slots, c.heldSlots(), c.ahead)
	case st.Phase == Live:
		return fmt.Sprintf("worker %q to start it", st.Worker.WorkerId)
	case m.leaving.handOff != nil:
		return fmt.Sprintf("worker %q to hand the local state off", b.Worker.WorkerId)
	case m.leaving.refused && m.s.hard():
		return fmt.Sprintf("worker %q, which is draining", b.Worker.WorkerId)
	case m.isParked():
		return fmt.Sprintf("its turn: others of workflow %q wait longer for a worker of pool %q", m.s.Def.Name, m.pool())
	}
	if q := m.questions.open[m.questionFor(i)]; q != nil && q.waits != "" {
		return q.waits
	}
	if m.s.bound() && !m.leaving.draining {
		return m.awaitsRoom()
	}
	return fmt.Sprintf("a worker of pool %q", m.pool())
}

// heldSlots says how many of the slots are held; empty for none.
func (c *contact) heldSlots() string {
	if c.held == 0 {
		return ""
	}
	return fmt.Sprintf(" (%d held since %s by functions that do not return)", c.held, c.heldAt.UTC().Format(time.RFC3339))
}

// awaited says what a HARD run waits for that has lost its worker.
func (m *Machine) awaited() string {
	b, seen := m.s.Binding, m.seen
	id := b.Worker.WorkerId
	switch reason, lacks := m.awaitedReason(); {
	case reason == messages.WaitReason_WAIT_REASON_BOUND_AWAY && seen != nil:
		return fmt.Sprintf("worker %q to come back (%s)", id, seen.Reason.Words())
	case reason == messages.WaitReason_WAIT_REASON_BOUND_AWAY:
		return fmt.Sprintf("worker %q to come back (%s)", id, b.LostReason.Words())
	case reason == messages.WaitReason_WAIT_REASON_DRAINING:
		return fmt.Sprintf("worker %q, which is draining", id)
	case lacks == nil:
		return fmt.Sprintf("worker %q to have the run's steps (%s)", id, b.LostReason.Words())
	case len(lacks) == len(m.s.Steps):
		return fmt.Sprintf("workflow %q with %s on worker %q, which is up without it", m.s.Def.Name, stepList(lacks), id)
	default:
		return fmt.Sprintf("%s of workflow %q on worker %q, which is up without", stepList(lacks), m.s.Def.Name, id)
	}
}

// awaitedReason is why the worker of a HARD run that has lost it does not serve
// it now, and the steps that it lacks as far as it has said which.
func (m *Machine) awaitedReason() (messages.WaitReason, []string) {
	switch seen := m.seen; {
	case seen == nil && m.s.Binding.LostReason == messages.Reason_REASON_STEP_GONE:
		return messages.WaitReason_WAIT_REASON_BOUND_LACKS, nil
	case seen == nil, seen.State == WorkerGone:
		return messages.WaitReason_WAIT_REASON_BOUND_AWAY, nil
	default:
		lacks := Lacking(seen.Info, m.s.Def)
		if lacks == nil && seen.State == WorkerDraining {
			return messages.WaitReason_WAIT_REASON_DRAINING, nil
		}
		return messages.WaitReason_WAIT_REASON_BOUND_LACKS, lacks
	}
}

// stepList names some steps, and says how many there are if those are many.
func stepList(names []string) string {
	const shown = 8
	quoted := make([]string, 0, shown)
	for _, name := range names[:min(shown, len(names))] {
		quoted = append(quoted, fmt.Sprintf("%q", name))
	}
	switch {
	case len(names) == 1:
		return "step " + quoted[0]
	case len(names) > shown:
		return fmt.Sprintf("%d steps (%s, …)", len(names), strings.Join(quoted, ", "))
	}
	return "steps " + strings.Join(quoted, ", ")
}

// WaitingFor says in words what the run waits for; empty if it does not.
func (m *Machine) WaitingFor() string {
	for i := range m.s.Steps {
		st := &m.s.Steps[i]
		inDoubt := !st.Phase.Ended() && st.Phase != Waiting && st.Phase != Suspended && m.s.pending()
		if m.ready(st) || inDoubt || st.Phase == Live && m.contacts[i].queued {
			return m.waitingFor(i) + m.notOfferedSince(i)
		}
	}
	if words := m.s.AwaitedCalls(); words != "" {
		return words + m.s.suspendedWords()
	}
	if n := len(m.children.left); n > 0 {
		return fmt.Sprintf("%d children that end with it to take note", n)
	}
	return ""
}

// suspendedWords adds to what a step waits for that it is suspended meanwhile, if all
// that wait are.
func (s *State) suspendedWords() string {
	words := ""
	for i := range s.Steps {
		switch st := &s.Steps[i]; {
		case st.Phase == Live:
			return ""
		case st.Phase == Suspended && words == "":
			words = fmt.Sprintf("; suspended since %s: %s", st.SuspendedAt.UTC().Format(time.RFC3339), st.SuspendReason.Words())
		}
	}
	return words
}

// notOfferedSince adds to a sentence since when nobody offers what it says, once
// that is long ago.
func (m *Machine) notOfferedSince(i int) string {
	w, ok := m.notOfferedTo(i)
	if !ok || !m.due(m.absences.after(w.since, m.cfg.NotOfferedAfter)) {
		return ""
	}
	return "; nobody offers that since " + w.since.UTC().Format(time.RFC3339)
}

// See tells the machine of a run that is only looked at what has become of its
// bound worker.
func (m *Machine) See(in WorkerChanged, now time.Time) {
	m.set(now)
	m.see(in)
}
