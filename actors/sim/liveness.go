package sim

import (
	"fmt"
	"time"

	"github.com/limpetrun/limpet/actors/placement"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// prompt checks what must be true soon after every worker and server is back:
// no HARD run waits for its worker any more, and no dormant one has overslept. One that
// is in memory, because its turn in a line has come, wakes by itself: its time does not
// count those without any server, that of its row does.
func (m *monitor) prompt() error {
	for _, id := range m.order {
		st := m.runs[id]
		switch d := st.Dormant; {
		case st.Ended():
		case st.Def.Sticky == messages.Sticky_STICKY_HARD && st.Binding.Lost && !rests(st):
			return fmt.Errorf("HARD run %s waits for worker %s, which is back", id, st.Binding.Worker.WorkerId)
		case d != nil && d.WakeAtUs != 0 && time.UnixMicro(d.WakeAtUs).Add(soon+2*m.sim.world.skewMost).Before(m.sim.engineNow()) && !m.inMemory(id):
			return fmt.Errorf("run %s was to be woken at %.4f s", id, time.UnixMicro(d.WakeAtUs).Sub(epoch).Seconds())
		}
	}
	return nil
}

// stuck checks that no run waits for what is there: soon after everybody is
// back, a step that is ready is sent to a worker that has nothing to do, and
// what was sent is known to its worker. That a question or a message is sent
// again half a minute later is not enough.
func (m *monitor) stuck() error {
	patience := soon
	if m.sim.world.loss > 0 {
		// What is lost twice in a row is asked again after half a minute.
		patience += 30 * time.Second
	}
	if err := m.forgotten(patience); err != nil {
		return err
	}
	for _, id := range m.order {
		st := m.runs[id]
		since := m.sim.settledAt
		if at := m.touched[id]; at.After(since) {
			since = at
		}
		if st.Ended() || st.Cancel != nil || m.sim.now.Sub(since) < patience {
			continue
		}
		for i := range st.Steps {
			if err := m.stuckStep(st, &st.Steps[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *monitor) stuckStep(st *run.State, step *run.Step) error {
	s := m.sim
	switch step.Phase {
	case run.Suspended:
		return m.asleep(st, step)
	case run.Live:
		if w := m.withoutIt(st, step); w != nil && w.alive && w.idleFor() > idleMost {
			return fmt.Errorf("run %s: %s#%d is live on %s, which has nothing to do", st.RunID, step.Def.Name, step.Attempt, w.address)
		}
	case run.Backoff:
		if step.RetryAt.Add(soon + 2*s.world.skewMost).After(s.engineNow()) {
			return nil
		}
		fallthrough
	case run.Ready:
		if _, awaits := st.AwaitsRebuild(step.Def.Name); awaits {
			return nil
		}
		if w := m.idleFor(st, step); w != nil {
			return fmt.Errorf("run %s: %s is ready, and %s has nothing to do", st.RunID, step.Def.Name, w.address)
		}
	}
	return nil
}

// idleFor returns a worker that could have the step and has nothing to do.
func (m *monitor) idleFor(st *run.State, step *run.Step) *worker {
	s := m.sim
	sticky := st.Def.Sticky != messages.Sticky_STICKY_NONE
	rules := st.Def.LabelsOfStep(step.Def)
	if sticky {
		rules = st.Def.LabelsOfRun()
	}
	for _, p := range s.procs {
		w := p.worker
		if w == nil || !p.alive || p.member != memberReady || w.idleFor() < idleMost || !w.hasAll(st.Def) {
			continue
		}
		if b := st.Binding; sticky && b.Worker != nil && !b.Lost {
			if b.Worker.WorkerId == w.id {
				return w
			}
			continue
		}
		_, fits := placement.Weigh(rules, w.info.Labels)
		if fits && !(sticky && w.info.StickyRunsMax > 0) {
			return w
		}
	}
	return nil
}

// withoutIt is the worker of a live attempt if that is not executed there: an attempt
// that is may wait.
func (m *monitor) withoutIt(st *run.State, step *run.Step) *worker {
	w := m.sim.workerOf(step.Worker)
	if w == nil {
		return nil
	}
	key := attemptKey(st.RunID, step.Def.Name, step.Attempt)
	for _, f := range w.functions {
		if f.key() == key {
			return nil
		}
	}
	return w
}

// idleMost is how long a worker may have nothing to do although a step waits: a
// grant that nobody uses takes its slot for 5 s.
const idleMost = 7 * time.Second

func (w *worker) idleFor() time.Duration {
	if w.idleSince.IsZero() {
		return 0
	}
	return w.sim.now.Sub(w.idleSince)
}

// takenUp checks that the runs of a server that died are in memory elsewhere.
func (m *monitor) takenUp() error {
	for _, id := range m.order {
		st := m.runs[id]
		if st.Ended() || st.Dormant != nil {
			continue
		}
		if !m.inMemory(id) {
			return fmt.Errorf("run %s is nowhere in memory, %v after its server died", id, takeUpWithin)
		}
	}
	return nil
}

// inMemory says that a server has the run in memory.
func (m *monitor) inMemory(id string) bool {
	for _, p := range m.sim.procs {
		if p.server == nil || !p.alive {
			continue
		}
		if a := p.server.host.Active(id); a != nil && a.State() != nil {
			return true
		}
	}
	return false
}

// takeUpWithin bounds the time from the death of a server to the taking up of
// its runs: the verdict comes after at most 2.4 s.
const takeUpWithin = 3 * time.Second
