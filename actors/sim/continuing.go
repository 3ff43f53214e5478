package sim

import (
	"fmt"

	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// Runs that go on as new: some steps have them do so, before they return.

// linksMost is how often a run goes on: what it waits for takes as long each time.
const linksMost = 2

// continueSeeds is where the seeds of such steps begin.
const continueSeeds = 97 << 40

// drawContinuing lets some steps have their runs go on as new.
func (s *Sim) drawContinuing(d dice) {
	s.goesOn = d
	s.runConfig.LinksKept = 1
	if !d.chance(0.4) {
		return
	}
	for _, dd := range s.work.order {
		for _, st := range dd.Def.Steps {
			if !st.IsEndStep() && d.chance(0.4) {
				dd.steps[st.Name].continues = pick(d, []float64{0.3, 1})
			}
		}
	}
}

// goOnAsNew asks for that, and returns then.
func (f *function) goOnAsNew() {
	call := &messages.CallRecorded{Step: f.d.Step, Attempt: f.d.Attempt, Kind: messages.CallKind_CALL_KIND_CONTINUE, Name: "continue", Key: "next",
		Outcome: &messages.CallRecorded_Output{Output: []byte("1")}}
	f.plan.continues = false
	f.ask(&messages.RecordedCalls{RunId: f.d.RunId, Step: f.d.Step, Attempt: f.d.Attempt, Epoch: f.d.Epoch, Name: call.Name, Key: call.Key}, func(answer callAnswer) {
		if len(answer.(*messages.RecordedCallsReply).Calls) > 0 {
			f.returns()
			return
		}
		f.ask(&messages.RecordCall{RunId: f.d.RunId, Epoch: f.d.Epoch, Call: call}, func(callAnswer) { f.returns() })
	})
}

// links are what the monitor knows of runs that go on as new: the steps that have asked
// for it, and the entry in which a run last did.
type links struct {
	asked map[string]bool
	began map[string]uint64
}

// timesPassed checks the times of an entry; of one in which the run goes on as new, what
// that keeps. What it opens for writing is read from then on.
func (m *monitor) timesPassed(before, after *run.State) {
	m.readStreams(after)
	if after.Continued == before.Continued {
		m.durations(before, after)
		return
	}
	m.links.began[after.RunID] = after.Number
	m.sim.must(m.continued(before, after))
	m.sim.must(m.cut(after))
}

// cut checks that what is left of a history that was cut is all that is needed: the
// entries fold to the same run, and each message that was not received has its own.
func (m *monitor) cut(after *run.State) error {
	rec, err := m.sim.store.Load(background, after.RunID)
	if err != nil || rec.After == 0 {
		return err
	}
	m.counts.Cut++
	left, err := run.Fold(after.RunID, after.Def, rec.Entries)
	if err != nil {
		return err
	}
	for _, number := range after.LetterEntries() {
		if entry, err := m.sim.store.Entry(background, after.RunID, number); err != nil || entry == nil {
			return fmt.Errorf("a message that was not received is in entry %d, which was cut: %w", number, err)
		}
	}
	return after.CheckSame(left)
}

// continued checks that a run that goes on as new loses no message, nor its binding.
func (m *monitor) continued(before, after *run.State) error {
	m.counts.Continued++
	for name, n := range before.Unread() {
		if after.Unread()[name] < n {
			return fmt.Errorf("it goes on as new with %d messages %q, there were %d", after.Unread()[name], name, n)
		}
	}
	if before.Binding.Worker != nil && after.Binding.Worker == nil {
		return fmt.Errorf("it goes on as new without the binding to %s", processKey(before.Binding.Worker))
	}
	return nil
}
