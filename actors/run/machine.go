package run

import (
	"maps"
	"slices"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// Config holds the times of a machine. Zero fields take the defaults.
type Config struct {
	// ResendAfter: a message to a worker or placement that nothing was heard
	// of is sent again. Default 2 s.
	ResendAfter time.Duration
	// HoldFor is how long a turn's append waits for placement's immediate
	// answer. Default 50 ms.
	HoldFor time.Duration
	// DormantAfter: a run that waits for its worker or for children leaves
	// memory. Default 1 s.
	DormantAfter time.Duration
	// DormantBackoff is the shortest back-off for which a run leaves memory.
	// Default 5 s.
	DormantBackoff time.Duration
	// CancelGrace: attempts that do not answer a cancel are given up.
	// Default 10 s.
	CancelGrace time.Duration
	// ExecutionGrace: an attempt of which the worker does not report the
	// execution timeout is given up. Default 10 s.
	ExecutionGrace time.Duration
	// RecordStartAfter: a start is recorded once the attempt has run for so
	// long. Default 100 ms.
	RecordStartAfter time.Duration
	// MoveFor is how long a grant for a move away from a busy worker is held
	// while its attempts are revoked. Default 4 s.
	MoveFor time.Duration
	// HandoffFor is how long a run waits for the local state that the worker
	// which it leaves hands off. Default 30 s.
	HandoffFor time.Duration
	// ReassureAfter: a worker that has said nothing about a live attempt for
	// so long is asked what became of it, for what it said may have been lost.
	// Default 30 s.
	ReassureAfter time.Duration
}

func (c Config) withDefaults() Config {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&c.ResendAfter, 2*time.Second)
	set(&c.HoldFor, 50*time.Millisecond)
	set(&c.DormantAfter, time.Second)
	set(&c.DormantBackoff, 5*time.Second)
	set(&c.CancelGrace, 10*time.Second)
	set(&c.ExecutionGrace, 10*time.Second)
	set(&c.RecordStartAfter, 100*time.Millisecond)
	set(&c.MoveFor, 4*time.Second)
	set(&c.HandoffFor, 30*time.Second)
	set(&c.ReassureAfter, 30*time.Second)
	return c
}

// contact is what this activation knows of a live attempt beyond the journal.
type contact struct {
	// heard: the worker has answered the last message about it; heardAt: when
	// it last said anything.
	heard   bool
	heardAt time.Time
	// takeUp: the attempt was dispatched by an earlier activation, or the
	// worker was out of reach since; takenUpAt says when it was asked for.
	takeUp    bool
	takenUpAt time.Time
	// queued at the worker, with so many ahead of so many slots.
	queued       bool
	ahead, slots int32
	sentAt       time.Time
	// startedUs is a start that is not recorded before recordAt; 0 for none.
	startedUs int64
	recordAt  time.Time
	// revoke is the reason of an unanswered Revoke; 0 if there is none.
	revoke       messages.Reason
	waitingChild bool
}

// Machine runs one activation of a run. It is not safe for concurrent use.
type Machine struct {
	s   *State
	cfg Config
	// now is the time of the run: the clock's and ahead. It does not go back:
	// not within an activation, and not behind the newest entry, which may come
	// from a server whose clock is ahead.
	now   time.Time
	ahead time.Duration

	// Of the turn: its time, its events, and the actions they cause.
	turnAt  time.Time
	events  []*messages.Event
	after   []Action
	acks    []Action
	rowFrom rowKey
	// boundNow: the turn bound the run by a grant, so that its first steps
	// compete with those of other new runs.
	boundNow bool

	appending bool
	dead      bool
	queue     []Input
	out       []Action

	contacts []contact
	// questions by the index of their step; the one for a binding is the last.
	// used holds the newest answers whose grants were used.
	questions []*question
	used      []usedGrant
	asked     uint64
	// spent are the grants that the turn has used.
	spent []*messages.Placed
	// askFrom: placement is not asked before it.
	askFrom time.Time
	// gone says when a process was found out of use, although placement may not
	// know it yet.
	gone map[string]time.Time
	// draining: the roster says so of the bound worker. refused: it refused a
	// dispatch for that reason; a HARD run tries again after a while, which
	// grows with the refusals in a row.
	// stay: placement wants the run to make its next steps on the draining
	// worker all the same.
	draining, refused, stay bool
	refusedAt               time.Time
	refusals                int
	// handOff is the local state that the run waits for before it leaves.
	handOff *handOff
	// spare is a process of the bound worker id that is older than the bound
	// one, which is not told to be gone.
	spare       *WorkerChanged
	move        *move
	moveRetryAt time.Time
	spawns      map[string][]any
	childAcks   map[string]time.Time
	childAcked  map[string]bool
	timer       time.Time
	idleSince   time.Time
	// awakeSince: the row says that the run is dormant, and it is not.
	awakeSince time.Time
	// lingerTo: an ended run that was brought back stays in memory until then,
	// for whatever it was brought back for.
	lingerTo time.Time
	stopped  bool
	// turnBytes are the outputs that the turn records.
	turnBytes int
}

// turnBytesMax bounds the outputs that one entry records: beyond it the rest
// of the queue waits for the next turn. An entry has to fit into a message
// between two nodes.
const turnBytesMax = 16 << 20

// New makes the machine of a run that has no entry yet.
func New(runID string, def *messages.WorkflowDefinition, cfg Config) *Machine {
	return over(NewState(runID, def), cfg)
}

// Restore makes the machine of a run from its entries; the first input is to
// be TakeUp. Errors: RUN_SET_ASIDE.
func Restore(runID string, def *messages.WorkflowDefinition, entries [][]byte, cfg Config) (*Machine, error) {
	s, err := Fold(runID, def, entries)
	if err != nil {
		return nil, err
	}
	return over(s, cfg), nil
}

func over(s *State, cfg Config) *Machine {
	n := len(s.Steps)
	m := &Machine{s: s, cfg: cfg.withDefaults(), contacts: make([]contact, n),
		questions: make([]*question, n+1), used: make([]usedGrant, n+1), gone: map[string]time.Time{}}
	m.rowFrom = m.rowKey()
	m.now = s.At
	return m
}

// State is the run as it will be once the append in flight is durable. It is
// the machine's and changes with the next input.
func (m *Machine) State() *State { return m.s }

// Appending says that an append is in flight.
func (m *Machine) Appending() bool { return m.appending }

// Handle takes an input and returns what is to be done, in order. The slice
// belongs to the caller.
func (m *Machine) Handle(in Input, now time.Time) []Action {
	m.setNow(now)
	m.out = nil
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
		m.queue = append(m.queue, in)
	default:
		m.stopped = false
		m.decide(in)
		m.finish()
	}
	return m.out
}

func (m *Machine) setNow(clock time.Time) {
	now := time.UnixMicro(clock.UnixMicro()).Add(m.ahead)
	if back := m.now.Sub(now); back > 0 {
		m.ahead += back
		now = m.now
	}
	m.now = now
}

// appended ends the turn whose entry was in flight.
func (m *Machine) appended(err error) {
	m.appending = false
	if err != nil {
		m.unspend()
		m.die(err)
		return
	}
	m.out = append(m.out, m.after...)
	m.after, m.spent = nil, nil
	m.rowFrom = m.rowKey()
	m.boundNow = false
	queue := m.queue
	m.queue = nil
	for i, in := range queue {
		if m.turnBytes > turnBytesMax {
			m.queue = queue[i:]
			break
		}
		m.decide(in)
	}
	m.finish()
}

// die throws the activation away: its state is ahead of what is stored.
func (m *Machine) die(err error) {
	m.dead = true
	for _, a := range m.after {
		if r, ok := a.(Reply); ok {
			m.out = append(m.out, Reply{Token: r.Token, Err: err})
		}
	}
	for _, child := range slices.Sorted(maps.Keys(m.spawns)) {
		for _, t := range m.spawns[child] {
			m.out = append(m.out, Reply{Token: t, Err: err})
		}
	}
	for _, in := range m.queue {
		m.refuseDead(in)
	}
	m.after, m.queue, m.spawns = nil, nil, nil
	m.withdrawAll()
	m.out = append(m.out, Stop{})
}

func (m *Machine) elsewhere() error {
	return messages.Errorf(messages.CodeJournalConflict, "run %s is going on in another activation", m.s.RunID)
}

func (m *Machine) refuseDead(in Input) {
	err := m.elsewhere()
	var token any
	switch in := in.(type) {
	case Start:
		token = in.Token
	case Cancel:
		token = in.Token
	case Replay:
		token = in.Token
	case Spawn:
		token = in.Token
	}
	if token != nil {
		m.out = append(m.out, Reply{Token: token, Err: err})
	}
}

// finish ends the deciding part of a turn: what follows from the state, then
// the append or, if there is nothing to append, the actions.
func (m *Machine) finish() {
	if m.dead {
		return
	}
	m.advance()
	if len(m.events) > 0 && m.holding() {
		m.setTimer()
		return
	}
	// After all else, so that a draining worker does not think that it is done.
	m.after, m.acks = append(m.after, m.acks...), nil
	if len(m.events) > 0 {
		m.append()
		return
	}
	m.out = append(m.out, m.after...)
	m.after = nil
	m.boundNow = false
	m.rest()
	if len(m.events) > 0 {
		m.append()
		return
	}
	m.setTimer()
}

// append makes the turn's events durable. An timer that is set stays: if it
// fires meanwhile it is decided in the next turn.
func (m *Machine) append() {
	m.appending = true
	m.out = append(m.out, Append{
		Number:     m.s.Number + 1,
		Entry:      &messages.Entry{AtUs: m.turnAt.UnixMicro(), Events: m.events},
		RowChanged: m.rowFrom != m.rowKey(),
	})
	m.s.Number++
	m.s.passed(m.turnAt)
	m.events, m.turnBytes = nil, 0
}

// emit adds an event to the turn and folds it.
func (m *Machine) emit(ev *messages.Event) {
	if len(m.events) == 0 {
		m.turnAt = m.now
	}
	m.events = append(m.events, ev)
	m.s.apply(ev, m.turnAt)
}

// later adds an action to be done once the turn is durable.
func (m *Machine) later(a Action) { m.after = append(m.after, a) }

// rowKey is the part of the state that the stored row shows.
type rowKey struct {
	status       messages.RunStatus
	worker       string
	epoch        uint64
	dormant      bool
	wakeAt       int64
	onUp, onGone string
}

func (m *Machine) rowKey() rowKey {
	k := rowKey{status: m.s.Status, worker: m.s.BoundWorker(), epoch: m.s.Epoch}
	if d := m.s.Dormant; d != nil {
		k.dormant, k.wakeAt, k.onUp, k.onGone = true, d.WakeAtUs, d.WakeOnUp, d.WakeOnGone
	}
	return k
}

// BoundWorker is the worker id that counts the run among its bound runs;
// empty for none.
func (s *State) BoundWorker() string {
	if s.Binding.Worker == nil || s.Ended() || (s.Binding.Lost && s.soft()) {
		return ""
	}
	return s.Binding.Worker.WorkerId
}

// decide handles one input. What follows from the new state is advance's.
func (m *Machine) decide(in Input) {
	if m.dead {
		m.refuseDead(in)
		return
	}
	switch in := in.(type) {
	case Start:
		m.start(in)
	case TakeUp:
		m.takeUp()
	case TimerDue:
		m.timer = time.Time{}
	case FromWorker:
		m.fromWorker(in.Message)
	case Placed:
		m.placed(in.Message)
	case PlaceWaiting:
		m.placeWaiting(in.Message)
	case PlacementReset:
		m.askAll()
	case WorkerChanged:
		m.workerChanged(in)
	case Cancel:
		m.cancel(in)
	case Replay:
		m.replay(in)
	case Spawn:
		m.spawn(in)
	case ChildStarted:
		m.childStarted(in)
	case ChildCanceled:
		m.childCanceled(in.ChildRun)
	}
}

// advance does what the state asks for, until it asks for nothing more.
func (m *Machine) advance() {
	if m.s.Start == nil || m.s.Ended() {
		m.withdrawAll()
		return
	}
	if m.s.Cancel != nil {
		m.withdrawAll()
		m.advanceCancel()
		return
	}
	m.expire()
	m.place()
	m.resend()
	m.end()
}

// end ends the run once all its steps have: descendants of a failed step are
// skipped, with the reason.
func (m *Machine) end() {
	var failed *Step
	all := true
	for i := range m.s.Steps {
		st := &m.s.Steps[i]
		if st.Phase == Waiting {
			m.skipIfDoomed(st)
		}
		if st.Phase == Failed && (failed == nil || st.EndedAt.Before(failed.EndedAt)) {
			failed = st
		}
		all = all && st.Phase.Ended()
	}
	switch {
	case !all && m.doomedLeft():
		m.end()
	case !all:
	case failed != nil:
		f := failed.Failure
		m.endRun(messages.RunStatus_RUN_STATUS_FAILED, &messages.Failure{
			Code: f.Code, Message: "step \"" + failed.Def.Name + "\": " + f.Message, Stack: f.Stack})
	default:
		m.endRun(messages.RunStatus_RUN_STATUS_SUCCEEDED, nil)
	}
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
	m.emit(&messages.Event{Kind: &messages.Event_RunEnded{RunEnded: &messages.RunEnded{Status: status, Failure: f}}})
	m.withdrawAll()
	if worker != nil && !(m.s.Binding.Lost && m.s.soft()) {
		m.later(SendWorker{worker, &messages.RunReleased{RunId: m.s.RunID, Epoch: m.s.Binding.Epoch, Reason: messages.ReleaseReason_RELEASE_REASON_RUN_ENDED}})
	}
	if counted != "" {
		m.later(Unbound{&messages.RunUnbound{RunId: m.s.RunID, Pool: m.pool(), WorkerId: counted}})
	}
}

func (m *Machine) pool() string { return m.s.Def.EffectivePool() }
