package run

import (
	"slices"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// Machine runs one activation of a run. It is not safe for concurrent use.
type Machine struct {
	s   *State
	cfg *Config
	clock

	// The turn, and whether its entry is in flight: then inputs wait in queue.
	turn      turn
	appending bool
	queue     Backlog[Input]
	// dead: the activation was thrown away.
	dead bool
	// out is the answer to the present input; timer what the last SetTimer asked
	// for.
	out     []Action
	outRoom actionRoom
	timer   SetTimer

	// What the activation knows beyond the journal: contacts of live attempts,
	// by the index of their step; and the rest, each in a file of its own.
	contacts  []contact
	questions questions
	gone      goneProcesses
	leaving   leaving
	children  children
	asks      childAsks
	events    eventSeeks
	telling   telling
	sends     sends
	presence  presence
	waits     waits
	absences  absences
	// backAt is when this activation began to try what an earlier one, or an
	// earlier placement, had tried; zero if it was the first.
	backAt time.Time
	lining lining
	// fullAt is when there was last no room for what was ready.
	fullAt time.Time
	// spare is a process of the bound worker id that is older than the bound
	// one, which is not told to be gone. seen is the newest news of that id since
	// the binding.
	spare, seen *WorkerChanged
}

// New makes the machine of a run that has no entry yet.
func New(runID string, def *messages.WorkflowDefinition, cfg *Config) *Machine {
	return over(NewState(runID, def), cfg)
}

// Restore makes the machine of a run from its entries; the first input is to
// be TakeUp. Errors: RUN_SET_ASIDE, also for a state that breaks an invariant:
// going on with it could run a step twice.
func Restore(runID string, def *messages.WorkflowDefinition, entries [][]byte, cfg *Config) (*Machine, error) {
	s, err := Fold(runID, def, entries)
	if err != nil {
		return nil, err
	}
	if err := s.Check(); err != nil {
		return nil, messages.Errorf(messages.CodeRunSetAside, "run %s, by its %d entries: %w", runID, len(entries), err)
	}
	return over(s, cfg), nil
}

func over(s *State, cfg *Config) *Machine {
	n := len(s.Steps)
	return &Machine{s: s, cfg: cfg.Complete(), clock: clock{now: s.At}, turn: turn{row: s.rowKey()},
		contacts: make([]contact, n), questions: newQuestions(n), events: eventSeeks{stored: s.eventWaits()}}
}

// State is the run as it will be once the append in flight is durable. It is
// the machine's and changes with the next input.
func (m *Machine) State() *State { return m.s }

// Appending says that an append is in flight.
func (m *Machine) Appending() bool { return m.appending }

// Waiting is what the inputs count that wait for the append in flight, in bytes.
func (m *Machine) Waiting() int { return m.queue.Bytes() }

// Handle takes an input and returns what is to be done, in order. The slice is the
// machine's, and holds until the next input; the caller may change it.
func (m *Machine) Handle(in Input, now time.Time) []Action {
	m.set(now)
	m.out = m.outRoom.empty()
	if due, ok := in.(TimerDue); ok && due.Moved {
		m.timer.At = time.Time{}
	}
	m.noteStall()
	done, isAppended := in.(Appended)
	_, isDrop := in.(Drop)
	switch {
	case m.dead:
		m.refuseDead(in)
	case isDrop:
		m.die(m.elsewhere())
	case isAppended:
		m.appended(done.Err)
	case m.appending:
		m.queue.Add(in, in)
	default:
		m.presence.stopped = false
		m.decide(in)
		m.finish()
	}
	return m.out
}

// appended ends the turn whose entry was in flight.
func (m *Machine) appended(err error) {
	m.appending = false
	if err != nil {
		m.unspend()
		m.die(err)
		return
	}
	m.out = m.turn.done(m.out)
	m.questions.spent = nil
	m.turn.row = m.s.rowKey()
	for _, in := range m.queue.Take() {
		if m.turn.full() {
			m.queue.Add(in, in)
			continue
		}
		m.decide(in)
	}
	m.finish()
}

// die throws the activation away: its state is ahead of what is stored.
func (m *Machine) die(err error) {
	m.dead = true
	for _, a := range m.turn.after {
		switch a := a.(type) {
		case Reply:
			m.do(Reply{Token: a.Token, Err: err})
		case ReadCalls:
			m.do(Reply{Token: a.Token, Err: err})
		}
	}
	for _, token := range slices.Concat(m.children.giveUp(), m.asks.giveUp(), m.sends.giveUp()) {
		m.do(Reply{Token: token, Err: err})
	}
	for _, in := range m.queue.Take() {
		m.refuseDead(in)
	}
	m.turn.after = nil
	m.withdrawAll()
	m.do(Stop{})
}

func (m *Machine) elsewhere() error {
	return messages.Errorf(messages.CodeJournalConflict, "run %s is going on in another activation", m.s.RunID)
}

// finish ends the deciding part of a turn: what follows from the state, then
// the append or, if there is nothing to append, the actions.
func (m *Machine) finish() {
	if m.dead {
		return
	}
	m.advance()
	if m.turn.any() && m.holding() {
		m.setTimer()
		return
	}
	m.turn.close()
	m.tellLine()
	if m.turn.any() {
		m.restAgain()
		m.append()
		return
	}
	m.out = m.turn.done(m.out)
	m.rest()
	if m.turn.any() {
		m.append()
		return
	}
	m.setTimer()
}

// append makes the turn's events durable. An timer that is set stays: if it
// fires meanwhile it is decided in the next turn.
func (m *Machine) append() {
	m.appending = true
	a := Append{
		Number:     m.s.Number + 1,
		Entry:      m.turn.entry(),
		RowChanged: m.turn.row != m.s.rowKey(),
		Events:     m.eventChanges(),
		Streams:    m.s.takeStreamChanges(),
	}
	if m.turn.continued {
		a.Cut, a.Kept = m.s.cut(m.cfg.LinksKept)
	}
	m.do(a)
	m.s.Number++
	m.s.passed(m.turn.at)
}

// emit adds an event to the turn and folds it.
func (m *Machine) emit(ev *messages.Event) {
	m.turn.record(ev, m.now)
	m.s.apply(ev, m.turn.at)
}

// do adds an action to the answer.
func (m *Machine) do(a Action) { m.out = append(m.out, a) }

// later adds an action to be done once the turn is durable.
func (m *Machine) later(a Action) { m.turn.later(a) }

// decide handles one input. What follows from the new state is advance's.
func (m *Machine) decide(in Input) {
	if m.dead {
		m.refuseDead(in)
		return
	}
	if _, first := in.(TakeUp); !first {
		m.noteWaits(in)
	}
	m.decideOne(in)
}

// decideOne has a case for each kind of input, and nothing else.
//
//gocyclo:ignore
func (m *Machine) decideOne(in Input) {
	switch in := in.(type) {
	case Start:
		m.start(in)
	case TakeUp:
		m.takeUp(in)
	case Absent:
		m.absences = in.Absences
		m.tryAgain()
	case TimerDue:
		m.timer.At = time.Time{}
	case FromWorker:
		m.fromWorker(in.Message)
	case Placed:
		m.placed(in.Message)
	case PlaceWaiting:
		m.placeWaiting(in.Message)
	case PlacementReset:
		m.tryAgain()
	case Park:
		m.park()
	case Admit:
		m.lining = lining{told: unsure}
	case WorkerChanged:
		m.workerChanged(in)
	case Cancel:
		m.cancel(in)
	case Replay:
		m.replay(in)
	case Spawn:
		m.spawn(in)
	case RecordCall:
		m.recordCall(in)
	case FindCall:
		m.findCall(in)
	case Where:
		m.where(in)
	case Signal:
		m.signal(in)
	case AwaitCall:
		m.awaitCall(in)
	case SendSignal:
		m.sendSignal(in)
	case OpenStream:
		m.openStream(in)
	case SignalSent:
		m.signalSent(in)
	case ChildEnded:
		m.childEnded(in)
	case ChildAsked:
		m.childAsked(in)
	case ParentTold:
		m.parentTold(in)
	case EventsSought:
		m.eventsSought(in)
	case EventCame:
		m.eventCame(in)
	case ChildStarted:
		m.childStarted(in)
	case ChildCanceled:
		m.children.note(in.ChildRun)
	case ChildrenListed:
		m.childrenListed(in)
	}
}

// advance does what the state asks for, until it asks for nothing more.
func (m *Machine) advance() {
	m.askChildren()
	m.seekEvents()
	if m.s.Start == nil || m.s.Ended() {
		m.withdrawAll()
		return
	}
	if m.s.Cancel != nil {
		m.withdrawAll()
		m.advanceCancel()
		return
	}
	if m.continues() {
		m.advance()
		return
	}
	// What is due is tried before it fails.
	m.place()
	m.expire()
	m.noteNotOffered()
	m.resend()
	m.end()
}

// end concludes the run once all its steps have ended, and it has parted with its
// children: descendants of a failed step are skipped, with the reason.
func (m *Machine) end() {
	all := true
	for i := range m.s.Steps {
		st := &m.s.Steps[i]
		if st.Phase == Waiting {
			m.skipIfDoomed(st)
		}
		all = all && (st.Phase.Ended() || st.awaitsEnd())
	}
	failed := m.s.failed()
	switch {
	case !all && m.doomedLeft():
		m.end()
	case !all || !m.parted():
	case failed != nil:
		f := failed.Failure
		m.conclude(&messages.RunEnding{Status: messages.RunStatus_RUN_STATUS_FAILED, FailedStep: failed.Def.Name, Failure: &messages.Failure{
			Code: f.Code, Message: "step \"" + failed.Def.Name + "\": " + f.Message, Stack: f.Stack}})
	default:
		m.conclude(&messages.RunEnding{Status: messages.RunStatus_RUN_STATUS_SUCCEEDED})
	}
}

// failed is the step that failed first, beside the end step; nil if none did.
func (s *State) failed() *Step {
	var failed *Step
	for i := range s.Steps {
		if st := &s.Steps[i]; st.Phase == Failed && !st.isEnd() && (failed == nil || st.EndedAt.Before(failed.EndedAt)) {
			failed = st
		}
	}
	return failed
}

func (m *Machine) doomedBy(st *Step) *Step {
	for _, p := range st.parents {
		if parent := &m.s.Steps[p]; parent.Phase.Ended() && parent.Phase != Succeeded {
			return parent
		}
	}
	return nil
}

func (m *Machine) doomedLeft() bool {
	for i := range m.s.Steps {
		if st := &m.s.Steps[i]; st.Phase == Waiting && m.doomedBy(st) != nil {
			return true
		}
	}
	return false
}

func (m *Machine) skipIfDoomed(st *Step) {
	if p := m.doomedBy(st); p != nil {
		reason := messages.Reason_REASON_PARENT_FAILED
		if p.Phase == Skipped {
			reason = messages.Reason_REASON_PARENT_SKIPPED
		}
		m.emit(&messages.Event{Kind: &messages.Event_StepSkipped{StepSkipped: &messages.StepSkipped{
			Step: st.Def.Name, Reason: reason, Parent: p.Def.Name}}})
	}
}

// endRun records the end and lets go of worker and placement.
func (m *Machine) endRun(status messages.RunStatus, f *messages.Failure) {
	worker := m.s.Binding.Worker
	counted := m.s.BoundWorker()
	m.emit(&messages.Event{Kind: &messages.Event_RunEnded{RunEnded: &messages.RunEnded{Status: status, Failure: f, UnreadSignals: m.s.Unread()}}})
	if m.s.Start.ParentRun != "" {
		m.telling = telling{of: m.s.Number + 1, began: m.now}
	}
	m.withdrawAll()
	if worker != nil && !(m.s.Binding.Lost && m.s.soft()) {
		m.later(SendWorker{worker, &messages.RunReleased{RunId: m.s.RunID, Epoch: m.s.Binding.Epoch, Reason: messages.ReleaseReason_RELEASE_REASON_RUN_ENDED}})
	}
	if counted != "" {
		m.later(Unbound{&messages.RunUnbound{RunId: m.s.RunID, Pool: m.pool(), WorkerId: counted}})
	}
}

func (m *Machine) pool() string { return m.s.Def.EffectivePool() }
