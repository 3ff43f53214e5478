package sim

import (
	"fmt"
	"time"

	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// Runs that could send more than a worker has room for.

// drawFan makes, for some seeds, a workflow of which more steps are ready at once
// than any worker has slots.
func (s *Sim) drawFan(d dice) {
	if !d.chance(0.3) {
		return
	}
	dd := &definition{Def: &messages.WorkflowDefinition{Name: "fan", Sticky: messages.Sticky(d.IntN(3))}, steps: map[string]*behaviour{}}
	for i := range 8 + d.upTo(12) {
		st := &messages.StepDefinition{Name: fmt.Sprintf("s%d", i), Retries: 1, BackoffMs: int64(d.upTo(2000))}
		st.ScheduleTimeoutMs = int64(6 * time.Minute / time.Millisecond)
		dd.Def.Steps = append(dd.Def.Steps, st)
		dd.steps[st.Name] = &behaviour{least: time.Millisecond, most: d.between(5*time.Millisecond, time.Second), fails: pick(d, []float64{0, 0, 0.2})}
	}
	s.work.add(dd)
	s.work.starts = append(s.work.starts, dd.Def.Name)
}

// hasRoom checks that a sticky run has no more attempts on its worker than that has
// slots, or than two. Those that may wait do not count.
func (m *monitor) hasRoom(st *run.State, worker *messages.WorkerRef) error {
	live, slots := 0, max(2, int(m.sim.world.slots[worker.WorkerId]))
	for i := range st.Steps {
		step := &st.Steps[i]
		if b := m.sim.work.byName[st.Def.Name].steps[step.Def.Name]; step.Phase == run.Live && len(b.children) == 0 && b.receives == 0 && len(b.naps) == 0 {
			live++
		}
	}
	if st.Def.Sticky == messages.Sticky_STICKY_NONE || live <= slots {
		return nil
	}
	return fmt.Errorf("%d attempts are sent to %s, which has %d slots", live, processKey(worker), slots)
}
