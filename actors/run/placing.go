package run

import (
	"time"

	"github.com/limpetrun/limpet/messages"
)

// place binds, asks for placement and dispatches what is ready.
func (m *Machine) place() {
	if !m.s.isSticky() {
		m.placeSteps()
		return
	}
	m.letGo()
	if m.handingOff() {
		return
	}
	switch b := m.s.Binding; {
	case b.Worker == nil:
		m.bindFirst()
	case b.Lost && m.s.soft():
		m.bindByPlacement(b.LostReason, m.justLeft())
	case b.Lost:
		m.bindWhereBack()
		return
	case m.leavesDraining():
		m.leaveDraining()
		return
	case m.leaving.refused && !m.due(m.leaving.refusedUntil(m.cfg.ResendAfter)):
		return
	}
	m.forgetRefusal()
	if m.s.bound() {
		m.moveWhenBusy()
	}
	if m.s.bound() && m.leaving.move == nil && m.leaving.handOff == nil {
		m.dispatchReady(0)
	}
}

// bindFirst binds a run that has no binding: a child to the worker that it is
// to stick to, a run that is replayed anywhere.
func (m *Machine) bindFirst() {
	switch {
	case m.s.Generation > 0:
		m.bindByPlacement(messages.Reason_REASON_REPLAYED, "")
	case m.s.Start.BindTo != nil:
		m.bind(m.s.Start.BindTo, messages.Reason_REASON_CHILD, 0)
	default:
		m.bindByPlacement(messages.Reason_REASON_FIRST, "")
	}
}

// bindWhereBack binds a HARD run to the process of its worker that came back while the
// run was being canceled: its end step is for that one.
func (m *Machine) bindWhereBack() {
	if in := m.seen; in != nil && in.State == WorkerUp && !sameProcess(in.Worker, m.s.Binding.Worker) {
		m.workerUp(*in)
	}
}

// placeSteps places each ready step on its own. No more than RunQuestionsMax
// questions are open that placement has not answered yet.
func (m *Machine) placeSteps() {
	room, questions := m.room(), messages.RunQuestionsMax-m.questions.unanswered()
	for i := range m.s.Steps {
		st := &m.s.Steps[i]
		switch isNew := m.questions.open[i] == nil; {
		case !m.ready(st):
			m.withdraw(i)
			continue
		case !room.any(), isNew && questions <= 0:
			continue
		case isNew:
			questions--
		}
		if p := m.placement(i, wish{since: st.ReadyAt}); p != nil {
			m.later(Watch{p.Worker.WorkerId, p.Worker.Incarnation})
			if m.dispatch(i, p.Worker, p.GrantId) {
				room.take(&m.contacts[i])
			}
		}
	}
}

// bindByPlacement asks for a worker once a step is ready, and binds to it.
func (m *Machine) bindByPlacement(reason messages.Reason, exclude string) {
	since, any := m.readySince()
	if !any {
		m.withdraw(m.bindQuestion())
		return
	}
	if p := m.placement(m.bindQuestion(), wish{exclude: exclude, since: since}); p != nil {
		m.bind(p.Worker, reason, p.GrantId)
	}
}

// bind records the binding and dispatches under it; both become durable
// before the first message is sent.
func (m *Machine) bind(to *messages.WorkerRef, reason messages.Reason, grant uint64) {
	old := m.s.Binding
	m.emit(&messages.Event{Kind: &messages.Event_Bound{Bound: &messages.Bound{
		Epoch: m.s.Epoch + 1, Worker: to, Reason: reason,
		FromWorker: old.Worker.GetWorkerId(), FromIncarnation: old.Worker.GetIncarnation()}}})
	m.forgetBinding()
	m.turn.boundNow = grant != 0
	if old.Worker != nil && !old.Lost {
		m.later(SendWorker{old.Worker, &messages.RunReleased{RunId: m.s.RunID, Epoch: old.Epoch, Reason: messages.ReleaseReason_RELEASE_REASON_REBOUND}})
		m.later(Unbound{&messages.RunUnbound{RunId: m.s.RunID, Pool: m.pool(), WorkerId: old.Worker.WorkerId}})
	}
	if old.Worker != nil && old.Worker.WorkerId != to.WorkerId {
		m.later(Unwatch{old.Worker.WorkerId})
	}
	m.later(Watch{to.WorkerId, to.Incarnation})
	m.dispatchReady(grant)
}

// dispatchReady sends what is ready under the binding, as far as there is room, and
// first what builds the state that it needs.
func (m *Machine) dispatchReady(grant uint64) {
	m.beginRebuilds()
	if _, any := m.readySince(); !any {
		return
	}
	room := m.room()
	for i := range m.s.Steps {
		if !m.ready(&m.s.Steps[i]) || len(m.s.missing(i)) > 0 {
			continue
		}
		if !room.any() {
			m.fullAt = m.now
			return
		}
		if m.dispatch(i, m.s.Binding.Worker, grant) {
			room.take(&m.contacts[i])
			grant = 0
		}
	}
}

// dispatch starts a new attempt of a step on a worker; false if a limit fails
// the step instead.
func (m *Machine) dispatch(i int, to *messages.WorkerRef, grant uint64) bool {
	st := &m.s.Steps[i]
	if err := m.dispatchable(st); err != nil {
		m.failStep(st, messages.ToFailure(err))
		return false
	}
	var epoch uint64
	if m.s.isSticky() {
		epoch = m.s.Binding.Epoch
	}
	shares := m.hasInput(to)
	m.emit(&messages.Event{Kind: &messages.Event_StepDispatched{StepDispatched: &messages.StepDispatched{
		Step: st.Def.Name, Attempt: st.Attempt + 1, Epoch: epoch, Worker: to}}})
	m.contacts[i] = contact{shares: shares}
	m.sendDispatch(i, grant)
	return true
}

func (m *Machine) dispatchable(st *Step) error {
	if m.s.attempts >= messages.AttemptsMax {
		return messages.Errorf(messages.CodeLimitExceeded, "the run has made %d attempts, the limit attemptsMax is %d", m.s.attempts, messages.AttemptsMax)
	}
	size := len(m.s.Start.Input)
	for _, p := range st.parents {
		size += len(m.s.Steps[p].Output)
	}
	if size > messages.StepInputBytesMax {
		return messages.Errorf(messages.CodePayloadTooLarge, "run input and outputs of the %d parents are %d bytes, more than StepInputBytesMax = %d", len(st.parents), size, messages.StepInputBytesMax)
	}
	return nil
}

// sendDispatch sends the live attempt of a step to its worker.
func (m *Machine) sendDispatch(i int, grant uint64) {
	st, c := &m.s.Steps[i], &m.contacts[i]
	c.send(m.now)
	d := &messages.Dispatch{
		RunId: m.s.RunID, Step: st.Def.Name, Attempt: st.Attempt, Epoch: st.Epoch, TakeUp: c.takeUp,
		Workflow: m.s.Def.Name, DefinitionHash: m.s.Start.DefinitionHash, Sticky: m.s.Def.Sticky,
		Priority: messages.EffectivePriority(m.s.Start.Priority, m.s.Def.Priority),
		Bound:    m.s.isSticky() && !m.turn.boundNow, GrantId: grant,
		ReadyUs: m.turnOf(st).UnixMicro(), ParentRun: m.s.Start.ParentRun, Rebuild: st.Rebuild != nil, Suspect: st.suspect(),
	}
	if !c.takeUp {
		m.fill(d, st, c.shares)
		if st.isEnd() {
			d.Ending = m.s.Ending
		}
		c.unread = d.SizeVT()
	}
	m.later(SendWorker{st.Worker, d})
}

// turnOf is since when an attempt waits for a slot among those of other runs: what
// waited in its own run comes after what others sent meanwhile.
func (m *Machine) turnOf(st *Step) time.Time { return later(st.ReadyAt, m.fullAt) }

// fill adds what only the execution of an attempt needs.
func (m *Machine) fill(d *messages.Dispatch, st *Step, shares bool) {
	d.Metadata, d.InputShared = m.s.Start.Metadata, shares
	if !shares {
		d.Input = m.s.Start.Input
	}
	d.KeepForMs = m.s.Def.KeepForMs
	d.ExecutionTimeoutMs = messages.TimeoutNeverMs
	if t, ok := st.Def.ExecutionTimeout(); ok {
		d.ExecutionTimeoutMs = t.Milliseconds()
	}
	if len(st.parents) > 0 {
		d.Parents = make(map[string][]byte, len(st.parents))
		for _, p := range st.parents {
			d.Parents[m.s.Steps[p].Def.Name] = m.s.Steps[p].Output
		}
	}
	switch {
	case !m.s.isSticky():
	case m.s.StateLost:
		d.StateNew, d.StateReason = true, messages.Reason_REASON_STATE_LOST
	case m.s.WorkedEpoch < st.Epoch:
		d.StateNew, d.StateReason = true, m.s.Binding.Reason
		d.PreviousWorker = m.s.workedWorker
	}
	d.Traceparent = messages.AttemptSpan(m.s.Start.Traceparent, m.s.RunID, st.Def.Name, st.Attempt)
	d.RecordedCalls, d.HeartbeatMs, d.LastProgress = int32(len(st.calls)), st.Def.HeartbeatMs, st.progress()
	if h := m.s.Handed; h != nil && h.Epoch < st.Epoch {
		d.HandedOff = h.States
	}
}

// ready says that the step can be dispatched now.
func (m *Machine) ready(st *Step) bool {
	return st.Phase == Ready || st.Phase == Backoff && m.due(st.RetryAt)
}

func (m *Machine) readySince() (since time.Time, any bool) {
	for i := range m.s.Steps {
		if st := &m.s.Steps[i]; m.ready(st) && (!any || st.ReadyAt.Before(since)) {
			since, any = st.ReadyAt, true
		}
	}
	return since, any
}

func (m *Machine) anyLive() bool {
	for i := range m.s.Steps {
		if m.s.Steps[i].Phase == Live {
			return true
		}
	}
	return false
}

// revoke asks the worker to withdraw an attempt that has not started.
func (m *Machine) revoke(i int, reason messages.Reason) {
	st, c := &m.s.Steps[i], &m.contacts[i]
	c.revoke = reason
	c.send(m.now)
	m.later(SendWorker{st.Worker, &messages.Revoke{RunId: m.s.RunID, Step: st.Def.Name, Attempt: st.Attempt, Reason: reason}})
}
