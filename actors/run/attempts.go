package run

import (
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/messages"
)

// attemptMessage is what all messages about an attempt have.
type attemptMessage interface {
	proto.Message
	GetRunId() string
	GetStep() string
	GetAttempt() int32
}

// fromWorker handles a worker's message about an attempt. Only Result is
// answered; the others mean nothing unless the attempt is live.
func (m *Machine) fromWorker(msg proto.Message) {
	if r, ok := msg.(*messages.Result); ok {
		m.result(r)
		return
	}
	if h, ok := msg.(*messages.HandedOff); ok {
		m.handedOff(h)
		return
	}
	am, ok := msg.(attemptMessage)
	if !ok {
		return
	}
	i, live := m.live(am)
	if !live {
		return
	}
	c := &m.contacts[i]
	c.heard, c.heardAt = true, m.now
	switch msg := msg.(type) {
	case *messages.Queued:
		c.queued, c.ahead, c.slots = m.s.Steps[i].StartedAt.IsZero() && c.startedUs == 0, msg.Ahead, msg.Slots
	case *messages.Started:
		m.started(i, msg)
	case *messages.Revoked:
		m.revoked(i)
	case *messages.DispatchRefused:
		m.dispatchRefused(i, msg.Reason)
	case *messages.AttemptUnknown:
		m.attemptUnknown(i)
	}
}

// live returns the step whose live attempt the message is about.
func (m *Machine) live(msg attemptMessage) (int, bool) {
	i, ok := m.s.index[msg.GetStep()]
	if !ok {
		return 0, false
	}
	st := &m.s.Steps[i]
	return i, st.Phase == Live && st.Attempt == msg.GetAttempt() && !m.s.Ended()
}

func (m *Machine) started(i int, msg *messages.Started) {
	st, c := &m.s.Steps[i], &m.contacts[i]
	c.queued, c.revoke, c.waitingChild = false, 0, msg.WaitingForChild
	m.endMove()
	if !st.StartedAt.IsZero() {
		return
	}
	c.startedUs = m.startOf(st, msg.StartedUs, msg.RunningUs)
	c.recordAt = time.UnixMicro(c.startedUs).Add(m.cfg.RecordStartAfter)
	if msg.WaitingForChild || m.s.Binding.Lost {
		m.recordStart(i)
	}
}

// startOf is when an attempt started on the clock of the run. The worker's may
// be another one: how long the function has run counts, not when it says that
// it began, and it did not begin before it was sent.
func (m *Machine) startOf(st *Step, startedUs, runningUs int64) int64 {
	now := m.now.UnixMicro()
	if runningUs > 0 {
		startedUs = now - runningUs
	}
	return min(max(startedUs, st.DispatchedAt.UnixMicro()), now)
}

// recordStart records a start that is known. A short attempt ends before that
// is due, and its result says when it started.
func (m *Machine) recordStart(i int) {
	st, c := &m.s.Steps[i], &m.contacts[i]
	if c.startedUs == 0 || !st.StartedAt.IsZero() {
		return
	}
	m.emit(&messages.Event{Kind: &messages.Event_StepStarted{StepStarted: &messages.StepStarted{
		Step: st.Def.Name, Attempt: st.Attempt, StartedUs: c.startedUs}}})
	c.startedUs, c.recordAt = 0, time.Time{}
}

// revoked: the attempt was withdrawn before it started.
func (m *Machine) revoked(i int) {
	st, c := &m.s.Steps[i], &m.contacts[i]
	reason := c.revoke
	if reason == 0 {
		reason = messages.Reason_REASON_REVOKED
	}
	waited := m.waitingFor(i)
	m.emitRevoked(i, reason)
	if reason == messages.Reason_REASON_SCHEDULE_TIMEOUT {
		m.failScheduleTimeout(st, waited)
	}
}

func (m *Machine) emitRevoked(i int, reason messages.Reason) {
	st := &m.s.Steps[i]
	m.contacts[i] = contact{}
	m.emit(&messages.Event{Kind: &messages.Event_AttemptRevoked{AttemptRevoked: &messages.AttemptRevoked{
		Step: st.Def.Name, Attempt: st.Attempt, Reason: reason}}})
}

func (m *Machine) dispatchRefused(i int, reason messages.Reason) {
	st := &m.s.Steps[i]
	worker := st.Worker
	m.emitRevoked(i, reason)
	if reason == messages.Reason_REASON_WORKER_SUPERSEDED {
		m.workerGone(worker, reason)
		return
	}
	if !m.s.isSticky() {
		if reason == messages.Reason_REASON_WORKER_DRAINING || reason == messages.Reason_REASON_STEP_GONE {
			m.gone[process(worker)] = m.now
		}
		return
	}
	switch reason {
	case messages.Reason_REASON_WORKER_DRAINING:
		m.draining, m.refused, m.refusedAt = true, true, m.now
		m.refusals++
		m.endMove()
	case messages.Reason_REASON_HANDED_OFF:
		m.goOnHandingOff()
	case messages.Reason_REASON_STEP_GONE:
		if m.s.bound() {
			m.gone[process(worker)] = m.now
			m.loseBinding(reason)
		}
	}
}

// attemptUnknown: the process that should have the attempt never saw it, so
// the same attempt is sent for good.
func (m *Machine) attemptUnknown(i int) {
	if m.s.Cancel != nil {
		if m.contacts[i].takeUp {
			// It may be the take-up's answer. The cancel's says also that the
			// attempt will not start any more.
			m.contacts[i].takeUp = false
			m.cancelAttempt(i)
			return
		}
		m.attemptLost(i, messages.Reason_REASON_UNKNOWN_TO_WORKER)
		return
	}
	if m.s.Binding.Lost {
		return
	}
	m.contacts[i] = contact{}
	m.sendDispatch(i, 0)
}

// result records the result of a live attempt, refuses a late one and
// acknowledges both once that is durable.
func (m *Machine) result(r *messages.Result) {
	// The next step's dispatch goes out before the acknowledgement, so that a
	// draining worker does not think that it is done.
	ack := func(to *messages.WorkerRef) {
		m.acks = append(m.acks, SendWorker{to, &messages.ResultAck{RunId: r.RunId, Step: r.Step, Attempt: r.Attempt}})
	}
	i, live := m.live(r)
	from := &messages.WorkerRef{WorkerId: r.WorkerId, Incarnation: r.Incarnation}
	if !live || !sameProcess(m.s.Steps[i].Worker, from) || m.s.Steps[i].Epoch != r.Epoch {
		m.refuseLate(r)
		ack(from)
		if m.s.isSticky() && (m.s.Ended() || !sameProcess(m.s.Binding.Worker, from)) {
			// It may not have heard that the run left, or ended.
			m.later(SendWorker{from, &messages.RunReleased{RunId: r.RunId, Epoch: r.Epoch, Reason: messages.ReleaseReason_RELEASE_REASON_REBOUND}})
		}
		return
	}
	worker := m.s.Steps[i].Worker
	started := m.startOfResult(i, r)
	m.contacts[i] = contact{}
	m.refusals = 0
	m.endMove()
	m.record(i, r, started)
	ack(worker)
}

// startOfResult is when the attempt of a result started: as was said of it
// before, if it was; 0 if it never did.
func (m *Machine) startOfResult(i int, r *messages.Result) int64 {
	st, c := &m.s.Steps[i], &m.contacts[i]
	switch {
	case !st.StartedAt.IsZero():
		return st.StartedAt.UnixMicro()
	case c.startedUs != 0:
		return c.startedUs
	case r.StartedUs == 0:
		return 0
	}
	return m.startOf(st, r.StartedUs, r.RunningUs)
}

func (m *Machine) record(i int, r *messages.Result, startedUs int64) {
	st := &m.s.Steps[i]
	f := r.GetFailure()
	switch {
	case f == nil && !r.Canceled && st.Rebuild != nil:
		m.emit(&messages.Event{Kind: &messages.Event_StepRebuilt{StepRebuilt: &messages.StepRebuilt{
			Step: st.Def.Name, Attempt: st.Attempt, StartedUs: startedUs}}})
	case f == nil && !r.Canceled:
		m.turnBytes += len(r.GetOutput())
		m.emit(&messages.Event{Kind: &messages.Event_StepSucceeded{StepSucceeded: &messages.StepSucceeded{
			Step: st.Def.Name, Attempt: st.Attempt, Output: r.GetOutput(), StartedUs: startedUs}}})
	case m.s.Cancel != nil:
		m.emit(&messages.Event{Kind: &messages.Event_StepCanceled{StepCanceled: &messages.StepCanceled{
			Step: st.Def.Name, Reason: messages.Reason_REASON_RUN_CANCELED, Text: m.s.Cancel.Reason}}})
	case r.Canceled:
		m.attemptLost(i, lostBecause(f))
	case m.s.isSticky() && f.Code == string(messages.CodeStateLost) && !f.Final:
		m.stateLost(i, f)
	default:
		m.attemptFailed(i, f, startedUs, false)
	}
}

// LeaseLost is what a worker would say of an attempt whose dispatch it drops, as
// the lease has ended that it was sent under: for a shell that knows so, and does
// not send.
func LeaseLost(d *messages.Dispatch, to *messages.WorkerRef) *messages.Result {
	return &messages.Result{
		RunId: d.RunId, Step: d.Step, Attempt: d.Attempt, Epoch: d.Epoch, WorkerId: to.WorkerId, Incarnation: to.Incarnation, Canceled: true,
		Outcome: &messages.Result_Failure{Failure: messages.ToFailure(messages.Errorf(messages.CodeLeaseExpired,
			"the lease of worker %q under which it was sent has ended", to.WorkerId))},
	}
}

// lostBecause is why a worker canceled an attempt that its run wants.
func lostBecause(f *messages.Failure) messages.Reason {
	if f.GetCode() == string(messages.CodeLeaseExpired) {
		return messages.Reason_REASON_LEASE_EXPIRED
	}
	return messages.Reason_REASON_CANCELED_BY_WORKER
}

// attemptFailed charges a failure and either schedules the retry or fails the
// step.
func (m *Machine) attemptFailed(i int, f *messages.Failure, startedUs int64, abandoned bool) {
	st := &m.s.Steps[i]
	var retryAt int64
	again := !f.Final && st.Failures < st.Def.Retries
	if again {
		retryAt = m.now.Add(st.Def.Backoff(int(st.Failures) + 1)).UnixMicro()
	}
	m.contacts[i] = contact{}
	m.emit(&messages.Event{Kind: &messages.Event_AttemptFailed{AttemptFailed: &messages.AttemptFailed{
		Step: st.Def.Name, Attempt: st.Attempt, Failure: f, StartedUs: startedUs, RetryAtUs: retryAt, Abandoned: abandoned}}})
	if !again {
		m.failStep(st, f)
	}
}

// failStep fails a step, or, while it is rebuilt, what waits for that.
func (m *Machine) failStep(st *Step, f *messages.Failure) {
	if st.Rebuild != nil {
		m.failRebuild(st, f)
		return
	}
	m.emit(&messages.Event{Kind: &messages.Event_StepFailed{StepFailed: &messages.StepFailed{Step: st.Def.Name, Failure: f}}})
}

// attemptLost records that a live attempt went down with its worker. A step
// that loses its worker again and again fails.
func (m *Machine) attemptLost(i int, reason messages.Reason) {
	st := &m.s.Steps[i]
	started := !st.StartedAt.IsZero() || !m.contacts[i].queued
	m.contacts[i] = contact{}
	m.emit(&messages.Event{Kind: &messages.Event_AttemptLost{AttemptLost: &messages.AttemptLost{
		Step: st.Def.Name, Attempt: st.Attempt, Reason: reason, Started: started}}})
	if most := st.Def.LossesMax(); started && int(st.Lost) >= most && m.s.Cancel == nil {
		m.failStep(st, messages.ToFailure(messages.Errorf(messages.CodeWorkerLost,
			"its worker was lost under it %d times, the limit lostAttemptsMax is %d; last on %q: %s", st.Lost, most, st.Worker.GetWorkerId(), reason.Words())))
	}
}

// refuseLate keeps a result of a lost attempt in the history, once; a
// duplicate of a recorded one is only acknowledged. An attempt that this
// activation has not made is another one's: the append of the refusal fails
// then, and the worker is not told to forget the result.
func (m *Machine) refuseLate(r *messages.Result) {
	st := m.s.Step(r.Step)
	if st == nil {
		return
	}
	reason, newest := messages.Reason_REASON_ATTEMPT_UNKNOWN, uint64(0)
	if r.Attempt <= st.Attempt {
		if !slices.Contains(st.lost, r.Attempt) {
			return
		}
		reason, newest = messages.Reason_REASON_ATTEMPT_LOST, m.s.Epoch
	}
	m.emit(&messages.Event{Kind: &messages.Event_ResultRefused{ResultRefused: &messages.ResultRefused{
		Step: r.Step, Attempt: r.Attempt, Epoch: r.Epoch, WorkerId: r.WorkerId, Incarnation: r.Incarnation,
		Reason: reason, NewestEpoch: newest, Succeeded: r.GetFailure() == nil && !r.Canceled}}})
}

// workerChanged handles the roster's news.
func (m *Machine) workerChanged(in WorkerChanged) {
	if m.s.Start == nil || m.s.Ended() {
		return
	}
	switch in.State {
	case WorkerGone:
		m.workerGone(in.Worker, in.Reason)
	case WorkerDraining:
		m.workerDraining(in.Worker)
	case WorkerUp:
		delete(m.gone, process(in.Worker))
		m.workerUp(in)
	}
}

// process names a worker with its incarnation.
func process(w *messages.WorkerRef) string { return w.GetWorkerId() + "~" + w.GetIncarnation() }

// goneFor is how long a process that cannot be used is not taken from
// placement, which will have heard of it by then. It may come back later
// without news of it.
const goneFor = 5 * time.Second

func (m *Machine) isGone(w *messages.WorkerRef) bool {
	at, ok := m.gone[process(w)]
	return ok && m.now.Before(at.Add(goneFor))
}

// workerDraining: what still waits in its queue may go elsewhere, unless the
// run is HARD; what runs there goes on.
func (m *Machine) workerDraining(worker *messages.WorkerRef) {
	if sameProcess(m.s.Binding.Worker, worker) && !m.s.Binding.Lost {
		m.draining = true
		if m.handOff != nil && m.handOff.resumed {
			m.handOff.reason = messages.Reason_REASON_WORKER_DRAINING
		}
	}
	if m.s.hard() || m.s.Cancel != nil {
		return
	}
	m.endMove()
	for i := range m.s.Steps {
		if st := &m.s.Steps[i]; st.Phase == Live && m.contacts[i].queued && sameProcess(st.Worker, worker) {
			m.revoke(i, messages.Reason_REASON_WORKER_DRAINING)
		}
	}
}

// workerGone: the process will never answer again.
func (m *Machine) workerGone(worker *messages.WorkerRef, reason messages.Reason) {
	m.gone[process(worker)] = m.now
	if m.s.isSticky() {
		if sameProcess(m.s.Binding.Worker, worker) && !m.s.Binding.Lost {
			m.loseBinding(reason)
			if m.spare != nil && !m.isGone(m.spare.Worker) {
				m.workerUp(*m.spare)
			}
		}
		return
	}
	for i := range m.s.Steps {
		if st := &m.s.Steps[i]; st.Phase == Live && sameProcess(st.Worker, worker) {
			m.attemptLost(i, reason)
		}
	}
}

// loseBinding: a SOFT run gives its attempts up and binds again when a step is
// ready; a HARD run keeps them in doubt until the worker is back.
func (m *Machine) loseBinding(reason messages.Reason) {
	worker := m.s.Binding.Worker
	m.undrained()
	m.handOff = nil
	m.withdrawAll()
	for i := range m.s.Steps {
		if m.s.Steps[i].Phase == Live {
			m.recordStart(i)
		}
	}
	m.emit(&messages.Event{Kind: &messages.Event_BindingLost{BindingLost: &messages.BindingLost{Epoch: m.s.Binding.Epoch, Reason: reason}}})
	if m.s.hard() {
		return
	}
	m.loseAttempts(reason)
	m.later(Unbound{&messages.RunUnbound{RunId: m.s.RunID, Pool: m.pool(), WorkerId: worker.WorkerId}})
}

func (m *Machine) loseAttempts(reason messages.Reason) {
	for i := range m.s.Steps {
		if m.s.Steps[i].Phase == Live {
			m.attemptLost(i, reason)
		}
	}
}

// workerUp: a process of the bound worker id is there. A SOFT run that was already
// rebound does not go back; one that waits to be may be placed there anew.
func (m *Machine) workerUp(in WorkerChanged) {
	b := m.s.Binding
	if b.Worker == nil || b.Worker.WorkerId != in.Worker.WorkerId {
		return
	}
	same, hasSteps := sameProcess(b.Worker, in.Worker), HasSteps(in.Info, m.s.Def)
	switch {
	case same && !b.Lost:
		m.undrained()
		return
	case !b.Lost && in.Worker.Incarnation < b.Worker.Incarnation:
		// An earlier process that woke up, most likely: the bound one counts
		// until it is told to be gone.
		m.spare = &in
		return
	case !b.Lost && hasSteps:
		m.loseBinding(messages.Reason_REASON_WORKER_RESTARTED)
	case !b.Lost:
		m.loseBinding(messages.Reason_REASON_STEP_GONE)
	}
	switch {
	case !m.s.hard() || !hasSteps:
	case same:
		m.restoreBinding()
	default:
		m.loseAttempts(messages.Reason_REASON_WORKER_RESTARTED)
		if m.s.Cancel == nil {
			m.bind(in.Worker, messages.Reason_REASON_WORKER_RESTARTED, 0)
		}
	}
}

// restoreBinding: the very process that a HARD run is bound to is back.
func (m *Machine) restoreBinding() {
	m.emit(&messages.Event{Kind: &messages.Event_BindingRestored{BindingRestored: &messages.BindingRestored{Epoch: m.s.Binding.Epoch}}})
	for i := range m.s.Steps {
		if m.s.Steps[i].Phase == Live {
			m.contacts[i] = contact{takeUp: true, takenUpAt: m.now}
			m.sendDispatch(i, 0)
		}
	}
}
