package slots

import (
	"container/list"
	"hash/fnv"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/heap"
	"github.com/limpetrun/limpet/messages"
)

type phase uint8

const (
	phaseQueued    phase = iota + 1 // waits for its first slot
	phaseRunning                    // holds a slot
	phaseWaiting                    // waits for a child, or was canceled while it did
	phaseReturning                  // queued to get a slot back
	phaseEnded                      // has a result that is kept until it is acknowledged
	phaseForgotten                  // of no interest; its function may not have returned
)

// attempt is one execution that the worker holds.
type attempt struct {
	id     uint64
	run    *run
	step   string
	number int32
	epoch  uint64
	// dispatch is nil once the attempt has ended: inputs may be large.
	dispatch *messages.Dispatch

	phase  phase
	holds  bool // a slot
	waited bool // in the queue, before it started
	told   bool // the run knows that it started, and whether it waits for a child
	// newsAt is the start, or the last beginning or end of a wait for a child.
	newsAt time.Time
	// cause of the cancel; nil while nobody asked for one.
	cause error
	// lapsed: the lease ended under which it began.
	lapsed bool

	started  time.Time
	limit    time.Duration // of the execution; zero for none
	extended bool          // beyond its timeout
	deadline time.Time     // of the execution; zero for none, and while it stands still
	// stillAt is since when the function waits for a child, or for a slot after
	// that; zero if it works. stood is how long it did before.
	stillAt time.Time
	stood   time.Duration
	// heartbeat is how long it may tell no progress while it works, and silentTo until
	// when; zero for ever, and while it stands still.
	heartbeat time.Duration
	silentTo  time.Time
	progress  *progress // nil while it has told none
	// giveUp is the end of CancelGrace; zero once it is over or the function has
	// returned. heldAt is since when the function holds its slot without an attempt.
	giveUp time.Time
	heldAt time.Time
	// idleWaits names the calls in which the function does nothing but wait, since
	// idleAt; 0 if it does something. inKept is its place then.
	idleWaits uint64
	idleAt    time.Time
	keptBytes int64
	inKept    *list.Element
	crowded   bool
	// askAt is when the run is asked to suspend it, zero for never; asked how often it
	// was, and why at last.
	askAt     time.Time
	asked     int
	askReason messages.Reason
	// unwinds: it is suspended, and its function is about to return; unreturned: that
	// has not in time.
	unwinds, unreturned bool
	result              *messages.Result
	resendAt            time.Time
	resends             uint32

	due        time.Time
	inTimers   heap.Place
	inQueue    heap.Place
	queueClass int
	order      uint64
}

func (c *Core) find(runID, step string, number int32) (*attempt, markState) {
	r := c.runs[runID]
	if r == nil {
		return nil, 0
	}
	if a := r.find(step, number); a != nil {
		return a, markHeld
	}
	if m := r.mark(step); m != nil && m.number == number {
		return nil, m.state
	}
	return nil, 0
}

// start gives an attempt a slot and asks for its function.
func (c *Core) start(now time.Time, a *attempt) {
	a.phase, a.started, a.newsAt = phaseRunning, now, now
	c.takeSlot(a)
	c.byID[a.id] = a
	if !a.dispatch.Suspect {
		c.suspects.lastStart = now
	}
	if timeout := executionTimeout(a.dispatch.ExecutionTimeoutMs); timeout > 0 {
		a.limit, a.deadline = timeout, now.Add(timeout)
	}
	a.heartbeat = time.Duration(a.dispatch.HeartbeatMs) * time.Millisecond
	a.beat(now)
	c.out = append(c.out, Action{Kind: Start, ID: a.id, Dispatch: a.dispatch, Deadline: a.deadline})
	if a.waited || a.dispatch.Suspect || !a.dispatch.InputShared && a.dispatch.SizeVT() >= AnsweredBytes {
		c.sendStarted(now, a)
	}
	c.retime(a)
}

// standStill begins a time that does not count towards the execution timeout.
func (a *attempt) standStill(now time.Time) {
	a.stillAt, a.deadline, a.silentTo = now, time.Time{}, time.Time{}
}

// goOn ends it.
func (a *attempt) goOn(now time.Time) {
	a.stood, a.stillAt = a.stoodBy(now), time.Time{}
	a.beat(now)
	if a.limit > 0 {
		a.deadline = a.started.Add(a.limit + a.stood)
	}
}

func (a *attempt) stoodBy(now time.Time) time.Duration {
	if a.stillAt.IsZero() {
		return a.stood
	}
	return a.stood + now.Sub(a.stillAt)
}

// news has the run told after a while that an attempt waits for a child, or
// does no longer.
func (c *Core) news(now time.Time, a *attempt) {
	a.told, a.newsAt = false, now
	c.retime(a)
}

// executionTimeout reads the milliseconds of a Dispatch as a definition has
// them; 0 means never.
func executionTimeout(ms int64) time.Duration {
	switch {
	case ms < 0:
		return 0
	case ms == 0:
		return messages.DefaultExecutionTimeout
	}
	return time.Duration(ms) * time.Millisecond
}

// abandon ends an attempt for a reason other than its function: at once while
// it is queued, else by its context and CancelGrace.
func (c *Core) abandon(now time.Time, a *attempt, cause error) {
	switch {
	case a.cause != nil:
	case a.phase == phaseQueued:
		a.cause = cause
		c.dequeue(a)
		c.conclude(now, a, nil, messages.ToFailure(cause))
	default:
		if a.phase == phaseReturning {
			c.dequeue(a)
			a.phase = phaseWaiting
		}
		c.notIdle(a)
		c.cancel(a, cause)
		a.giveUp = now.Add(CancelGrace)
		c.retime(a)
	}
}

// cancel ends the context of a function; the first cause stands.
func (c *Core) cancel(a *attempt, cause error) {
	if a.cause == nil {
		a.cause = cause
		c.out = append(c.out, Action{Kind: CancelContext, ID: a.id, Err: cause})
	}
}

// conclude makes the result of an attempt and sends it for the first time.
func (c *Core) conclude(now time.Time, a *attempt, output []byte, failure *messages.Failure) {
	res := &messages.Result{
		RunId: a.run.id, Step: a.step, Attempt: a.number, Epoch: a.epoch,
		WorkerId: c.cfg.WorkerID, Incarnation: c.cfg.Incarnation,
	}
	if !a.started.IsZero() {
		res.StartedUs, res.RunningUs = a.started.UnixMicro(), a.running(now)
	}
	if a.cause == nil && failure.GetCode() == string(messages.CodeLeaseExpired) {
		// The function noticed the end of the worker's lease before the core did.
		a.cause = messages.FromFailure(failure)
	}
	if a.cause == nil && failure != nil && !a.deadline.IsZero() && !now.Before(a.deadline) {
		// So with the end of its own time.
		a.cause = timeoutError(a)
	}
	timedOut := endedByTime(a.cause)
	res.Progress, res.Serial = a.progress.last()
	switch {
	case timedOut, a.cause != nil && (failure != nil || a.lapsed):
		res.Outcome = &messages.Result_Failure{Failure: messages.ToFailure(a.cause)}
		res.Canceled = !timedOut
	case failure != nil:
		res.Outcome = &messages.Result_Failure{Failure: failure}
	default:
		setOutput(res, output)
	}
	c.notIdle(a)
	a.result, a.phase, a.dispatch = res, phaseEnded, nil
	c.suspects.over(a)
	c.unacked++
	c.kept += bytesOf(res)
	c.deliver(now, a)
}

// bytesOf is what a result holds of its function's making.
func bytesOf(res *messages.Result) int {
	f := res.GetFailure()
	return len(res.GetOutput()) + len(f.GetMessage()) + len(f.GetStack()) + len(res.GetProgress())
}

func setOutput(res *messages.Result, output []byte) {
	if err := messages.CheckPayload("output of step "+res.Step, output); err != nil {
		f := messages.ToFailure(err)
		f.Final = true
		res.Outcome = &messages.Result_Failure{Failure: f}
		return
	}
	res.Outcome = &messages.Result_Output{Output: output}
}

func timeoutError(a *attempt) error {
	return messages.Errorf(messages.CodeExecutionTimeout, "step %q attempt %d ran longer than its execution timeout of %v",
		a.step, a.number, a.limit)
}

func staleError(a *attempt, d *messages.Dispatch) error {
	return messages.Errorf(messages.CodeStaleAttempt, "step %q attempt %d epoch %d gave way to attempt %d epoch %d",
		a.step, a.number, a.epoch, d.Attempt, d.Epoch)
}

// deliver sends a result to the actor of the run that was heard last, and has
// it repeated to whoever owns the run then.
func (c *Core) deliver(now time.Time, a *attempt) {
	c.send(a.run.reply, a.run.id, a.result)
	a.resendAt = now.Add(ResendFirst)
	c.retime(a)
}

func (c *Core) resend(now time.Time, a *attempt) {
	c.send(Address{}, a.run.id, a.result)
	a.resends++
	pace := time.Duration(c.kept/(ResendBytes/1000)) * time.Millisecond
	a.resendAt = now.Add(ResendFirst + jitter(a, ResendMax-ResendFirst) + pace)
	c.retime(a)
}

// jitter spreads repetitions over a span; it depends on nothing but the attempt
// and the number of the repetition.
func jitter(a *attempt, span time.Duration) time.Duration {
	h := fnv.New64a()
	_, _ = h.Write([]byte(a.run.id))
	_, _ = h.Write([]byte(a.step))
	_, _ = h.Write([]byte{byte(a.number), byte(a.number >> 8), byte(a.resends), byte(a.resends >> 8)})
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	return time.Duration(x % uint64(span))
}

// adopt moves an attempt into a later epoch.
func (c *Core) adopt(a *attempt, epoch uint64) {
	a.epoch = epoch
	a.run.setMark(a.step, a.number, epoch, markHeld)
	a.run.epoch = max(a.run.epoch, epoch)
	if a.result != nil {
		// Sent messages do not change.
		res := a.result
		a.result = &messages.Result{
			RunId: res.RunId, Step: res.Step, Attempt: res.Attempt, Epoch: epoch,
			WorkerId: res.WorkerId, Incarnation: res.Incarnation,
			StartedUs: res.StartedUs, RunningUs: res.RunningUs, Outcome: res.Outcome, Canceled: res.Canceled,
			Progress: res.Progress, Serial: res.Serial,
		}
	}
}

// answer says what became of an attempt.
func (c *Core) answer(now time.Time, a *attempt) {
	switch a.phase {
	case phaseQueued:
		c.sendQueued(now, a)
	case phaseEnded:
		c.deliver(now, a)
	default:
		c.sendStarted(now, a)
	}
}

// replaced forgets an attempt that is dispatched anew under a later epoch: what
// it returns would be refused.
func (c *Core) replaced(now time.Time, a *attempt, d *messages.Dispatch) bool {
	if d.TakeUp || d.Epoch <= a.epoch {
		return false
	}
	c.dequeue(a)
	if c.byID[a.id] != nil {
		c.cancel(a, staleError(a, d))
		a.giveUp = now.Add(CancelGrace)
	}
	c.forget(a, markAcknowledged)
	return true
}

// repeat answers a Dispatch of an attempt that is held. A take-up under a later
// epoch moves the attempt into it.
func (c *Core) repeat(now time.Time, a *attempt, d *messages.Dispatch, from Address) {
	if d.Epoch < a.epoch {
		c.refuse(from, d, messages.Reason_REASON_REVOKED)
		return
	}
	if d.Epoch > a.epoch {
		c.adopt(a, d.Epoch)
	}
	c.replyTo(a.run, from)
	c.answer(now, a)
}

// late answers a Dispatch of an attempt that is no longer held.
func (c *Core) late(from Address, d *messages.Dispatch, m *mark) {
	switch {
	case m.number == d.Attempt && m.state == markAcknowledged:
		// The run has the result: what asks was overtaken by it, or is an
		// activation that does not know that another one went on.
		c.refuse(from, d, messages.Reason_REASON_ENDED)
	case d.TakeUp:
		c.sendUnknown(from, d.RunId, d.Step, d.Attempt)
	default:
		c.refuse(from, d, messages.Reason_REASON_REVOKED)
	}
}

// forget lets go of an attempt and leaves a mark. A function that has not
// returned keeps its slot, see heldSlots.
func (c *Core) forget(a *attempt, state markState) {
	if a.phase == phaseEnded {
		c.unacked--
		c.kept -= bytesOf(a.result)
	}
	c.notIdle(a)
	a.phase, a.dispatch, a.result = phaseForgotten, nil, nil
	c.suspects.over(a)
	c.retime(a)
	a.run.drop(a)
	a.run.setMark(a.step, a.number, a.epoch, state)
	c.rest(a.run)
}

func (c *Core) takeSlot(a *attempt) {
	a.holds = true
	c.taken++
	c.load.dirty = true
}

func (c *Core) freeSlot(a *attempt) {
	if a.holds {
		a.holds = false
		c.taken--
		c.load.dirty = true
	}
}

// mayStart says that functions may be started. Results that nobody takes pile up
// otherwise.
func (c *Core) mayStart() bool { return !c.leaseless && c.kept < c.cfg.ResultsBytesMax }

// mayGoOn says that an attempt of the queue may have a free slot.
func (c *Core) mayGoOn(a *attempt) bool {
	if a.queueClass == classAside {
		return false
	}
	return c.mayStart() || a.phase == phaseReturning && !c.leaseless
}

// serve gives free slots to the queue.
func (c *Core) serve(now time.Time) {
	c.passTurn()
	for c.taken < c.slots && c.queue.Len() > 0 && c.mayGoOn(c.queue.First()) && !now.Before(c.suspects.apartUntil(c.queue.First())) {
		a := c.queue.First()
		c.dequeue(a)
		if a.phase == phaseReturning {
			a.phase = phaseRunning
			a.goOn(now)
			c.news(now, a)
			c.takeSlot(a)
			c.out = append(c.out, Action{Kind: Resume, ID: a.id, Deadline: a.deadline})
			continue
		}
		c.start(now, a)
	}
}

func (c *Core) send(to Address, runID string, m proto.Message) {
	c.out = append(c.out, Action{Kind: Send, To: to, RunID: runID, Message: m})
}

func (c *Core) sendStarted(now time.Time, a *attempt) {
	a.told = true
	m := &messages.Started{
		RunId: a.run.id, Step: a.step, Attempt: a.number,
		StartedUs: a.started.UnixMicro(), RunningUs: a.running(now), WaitingForChild: a.phase == phaseWaiting,
		IdleWaits:  a.idleWaits,
		ExecutedUs: max(1, (now.Sub(a.started) - a.stoodBy(now)).Microseconds()),
	}
	m.Progress, m.Serial = a.progress.last()
	if a.extended {
		m.ExtendedMs = a.limit.Milliseconds()
	}
	c.send(a.run.reply, a.run.id, m)
}

// running is how long a function has run, in microseconds, at least 1.
func (a *attempt) running(now time.Time) int64 { return max(1, now.Sub(a.started).Microseconds()) }

func (c *Core) sendQueued(now time.Time, a *attempt) {
	c.send(a.run.reply, a.run.id, &messages.Queued{
		RunId: a.run.id, Step: a.step, Attempt: a.number,
		Ahead: int32(c.ahead(a)), Slots: int32(c.slots), Aside: a.queueClass == classAside || now.Before(c.suspects.apartUntil(a)),
		HeldSlots: int32(len(c.held.functions)), HeldMs: c.held.longest(now).Milliseconds(),
	})
}

func (c *Core) refuse(to Address, d *messages.Dispatch, reason messages.Reason) {
	c.send(to, d.RunId, &messages.DispatchRefused{RunId: d.RunId, Step: d.Step, Attempt: d.Attempt, Reason: reason})
}

func (c *Core) refusal() messages.Reason {
	if c.superseded {
		return messages.Reason_REASON_WORKER_SUPERSEDED
	}
	return messages.Reason_REASON_WORKER_DRAINING
}

func (c *Core) sendUnknown(to Address, runID, step string, number int32) {
	c.send(to, runID, &messages.AttemptUnknown{RunId: runID, Step: step, Attempt: number})
}

// withdraw remembers that an attempt which was never seen must not be started.
func (c *Core) withdraw(runID, step string, number int32) {
	r := c.touch(runID)
	if m := r.mark(step); m == nil || m.number < number {
		r.setMark(step, number, 0, markWithdrawn)
	}
	c.rest(r)
}
