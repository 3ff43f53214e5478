package run

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/messages"
)

// bindQuestion is the key of the question for a binding; questions for steps
// of runs that are not sticky have the step's name.
const bindQuestion = ""

// Reasons of a Revoke.
const (
	revokeTimeout = "schedule timeout"
	revokeBusy    = "worker busy"
)

// question is one that placement was asked.
type question struct {
	ask      *messages.Place
	askedAt  time.Time
	answered bool
	// hold: the turn that asked waits with its append for the first answer.
	hold   bool
	reason string
	placed *messages.Placed
}

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
	b := m.s.Binding
	switch {
	case b.Worker == nil && m.s.Start.BindTo != nil && m.s.Generation == 0:
		m.bind(m.s.Start.BindTo, "child", 0)
	case b.Worker == nil:
		m.bindByPlacement(m.firstReason(), "")
	case b.Lost && m.s.soft():
		m.bindByPlacement(b.LostReason, "")
	case b.Lost:
		return
	case m.draining && m.s.soft():
		if !m.anyLive() {
			m.bindByPlacement("worker draining", b.Worker.WorkerId)
		}
		return
	case m.refused:
		return
	}
	if m.s.bound() {
		m.moveWhenBusy()
	}
	if m.s.bound() && m.move == nil {
		m.dispatchReady(0)
	}
}

func (m *Machine) firstReason() string {
	if m.s.Generation > 0 {
		return "replayed"
	}
	return "first"
}

// placeSteps places each ready step on its own.
func (m *Machine) placeSteps() {
	for i := range m.s.Steps {
		st := &m.s.Steps[i]
		if !m.ready(st) {
			m.withdraw(st.Def.Name)
			continue
		}
		q := m.questions[st.Def.Name]
		if q == nil || q.placed == nil {
			m.ask(st.Def.Name, "", st.ReadyAt)
			continue
		}
		delete(m.questions, st.Def.Name)
		m.later(Watch{q.placed.Worker.WorkerId, q.placed.Worker.Incarnation})
		m.dispatch(i, q.placed.Worker, q.placed.GrantId)
	}
}

// bindPause is the wait before placement is asked again after it granted a
// process that the run knows to be lost.
const bindPause = 50 * time.Millisecond

// bindByPlacement asks for a worker once a step is ready, and binds to it.
func (m *Machine) bindByPlacement(reason, exclude string) {
	since, any := m.readySince()
	if !any {
		m.withdraw(bindQuestion)
		return
	}
	q := m.questions[bindQuestion]
	if q == nil || q.placed == nil {
		if !m.now.Before(m.bindAfter) {
			m.ask(bindQuestion, exclude, since)
		}
		return
	}
	delete(m.questions, bindQuestion)
	if b := m.s.Binding; b.Lost && sameProcess(b.Worker, q.placed.Worker) {
		// Placement does not know yet that the process is lost.
		m.withdrawNow(q)
		m.bindAfter = m.now.Add(bindPause)
		return
	}
	m.bind(q.placed.Worker, reason, q.placed.GrantId)
}

// bind records the binding and dispatches under it; both become durable
// before the first message is sent.
func (m *Machine) bind(to *messages.WorkerRef, reason string, grant uint64) {
	old := m.s.Binding
	m.emit(&messages.Event{Kind: &messages.Event_Bound{Bound: &messages.Bound{
		Epoch: m.s.Epoch + 1, Worker: to, Reason: reason,
		FromWorker: old.Worker.GetWorkerId(), FromIncarnation: old.Worker.GetIncarnation()}}})
	m.draining, m.refused, m.move = false, false, nil
	m.boundNow = true
	if old.Worker != nil && !old.Lost {
		m.later(SendWorker{old.Worker, &messages.RunReleased{RunId: m.s.RunID, Epoch: old.Epoch, Reason: "rebound"}})
		m.later(Unbound{&messages.RunUnbound{RunId: m.s.RunID, Pool: m.pool(), WorkerId: old.Worker.WorkerId}})
		m.later(Unwatch{old.Worker.WorkerId})
	}
	m.later(Watch{to.WorkerId, to.Incarnation})
	m.dispatchReady(grant)
}

func (m *Machine) dispatchReady(grant uint64) {
	for i := range m.s.Steps {
		if m.ready(&m.s.Steps[i]) && m.dispatch(i, m.s.Binding.Worker, grant) {
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
		Priority: messages.EffectivePriority(m.s.Start.Priority, m.s.Def.Priority), Input: m.s.Start.Input,
		Bound: m.s.isSticky() && !(m.boundNow && grantable(m.s.Binding.Reason)), GrantId: grant,
		ReadyUs: st.ReadyAt.UnixMicro(), ParentRun: m.s.Start.ParentRun, Metadata: m.s.Start.Metadata,
	}
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
	if m.s.isSticky() && m.s.WorkedEpoch < st.Epoch {
		d.StateNew, d.StateReason = true, m.s.Binding.Reason
		d.PreviousWorker = m.s.workedWorker
	}
	m.later(SendWorker{st.Worker, d})
}

// grantable: a first step under such a binding competes with other new runs;
// a child and a HARD run that comes back do not.
func grantable(reason string) bool { return reason != "child" && reason != "worker restarted" }

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

// ask asks placement, unless the same question is open.
func (m *Machine) ask(key, exclude string, since time.Time) {
	if q := m.questions[key]; q != nil && q.ask.ExcludeWorker == exclude {
		return
	}
	m.asked++
	p := &messages.Place{
		RunId: m.s.RunID, Question: m.asked, Step: key, Workflow: m.s.Def.Name, Pool: m.pool(), Sticky: m.s.Def.Sticky,
		Priority: messages.EffectivePriority(m.s.Start.Priority, m.s.Def.Priority), ExcludeWorker: exclude, ReadyUs: since.UnixMicro(),
	}
	if key == bindQuestion {
		p.Steps, p.Labels = m.s.Def.StepNames(), m.s.Def.LabelsOfRun()
	} else {
		st := m.s.Step(key)
		p.Steps, p.Labels = []string{key}, m.s.Def.LabelsOfStep(st.Def)
	}
	m.questions[key] = &question{ask: p, askedAt: m.now, hold: true}
	m.out = append(m.out, Ask{p})
}

// askAll asks every open question again.
func (m *Machine) askAll() {
	for _, q := range m.questions {
		if q.placed == nil {
			q.askedAt = m.now
			m.out = append(m.out, Ask{proto.Clone(q.ask).(*messages.Place)})
		}
	}
}

func (m *Machine) placed(p *messages.Placed) {
	q := m.questions[p.Step]
	if q == nil || q.ask.Question != p.Question || q.placed != nil {
		if q == nil || q.ask.Question != p.Question {
			m.out = append(m.out, Withdraw{&messages.WithdrawPlace{RunId: m.s.RunID, Step: p.Step, Pool: m.pool(), Question: p.Question}})
		}
		return
	}
	q.answered, q.placed = true, p
}

func (m *Machine) placeWaiting(p *messages.PlaceWaiting) {
	if q := m.questions[p.Step]; q != nil && q.ask.Question == p.Question {
		q.answered, q.reason = true, p.Reason
	}
}

// holding says that the turn's append waits for placement.
func (m *Machine) holding() bool {
	if !m.now.Before(m.turnAt.Add(m.cfg.HoldFor)) {
		return false
	}
	for _, q := range m.questions {
		if q.hold && !q.answered {
			return true
		}
	}
	return false
}

func (m *Machine) withdraw(key string) {
	if q := m.questions[key]; q != nil {
		delete(m.questions, key)
		m.withdrawNow(q)
	}
}

func (m *Machine) withdrawNow(q *question) {
	m.out = append(m.out, Withdraw{&messages.WithdrawPlace{RunId: m.s.RunID, Step: q.ask.Step, Pool: m.pool(), Question: q.ask.Question}})
}

func (m *Machine) withdrawAll() {
	for key := range m.questions {
		m.withdraw(key)
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
			m.bind(to.Worker, "worker busy", to.GrantId)
		case !m.now.Before(m.move.since.Add(m.cfg.MoveFor)):
			m.endMove()
		}
		return
	}
	at, wants := m.busyUntil()
	if !wants || m.now.Before(at) {
		m.withdraw(bindQuestion)
		return
	}
	q := m.questions[bindQuestion]
	if q == nil || q.placed == nil {
		m.ask(bindQuestion, m.s.Binding.Worker.WorkerId, at)
		return
	}
	delete(m.questions, bindQuestion)
	m.move = &move{to: q.placed, since: m.now}
	for i := range m.s.Steps {
		if m.s.Steps[i].Phase == Live {
			m.revoke(i, revokeBusy)
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
func (m *Machine) revoke(i int, reason string) {
	st, c := &m.s.Steps[i], &m.contacts[i]
	c.revoke, c.heard, c.sentAt = reason, false, m.now
	m.later(SendWorker{st.Worker, &messages.Revoke{RunId: m.s.RunID, Step: st.Def.Name, Attempt: st.Attempt, Reason: reason}})
}

// waitingFor says in words what a step waits for.
func (m *Machine) waitingFor(i int) string {
	st, c, b := &m.s.Steps[i], &m.contacts[i], m.s.Binding
	switch {
	case m.s.pending():
		return fmt.Sprintf("worker %q to come back (%s)", b.Worker.WorkerId, b.LostReason)
	case st.Phase == Live && c.queued:
		return fmt.Sprintf("a slot of worker %q: all %d are busy, %d attempts were ahead", st.Worker.WorkerId, c.slots, c.ahead)
	case st.Phase == Live:
		return fmt.Sprintf("worker %q to start it", st.Worker.WorkerId)
	case m.refused:
		return fmt.Sprintf("worker %q, which is draining", b.Worker.WorkerId)
	}
	key := bindQuestion
	if !m.s.isSticky() {
		key = st.Def.Name
	}
	if q := m.questions[key]; q != nil && q.reason != "" {
		return q.reason
	}
	return fmt.Sprintf("a worker of pool %q", m.pool())
}

// WaitingFor says in words what the run waits for; empty if it does not.
func (m *Machine) WaitingFor() string {
	for i := range m.s.Steps {
		st := &m.s.Steps[i]
		inDoubt := st.Phase == Live && m.s.pending()
		if m.ready(st) || inDoubt || st.Phase == Live && m.contacts[i].queued {
			return m.waitingFor(i)
		}
	}
	return ""
}
