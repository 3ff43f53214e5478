package run

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// The mailbox of a run, and the calls that receive from it.
//
//	Signal       A message is recorded whether or not anybody waits for it, and then
//	             answered. Its payload stays in the journal: the state knows its entry.
//	AwaitCall    A call of a live attempt takes the oldest message of its name, or
//	             waits: that is recorded too, with the time when the wait is over. A
//	             later attempt that makes the call waits on until the same time.
//	asked again  A call that waits asks for news. That there is none is true only if the
//	             journal shows the activation to be the newest: another one may have
//	             decided the wait, and have told the worker already.
//	one entry    decides a wait: a message, the time, or that the step does not want
//	             it any more. Only the wait of a live attempt is decided: a message
//	             that comes meanwhile stays in the mailbox for whoever asks next.
//	news         The worker is asked what became of the attempt (Dispatch with
//	             take_up) until it answers, and has its waiting calls ask again. It is
//	             asked so as well when the run comes back to memory.

// letter is a message that was not received.
type letter struct {
	id    string
	entry uint64
}

// callWait is a call that waits.
type callWait struct {
	kind     messages.CallKind
	attempt  int32
	deadline time.Time
	// turn orders those that wait for one name.
	turn uint64
}

// ---- folding -------------------------------------------------------------------

func (s *State) applySignaled(k *messages.Signaled) {
	if s.mailbox == nil {
		s.mailbox, s.signaled = map[string][]letter{}, map[string]string{}
	}
	s.mailbox[k.Name] = append(s.mailbox[k.Name], letter{k.MessageId, s.Number + 1})
	s.signaled[k.MessageId] = signalHash(k.Name, k.Payload)
	s.unread++
}

// signalHash tells messages of one id from each other.
func signalHash(name string, payload []byte) string {
	return name + " " + messages.HashInput(payload)
}

func (s *State) applyWaits(st *Step, k *messages.CallWaits) {
	if st.waits == nil {
		st.waits = map[callKey]callWait{}
	}
	s.waitTurns++
	st.waits[callKey{k.Name, k.Key}] = callWait{kind: k.Kind, attempt: k.Attempt, deadline: time.UnixMicro(k.DeadlineUs), turn: s.waitTurns}
}

// applyReceived takes a message out of the mailbox.
func (s *State) applyReceived(k *messages.CallRecorded) {
	box := s.mailbox[k.Name]
	i := slices.IndexFunc(box, func(l letter) bool { return l.id == k.MessageId })
	if k.Kind != messages.CallKind_CALL_KIND_RECEIVE || i < 0 {
		return
	}
	s.mailbox[k.Name] = slices.Delete(slices.Clone(box), i, i+1)
	s.unread--
	if len(s.mailbox[k.Name]) == 0 {
		delete(s.mailbox, k.Name)
	}
}

// Unread counts the messages of the mailbox by name; nil for none.
func (s *State) Unread() map[string]int32 {
	if len(s.mailbox) == 0 {
		return nil
	}
	unread := make(map[string]int32, len(s.mailbox))
	for name, box := range s.mailbox {
		unread[name] = int32(len(box))
	}
	return unread
}

// ---- deciding ------------------------------------------------------------------

func (m *Machine) signal(in Signal) {
	err := m.takeSignal(in.Message)
	m.later(Reply{Token: in.Token, Err: err})
}

// takeSignal records a message, if there is one and it is not on record.
func (m *Machine) takeSignal(msg *messages.SignalRun) error {
	if msg == nil {
		return nil
	}
	err := m.signalFault(msg)
	if _, again := m.s.signaled[msg.MessageId]; err == nil && !again {
		m.turn.bytes += len(msg.Payload)
		m.emit(&messages.Event{Kind: &messages.Event_Signaled{Signaled: &messages.Signaled{
			Name: msg.Name, MessageId: msg.MessageId, Payload: msg.Payload}}})
		m.deliver(msg.Name)
	}
	return err
}

func (m *Machine) signalFault(msg *messages.SignalRun) error {
	if m.s.Start == nil {
		return unknownRun(m.s.RunID)
	}
	had, again := m.s.signaled[msg.MessageId]
	switch {
	case again && had == signalHash(msg.Name, msg.Payload):
		return nil
	case again:
		return messages.Errorf(messages.CodeIdempotencyMismatch, "run %s has message %q with another name or payload than signal %q of %d bytes", m.s.RunID, msg.MessageId, msg.Name, len(msg.Payload))
	case m.s.Ended():
		return messages.Errorf(messages.CodeRunFinished, "run %s has already ended: it is %s, and receives signal %q no more", m.s.RunID, statusWord(m.s.Status), msg.Name)
	case m.s.unread >= messages.SignalsMax:
		return messages.Errorf(messages.CodeLimitExceeded, "run %s has %d messages that were not received, no more than SignalsMax = %d may wait", m.s.RunID, m.s.unread, messages.SignalsMax)
	}
	return nil
}

// deliver gives messages of a name to those that wait for them, first come first
// served.
func (m *Machine) deliver(name string) {
	for len(m.s.mailbox[name]) > 0 {
		first, key := -1, callKey{}
		for i := range m.s.Steps {
			st := &m.s.Steps[i]
			for k, w := range st.waits {
				if k.name == name && st.awaits(w) && (first < 0 || w.turn < m.s.Steps[first].waits[key].turn) {
					first, key = i, k
				}
			}
		}
		if first < 0 {
			return
		}
		m.receive(&m.s.Steps[first], key)
		m.tellCalls(first)
	}
}

// awaits says that a wait is that of the live attempt.
func (st *Step) awaits(w callWait) bool { return st.Phase == Live && w.attempt == st.Attempt }

// receive records that a call receives the oldest message of its name.
func (m *Machine) receive(st *Step, key callKey) {
	l := m.s.mailbox[key.name][0]
	m.emitCall(st, key, &messages.CallRecorded{Kind: messages.CallKind_CALL_KIND_RECEIVE, MessageId: l.id, SignalEntry: l.entry})
}

// failWait records that a wait is over without a message.
func (m *Machine) failWait(st *Step, key callKey, kind messages.CallKind, err error) {
	m.emitCall(st, key, &messages.CallRecorded{Kind: kind, Outcome: &messages.CallRecorded_Failure{Failure: messages.ToFailure(err)}})
}

func (m *Machine) emitCall(st *Step, key callKey, call *messages.CallRecorded) {
	call.Step, call.Attempt, call.Name, call.Key = st.Def.Name, st.Attempt, key.name, key.key
	m.emit(&messages.Event{Kind: &messages.Event_CallRecorded{CallRecorded: call}})
}

// tellCalls has the worker's waiting calls ask again.
func (m *Machine) tellCalls(i int) {
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
		err = m.await(st, callKey{msg.Name, msg.Key}, msg)
	}
	if c, ok := st.call(msg.Name, msg.Key); err == nil && ok {
		m.later(ReadCalls{Token: in.Token, From: c.entry, Find: &messages.RecordedCalls{Step: msg.Step, Attempt: msg.Attempt, Name: msg.Name, Key: msg.Key}})
		return
	}
	m.later(Reply{Token: in.Token, Err: err, Unproven: err == nil && len(m.turn.events) == events})
	m.dieBehind(err)
}

func (m *Machine) await(st *Step, key callKey, msg *messages.AwaitCall) error {
	if _, decided := st.call(key.name, key.key); decided {
		return nil
	}
	w, waits := st.waits[key]
	if !waits {
		w.deadline = m.now.Add(time.Duration(msg.TimeoutMs) * time.Millisecond)
	}
	switch {
	case st.recorded+len(st.waits) >= messages.CallsMax && !waits:
		return messages.Errorf(messages.CodeLimitExceeded, "step %q has recorded %d calls; more than CallsMax = %d cannot be", msg.Step, st.recorded, messages.CallsMax)
	case msg.Withdrawn:
		m.failWait(st, key, msg.Kind, messages.Errorf(messages.CodeCanceled, "step %q waits for signal %q, call %s, no longer", msg.Step, key.name, key.key))
	case len(m.s.mailbox[key.name]) > 0:
		m.receive(st, key)
	case m.due(w.deadline):
		m.failWait(st, key, msg.Kind, timedOut(st, key))
	case !waits || w.attempt != st.Attempt:
		m.emit(&messages.Event{Kind: &messages.Event_CallWaits{CallWaits: &messages.CallWaits{Step: msg.Step, Attempt: msg.Attempt, Kind: msg.Kind,
			Name: key.name, Key: key.key, DeadlineUs: w.deadline.UnixMicro()}}})
	}
	return nil
}

func timedOut(st *Step, key callKey) error {
	return messages.Errorf(messages.CodeWaitTimeout, "no signal %q came in time for call %s of step %q", key.name, key.key, st.Def.Name)
}

// expireWaits ends waits of a live attempt whose time is over, in order.
func (m *Machine) expireWaits(i int) {
	st := &m.s.Steps[i]
	var over []callKey
	for key, w := range st.waits {
		if st.awaits(w) && m.due(w.deadline) {
			over = append(over, key)
		}
	}
	slices.SortFunc(over, func(a, b callKey) int { return cmp.Compare(st.waits[a].turn, st.waits[b].turn) })
	for _, key := range over {
		m.failWait(st, key, st.waits[key].kind, timedOut(st, key))
	}
	if len(over) > 0 {
		m.tellCalls(i)
	}
}

// waitTimers: waits of a live attempt are over.
func (st *Step) waitTimers(next *earliest) {
	for _, w := range st.waits {
		next.addIf(w.deadline, st.awaits(w))
	}
}

// AwaitedSignals says in words what steps wait for in the mailbox; empty for none.
func (s *State) AwaitedSignals() string {
	for i := range s.Steps {
		st := &s.Steps[i]
		keys := slices.SortedFunc(maps.Keys(st.waits), func(a, b callKey) int { return cmp.Compare(st.waits[a].turn, st.waits[b].turn) })
		for _, key := range keys {
			if w := st.waits[key]; st.awaits(w) {
				return fmt.Sprintf("signal %q for step %q, until %s", key.name, st.Def.Name, w.deadline.UTC().Format(time.RFC3339))
			}
		}
	}
	return ""
}
