package run

import (
	"slices"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// Suspension: an attempt that does nothing but wait is let go, and the step runs
// again when what it waits for has come.
//
//	idle        An attempt is idle while its worker says that it does nothing but wait
//	            in the very calls that wait by the journal: see WaitsHash. Nobody but
//	            the outside world can end that, so what is said stays true until one of
//	            the calls is decided. A run that leaves memory notes which steps are.
//	the worker  asks for it (SuspendAttempt) when an idle attempt has been kept for
//	asks        long enough, or it drains. One entry says so; only then the worker ends
//	            the function. If a call was decided before, the entry is not made, and
//	            the call is told to ask for its news.
//	the worker  is lost, or restarts: an idle attempt is suspended. Any other one is
//	is lost     lost; one of which that is not known, too.
//	meanwhile   Nothing is placed, no slot is held, no timeout of the step runs. The
//	            waits go on with their deadlines: they count as those of a live attempt.
//	a call is   The step is ready, and its schedule timeout begins. That is charged to
//	decided     nothing. Of calls of one ALL the last one counts.
//	cancel      The step runs once more where it was, if it can at once: what is
//	            recorded returns, and as soon as it waits, or half of CancelGrace is
//	            over, it is told of the cancel, as one that is kept: it cleans up. If
//	            its worker is gone, or local state is to be built first or is on its
//	            way, the step ends without.
//
// Local state: a sticky run of which nothing but suspended attempts is left on its
// worker is bound to that worker anew, for IDLE. The worker releases what it has under
// the old epoch; what can be handed off is asked for first, and kept until a step has
// ended. What builds state runs again, as after a loss.

// openWaits are the calls in which the attempt waits: of the parts of an ALL that is
// this one.
func (st *Step) openWaits(yield func(name, key string) bool) {
	alls := map[callKey]bool{}
	for key, w := range st.waits {
		if w.all != "" {
			key.key = w.all
		}
		if !st.awaits(w) || alls[key] {
			continue
		}
		if alls[key] = w.all != ""; !yield(key.name, key.key) {
			return
		}
	}
}

func (st *Step) waitsHash() uint64 { return messages.WaitsHash(st.openWaits) }

// ---- folding -------------------------------------------------------------------

// applySuspended folds that an attempt lives nowhere any more. It may have used and
// changed local state, which is not new to the run from here on.
func (s *State) applySuspended(st *Step, k *messages.AttemptSuspended, at time.Time) {
	st.Phase, st.SuspendedAt, st.SuspendReason, st.suspendedEpoch = Suspended, at, k.Reason, st.Epoch
	s.worked(st)
}

// endSuspensions folds that the run is canceled: suspended steps wait for nothing else.
func (s *State) endSuspensions(at time.Time) {
	for i := range s.Steps {
		if st := &s.Steps[i]; st.Phase == Suspended {
			st.Phase, st.ReadyAt = Ready, at
		}
	}
}

// suspended are the steps that are.
func (s *State) suspended() (all []int) {
	for i := range s.Steps {
		if s.Steps[i].Phase == Suspended {
			all = append(all, i)
		}
	}
	return all
}

// resume folds that what a suspended step waits for has come, of an ALL the last part.
func (st *Step) resume(key callKey, w callWait, at time.Time) {
	if st.Phase == Suspended && (w.all == "" || !st.hasPart(key.name, w.all)) {
		st.Phase, st.ReadyAt = Ready, at
	}
}

// ---- deciding ------------------------------------------------------------------

// idle says that a live attempt does nothing but wait, by what its worker said last.
func (m *Machine) idle(i int) bool {
	st, said := &m.s.Steps[i], m.contacts[i].idleWaits
	return said != 0 && st.Phase == Live && said == st.waitsHash()
}

// mayOutlive says that an attempt whose worker is lost for a reason may have been
// waiting all the same: it was not lost for what it did.
func mayOutlive(reason messages.Reason) bool {
	return processEnded(reason) || reason == messages.Reason_REASON_WORKER_LEFT || reason == messages.Reason_REASON_WORKER_DRAINING ||
		reason == messages.Reason_REASON_STEP_GONE || reason == messages.Reason_REASON_LEASE_EXPIRED || reason == messages.Reason_REASON_CANCELED_BY_WORKER
}

func (m *Machine) suspend(i int, reason messages.Reason) {
	st := &m.s.Steps[i]
	m.recordStart(i)
	m.recordProgress(i)
	m.contacts[i] = contact{}
	m.emit(&messages.Event{Kind: &messages.Event_AttemptSuspended{AttemptSuspended: &messages.AttemptSuspended{
		Step: st.Def.Name, Attempt: st.Attempt, Reason: reason}}})
}

// suspendIdle suspends what did nothing but wait on a worker that is out of reach.
func (m *Machine) suspendIdle(reason messages.Reason) {
	for i := range m.s.Steps {
		if m.s.Cancel == nil && m.idle(i) {
			m.suspend(i, reason)
		}
	}
}

// haveCleanedUp has steps run again that were suspended when the run was canceled.
func (m *Machine) haveCleanedUp(suspended []int) {
	for _, i := range suspended {
		st := &m.s.Steps[i]
		worker := st.Worker
		if m.s.isSticky() {
			worker = m.s.Binding.Worker
		}
		if st.isEnd() || m.s.Binding.Lost || len(m.s.missing(i)) > 0 || m.dispatchable(st) != nil {
			continue
		}
		m.later(Watch{worker.WorkerId, worker.Incarnation})
		m.dispatch(i, worker, 0)
		m.contacts[i].cleansUp = true
	}
}

// waitsToCleanUp tells a step of the cancel of its run once it has come to a wait.
func (m *Machine) waitsToCleanUp(st *Step) {
	if i, _ := m.s.stepAt(st.Def.Name); m.contacts[i].cleansUp {
		m.cancelAttempt(i)
	}
}

// suspendAttempt is a worker's wish. What is decided is answered again and again.
func (m *Machine) suspendAttempt(msg *messages.SuspendAttempt) {
	i, ok := m.s.stepAt(msg.Step)
	if !ok {
		return
	}
	st, c := &m.s.Steps[i], &m.contacts[i]
	switch {
	case msg.Attempt > st.Attempt || m.s.Start == nil:
	case st.Phase == Live && msg.Attempt == st.Attempt && msg.Epoch != st.Epoch:
	case st.Phase == Live && msg.Attempt == st.Attempt:
		c.hear(m.now)
		c.idleWaits = msg.IdleWaits
		switch {
		case m.s.Cancel != nil || m.s.Binding.Lost:
		case m.idle(i):
			m.suspend(i, msg.Reason)
			m.tellSuspended(msg)
		default:
			m.tellCalls(i)
		}
	default:
		// It was suspended, or is over otherwise: its function is needed no more.
		m.tellSuspended(msg)
	}
}

func (m *Machine) tellSuspended(msg *messages.SuspendAttempt) {
	m.later(SendWorker{msg.Worker, &messages.Suspended{RunId: msg.RunId, Step: msg.Step, Attempt: msg.Attempt}})
}

// letGo gives the worker its room back once nothing but suspended attempts is left
// there.
func (m *Machine) letGo() {
	switch {
	case !m.s.bound() || m.leaving.under() || !m.s.restsThere():
	case m.declaresHandoff() && !m.s.StateLost:
		m.leaving.handOff = &handOff{reason: messages.Reason_REASON_IDLE}
	default:
		m.bindAgain(nil)
	}
}

// restsThere says that attempts of the run were suspended under its binding, that some
// are, and that it has nothing else to do there. One whose steps have ended is about to end.
func (s *State) restsThere() bool {
	suspended := false
	for i := range s.Steps {
		p := s.Steps[i].Phase
		if p == Live || p == Ready || p == Backoff {
			return false
		}
		suspended = suspended || p == Suspended
	}
	return suspended && s.suspendedThere()
}

// suspendedThere says that an attempt was suspended under the binding.
func (s *State) suspendedThere() bool {
	return slices.ContainsFunc(s.Steps, func(st Step) bool { return st.suspendedEpoch != 0 && st.suspendedEpoch == s.Binding.Epoch })
}

// bindAgain binds a run that rests to the process where it is. off is what the worker
// handed off; nil if it was not asked.
func (m *Machine) bindAgain(off *messages.StateHandedOff) {
	old := m.s.Binding
	if off != nil {
		m.emit(&messages.Event{Kind: &messages.Event_StateHandedOff{StateHandedOff: off}})
	}
	m.emit(&messages.Event{Kind: &messages.Event_Bound{Bound: &messages.Bound{
		Epoch: m.s.Epoch + 1, Worker: old.Worker, Reason: messages.Reason_REASON_IDLE,
		FromWorker: old.Worker.WorkerId, FromIncarnation: old.Worker.Incarnation}}})
	m.leaving.handOff = nil
	m.later(SendWorker{old.Worker, &messages.RunReleased{RunId: m.s.RunID, Epoch: old.Epoch, Reason: messages.ReleaseReason_RELEASE_REASON_IDLE}})
}
