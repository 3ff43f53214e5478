package slots

import (
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/heap"
	"github.com/limpetrun/limpet/messages"
)

// Times and bounds of a worker.
const (
	// SuspectNotice is the time from the word that a suspect begins to the call of
	// its function, which may end the process: the word has to be out before.
	SuspectNotice = 200 * time.Millisecond
	// StartedNotice is how long a function runs before its run is told so: a
	// short one says it with its result. But a Dispatch of AnsweredBytes or more is
	// answered at once: its run sends only so much before that.
	StartedNotice = 100 * time.Millisecond
	AnsweredBytes = messages.RunDispatchBytesMax / 256
	// CancelGrace is how long a function may take to return once its context
	// was canceled. Then its attempt ends without it, and it holds its slot until
	// it returns.
	CancelGrace = 5 * time.Second
	// ResendFirst is the time from a result to its first repetition; later
	// ones follow after ResendFirst to ResendMax.
	ResendFirst = time.Second
	ResendMax   = 3 * time.Second
	// ResendBytes is what is repeated in a second at most: the pauses get longer
	// by it when much is kept.
	ResendBytes = 8 << 20
	// ReportEvery is the least time between two load reports, unless slots
	// that placement believes taken are free.
	ReportEvery = 2 * time.Millisecond
	// Heartbeat is the most time between two load reports.
	Heartbeat = time.Second
	// MarksMax is the number of ended attempts that are remembered for runs
	// with nothing in flight, so that a late message does not start them again.
	MarksMax = 1 << 16
)

// Config of a Core.
type Config struct {
	// WorkerID, Incarnation and Pool name the process in results and reports.
	WorkerID    string
	Incarnation string
	Pool        string
	// Slots is the number of functions that run at once; less than 1 counts
	// as 1.
	Slots int
	// Knows says whether the worker has a step of a workflow; nil means all.
	Knows func(workflow, step string) bool
	// HandsOff says whether local state of the runs of a workflow is handed off
	// when they leave; nil means of none.
	HandsOff func(workflow string) bool
	// Leased: the worker may act only while it has a lease, and has none yet.
	Leased bool
	// EndIfHeldFor is how long a function may hold its slot until Overheld; 0 is
	// for ever.
	EndIfHeldFor time.Duration
	// KeptMax is how many attempts may be kept that do nothing but wait; 0 is the
	// default of 10,000.
	KeptMax int
	// KeptBytesMax is how many bytes of local state the runs of these may declare; 0 is
	// no limit.
	KeptBytesMax int64
	// MarksMax replaces the constant of that name; 0 means the constant. So does
	// ResultsBytesMax with messages.WorkerResultsBytesMax.
	MarksMax        int
	ResultsBytesMax int
}

// Address is the PID of an actor; zero for none.
type Address struct{ Host, ID string }

// ActionKind says which fields of an Action count.
type ActionKind uint8

const (
	// Start asks for the function of Dispatch to be called, as number ID, with
	// a context that ends at Deadline (zero: never). That of a suspect is called
	// SuspectNotice later.
	Start ActionKind = iota + 1
	// Resume lets function ID return from its wait for a child. Its context ends at
	// Deadline now: it stood still meanwhile.
	Resume
	// Extended says that the context of function ID ends at Deadline, later than it did.
	Extended
	// CancelContext ends the context of function ID; Err is the cause.
	CancelContext
	// Send is for the run RunID: to the actor To, or, if that is zero, to
	// whoever owns the run now.
	Send
	// Report is for placement.
	Report
	// Released says that the run RunID is not bound here any more under Epoch
	// or an earlier one, and why. It may be said of runs that the core does not
	// know, and more than once.
	Released
	// Stopped says that the worker has nothing left to do: the end of a drain,
	// or, with Err, of all else. All that runs have here is over.
	Stopped
	// AskBound is to ask the owners of Runs whether they are still bound here.
	AskBound
	// SlotHeld says that a function holds its slot although its attempt is over, and
	// SlotFreed that it has returned; Held says which.
	SlotHeld
	SlotFreed
	// Overheld says, once, that one does so for EndIfHeldFor; Err has the words.
	Overheld
	// AskedToHandOff is for the worker itself: Message is a HandOff that came while
	// functions of suspended attempts had not returned. Now they have.
	AskedToHandOff
)

// Action is work for the shell around a Core.
type Action struct {
	Kind     ActionKind
	ID       uint64
	Dispatch *messages.Dispatch
	Deadline time.Time
	Err      error
	To       Address
	RunID    string
	Message  proto.Message
	Load     *messages.LoadReport
	Runs     []*messages.BoundRun
	Epoch    uint64
	Reason   messages.ReleaseReason
	Held     Held
}

// Core is the state of a worker. Its methods are not safe for concurrent use.
// Each takes the present time, which must not go backwards, and returns
// actions, in order; the slice is valid until the next call.
type Core struct {
	cfg   Config
	slots int

	runs      map[string]*run
	replies   map[Address]*run // by the actor that answers go to
	idle      idleRuns
	byID      map[uint64]*attempt // functions that have not returned
	lastID    uint64
	lastOrder uint64
	queue     heap.Heap[*attempt]
	suspects  suspects
	at        time.Time // of the newest input
	held      heldSlots
	keeps     keptAttempts
	taken     int // slots
	unacked   int // ended attempts that are still sent
	kept      int // bytes of their results
	bound     int // sticky runs seen and not released
	hard      int // HARD ones of these
	handsOff  int // those of these that hand local state off
	timers    heap.Heap[*attempt]

	drain      drainState
	asks       boundRuns
	superseded bool
	stopped    bool
	// leaseless: the worker may not act; term is that of its lease, or of the
	// time without one.
	leaseless bool
	term      uint64

	load loadState
	out  []Action
}

// New makes the core of an idle worker.
func New(cfg Config) *Core {
	if cfg.MarksMax <= 0 {
		cfg.MarksMax = MarksMax
	}
	if cfg.KeptMax <= 0 {
		cfg.KeptMax = messages.DefaultKeptMax
	}
	if cfg.ResultsBytesMax <= 0 {
		cfg.ResultsBytesMax = messages.WorkerResultsBytesMax
	}
	if cfg.Knows == nil {
		cfg.Knows = func(string, string) bool { return true }
	}
	if cfg.HandsOff == nil {
		cfg.HandsOff = func(string) bool { return false }
	}
	c := &Core{
		cfg: cfg, slots: max(cfg.Slots, 1),
		runs: make(map[string]*run), replies: make(map[Address]*run), byID: make(map[uint64]*attempt),
		queue: newQueue(), timers: newTimers(),
	}
	c.leaseless = cfg.Leased
	c.load.dirty = true
	return c
}

// Running returns the number of functions that have not returned, those that
// wait for a child included.
func (c *Core) Running() int { return len(c.byID) }

// Unacknowledged returns the number of results that are kept.
func (c *Core) Unacknowledged() int { return c.unacked }

// Dispatch takes an attempt on, or repeats what became of it.
func (c *Core) Dispatch(now time.Time, d *messages.Dispatch) []Action {
	if !c.begin() {
		c.refuse(Address{d.ReplyAddress, d.ReplyActorId}, d, c.refusal())
		return c.out
	}
	c.sawGrant(d.GrantId)
	c.heardOf(now, d.RunId)
	c.dispatch(now, d)
	return c.end(now)
}

func (c *Core) dispatch(now time.Time, d *messages.Dispatch) {
	from := Address{d.ReplyAddress, d.ReplyActorId}
	if r := c.runs[d.RunId]; r != nil {
		if a := r.find(d.Step, d.Attempt); a != nil && !c.replaced(now, a, d) {
			c.repeat(now, a, d, from)
			return
		}
		if m := r.mark(d.Step); m != nil && !m.olderThan(d) {
			c.late(from, d, m)
			return
		}
	}
	switch {
	case d.TakeUp:
		// The run may send it for good now, so nothing is remembered.
		c.sendUnknown(from, d.RunId, d.Step, d.Attempt)
	case c.fromBefore(d.LeaseTerm):
		// The run sends it again if it still wants it.
	case c.releasedUnder(d):
		c.refuse(from, d, messages.Reason_REASON_REVOKED)
	case c.handedOffUnder(d):
		c.withdraw(d.RunId, d.Step, d.Attempt)
		c.refuse(from, d, messages.Reason_REASON_HANDED_OFF)
	case d.InputShared && !c.share(d):
		// The run sends it with its input now.
		c.sendUnknown(from, d.RunId, d.Step, d.Attempt)
	case !c.cfg.Knows(d.Workflow, d.Step):
		c.refuse(from, d, messages.Reason_REASON_STEP_GONE)
	case c.drain.turnsAway(d):
		// Its duplicate may come when the drain is over.
		c.withdraw(d.RunId, d.Step, d.Attempt)
		c.refuse(from, d, messages.Reason_REASON_WORKER_DRAINING)
	default:
		c.admit(now, d, from)
	}
}

// admit makes an attempt of a Dispatch and starts or queues it. Older attempts
// of the step are withdrawn: the run has given them up.
func (c *Core) admit(now time.Time, d *messages.Dispatch, from Address) {
	r := c.touch(d.RunId)
	c.rebound(now, r, d)
	c.replyTo(r, from)
	c.lastID++
	a := &attempt{
		id: c.lastID, run: r, step: d.Step, number: d.Attempt, epoch: d.Epoch,
		dispatch: d,
	}
	r.held = append(r.held, a)
	r.setMark(d.Step, d.Attempt, d.Epoch, markHeld)
	for _, older := range slices.Clone(r.held) {
		switch {
		case older == a || older.step != d.Step || older.phase == phaseEnded:
		case older.phase == phaseQueued:
			c.dequeue(older)
			c.forget(older, markWithdrawn)
		default:
			c.abandon(now, older, staleError(older, d))
		}
	}
	unwinds := r.unwinding[a.step] > 0
	if !unwinds && c.taken < c.slots && c.mayStart() && c.mayBegin(now, a) {
		c.start(now, a)
		return
	}
	if a.phase, a.waited = phaseQueued, true; !unwinds {
		c.enqueue(a)
	}
	c.sendQueued(now, a)
}

// Revoke withdraws an attempt that has not started.
func (c *Core) Revoke(now time.Time, m *messages.Revoke) []Action {
	if !c.begin() {
		return nil
	}
	c.heardOf(now, m.RunId)
	from := Address{m.ReplyAddress, m.ReplyActorId}
	revoked := &messages.Revoked{RunId: m.RunId, Step: m.Step, Attempt: m.Attempt}
	a, known := c.find(m.RunId, m.Step, m.Attempt)
	switch {
	case a != nil && a.phase == phaseQueued:
		if other := a.run.reply; other != from {
			// Another activation of the run counts on the attempt.
			c.send(other, m.RunId, revoked)
		}
		c.dequeue(a)
		c.forget(a, markWithdrawn)
		c.send(from, m.RunId, revoked)
	case a != nil:
		c.replyTo(a.run, from)
		c.answer(now, a)
	case known == markAcknowledged:
		c.send(from, m.RunId, &messages.DispatchRefused{RunId: m.RunId, Step: m.Step, Attempt: m.Attempt, Reason: messages.Reason_REASON_ENDED})
	default:
		c.withdraw(m.RunId, m.Step, m.Attempt)
		c.send(from, m.RunId, revoked)
	}
	return c.end(now)
}

// CancelAttempt cancels the context of an attempt; a queued one ends at once.
func (c *Core) CancelAttempt(now time.Time, m *messages.CancelAttempt) []Action {
	if !c.begin() {
		return nil
	}
	c.heardOf(now, m.RunId)
	from := Address{m.ReplyAddress, m.ReplyActorId}
	a, known := c.find(m.RunId, m.Step, m.Attempt)
	switch {
	case a != nil && a.phase == phaseEnded:
		c.replyTo(a.run, from)
		c.answer(now, a)
	case a != nil:
		c.replyTo(a.run, from)
		c.abandon(now, a, messages.Errorf(messages.CodeCanceled, "step %q was canceled: %s", a.step, m.Why()))
	case known == markAcknowledged:
		c.sendUnknown(from, m.RunId, m.Step, m.Attempt)
	default:
		c.withdraw(m.RunId, m.Step, m.Attempt)
		c.sendUnknown(from, m.RunId, m.Step, m.Attempt)
	}
	return c.end(now)
}

// ResultAck forgets a result.
func (c *Core) ResultAck(now time.Time, m *messages.ResultAck) []Action {
	if !c.begin() {
		return nil
	}
	c.heardOf(now, m.RunId)
	if a, _ := c.find(m.RunId, m.Step, m.Attempt); a != nil && a.phase == phaseEnded {
		c.forget(a, markAcknowledged)
	}
	return c.end(now)
}

// RunReleased withdraws what is left of a run that ended or moved away.
// Results that it has not acknowledged are still sent.
func (c *Core) RunReleased(now time.Time, m *messages.RunReleased) []Action {
	if !c.begin() {
		return nil
	}
	c.drain.stirred(now)
	r := c.touch(m.RunId)
	if m.Epoch > 0 && m.Epoch >= r.epoch {
		c.unbind(r)
	}
	r.releasedEpoch = max(m.Epoch, r.releasedEpoch)
	for _, a := range slices.Clone(r.held) {
		switch {
		case a.epoch > m.Epoch || a.phase == phaseEnded:
		case m.Reason == messages.ReleaseReason_RELEASE_REASON_IDLE:
			c.letGo(now, a)
		case a.phase == phaseQueued:
			c.dequeue(a)
			c.forget(a, markWithdrawn)
		default:
			c.abandon(now, a, messages.Errorf(messages.CodeCanceled, "the run no longer needs step %q here: %s", a.step, m.Reason.Words()))
		}
	}
	c.released(m.RunId, m.Epoch, m.Reason)
	c.rest(r)
	return c.end(now)
}

// ReplyGone says that a message to an actor of a run was not delivered: what is to
// reach the run goes to whoever owns it now. Results that wait and questions that are
// open go at once: a run that sleeps while its step waits has no actor.
func (c *Core) ReplyGone(now time.Time, to Address) []Action {
	if !c.begin() {
		return nil
	}
	if r := c.replies[to]; r != nil {
		c.forgetReply(r)
		for _, a := range r.held {
			switch {
			case a.phase == phaseEnded:
				c.resend(now, a)
			case a.asked > 0:
				c.askToSuspend(now, a)
				c.retime(a)
			}
		}
	}
	return c.end(now)
}

// FunctionEnded takes what the function that Start numbered returned: an output
// or a failure.
func (c *Core) FunctionEnded(now time.Time, id uint64, output []byte, failure *messages.Failure) []Action {
	more := c.begin()
	a := c.byID[id]
	delete(c.byID, id)
	if a == nil || !more {
		return nil
	}
	c.dequeue(a)
	c.freeSlot(a)
	c.notIdle(a)
	c.unwound(a)
	c.returned(now, a)
	if a.phase != phaseEnded && a.phase != phaseForgotten {
		c.conclude(now, a, output, failure)
	}
	c.serve(now)
	return c.end(now)
}

// ChildWaitBegan frees the slot of a function that begins to wait for a child,
// and was not waiting. If it asks for its slot back, for an earlier wait, that
// one returns without.
func (c *Core) ChildWaitBegan(now time.Time, id uint64) []Action {
	if !c.begin() {
		return nil
	}
	a := c.byID[id]
	switch {
	case a == nil:
	case a.phase == phaseRunning:
		a.phase = phaseWaiting
		c.suspects.over(a)
		a.standStill(now)
		c.news(now, a)
		c.freeSlot(a)
		c.serve(now)
	case a.phase == phaseReturning:
		c.dequeue(a)
		a.phase = phaseWaiting
		c.out = append(c.out, Action{Kind: Resume, ID: id})
	}
	return c.end(now)
}

// ChildWaitEnded asks for the slot back; Resume follows. A function whose
// context was canceled gets no slot for its way out, and no Resume.
func (c *Core) ChildWaitEnded(now time.Time, id uint64) []Action {
	if !c.begin() {
		return nil
	}
	a := c.byID[id]
	switch {
	case a == nil:
	case a.phase == phaseWaiting && a.cause == nil:
		c.notIdle(a)
		a.phase = phaseReturning
		c.enqueue(a)
		c.serve(now)
	case a.phase == phaseRunning:
		c.out = append(c.out, Action{Kind: Resume, ID: id, Deadline: a.deadline})
	}
	return c.end(now)
}

// Tick does what is due.
func (c *Core) Tick(now time.Time) []Action {
	if !c.begin() {
		return nil
	}
	c.expire(now)
	return c.end(now)
}

// begin says whether there is anything left to do for an input.
func (c *Core) begin() bool {
	c.out = c.out[:0]
	return !c.stopped
}

func (c *Core) end(now time.Time) []Action {
	c.at = now
	c.serve(now)
	c.noteHeld(now)
	c.settle(now)
	c.askBound(now)
	c.report(now)
	return c.out
}
