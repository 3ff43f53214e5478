package sim

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// End steps: some workflows have one, and some clients cancel runs a second time, or
// without it.

// endSeeds is where the seeds of end steps begin.
const endSeeds = 89 << 40

const endStepName = "end"

// drawEndSteps gives workflows end steps, for some outcomes.
func (s *Sim) drawEndSteps(d dice) {
	s.ends = d
	if !d.chance(0.5) {
		return
	}
	outcomes := []messages.RunStatus{messages.RunStatus_RUN_STATUS_SUCCEEDED, messages.RunStatus_RUN_STATUS_FAILED, messages.RunStatus_RUN_STATUS_CANCELED}
	for _, dd := range s.work.order {
		if !d.chance(0.7) {
			continue
		}
		st := &messages.StepDefinition{Name: endStepName, Retries: int32(d.IntN(3)), BackoffMs: int64(d.upTo(3000)),
			ScheduleTimeoutMs: int64(6 * time.Minute / time.Millisecond), LostAttemptsMax: int32(d.IntN(4))}
		for _, outcome := range outcomes {
			if d.chance(0.7) {
				st.OnEnd = append(st.OnEnd, outcome)
			}
		}
		if len(st.OnEnd) == 0 {
			st.OnEnd = outcomes
		}
		if d.chance(0.2) {
			st.ExecutionTimeoutMs = int64(500 + d.IntN(5000))
		}
		most := pick(d, []time.Duration{10 * time.Millisecond, 500 * time.Millisecond, 5 * time.Second})
		b := &behaviour{least: time.Millisecond, most: most, fails: pick(d, []float64{0, 0.2, 0.7}), final: 0.1, stubborn: 0.1, loses: pick(d, []float64{0, 0, 0.3})}
		s.spawnAtEnd(d, dd, b)
		s.work.addEndStep(dd, st, b)
	}
}

// spawnAtEnd lets some end steps spawn a child.
func (s *Sim) spawnAtEnd(d dice, dd *definition, b *behaviour) {
	if slices.Contains(s.work.starts, dd.Def.Name) && !slices.Contains(s.work.starts, s.work.order[0].Def.Name) && d.chance(0.3) {
		b.children = append(b.children, child{workflow: s.work.order[0].Def.Name})
	}
}

func (w *workload) addEndStep(dd *definition, st *messages.StepDefinition, b *behaviour) {
	delete(w.byHash, dd.hash)
	dd.Def.Steps = append(dd.Def.Steps, st)
	dd.steps[st.Name] = b
	if err := messages.ValidateDefinition(dd.Def); err != nil {
		panic(err)
	}
	dd.hash = messages.HashDefinition(dd.Def)
	w.byHash[dd.hash] = dd
}

// cancelAgain lets some clients cancel their runs, which others have canceled perhaps.
func (s *Sim) cancelAgain() {
	for _, c := range s.clients {
		if c.def.Def.EndStep() != nil && s.ends.chance(0.3) {
			s.after(s.ends.between(0, s.world.trouble), c.cancel)
		}
	}
}

// ---- what is checked -------------------------------------------------------------

// endStepBegins checks that an end step is told the outcome that is on record, and that
// the state is there which other steps have left under its epoch.
func (f *function) endStepBegins() error {
	if f.d.Step != endStepName {
		return nil
	}
	m, st := f.w.sim.monitor, f.w.sim.monitor.runs[f.d.RunId]
	if step := st.Step(f.d.Step); step.Phase != run.Live || step.Attempt != f.d.Attempt {
		return nil // It is lost, and does not know that yet.
	}
	m.counts.EndSteps++
	if st.Ending == nil || !proto.Equal(st.Ending, f.d.Ending) {
		return fmt.Errorf("%s runs %s for the outcome %v, on record is %v", f.w.address, f.key(), f.d.Ending, st.Ending)
	}
	if f.value == nil || m.lostUnseen(f.value.lostBy, f.key()) {
		return nil
	}
	for i := range st.Steps {
		if built := &st.Steps[i]; built.Def.BuildsState && built.BuiltEpoch == f.d.Epoch && !f.value.built[built.Def.Name] {
			return fmt.Errorf("%s runs %s under epoch %d, and the state of step %s was released before", f.w.address, f.key(), f.d.Epoch, built.Def.Name)
		}
	}
	return nil
}

// endStepOver checks that the end step of a run that has ended was executed once for
// this end, if it was to be.
func (m *monitor) endStepOver(st *run.State) error {
	end := st.EndStep()
	if end == nil {
		return nil
	}
	chosen, without := slices.Contains(end.Def.OnEnd, st.Status), st.Cancel.GetWithoutEndStep()
	switch phase := end.Phase; {
	case !chosen && phase != run.Skipped && !without:
		return fmt.Errorf("it is %s, and its end step, which is not for that, is %s", st.Status, phase)
	case !chosen || without:
	case st.Ending == nil || phase != run.Succeeded && phase != run.Failed:
		return fmt.Errorf("it is %s, and its end step is %s; decided was %v", st.Status, phase, st.Ending)
	case m.ends[st.RunID] != endOf{st.Generation, 1}:
		return fmt.Errorf("its end step has ended %d times in end %d", m.ends[st.RunID].times, m.ends[st.RunID].generation)
	}
	return nil
}

// ends are the counts of end steps, by run.
type ends map[string]endOf

// endOf counts how often the end step of a run ended, of the newest end in which it did.
type endOf struct{ generation, times int }

// endStepEnded counts an end of an end step.
func (m *monitor) endStepEnded(st *run.State, step string) {
	if step != endStepName {
		return
	}
	e := m.ends[st.RunID]
	if e.generation != st.Generation {
		e = endOf{generation: st.Generation}
	}
	e.times++
	m.ends[st.RunID] = e
}

// carriedOut says that a cancel was carried out of which the step was, so that the end
// step began, or the run ended.
func carriedOut(st *run.State, step string) bool {
	return step != endStepName && st.Ending.GetStatus() == messages.RunStatus_RUN_STATUS_CANCELED
}
