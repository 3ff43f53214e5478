package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/actors/slots"
	"github.com/limpetrun/limpet/messages"
)

// A model of the local state that step functions keep in their worker: which of
// the steps that build it have done so for a run under an epoch. It is lost with
// the process, with the epoch, and when a step says that it is lost.

// value is the local state of a run under an epoch.
type value struct {
	epoch uint64
	// built are the steps whose state is there.
	built map[string]bool
	// lostBy is the attempt that found it lost last, after which it was dropped.
	lostBy string
}

// enter returns the state of the run of an attempt, which begins with what was
// handed off; nil for an attempt whose epoch is over here, or that has none.
func (w *worker) enter(d *messages.Dispatch) *value {
	v := w.values[d.RunId]
	switch {
	case d.Sticky == messages.Sticky_STICKY_NONE || v != nil && v.epoch > d.Epoch:
		return nil
	case v == nil || v.epoch < d.Epoch:
		v = &value{epoch: d.Epoch, built: map[string]bool{}}
		w.values[d.RunId] = v
		if def := w.sim.work.byName[d.Workflow].Def; movesWhole(def) {
			for _, st := range d.HandedOff {
				v.receive(st)
			}
		}
	}
	return v
}

// movesWhole says that a hand-off leaves nothing behind.
func movesWhole(def *messages.WorkflowDefinition) bool {
	return len(def.Locals) > 0 && !slices.ContainsFunc(def.Locals, func(l *messages.LocalDefinition) bool { return !l.Handoff })
}

func handsOff(def *messages.WorkflowDefinition) bool {
	return slices.ContainsFunc(def.Locals, func(l *messages.LocalDefinition) bool { return l.Handoff })
}

// handed is the state as it is handed off.
func (v *value) handed() *messages.HandedState {
	var built []string
	for step := range v.built {
		built = append(built, step)
	}
	slices.Sort(built)
	return &messages.HandedState{Local: "x", Data: []byte(v.lostBy + "|" + strings.Join(built, ","))}
}

func (v *value) receive(st *messages.HandedState) {
	lostBy, built, _ := strings.Cut(string(st.Data), "|")
	v.lostBy = lostBy
	for _, step := range strings.Split(built, ",") {
		if step != "" {
			v.built[step] = true
		}
	}
}

// begin looks for the state that a function needs. It may be missing only if
// another function found it lost and the run did not know that yet.
func (f *function) begin() {
	s, d := f.w.sim, f.d
	if at, ok := f.w.handed[d.RunId]; ok && d.Epoch <= at.Epoch {
		s.fail("%s runs %s under epoch %d, whose state it has handed off", f.w.address, f.key(), d.Epoch)
	}
	f.value = f.w.enter(d)
	def := s.work.byName[d.Workflow].Def
	if f.value == nil || !d.Rebuild && !def.StepNamed(d.Step).NeedsState {
		return
	}
	for _, b := range builders(def, d.Step) {
		if f.value.built[b] {
			continue
		}
		if !s.monitor.lostUnseen(f.value.lostBy, f.key()) {
			s.fail("%s runs %s under epoch %d without the state of step %s", f.w.address, f.key(), d.Epoch, b)
		}
		f.plan.loses, f.plan.fails = true, false
	}
}

// builders are the ancestors of a step that build state.
func builders(def *messages.WorkflowDefinition, step string) []string {
	seen := map[string]bool{}
	var list []string
	var visit func(name string)
	visit = func(name string) {
		for _, p := range def.StepNamed(name).Parents {
			if !seen[p] {
				seen[p] = true
				visit(p)
				if def.StepNamed(p).BuildsState {
					list = append(list, p)
				}
			}
		}
	}
	visit(step)
	return list
}

// lose ends a function that says that its state is lost: all of the run's is
// dropped.
func (f *function) lose() {
	if v := f.value; v != nil && f.w.values[f.d.RunId] == v {
		f.w.values[f.d.RunId] = &value{epoch: v.epoch, built: map[string]bool{}, lostBy: f.key()}
	}
	f.w.sim.monitor.saidLost[f.key()] = true
	f.end(nil, &messages.Failure{Code: string(messages.CodeStateLost), Message: "planned"})
}

// keep notes that a function has built its state, unless that was dropped in
// the meantime.
func (f *function) keep() {
	if v := f.value; v != nil && f.w.values[f.d.RunId] == v && f.w.sim.work.byName[f.d.Workflow].Def.StepNamed(f.d.Step).BuildsState {
		v.built[f.d.Step] = true
	}
}

// released drops the state of a run that ended or moved away.
func (w *worker) released(m *messages.RunReleased) {
	if v := w.values[m.RunId]; v != nil && v.epoch <= m.Epoch {
		delete(w.values, m.RunId)
	}
}

// handOff answers for the state of a run: after a while, the same again if it
// is asked again, sometimes never.
func (w *worker) handOff(m *messages.HandOff) {
	s := w.sim
	actions, may := w.core.HandOff(w.clock(), m)
	w.do(actions)
	if !may || s.faulty() && s.extra.chance(0.1) {
		return
	}
	w.do(w.core.HandOffBegan(w.clock(), m.RunId))
	w.later(s.extra.between(time.Millisecond, 500*time.Millisecond), func() {
		answer := w.handed[m.RunId]
		if answer == nil || answer.Epoch < m.Epoch {
			answer = &messages.HandedOff{RunId: m.RunId, Epoch: m.Epoch}
			v := w.values[m.RunId]
			for _, f := range w.functions {
				if f.d.RunId == m.RunId && f.d.Epoch == m.Epoch && !f.canceled {
					s.fail("%s hands off the state of run %s under epoch %d, while it runs %s", w.address, m.RunId, m.Epoch, f.key())
				}
			}
			switch {
			case v == nil || v.epoch != m.Epoch:
			case s.faulty() && s.extra.chance(0.2):
				answer.Failure = &messages.Failure{Code: string(messages.CodeUserError), Message: "planned"}
			default:
				answer.States = []*messages.HandedState{v.handed()}
			}
			w.handed[m.RunId] = answer
		}
		w.do(w.core.HandOffEnded(w.clock(), m.RunId))
		if answer.Epoch == m.Epoch {
			w.send(slots.Action{To: slots.Address{Host: m.ReplyAddress, ID: m.ReplyActorId}, RunID: m.RunId, Message: answer})
		}
	})
}

// ---- drains --------------------------------------------------------------------

// drainFor drains a worker as an operator does: its process stays.
func (w *worker) drainFor(d time.Duration) {
	if actions, err := w.core.DrainFor(w.clock(), w.clock().Add(d)); err == nil {
		w.sim.tracef("%s drains for its operator, with %v", w.address, d)
		w.drained = true
		w.sim.setState(w.proc, memberDraining)
		w.do(actions)
	}
}

func (w *worker) undrain() {
	if actions, err := w.core.Undrain(w.clock()); err == nil && !w.core.Draining() && w.member == memberDraining {
		w.sim.tracef("%s drains no more", w.address)
		w.sim.setState(w.proc, memberReady)
		w.do(actions)
	}
}

// drawDrains lets an operator drain several workers at once, now and then in
// some of the clusters, and think better of it.
func (s *Sim) drawDrains() {
	if s.world.calm || !s.extra.chance(0.5) {
		return
	}
	var next func()
	next = func() {
		if !s.healed {
			s.drainSome()
			s.after(s.extra.between(2*time.Second, 12*time.Second), next)
		}
	}
	s.after(s.extra.between(500*time.Millisecond, 8*time.Second), next)
}

func (s *Sim) drainSome() {
	for range s.extra.upTo(3) {
		list := s.serving()
		if len(list) == 0 {
			return
		}
		p := pick(s.extra, list)
		s.monitor.counts.Drains++
		p.worker.drainFor(s.extra.between(500*time.Millisecond, 8*time.Second))
		s.after(s.extra.between(500*time.Millisecond, 10*time.Second), func() { p.now(p.worker.undrain) })
	}
}

// ---- what the monitor checks -----------------------------------------------------

// lostUnseen says that an attempt was sent before the run had recorded that
// another one found the state lost.
func (m *monitor) lostUnseen(lostBy, key string) bool {
	if lostBy == "" {
		return false
	}
	recorded, ok := m.lossRecorded[lostBy]
	return !ok || recorded > m.dispatched[key].entry
}

// local checks events that concern local state, and steps that wait.
func (m *monitor) local(after *run.State, ev *messages.Event) error {
	switch k := ev.Kind.(type) {
	case *messages.Event_CallWaits:
		return m.callWaits(after, k.CallWaits)
	case *messages.Event_StepProgressed:
		return m.progressed(after.RunID, k.StepProgressed)
	case *messages.Event_AttemptSuspended:
		return m.suspended(after, k.AttemptSuspended)
	case *messages.Event_StepRebuilt:
		m.counts.Rebuilds++
		key := attemptKey(after.RunID, k.StepRebuilt.Step, k.StepRebuilt.Attempt)
		if m.ran[key] == "" {
			return fmt.Errorf("attempt %s has rebuilt its step and was never executed", key)
		}
		// A run that goes on as new in the same entry begins it anew.
		st, want := after.Step(k.StepRebuilt.Step), m.outputs[after.RunID+"/"+k.StepRebuilt.Step]
		if have := string(st.Output); st.Phase == run.Succeeded && have != want {
			return fmt.Errorf("attempt %s rebuilt its step, whose output was %q and is %q", key, want, have)
		}
	case *messages.Event_StateHandedOff:
		m.counts.HandOffs++
		m.handedUnder[after.RunID] = k.StateHandedOff.Epoch
		if k.StateHandedOff.Failure != nil {
			m.counts.HandOffsFailed++
		}
	}
	return nil
}

// asksHandOff checks that a worker is asked for the state of a run that is, or
// was, bound to it. An activation that is behind the journal may ask too late.
func (m *monitor) asksHandOff(to *messages.WorkerRef, msg *messages.HandOff) error {
	st := m.runs[msg.RunId]
	b := st.Binding
	if b.Epoch < msg.Epoch || b.Epoch == msg.Epoch && processKey(b.Worker) != processKey(to) || st.Def.Sticky != messages.Sticky_STICKY_SOFT && m.suspensions.under[msg.RunId] != msg.Epoch || !handsOff(st.Def) {
		return fmt.Errorf("%s is asked to hand off the state of run %s under epoch %d, which is bound to %s under %d", processKey(to), msg.RunId, msg.Epoch, processKey(b.Worker), b.Epoch)
	}
	return nil
}

// leftWithState checks that the local state of a run was asked for, if it has any that
// can be handed off, before it was bound anew. What the entry itself says came before.
func (m *monitor) leftWithState(before *run.State, b *messages.Bound) error {
	has := handsOff(before.Def) && before.WorkedEpoch == b.Epoch-1 && !before.StateLost && m.lostIn[before.RunID] != m.counts.Entries
	if has && m.handedUnder[before.RunID] != b.Epoch-1 {
		return fmt.Errorf("left %s because of %q without what it has of the state of epoch %d", b.FromWorker, b.Reason.Words(), b.Epoch-1)
	}
	return nil
}

// leftFor is how long a run is not bound again to a worker that it left by
// itself.
const leftFor = 5 * time.Second

// moved checks a move away from a worker that is there: it goes to another one,
// or to another process of it that has come in the meantime.
// Its local state was asked for, if it has any that can be handed off.
func (m *monitor) moved(before *run.State, b *messages.Bound, at time.Time) error {
	if err := m.leftWithState(before, b); err != nil {
		return err
	}
	if b.FromWorker != b.Worker.WorkerId || b.FromIncarnation != b.Worker.Incarnation {
		return nil
	}
	if !before.Binding.Lost || at.Before(before.Binding.LostAt.Add(leftFor)) {
		return fmt.Errorf("moved because of %q to the same process of worker %s", b.Reason.Words(), b.FromWorker)
	}
	return nil
}
