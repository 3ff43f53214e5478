package run

import (
	"fmt"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// Progress of steps. A live attempt tells how far it is as often as it likes, and only
// the newest counts.
//
//	what a worker says    The newest that it was told: at most each ProgressEvery (of
//	                      package slots), and with the attempt's result.
//	what is recorded      The first at once, later ones no sooner than a sixtieth of
//	                      the attempt's time so far, from 1 s to 10 s; and before
//	                      anything ends the attempt, the newest that was heard.
//	who gets it           The next attempts of the step, until it is replayed.
//
// What an attempt tells that is not live any more is dropped: the progress of a step
// never goes back to that of an older attempt (I17).

// Progress is the newest that is recorded of a step.
type Progress struct {
	Attempt int32
	// Serial counts what the attempt has told, from 1.
	Serial int64
	Value  []byte
	At     time.Time
}

// told is a progress that is not recorded yet.
type told struct {
	serial int64
	value  []byte
}

// Times between two records of the progress of an attempt.
const (
	progressFirst = time.Second
	progressMost  = 10 * time.Second
	progressShare = 60
)

// progressed takes what a live attempt has told; serial 0 is nothing.
func (m *Machine) progressed(i int, serial int64, value []byte) {
	st, c := &m.s.Steps[i], &m.contacts[i]
	p := st.Progress
	switch {
	case serial == 0, c.told != nil && serial <= c.told.serial:
		return
	case p != nil && p.Attempt == st.Attempt && serial <= p.Serial:
		return
	}
	c.told = &told{serial, value}
	if m.due(m.progressDue(st)) {
		m.recordProgress(i)
	}
}

// progressDue is when the progress of a live attempt may be recorded again.
func (m *Machine) progressDue(st *Step) time.Time {
	p := st.Progress
	if p == nil || p.Attempt != st.Attempt {
		return m.now
	}
	pause := p.At.Sub(st.DispatchedAt) / progressShare
	return p.At.Add(min(max(pause, progressFirst), progressMost).Truncate(time.Millisecond))
}

// recordProgress records what a live attempt has told, if that is not on record.
func (m *Machine) recordProgress(i int) {
	st, c := &m.s.Steps[i], &m.contacts[i]
	if c.told == nil {
		return
	}
	m.turn.bytes += len(c.told.value)
	m.emit(&messages.Event{Kind: &messages.Event_StepProgressed{StepProgressed: &messages.StepProgressed{
		Step: st.Def.Name, Attempt: st.Attempt, Serial: c.told.serial, Progress: c.told.value}}})
	c.told = nil
}

// progress is the recorded one that a new attempt is given.
func (st *Step) progress() []byte {
	if st.Progress == nil {
		return nil
	}
	return st.Progress.Value
}

// checkI17: progress is of an attempt that there was.
func (s *State) checkI17(st *Step) error {
	if p := st.Progress; p != nil && (p.Attempt < 1 || p.Attempt > st.Attempt || p.Serial < 1) {
		return fmt.Errorf("I17: progress %d of attempt %s#%d, the newest is %d", p.Serial, st.Def.Name, p.Attempt, st.Attempt)
	}
	return nil
}

// checkI17: it does not go back, to an older attempt or within one.
func (t stepTransition) checkI17() error {
	from, to := t.from.Progress, t.to.Progress
	switch {
	case from == nil || t.replayed:
	case to == nil:
		return fmt.Errorf("I17: progress of attempt %d is gone", from.Attempt)
	case to.Attempt < from.Attempt, to.Attempt == from.Attempt && to.Serial < from.Serial:
		return fmt.Errorf("I17: progress went back from %d of attempt %d to %d of attempt %d", from.Serial, from.Attempt, to.Serial, to.Attempt)
	}
	return nil
}
