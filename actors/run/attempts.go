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

// fromWorker handles a worker's message about an attempt. A Result is always
// answered. The others mean something only if the attempt is live.
func (m *Machine) fromWorker(msg proto.Message) {
	if r, ok := msg.(*messages.Result); ok {
		m.result(r)
		return
	}
	switch msg := msg.(type) {
	case *messages.HandedOff:
		m.handedOff(msg)
		return
	case *messages.SuspendAttempt:
		m.suspendAttempt(msg)
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
	c.hear(m.now)
	switch msg := msg.(type) {
	case *messages.Queued:
		m.queued(i, msg)
	case *messages.Started:
		m.started(i, msg)
		m.progressed(i, msg.Serial, msg.Progress)
	case *messages.Progress:
		m.progressed(i, msg.Serial, msg.Progress)
	case *messages.Revoked:
		m.revoked(i)
	case *messages.DispatchRefused:
		m.dispatchRefused(i, msg.Reason)
	case *messages.AttemptUnknown:
		m.attemptUnknown(i)
	}
}

// queued: the attempt waits in its worker's queue. One of a run that is not sticky
// does not wait there for functions that may never return.
func (m *Machine) queued(i int, msg *messages.Queued) {
	c := &m.contacts[i]
	c.wait(msg, m.now)
	c.queued = m.s.Steps[i].StartedAt.IsZero() && c.startedUs == 0
	if c.queued && c.allHeld() && !m.s.isSticky() && m.s.Cancel == nil && c.revoke == 0 {
		m.revoke(i, messages.Reason_REASON_SLOTS_HELD)
	}
}

// live returns the step whose live attempt the message is about.
func (m *Machine) live(msg attemptMessage) (int, bool) {
	i, ok := m.s.stepAt(msg.GetStep())
	if !ok {
		return 0, false
	}
	st := &m.s.Steps[i]
	return i, st.Phase == Live && st.Attempt == msg.GetAttempt() && !m.s.Ended()
}

func (m *Machine) started(i int, msg *messages.Started) {
	st, c := &m.s.Steps[i], &m.contacts[i]
	c.queued, c.revoke, c.waitingChild = false, 0, msg.WaitingForChild
	c.executesTo, c.idleWaits = time.Time{}, msg.IdleWaits
	limit, ok := st.Def.ExecutionTimeout()
	if msg.ExtendedMs > 0 {
		limit = time.Duration(msg.ExtendedMs) * time.Millisecond
	}
	if ok && msg.ExecutedUs > 0 && !msg.WaitingForChild {
		c.executesTo = m.now.Add(limit - time.Duration(msg.ExecutedUs)*time.Microsecond)
	}
	m.endMove()
	if !st.StartedAt.IsZero() {
		return
	}
	c.startKnown(m.startOf(st, msg.StartedUs, msg.RunningUs), m.cfg.RecordStartAfter)
	if msg.WaitingForChild || m.s.Binding.Lost || st.suspect() {
		m.recordStart(i)
	}
}

// startOf is when an attempt started on the clock of the run. The worker's clock
// may differ, so what counts is how long the function has run, not when the worker
// says that it began. It did not begin before it was sent.
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
	waited := m.waitedFor(i)
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
			m.gone.add(worker, m.now)
		}
		return
	}
	switch reason {
	case messages.Reason_REASON_WORKER_DRAINING:
		m.leaving.refuse(m.now)
		m.endMove()
	case messages.Reason_REASON_HANDED_OFF:
		m.goOnHandingOff()
	case messages.Reason_REASON_STEP_GONE:
		if m.s.bound() {
			m.gone.add(worker, m.now)
			m.loseBinding(reason)
		}
	}
}

// attemptUnknown: the process that should have the attempt never saw it, or lacks
// its input, so the same attempt is sent for good.
func (m *Machine) attemptUnknown(i int) {
	if m.s.Cancel != nil {
		if c := &m.contacts[i]; c.takeUp || c.shares {
			// It may be the answer to what was sent before. The cancel's says also
			// that the attempt will not start any more.
			c.takeUp, c.shares = false, false
			m.cancelAttempt(i)
			return
		}
		m.attemptLost(i, m.hadBegun(i), messages.Reason_REASON_UNKNOWN_TO_WORKER)
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
		m.turn.acks = append(m.turn.acks, SendWorker{to, &messages.ResultAck{RunId: r.RunId, Step: r.Step, Attempt: r.Attempt}})
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
	m.progressed(i, r.Serial, r.Progress)
	m.recordProgress(i)
	started := m.startOfResult(i, r)
	m.contacts[i] = contact{idleWaits: m.contacts[i].idleWaits}
	m.leaving.refusals = 0
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
		m.turn.bytes += len(r.GetOutput())
		m.emit(&messages.Event{Kind: &messages.Event_StepSucceeded{StepSucceeded: &messages.StepSucceeded{
			Step: st.Def.Name, Attempt: st.Attempt, Output: r.GetOutput(), StartedUs: startedUs}}})
	case m.s.Cancel != nil:
		if startedUs == 0 {
			m.emitRevoked(i, messages.Reason_REASON_RUN_CANCELED)
		}
		m.emit(&messages.Event{Kind: &messages.Event_StepCanceled{StepCanceled: &messages.StepCanceled{
			Step: st.Def.Name, Reason: messages.Reason_REASON_RUN_CANCELED, Text: m.s.Cancel.Reason}}})
	case r.Canceled:
		m.attemptLost(i, startedUs != 0, lostBecause(f))
	case m.s.isSticky() && f.Code == string(messages.CodeStateLost) && !f.Final:
		m.stateLost(i, f)
	default:
		m.attemptFailed(i, f, startedUs, false)
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
	m.recordProgress(i)
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

// attemptLost records that a live attempt went down with its worker, and whether
// it had begun. A step that loses its worker again and again fails. One that did
// nothing but wait is suspended instead.
func (m *Machine) attemptLost(i int, started bool, reason messages.Reason) {
	st := &m.s.Steps[i]
	if m.s.Cancel == nil && mayOutlive(reason) && m.idle(i) {
		m.suspend(i, reason)
		return
	}
	m.recordProgress(i)
	m.contacts[i] = contact{}
	m.emit(&messages.Event{Kind: &messages.Event_AttemptLost{AttemptLost: &messages.AttemptLost{
		Step: st.Def.Name, Attempt: st.Attempt, Reason: reason, Started: started}}})
	if most := st.Def.LossesMax(); started && int(st.Lost) >= most && m.s.Cancel == nil {
		m.failStep(st, messages.ToFailure(messages.Errorf(messages.CodeWorkerLost,
			"its worker was lost under it %d times, the limit lostAttemptsMax is %d; last on %q: %s", st.Lost, most, st.Worker.GetWorkerId(), reason.Words())))
	}
}

// refuseLate decides about the result of an attempt that is not live:
//
//	of a lost attempt        The history keeps that it was refused, once.
//	a duplicate of a result  Nothing is recorded: it is only acknowledged.
//	of an attempt that this  Another activation made it. The append of the refusal
//	activation has not made  fails, so the worker is not told to forget the result.
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
