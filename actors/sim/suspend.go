package sim

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// Steps that do nothing but wait: for a while, for the first of a message and a time,
// and in the waits that others draw. Their functions say so to the core of their
// worker, which asks the run to suspend them.

// keepSeeds is where the seeds of such steps begin.
const keepSeeds = 83 << 40

// keeping is how much the workers of a cluster keep; 0 is the default.
type keeping struct{ most int }

// nap is a call that waits for a time, or for a message if that comes first, or for all
// of several things.
type nap struct {
	lasts      time.Duration
	first, all bool
}

// drawKeeping gives steps times to wait for, and workflows a KeepFor.
func (s *Sim) drawKeeping(d dice) {
	if !d.chance(0.6) {
		return
	}
	s.keeping = keeping{pick(d, []int{0, 0, 1, 3})}
	for _, def := range s.work.order {
		for _, st := range def.Def.Steps {
			for range pick(d, []int{0, 0, 1, 2}) {
				n := nap{lasts: d.between(50*time.Millisecond, 15*time.Second), first: d.chance(0.4)}
				def.steps[st.Name].naps = append(def.steps[st.Name].naps, n)
				s.work.receives = s.work.receives || n.first
			}
		}
		s.work.keepFor(def, pick(d, []int64{0, messages.KeepWhileWaitingMs, messages.KeepNotAtAllMs, messages.KeepNotAtAllMs, 100, 1000, 5000}))
	}
}

// keepFor sets how long steps that wait stay in their worker.
func (w *workload) keepFor(dd *definition, ms int64) {
	delete(w.byHash, dd.hash)
	dd.Def.KeepForMs = ms
	dd.hash = messages.HashDefinition(dd.Def)
	w.byHash[dd.hash] = dd
}

// nap makes the calls of a function that wait for times, one after the other.
func (f *function) nap(i int) {
	switch {
	case f.over || f.canceled:
		return
	case i == len(f.plan.naps):
		f.post(0)
		return
	case f.plan.naps[i].all:
		f.napAll(i)
		return
	}
	n := f.plan.naps[i]
	wait := &messages.AwaitCall{Kind: messages.CallKind_CALL_KIND_SLEEP, Name: "sleep", Key: fmt.Sprintf("#%d", i), TimeoutMs: messages.WaitMsMax,
		Branches: []*messages.WaitBranch{{Kind: messages.CallKind_CALL_KIND_SLEEP, SleepMs: n.lasts.Milliseconds()}}}
	if n.first {
		wait.Kind, wait.Name = messages.CallKind_CALL_KIND_FIRST, "first"
		wait.Branches = append(wait.Branches, &messages.WaitBranch{Kind: messages.CallKind_CALL_KIND_RECEIVE, Signal: signalName})
	}
	f.awaitCall(wait, func(call *messages.CallRecorded) {
		f.w.sim.must(f.w.sim.monitor.callReturned(f, wait.Name+wait.Key, call.MessageId))
		f.nap(i + 1)
	})
}

// looksMost is how long it takes at most to see that a function does nothing but wait.
const looksMost = 300 * time.Millisecond

// idles says after a while that a function does nothing but wait in a call, unless it
// has asked for news meanwhile.
func (f *function) idles(wait *messages.AwaitCall) {
	asked := f.asked
	f.w.later(f.w.sim.dice.between(0, looksMost), func() {
		if f.over || f.canceled || f.asked != asked || f.onNews == nil {
			return
		}
		f.sayIdle(messages.WaitsHash(func(yield func(name, key string) bool) { yield(wait.Name, keyOfAll(wait)) }))
	})
}

// sayIdle tells the core in which calls the function does nothing but wait; 0: it does
// something.
func (f *function) sayIdle(waits uint64) {
	if f.said == waits {
		return
	}
	f.said = waits
	f.w.later(tiny, func() { f.w.do(f.w.core.Idle(f.w.clock(), f.id, waits, 0)) })
}

// ---- what is checked -------------------------------------------------------------

// suspensions are what the monitor knows of attempts that were suspended.
type suspensions struct {
	// at is when that became durable, by attempt; under the newest epoch of a run in
	// which one was.
	at    map[string]time.Time
	under map[string]uint64
	// waits are the calls that wait, by run, step, name and key.
	waits map[string]*messages.CallWaits
	since map[string]waitBegan
}

func newSuspensions() suspensions {
	return suspensions{at: map[string]time.Time{}, under: map[string]uint64{}, waits: map[string]*messages.CallWaits{}, since: map[string]waitBegan{}}
}

func waitOf(runID, step, name, key string) string { return runID + "/" + step + "/" + name + key }

// suspended checks that an attempt that is suspended does nothing but wait where it is.
func (m *monitor) suspended(st *run.State, k *messages.AttemptSuspended) error {
	m.counts.Suspended++
	key := attemptKey(st.RunID, k.Step, k.Attempt)
	by := m.dispatched[key]
	m.suspensions.at[key], m.suspensions.under[st.RunID] = m.sim.now, by.epoch
	m.withdrawn[key] = true
	w := m.sim.workerOf(by.worker)
	if w == nil || !w.alive {
		return nil
	}
	for _, f := range w.functions {
		if f.key() == key && !f.waiting && !f.canceled {
			return fmt.Errorf("%s is suspended on %s, where it does something", key, w.address)
		}
	}
	return nil
}

// notSuspended checks that a function which does something is not that of an attempt which is
// suspended: that is live nowhere.
func (m *monitor) notSuspended(f *function) error {
	if at, ok := m.suspensions.at[f.key()]; ok && !f.over && !f.canceled {
		return fmt.Errorf("%s goes on with %s, which is suspended since %.4f s", f.w.address, f.key(), at.Sub(epoch).Seconds())
	}
	return nil
}

// boundAnew checks that a run that is bound again to the process where it is has nothing
// there but what was suspended, and has its state.
func (m *monitor) boundAnew(before, after *run.State, b *messages.Bound) error {
	m.counts.BoundAnew++
	if m.suspensions.under[after.RunID] != b.Epoch-1 {
		return fmt.Errorf("bound anew to %s, where nothing was suspended under epoch %d", processKey(b.Worker), b.Epoch-1)
	}
	if b.FromWorker != b.Worker.WorkerId || b.FromIncarnation != b.Worker.Incarnation {
		return fmt.Errorf("went from %s~%s to %s: %s", b.FromWorker, b.FromIncarnation, processKey(b.Worker), b.Reason.Words())
	}
	for i := range after.Steps {
		if st := &after.Steps[i]; st.Phase == run.Live && st.Epoch < b.Epoch {
			return fmt.Errorf("bound anew under epoch %d while %s#%d is live under %d", b.Epoch, st.Def.Name, st.Attempt, st.Epoch)
		}
	}
	return m.leftWithState(before, b)
}

// callWaits notes a call that waits.
func (m *monitor) callWaits(after *run.State, k *messages.CallWaits) error {
	err := m.keepsTimes(after, k)
	m.suspensions.waits[waitOf(after.RunID, k.Step, k.Name, k.Key)] = k
	return err
}

// waitOver forgets a call that does not wait any more.
func (s *suspensions) waitOver(key string) {
	delete(s.waits, key)
	delete(s.since, key)
}

// decided checks after each entry that no step stays suspended for which a message is
// there.
func (m *monitor) decided(st *run.State) error {
	for i := range st.Steps {
		step := &st.Steps[i]
		if step.Phase != run.Suspended || len(m.boxes[st.RunID]) == 0 {
			continue
		}
		for _, k := range m.waitsOf(st.RunID, step.Def.Name) {
			if k.Kind == messages.CallKind_CALL_KIND_RECEIVE || k.Kind == messages.CallKind_CALL_KIND_FIRST {
				return fmt.Errorf("%s#%d is suspended and waits for a message; the mailbox has %q", step.Def.Name, step.Attempt, m.boxes[st.RunID])
			}
		}
	}
	return nil
}

// waitsOf are the calls of a step that wait.
func (m *monitor) waitsOf(runID, step string) (list []*messages.CallWaits) {
	for _, key := range slices.Sorted(maps.Keys(m.suspensions.waits)) {
		if k := m.suspensions.waits[key]; key == waitOf(runID, step, k.Name, k.Key) {
			list = append(list, k)
		}
	}
	return list
}

// asleep checks that a suspended step for which something has come goes on.
func (m *monitor) asleep(st *run.State, step *run.Step) error {
	overdue := func(us int64) bool {
		return us != 0 && time.UnixMicro(us).Add(soon+2*m.sim.world.skewMost).Before(m.sim.engineNow())
	}
	for _, k := range m.waitsOf(st.RunID, step.Def.Name) {
		came := overdue(k.DeadlineUs)
		for _, b := range k.Branches {
			child := m.runs[b.ChildRun]
			came = came || overdue(b.UntilUs) || child != nil && child.Ended() && m.sim.now.Sub(m.touched[b.ChildRun]) > soon+30*time.Second
		}
		if came {
			return fmt.Errorf("run %s: %s#%d is suspended, and what call %s %s waits for has come", st.RunID, step.Def.Name, step.Attempt, k.Name, k.Key)
		}
	}
	return nil
}

// forgotten checks that no process keeps the function of a suspended attempt for long.
func (m *monitor) forgotten(patience time.Duration) error {
	for _, p := range m.sim.procs {
		if p.worker == nil || !p.alive {
			continue
		}
		for _, f := range p.worker.functions {
			if at, ok := m.suspensions.at[f.key()]; ok && !f.canceled && m.sim.now.Sub(at) > patience && m.sim.now.Sub(m.sim.settledAt) > patience {
				return fmt.Errorf("%s keeps %s, which is suspended since %.4f s", f.w.address, f.key(), at.Sub(epoch).Seconds())
			}
		}
	}
	return nil
}

// rests says that a run waits for nothing but what its suspended steps wait for.
func rests(st *run.State) bool {
	suspended := false
	for i := range st.Steps {
		switch st.Steps[i].Phase {
		case run.Live, run.Ready, run.Backoff:
			return false
		case run.Suspended:
			suspended = true
		}
	}
	return suspended
}
