package run

import (
	"hash/fnv"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// Waits for what nobody offers: a worker in the pool, one that has the workflow,
// the steps or the labels, or the bound worker of a HARD run. After NotOfferedAfter
// the run records it, once for each wait; nothing else follows.

// notOffered says that no worker offers what a question asks for.
func notOffered(reason messages.WaitReason) bool {
	switch reason {
	case messages.WaitReason_WAIT_REASON_NO_WORKER, messages.WaitReason_WAIT_REASON_NO_WORKFLOW,
		messages.WaitReason_WAIT_REASON_NO_STEPS, messages.WaitReason_WAIT_REASON_NO_LABELS,
		messages.WaitReason_WAIT_REASON_BOUND_AWAY, messages.WaitReason_WAIT_REASON_BOUND_LACKS:
		return true
	}
	return false
}

// knows says that the answer to a question is placement's word on its workers:
// not that it has yet to hear from them, nor that it has not kept the question.
func knows(reason messages.WaitReason) bool {
	switch reason {
	case messages.WaitReason_WAIT_REASON_SILENT, messages.WaitReason_WAIT_REASON_SETTLING, messages.WaitReason_WAIT_REASON_UNREAD,
		messages.WaitReason_WAIT_REASON_WITHDRAWN, messages.WaitReason_WAIT_REASON_GRANT_EXPIRED, messages.WaitReason_WAIT_REASON_QUESTIONS_MAX:
		return false
	}
	return true
}

// waitsFor notes what placement says of a question.
func (m *Machine) waitsFor(q *question, p *messages.PlaceWaiting) {
	q.answered, q.waits, q.reason = true, p.Text, p.Reason
	switch {
	case !notOffered(p.Reason):
		q.notOfferedAt = time.Time{}
	case q.notOfferedAt.IsZero():
		q.notOfferedAt = m.now
	}
}

// unoffered is what a step waits for that nobody offers.
type unoffered struct {
	reason messages.WaitReason
	since  time.Time
}

// notOfferedTo is what a step waits for that nobody offers, if it is so.
func (m *Machine) notOfferedTo(i int) (w unoffered, ok bool) {
	st := &m.s.Steps[i]
	since, waits := m.waitsSince(i)
	switch {
	case !waits || st.Phase == Live && !m.s.pending():
		return w, false
	case m.s.pending():
		w.reason, _ = m.awaitedReason()
		w.since = later(since, m.s.Binding.LostAt)
	default:
		q := m.questions.open[m.questionFor(i)]
		if q == nil {
			return w, false
		}
		w.reason, w.since = q.reason, later(since, q.notOfferedAt)
	}
	return w, notOffered(w.reason)
}

// notOfferedAt is when the run is to say next that nobody offers what a step waits
// for.
func (m *Machine) notOfferedAt() (time.Time, bool) {
	var next earliest
	if m.maySay() {
		for i := range m.s.Steps {
			if w, ok := m.notOfferedTo(i); ok && !m.s.Steps[i].NotOffered {
				next.add(m.sayAt(w))
			}
		}
	}
	return next.at, !next.at.IsZero()
}

// maySay says that there may be something to say. All steps of a sticky run wait
// for the same.
func (m *Machine) maySay() bool {
	if !m.s.isSticky() {
		return true
	}
	if m.s.bound() {
		return false
	}
	for i := range m.s.Steps {
		if m.s.Steps[i].NotOffered {
			return false
		}
	}
	return true
}

// saySpread is how far the runs are spread that have lost their worker at once:
// each writes an entry.
const saySpread = 30 * time.Second

func (m *Machine) sayAt(w unoffered) time.Time {
	h := fnv.New32a()
	_, _ = h.Write([]byte(m.s.RunID))
	at := m.absences.after(w.since, m.cfg.NotOfferedAfter).Add(time.Duration(h.Sum32()%1000) * saySpread / 1000)
	if m.s.pending() && !m.backAt.IsZero() {
		// By then it is known whether the worker is there.
		at = later(at, m.backAt.Add(m.cfg.DormantAfter))
	}
	return at
}

// noteNotOffered records what has not been offered for long.
func (m *Machine) noteNotOffered() {
	if !m.maySay() {
		return
	}
	for i := range m.s.Steps {
		w, ok := m.notOfferedTo(i)
		if !ok || m.s.Steps[i].NotOffered || !m.due(m.sayAt(w)) {
			continue
		}
		e := &messages.NotOffered{Steps: []string{m.s.Steps[i].Def.Name}, Reason: w.reason, Text: m.waitingFor(i), SinceUs: w.since.UnixMicro()}
		for k := i + 1; k < len(m.s.Steps) && m.s.isSticky(); k++ {
			if _, too := m.notOfferedTo(k); too {
				e.Steps = append(e.Steps, m.s.Steps[k].Def.Name)
			}
		}
		m.turn.notes++
		m.emit(&messages.Event{Kind: &messages.Event_NotOffered{NotOffered: e}})
		m.later(Unoffered{e})
		if m.s.isSticky() {
			return
		}
	}
}

// restAgain lets a run that was woken for nothing but a note leave memory with
// the entry of that.
func (m *Machine) restAgain() {
	if m.turn.notes != len(m.turn.events) || m.backAt.IsZero() || m.now.Before(m.backAt.Add(m.cfg.DormantAfter)) {
		return
	}
	if d := m.dormancy(); d != nil {
		m.presence.idleSince = m.backAt
		m.emit(&messages.Event{Kind: &messages.Event_RunDormant{RunDormant: d}})
	}
}
