package run

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/messages"
)

// question is one that placement was asked.
type question struct {
	ask      *messages.Place
	askedAt  time.Time
	answered bool
	// hold: the turn that asked waits with its append for the first answer.
	hold bool
	// waits says in words what it waits for.
	waits  string
	placed *messages.Placed
}

// wish is what a question asks for beyond what its run or step always does.
type wish struct {
	// exclude is a worker that does not count.
	exclude string
	// move: the run may stay where it is for now.
	move  bool
	since time.Time
}

// usedGrant is a question whose grant was used.
type usedGrant struct{ question, grant uint64 }

// move is a SOFT run on its way from a busy worker to the one granted.
type move struct {
	to    *messages.Placed
	since time.Time
}

// place binds, asks for placement and dispatches what is ready.
func (m *Machine) place() {
	if !m.s.isSticky() {
		m.placeSteps()
		return
	}
	if m.handOff != nil {
		m.awaitHandOff()
	}
	if m.handOff != nil {
		return
	}
	switch b := m.s.Binding; {
	case b.Worker == nil:
		m.bindFirst()
	case b.Lost && m.s.soft():
		m.bindByPlacement(b.LostReason, m.justLeft())
	case b.Lost:
		return
	case m.draining && m.s.soft():
		m.leaveDraining()
		return
	case m.refused && m.now.Before(m.refusedUntil()):
		return
	}
	m.refused = false
	if m.s.bound() {
		m.moveWhenBusy()
	}
	if m.s.bound() && m.move == nil && m.handOff == nil {
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

// placeSteps places each ready step on its own.
func (m *Machine) placeSteps() {
	for i := range m.s.Steps {
		st := &m.s.Steps[i]
		if !m.ready(st) {
			m.withdraw(i)
			continue
		}
		if p := m.placement(i, wish{since: st.ReadyAt}); p != nil {
			m.later(Watch{p.Worker.WorkerId, p.Worker.Incarnation})
			m.dispatch(i, p.Worker, p.GrantId)
		}
	}
}

// placement returns the answer to a question, which it asks if need be; nil if
// there is none yet.
func (m *Machine) placement(k int, w wish) *messages.Placed {
	q := m.questions[k]
	switch {
	case q == nil || q.placed == nil:
		m.ask(k, w)
		return nil
	case m.isGone(q.placed.Worker):
		// Placement does not know yet that the process cannot be used.
		m.withdraw(k)
		m.askFrom = m.now.Add(askPause)
		return nil
	}
	m.questions[k], m.used[k] = nil, usedGrant{q.ask.Question, q.placed.GrantId}
	m.spent = append(m.spent, q.placed)
	return q.placed
}

// unspend gives back the grants of a turn that did not happen: nothing is sent
// with them.
func (m *Machine) unspend() {
	for _, p := range m.spent {
		m.out = append(m.out, Withdraw{&messages.WithdrawPlace{RunId: m.s.RunID, Step: p.Step, Pool: m.pool(), Question: p.Question}})
	}
	m.spent = nil
}

// bindQuestion is the index of the question for a binding.
func (m *Machine) bindQuestion() int { return len(m.s.Steps) }

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
	m.boundNow = grant != 0
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

// dispatchReady sends what is ready under the binding, and first what builds the
// state that it needs.
func (m *Machine) dispatchReady(grant uint64) {
	m.beginRebuilds()
	for i := range m.s.Steps {
		if m.ready(&m.s.Steps[i]) && len(m.s.missing(i)) == 0 && m.dispatch(i, m.s.Binding.Worker, grant) {
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
	m.emit(&messages.Event{Kind: &messages.Event_StepDispatched{StepDispatched: &messages.StepDispatched{
		Step: st.Def.Name, Attempt: st.Attempt + 1, Epoch: epoch, Worker: to}}})
	m.contacts[i] = contact{}
	m.sendDispatch(i, grant)
	return true
}

// stepInputBytesMax bounds what a dispatch carries: the run's input and the
// outputs of the step's parents together.
const stepInputBytesMax = 16 * messages.PayloadBytesMax

func (m *Machine) dispatchable(st *Step) error {
	if m.s.attempts >= messages.AttemptsMax {
		return messages.Errorf(messages.CodeLimitExceeded, "the run has made %d attempts, the limit attemptsMax is %d", m.s.attempts, messages.AttemptsMax)
	}
	size := len(m.s.Start.Input)
	for _, p := range st.parents {
		size += len(m.s.Steps[p].Output)
	}
	if size > stepInputBytesMax {
		return messages.Errorf(messages.CodePayloadTooLarge, "run input and outputs of the %d parents are %d bytes, the limit stepInputBytesMax is %d", len(st.parents), size, stepInputBytesMax)
	}
	return nil
}

// sendDispatch sends the live attempt of a step to its worker.
func (m *Machine) sendDispatch(i int, grant uint64) {
	st, c := &m.s.Steps[i], &m.contacts[i]
	c.sentAt, c.heard = m.now, false
	d := &messages.Dispatch{
		RunId: m.s.RunID, Step: st.Def.Name, Attempt: st.Attempt, Epoch: st.Epoch, TakeUp: c.takeUp,
		Workflow: m.s.Def.Name, DefinitionHash: m.s.Start.DefinitionHash, Sticky: m.s.Def.Sticky,
		Priority: messages.EffectivePriority(m.s.Start.Priority, m.s.Def.Priority),
		Bound:    m.s.isSticky() && !m.boundNow, GrantId: grant,
		ReadyUs: st.ReadyAt.UnixMicro(), ParentRun: m.s.Start.ParentRun, Rebuild: st.Rebuild != nil,
	}
	if !c.takeUp {
		m.fill(d, st)
	}
	m.later(SendWorker{st.Worker, d})
}

// fill adds what only the execution of an attempt needs.
func (m *Machine) fill(d *messages.Dispatch, st *Step) {
	d.Input, d.Metadata = m.s.Start.Input, m.s.Start.Metadata
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
	if h := m.s.Handed; h != nil && h.Epoch < st.Epoch {
		d.HandedOff = h.States
	}
}

// ready says that the step can be dispatched now.
func (m *Machine) ready(st *Step) bool {
	return st.Phase == Ready || st.Phase == Backoff && !m.now.Before(st.RetryAt)
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

// ask asks placement, unless the same question is open. Questions are numbered
// by the clock, so that a later activation's are newer.
func (m *Machine) ask(k int, w wish) {
	if q := m.questions[k]; q != nil && q.ask.ExcludeWorker == w.exclude && q.ask.Move == w.move || m.now.Before(m.askFrom) {
		return
	}
	m.asked = max(m.asked+1, uint64(m.now.UnixMicro()))
	p := &messages.Place{
		RunId: m.s.RunID, Question: m.asked, Workflow: m.s.Def.Name, Pool: m.pool(), Sticky: m.s.Def.Sticky,
		Priority: messages.EffectivePriority(m.s.Start.Priority, m.s.Def.Priority), ExcludeWorker: w.exclude, Move: w.move, ReadyUs: w.since.UnixMicro(),
		HeldKeys: m.heldKeys(),
	}
	if k == m.bindQuestion() {
		p.Steps, p.Labels = m.s.Def.StepNames(), m.s.Def.LabelsOfRun()
	} else {
		st := m.s.Steps[k].Def
		p.Step, p.Steps, p.Labels = st.Name, []string{st.Name}, m.s.Def.LabelsOfStep(st)
	}
	m.questions[k] = &question{ask: p, askedAt: m.now, hold: true}
	m.out = append(m.out, Ask{p})
}

// askAgain repeats a question; what was sent is not changed any more.
func (m *Machine) askAgain(q *question) {
	q.askedAt, q.answered = m.now, false
	m.out = append(m.out, Ask{proto.Clone(q.ask).(*messages.Place)})
}

// askAll asks every open question again.
func (m *Machine) askAll() {
	for _, q := range m.questions {
		if q != nil && q.placed == nil {
			m.askAgain(q)
		}
	}
}

// asking says that a question is open.
func (m *Machine) asking() bool {
	for _, q := range m.questions {
		if q != nil {
			return true
		}
	}
	return m.now.Before(m.askFrom)
}

// questionOf returns the index of the questions for a step, or for the binding.
func (m *Machine) questionOf(step string) (int, bool) {
	if m.s.isSticky() {
		return m.bindQuestion(), step == ""
	}
	k, ok := m.s.index[step]
	return k, ok
}

// placed takes a grant. One that is not wanted any more is given back, unless
// it is the double of one that was used: two placements, the earlier and the
// later one, may both have answered.
func (m *Machine) placed(p *messages.Placed) {
	k, ok := m.questionOf(p.Step)
	if !ok {
		return
	}
	switch q := m.questions[k]; {
	case q != nil && q.ask.Question == p.Question:
		if q.placed == nil {
			q.answered, q.placed = true, p
		}
	case m.used[k] != usedGrant{p.Question, p.GrantId}:
		m.out = append(m.out, Withdraw{&messages.WithdrawPlace{RunId: m.s.RunID, Step: p.Step, Pool: m.pool(), Question: p.Question}})
	}
}

func (m *Machine) placeWaiting(p *messages.PlaceWaiting) {
	k, ok := m.questionOf(p.Step)
	if !ok {
		return
	}
	if q := m.questions[k]; q != nil && q.ask.Question == p.Question {
		q.answered, q.waits = true, p.Text
		if p.Stay && q.ask.Move && q.placed == nil {
			m.questions[k], m.stay = nil, true
			return
		}
		if p.AskAgain && q.placed == nil {
			m.askAgain(q)
		}
	}
}

// holding says that the turn's append waits for placement.
func (m *Machine) holding() bool {
	if !m.now.Before(m.turnAt.Add(m.cfg.HoldFor)) {
		return false
	}
	for _, q := range m.questions {
		if q != nil && q.hold && !q.answered {
			return true
		}
	}
	return false
}

// withdraw takes a question back, if there is one.
func (m *Machine) withdraw(k int) {
	if q := m.questions[k]; q != nil {
		m.questions[k] = nil
		m.out = append(m.out, Withdraw{&messages.WithdrawPlace{RunId: m.s.RunID, Step: q.ask.Step, Pool: m.pool(), Question: q.ask.Question}})
	}
}

func (m *Machine) withdrawAll() {
	for k := range m.questions {
		m.withdraw(k)
	}
	m.endMove()
}

// moveWhenBusy moves a SOFT run whose attempts have all been queued at a busy
// worker for longer than its patience: first another worker grants a slot,
// then the queued attempts are revoked, then the run is bound there. Anything
// that starts meanwhile ends the move.
func (m *Machine) moveWhenBusy() {
	if m.move != nil {
		switch {
		case !m.anyLive():
			to := m.move.to
			m.move = nil
			m.moveTo(to, messages.Reason_REASON_WORKER_BUSY)
		case !m.now.Before(m.move.since.Add(m.cfg.MoveFor)):
			m.endMove()
		}
		return
	}
	at, wants := m.busyUntil()
	if !wants || m.now.Before(at) {
		m.withdraw(m.bindQuestion())
		return
	}
	p := m.placement(m.bindQuestion(), wish{exclude: m.s.Binding.Worker.WorkerId, since: at})
	if p == nil {
		return
	}
	m.move = &move{to: p, since: m.now}
	for i := range m.s.Steps {
		if m.s.Steps[i].Phase == Live {
			m.revoke(i, messages.Reason_REASON_WORKER_BUSY)
		}
	}
}

// busyUntil is when the patience of a SOFT run ends all of whose live
// attempts wait in its worker's queue.
func (m *Machine) busyUntil() (at time.Time, wants bool) {
	patience, kind := m.s.Def.BusyPatience()
	if !m.s.soft() || kind == messages.PatienceForever || m.s.Cancel != nil {
		return at, false
	}
	for i := range m.s.Steps {
		st := &m.s.Steps[i]
		if st.Phase != Live {
			continue
		}
		if !m.contacts[i].queued || !st.StartedAt.IsZero() {
			return at, false
		}
		if until := st.DispatchedAt.Add(patience); !wants || until.Before(at) {
			at, wants = until, true
		}
	}
	if wants && at.Before(m.moveRetryAt) {
		at = m.moveRetryAt
	}
	return at, wants
}

// endMove gives up a move: the run stays where it is, and what was revoked is
// dispatched there again. The next try comes no sooner than MoveFor.
func (m *Machine) endMove() {
	if m.move == nil {
		return
	}
	to := m.move.to
	m.move, m.moveRetryAt = nil, m.now.Add(m.cfg.MoveFor)
	m.out = append(m.out, Withdraw{&messages.WithdrawPlace{RunId: m.s.RunID, Pool: m.pool(), Question: to.Question}})
}

// revoke asks the worker to withdraw an attempt that has not started.
func (m *Machine) revoke(i int, reason messages.Reason) {
	st, c := &m.s.Steps[i], &m.contacts[i]
	c.revoke, c.heard, c.sentAt = reason, false, m.now
	m.later(SendWorker{st.Worker, &messages.Revoke{RunId: m.s.RunID, Step: st.Def.Name, Attempt: st.Attempt, Reason: reason}})
}
