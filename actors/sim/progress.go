package sim

import (
	"fmt"
	"time"

	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// Functions of steps tell how far they are, at times spread over what they take.

// progressSeeds is where the seeds of such steps begin.
const progressSeeds = 97 << 40

// drawProgress says how often steps tell.
func (s *Sim) drawProgress(d dice) {
	if !d.chance(0.6) {
		return
	}
	for _, def := range s.work.order {
		for _, st := range def.Def.Steps {
			def.steps[st.Name].tells = pick(d, []int{0, 0, 1, 2, 5})
		}
	}
}

// tells has a function tell as often as it is planned to.
func (f *function) tells() {
	for i := range f.plan.tells {
		f.w.later(f.plan.takes*time.Duration(i)/time.Duration(f.plan.tells), f.tell)
	}
}

// tell is a progress that names the attempt and its number in it.
func (f *function) tell() {
	if f.over || f.canceled || !f.w.alive {
		return
	}
	m := f.w.sim.monitor
	m.told[f.key()]++
	m.counts.Told++
	f.w.do(f.w.core.Progress(f.w.clock(), f.id, toldValue(f.key(), m.told[f.key()])))
}

func toldValue(attempt string, serial int64) []byte {
	return fmt.Appendf(nil, "%q", fmt.Sprintf("%s:%d", attempt, serial))
}

// progressed checks what is recorded of an attempt: it has told that.
func (m *monitor) progressed(runID string, p *messages.StepProgressed) error {
	key := attemptKey(runID, p.Step, p.Attempt)
	if want := toldValue(key, p.Serial); string(p.Progress) != string(want) || p.Serial > m.told[key] {
		return fmt.Errorf("progress %s of %s is recorded as number %d, it has told %d", p.Progress, key, p.Serial, m.told[key])
	}
	return nil
}

// toldLast checks that the newest is on record that an attempt has told before it failed.
func (m *monitor) toldLast(st *run.State, f *messages.AttemptFailed) error {
	if m.links.began[st.RunID] == st.Number {
		return nil // The run went on as new in the same entry.
	}
	key := attemptKey(st.RunID, f.Step, f.Attempt)
	told := m.told[key]
	if p := st.Step(f.Step).Progress; told > 0 && !f.Abandoned && (p == nil || p.Attempt != f.Attempt || p.Serial != told) {
		return fmt.Errorf("%s has failed, its newest progress, number %d, is not on record: %+v", key, told, p)
	}
	return nil
}

// givenLast checks what an attempt is given: the newest progress on record.
func (m *monitor) givenLast(d *messages.Dispatch) error {
	st := m.runs[d.RunId].Step(d.Step)
	if p := st.Progress; p != nil && p.Attempt < d.Attempt && st.Attempt == d.Attempt && string(d.LastProgress) != string(p.Value) {
		return fmt.Errorf("%s is given the progress %q, on record is %q", attemptKey(d.RunId, d.Step, d.Attempt), d.LastProgress, p.Value)
	}
	return nil
}
