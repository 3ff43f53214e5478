package run

import (
	"fmt"
	"strings"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// waits are what the steps that have not started have waited for so far, as far as
// this activation knows.
type waits struct {
	// notedAt is when it was noted last; of the steps by their index, nil until one has
	// waited for long enough.
	notedAt time.Time
	of      []wait
}

// wait is that of one step since it is ready; the zero value is none.
type wait struct {
	since time.Time
	spans []waitSpan
}

// waitSpan ends where the next one begins. past is its text once that has come.
type waitSpan struct {
	began      time.Time
	text, past string
}

const (
	// noteEvery is the least time between two notes: what is shorter counts as
	// part of what came before.
	noteEvery = 100 * time.Millisecond
	// spansMax bounds what is kept of one wait; the oldest goes first.
	spansMax = 8
)

// noteWaits notes what the steps have waited for up to now, before an input changes
// something: not of the step whose wait it ends.
func (m *Machine) noteWaits(in Input) {
	if m.s.Start == nil || m.s.Ended() || m.now.Before(m.waits.notedAt.Add(noteEvery)) {
		return
	}
	over := m.begunBy(in)
	for i := range m.s.Steps {
		if i == over {
			continue
		}
		if since, ok := m.waitsSince(i); ok && !m.now.Before(since.Add(noteEvery)) {
			m.noteWait(i, since)
		} else if !ok && len(m.waits.of) > 0 {
			m.waits.of[i] = wait{}
		}
	}
	m.waits.notedAt = m.now
}

// begunBy is the step whose live attempt has begun, by what its worker says; -1 for
// none.
func (m *Machine) begunBy(in Input) int {
	from, ok := in.(FromWorker)
	if !ok {
		return -1
	}
	switch msg := from.Message.(type) {
	case *messages.Result, *messages.Started:
		if i, live := m.live(msg.(attemptMessage)); live {
			return i
		}
	}
	return -1
}

// noteWait returns the wait of a step, with what it waits for now.
func (m *Machine) noteWait(i int, since time.Time) *wait {
	if m.waits.of == nil {
		m.waits.of = make([]wait, len(m.s.Steps))
	}
	w := &m.waits.of[i]
	if !w.since.Equal(since) {
		*w = wait{since: since}
	}
	span := waitSpan{since, m.waitingFor(i), ""}
	span.past = m.waitingForPast(i, span.text)
	switch n := len(w.spans); {
	case n == 0 && m.s.pending() && !m.backAt.IsZero() && m.s.Binding.LostAt.After(since):
		// What the history says of the time before.
		before := fmt.Sprintf("worker %q to start it", m.s.Binding.Worker.WorkerId)
		span.began = m.s.Binding.LostAt
		w.spans = append(w.spans, waitSpan{since, before, before}, span)
	case n == 0:
		w.spans = append(w.spans, span)
	case w.spans[n-1].text != span.text:
		span.began = later(since, m.waits.notedAt)
		w.spans = append(w.spans[max(0, n+1-spansMax):], span)
	}
	return w
}

// waitingForPast is the sentence of waitingFor about what is over.
func (m *Machine) waitingForPast(i int, text string) string {
	if w, ok := m.notOfferedTo(i); ok && w.reason == messages.WaitReason_WAIT_REASON_BOUND_AWAY {
		return fmt.Sprintf("worker %q, which was away", m.s.Binding.Worker.WorkerId)
	}
	return text
}

// waitedFor says what a step has waited for, and how long for each if that was not
// all the same.
func (m *Machine) waitedFor(i int) string {
	since, _ := m.waitsSince(i)
	w := m.noteWait(i, since)
	var b strings.Builder
	for k := len(w.spans) - 1; k >= 0; k-- {
		span, end := w.spans[k], m.now
		if k == len(w.spans)-1 {
			b.WriteString(span.text)
		} else {
			end = w.spans[k+1].began
			b.WriteString(", before that for " + span.past)
		}
		if len(w.spans) > 1 {
			fmt.Fprintf(&b, " (%s)", rounded(end.Sub(span.began)-m.absences.between(span.began, end)))
		}
	}
	if away := m.absences.between(since, m.now); away > 0 {
		fmt.Fprintf(&b, "; %s in which no server was there do not count", rounded(away))
	}
	return b.String()
}

// rounded leaves what nobody reads of a duration.
func rounded(d time.Duration) time.Duration {
	if d >= time.Second {
		return d.Round(100 * time.Millisecond)
	}
	return d.Round(time.Millisecond)
}
