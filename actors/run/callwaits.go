package run

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// Calls that wait: for a message, for a time, for the end of a child, or for the first
// of several of these, the branches of the wait.
//
//	AwaitCall    A call of a live attempt takes what is there, or waits: that is
//	             recorded too, with the times of its sleeps and that when the wait is
//	             over. A later attempt that makes the call waits on until the same times.
//	asked again  A call that waits asks for news. That there is none is true only if the
//	             journal shows the activation to be the newest: another one may have
//	             decided the wait, and have told the worker already.
//	one entry    decides a wait: by a branch, or the time of the wait, or that the step
//	             does not want it any more. With it the whole wait is gone: the branches
//	             that lost take no message, and their times wake nobody. Only the wait of
//	             an attempt that is live or suspended is decided: a message that comes
//	             meanwhile stays in the mailbox for whoever asks next.
//	order        Of branches that have all come the first one counts, and each of them
//	             before the time of the wait. Calls that wait for one signal get
//	             messages in the order in which they began to.
//	ALL          is a call for each of its branches, the parts, which begin to wait in
//	             one entry. That they do is the record of the call itself.
//	news         The worker is asked what became of the attempt (Dispatch with
//	             take_up) until it answers, and has its waiting calls ask again: when a
//	             call has come out, of ALL when its last part has. It is asked so as
//	             well when the run comes back to memory.

// callWait is a call that waits.
type callWait struct {
	kind    messages.CallKind
	attempt int32
	// since is when it began to, in whatever attempt.
	since, deadline time.Time
	branches        []branch
	// all is the key of the ALL that it is a part of; empty for none.
	all string
	// turn orders those that wait for one name.
	turn uint64
}

// branch is one thing that a call waits for.
type branch struct {
	kind messages.CallKind
	// name of the signal, or of the run of the child.
	name string
	// until is when a sleep is over; wall: when the wall clock shows that.
	until time.Time
	wall  bool
	// event is set of one that is for an event and on record.
	event eventBranch
}

func branchOf(b *messages.WaitBranch) branch {
	switch {
	case b.Kind == messages.CallKind_CALL_KIND_CHILD:
		return branch{kind: b.Kind, name: b.ChildRun}
	case b.Kind == messages.CallKind_CALL_KIND_EVENT:
		return branch{kind: b.Kind, name: b.EventPattern()}
	case b.Kind == messages.CallKind_CALL_KIND_SLEEP && b.UntilWallUs != 0:
		return branch{kind: b.Kind, until: time.UnixMicro(b.UntilWallUs), wall: true}
	case b.Kind == messages.CallKind_CALL_KIND_SLEEP:
		return branch{kind: b.Kind, until: time.UnixMicro(b.UntilUs)}
	}
	return branch{kind: b.Kind, name: b.Signal}
}

// message is a branch as a record has it.
func (b branch) message() *messages.WaitBranch {
	m := &messages.WaitBranch{Kind: b.kind}
	switch {
	case b.kind == messages.CallKind_CALL_KIND_CHILD:
		m.ChildRun = b.name
	case b.kind == messages.CallKind_CALL_KIND_EVENT:
		m.EventKey, m.EventPrefix = strings.CutSuffix(b.event.pattern, "*")
		m.Condition, m.SinceMs = b.event.condition, b.event.since.Milliseconds()
	case b.wall:
		m.UntilWallUs = b.until.UnixMicro()
	case b.kind == messages.CallKind_CALL_KIND_SLEEP:
		m.UntilUs = b.until.UnixMicro()
	default:
		m.Signal = b.name
	}
	return m
}

// branchesOf are those of a call. One that says nothing waits for a message of its
// name.
func branchesOf(name string, all []*messages.WaitBranch) []branch {
	if len(all) == 0 {
		return []branch{{kind: messages.CallKind_CALL_KIND_RECEIVE, name: name}}
	}
	branches := make([]branch, len(all))
	for i, b := range all {
		branches[i] = branchOf(b)
	}
	return branches
}

// isFor says that a branch waits for a signal, or a child.
func (w callWait) isFor(kind messages.CallKind, name string) bool {
	return slices.ContainsFunc(w.branches, func(b branch) bool { return b.kind == kind && b.name == name })
}

// awaits says that a wait is to be decided when what it is for comes: it is that of the
// live attempt, or of one that is suspended.
func (st *Step) awaits(w callWait) bool {
	return (st.Phase == Live || st.Phase == Suspended) && w.attempt == st.Attempt
}

// ---- folding -------------------------------------------------------------------

func (s *State) applyWaits(st *Step, k *messages.CallWaits, at time.Time) {
	if st.waits == nil {
		st.waits = map[callKey]callWait{}
	}
	key := callKey{k.Name, k.Key}
	if f := k.FailedCondition; f != nil {
		st.waits[key].applyFailed(f)
		return
	}
	s.waitTurns++
	w := callWait{kind: k.Kind, attempt: k.Attempt, since: at, deadline: time.UnixMicro(k.DeadlineUs),
		branches: branchesOf(k.Name, k.Branches), all: k.AllKey, turn: s.waitTurns}
	if before, ok := st.waits[key]; ok {
		w.since = before.since
	}
	s.awaitsEvents = w.nameEvents(s.Generation, st, key, k.Branches) || s.awaitsEvents
	st.waits[key] = w
}

// ---- deciding ------------------------------------------------------------------

// waiting is a wait that is to be decided, and whose it is.
type waiting struct {
	callWait
	step int
	key  callKey
}

// undecided are the waits of the run that are to be decided, in the order in which they
// began.
func (s *State) undecided(about func(callWait) bool) []waiting {
	var all []waiting
	for i := range s.Steps {
		st := &s.Steps[i]
		if len(st.waits) == 0 {
			continue // as most: this is asked with each input
		}
		for key, w := range st.waits {
			if st.awaits(w) && about(w) {
				all = append(all, waiting{w, i, key})
			}
		}
	}
	if len(all) < 2 {
		return all
	}
	slices.SortFunc(all, func(a, b waiting) int { return cmp.Compare(a.turn, b.turn) })
	return all
}

// settle decides those of some waits for which something has come.
func (m *Machine) settle(about func(callWait) bool) {
	for _, w := range m.s.undecided(about) {
		st := &m.s.Steps[w.step]
		if !st.awaits(w.callWait) {
			// It was suspended, and goes on for another wait.
			continue
		}
		call := m.came(st, w.key, w.callWait)
		if call == nil {
			continue
		}
		m.emitCall(st, w.key, w.callWait, call)
		m.tellOf(w.step, w.key, w.callWait)
	}
}

// tellOf has the worker's waiting calls ask again, as one of them has come out.
func (m *Machine) tellOf(step int, key callKey, w callWait) {
	if w.all == "" || !m.s.Steps[step].hasPart(key.name, w.all) {
		m.tellCalls(step)
	}
}

// hasPart says that a part of an ALL waits.
func (st *Step) hasPart(name, all string) bool {
	for key, w := range st.waits {
		if key.name == name && w.all == all {
			return true
		}
	}
	return false
}

// came is how a wait comes out now; nil for not yet.
func (m *Machine) came(st *Step, key callKey, w callWait) *messages.CallRecorded {
	for i, b := range w.branches {
		if call := m.branchCame(b); call != nil {
			call.Branch = int32(i)
			return call
		}
	}
	if !m.due(w.deadline) || m.seeks(w) {
		return nil
	}
	return failed(messages.Errorf(messages.CodeWaitTimeout, "call %q %s of step %q: %s did not come in time", key.name, key.key, st.Def.Name, w.words()))
}

// branchCame is how a branch comes out now; nil for not yet.
func (m *Machine) branchCame(b branch) *messages.CallRecorded {
	switch b.kind {
	case messages.CallKind_CALL_KIND_RECEIVE:
		if box := m.s.mailbox[b.name]; len(box) > 0 {
			return &messages.CallRecorded{MessageId: box[0].id, SignalEntry: box[0].entry}
		}
	case messages.CallKind_CALL_KIND_SLEEP:
		if m.due(b.sleepsTo(m.cfg.ToEngine)) {
			return &messages.CallRecorded{}
		}
	case messages.CallKind_CALL_KIND_CHILD:
		return m.childCame(b.name)
	}
	return nil
}

// sleepsTo is when a sleep is over, as far as is known of the wall clock now: toEngine
// is when that shows a time; nil while it shows engine time.
func (b branch) sleepsTo(toEngine func(wall time.Time) time.Time) time.Time {
	if b.wall && toEngine != nil {
		return toEngine(b.until)
	}
	return b.until
}

// failed is the outcome of a call that came to nothing.
func failed(err error) *messages.CallRecorded {
	return &messages.CallRecorded{Outcome: &messages.CallRecorded_Failure{Failure: messages.ToFailure(err)}}
}

// seeks says that it is not known yet whether something has come that a wait is for.
func (m *Machine) seeks(w callWait) bool {
	return m.asksFor(w) || slices.ContainsFunc(w.branches, func(b branch) bool {
		return b.kind == messages.CallKind_CALL_KIND_EVENT && !m.events.sought(b)
	})
}

// emitCall records how a call came out.
func (m *Machine) emitCall(st *Step, key callKey, w callWait, call *messages.CallRecorded) {
	call.Step, call.Attempt, call.Kind, call.Name, call.Key = st.Def.Name, w.attempt, w.kind, key.name, key.key
	m.emit(&messages.Event{Kind: &messages.Event_CallRecorded{CallRecorded: call}})
}

// tellCalls has the worker's waiting calls ask again.
func (m *Machine) tellCalls(i int) {
	if m.s.Steps[i].Phase != Live {
		return
	}
	m.contacts[i].takeUp = true
	if !m.s.Binding.Lost {
		m.sendDispatch(i, 0)
	}
}

// awaitCall decides a call, or has it wait.
func (m *Machine) awaitCall(in AwaitCall) {
	msg := in.Message
	events := len(m.turn.events)
	st, err := m.calling(msg.Step, msg.Attempt, msg.Epoch)
	if err == nil {
		err = m.await(st, msg)
	}
	if c, ok := st.call(msg.Name, msg.Key); err == nil && ok {
		m.later(readCall(in.Token, c, msg))
		return
	}
	if err == nil {
		m.waitsToCleanUp(st)
	}
	// Another activation may have spawned the child that is waited for.
	behind := messages.CodeOf(err) == messages.CodeJournalConflict
	m.later(Reply{Token: in.Token, Err: err, Unproven: !behind && len(m.turn.events) == events})
	m.dieBehind(err)
}

// callMessage is one about a call of a live attempt.
type callMessage interface {
	GetStep() string
	GetAttempt() int32
	GetName() string
	GetKey() string
}

// readCall answers with the record of a call.
func readCall(token any, c recordedCall, msg callMessage) ReadCalls {
	return ReadCalls{Token: token, From: c.entry, Find: &messages.RecordedCalls{
		Step: msg.GetStep(), Attempt: msg.GetAttempt(), Name: msg.GetName(), Key: msg.GetKey()}}
}

// await decides a call, and the parts of one that has several, or has it wait.
func (m *Machine) await(st *Step, msg *messages.AwaitCall) error {
	parts := []*messages.AwaitCall{msg}
	if msg.Kind == messages.CallKind_CALL_KIND_ALL {
		parts = messages.PartsOf(msg)
	}
	if err := m.mayWait(st, msg, parts); err != nil {
		return err
	}
	key := callKey{msg.Name, msg.Key}
	all := ""
	if msg.Kind == messages.CallKind_CALL_KIND_ALL {
		all = msg.Key
		if _, again := st.calls[key]; !again {
			m.emitCall(st, key, callWait{kind: msg.Kind, attempt: st.Attempt}, &messages.CallRecorded{Calls: int32(len(parts))})
		}
	}
	for _, part := range parts {
		m.awaitPart(st, part, all)
	}
	return nil
}

// mayWait returns LIMIT_EXCEEDED or INVALID_ARGUMENT for calls that may not wait.
func (m *Machine) mayWait(st *Step, msg *messages.AwaitCall, parts []*messages.AwaitCall) error {
	if n := len(msg.Branches); n > messages.BranchesMax {
		return messages.Errorf(messages.CodeLimitExceeded, "call %q %s of step %q waits for %d things, more than BranchesMax = %d", msg.Name, msg.Key, msg.Step, n, messages.BranchesMax)
	}
	fresh := 0
	for _, part := range parts {
		key := callKey{part.Name, part.Key}
		if _, recorded := st.calls[key]; recorded {
			continue
		}
		if err := m.eventsFault(part); err != nil {
			return err
		}
		if _, waits := st.waits[key]; waits {
			continue
		}
		fresh++
		if err := m.branchesFault(part); err != nil {
			return err
		}
	}
	if fresh > 0 && st.recorded+len(st.waits)+fresh > messages.CallsMax {
		return messages.Errorf(messages.CodeLimitExceeded, "step %q has made %d calls; more than CallsMax = %d cannot be", msg.Step, st.recorded+len(st.waits), messages.CallsMax)
	}
	return nil
}

// branchesFault is what is wrong with what a call waits for.
func (m *Machine) branchesFault(msg *messages.AwaitCall) error {
	for _, b := range msg.Branches {
		most := m.now.Add(time.Duration(messages.WaitMsMax) * time.Millisecond)
		switch {
		case b.UntilWallUs != 0 && branchOf(b).sleepsTo(m.cfg.ToEngine).After(most):
			return messages.Errorf(messages.CodeLimitExceeded, "call %q %s of step %q sleeps until %s, which is more than WaitMsMax = %d away",
				msg.Name, msg.Key, msg.Step, time.UnixMicro(b.UntilWallUs).UTC().Format(time.RFC3339), messages.WaitMsMax)
		case b.Kind == messages.CallKind_CALL_KIND_CHILD && !m.s.spawned(b.ChildRun):
			return messages.Errorf(messages.CodeInvalidArgument, "call %q %s of step %q waits for run %q, which run %s has not spawned", msg.Name, msg.Key, msg.Step, b.ChildRun, m.s.RunID)
		}
	}
	return nil
}

// awaitPart decides a call with a wait of its own, or has it wait.
func (m *Machine) awaitPart(st *Step, msg *messages.AwaitCall, all string) {
	key := callKey{msg.Name, msg.Key}
	if _, decided := st.calls[key]; decided {
		return
	}
	w, waits := st.waits[key]
	if waits = waits && st.awaits(w) && w.kind == msg.Kind; !waits {
		w = m.newWait(st, msg, all)
	}
	call := m.came(st, key, w)
	switch {
	case call != nil:
		m.emitCall(st, key, w, call)
	case msg.Withdrawn:
		m.emitCall(st, key, w, failed(messages.Errorf(messages.CodeCanceled, "call %q %s of step %q waits for %s no longer", key.name, key.key, msg.Step, w.words())))
	case !waits:
		m.emit(&messages.Event{Kind: &messages.Event_CallWaits{CallWaits: &messages.CallWaits{Step: msg.Step, Attempt: msg.Attempt, Kind: msg.Kind,
			Name: key.name, Key: key.key, DeadlineUs: w.deadline.UnixMicro(), Branches: w.messages(msg.Branches), AllKey: all}}})
	}
}

// newWait is the wait of a call of the live attempt. The times of one that an earlier
// attempt has begun stay.
func (m *Machine) newWait(st *Step, msg *messages.AwaitCall, all string) callWait {
	before, waits := st.waits[callKey{msg.Name, msg.Key}]
	if waits = waits && before.kind == msg.Kind; !waits {
		before = callWait{since: m.now, deadline: m.now.Add(time.Duration(msg.TimeoutMs) * time.Millisecond)}
	}
	w := callWait{kind: msg.Kind, attempt: st.Attempt, since: before.since, deadline: before.deadline, all: all, branches: branchesOf(msg.Name, msg.Branches)}
	for i, b := range msg.Branches {
		switch {
		case b.Kind != messages.CallKind_CALL_KIND_SLEEP || b.UntilWallUs != 0:
		case i < len(before.branches) && before.branches[i].kind == b.Kind && !before.branches[i].wall:
			w.branches[i].until = before.branches[i].until
		default:
			w.branches[i].until = m.now.Add(time.Duration(b.SleepMs) * time.Millisecond)
		}
	}
	return w
}

// messages are the branches of a wait as they are recorded, with their times.
func (w callWait) messages(asked []*messages.WaitBranch) []*messages.WaitBranch {
	all := make([]*messages.WaitBranch, len(asked))
	for i, b := range asked {
		if all[i] = b; b.Kind == messages.CallKind_CALL_KIND_SLEEP && !w.branches[i].wall {
			all[i] = &messages.WaitBranch{Kind: b.Kind, UntilUs: w.branches[i].until.UnixMicro()}
		}
	}
	return all
}

// expireWaits decides waits whose time is over, or that have slept enough.
func (m *Machine) expireWaits() {
	m.settle(func(w callWait) bool { return m.due(w.next(m.cfg.ToEngine)) })
}

// next is when time alone decides a wait, by what the wall clock shows: see sleepsTo.
func (w callWait) next(toEngine func(wall time.Time) time.Time) time.Time {
	next := earliest{w.deadline}
	for _, b := range w.branches {
		next.addIf(b.sleepsTo(toEngine), b.kind == messages.CallKind_CALL_KIND_SLEEP)
	}
	return next.at
}

// waitTimers: waits come out by time alone.
func (m *Machine) waitTimers(st *Step, next *earliest) {
	for _, w := range st.waits {
		next.addIf(w.next(m.cfg.ToEngine), st.awaits(w) && !m.seeks(w))
	}
}
