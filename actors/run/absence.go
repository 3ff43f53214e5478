package run

import (
	"slices"
	"time"
)

// Absence is a time in which no server was there: nobody could place a step.
type Absence struct{ From, To time.Time }

const (
	// settleFor: when servers are back, workers need a moment to be known to them.
	// It is part of the absence.
	settleFor = 10 * time.Second
	// stalledFrom: a timer that is so late says that its server stood still, or
	// could store nothing. That is an absence, too.
	stalledFrom = 5 * time.Second
	// absencesMax bounds those that an activation keeps; the oldest go first.
	absencesMax = 1000
)

// Passed is when a duration has passed since a time, without the times in which no
// server was there, and a moment after each.
func Passed(without []Absence, since time.Time, d time.Duration) time.Time {
	return absences(without).after(since, d)
}

// absences are in order. What a step may wait does not count them.
type absences []Absence

// after is when a duration has passed since a time, without the absences.
func (a absences) after(since time.Time, d time.Duration) time.Time {
	for _, gap := range a.from(since) {
		counts := max(0, gap.From.Sub(since))
		if counts >= d {
			break
		}
		since, d = gap.To, d-counts
	}
	return since.Add(d)
}

// between is how much of a time is absences.
func (a absences) between(since, to time.Time) time.Duration {
	var sum time.Duration
	for _, gap := range a.from(since) {
		begin, end := later(gap.From, since), earlier(gap.To, to)
		sum += max(0, end.Sub(begin))
		since = later(since, gap.To)
	}
	return sum
}

// from are the absences that end after a time, with the time that it takes to
// settle.
func (a absences) from(since time.Time) []Absence {
	i := len(a)
	for i > 0 && a[i-1].To.Add(settleFor).After(since) {
		i--
	}
	var list []Absence
	for _, gap := range a[i:] {
		list = append(list, Absence{gap.From, gap.To.Add(settleFor)})
	}
	return list
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// noteStall notes that the timer comes late.
func (m *Machine) noteStall() {
	if m.timer.At.IsZero() || m.now.Before(m.timer.At.Add(stalledFrom)) {
		return
	}
	known := m.absences[max(0, len(m.absences)-absencesMax):]
	m.absences = append(slices.Clip(known), Absence{m.timer.At, m.now})
	m.timer.At = time.Time{}
	m.tryAgain()
}

// tryAgain: what placement and the roster said is of before.
func (m *Machine) tryAgain() {
	m.backAt = m.now
	m.askAll()
}
