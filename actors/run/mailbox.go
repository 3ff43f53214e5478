package run

import (
	"slices"
	"strings"

	"github.com/limpetrun/limpet/messages"
)

// The mailbox of a run. A message is recorded whether or not anybody waits for it, and
// then answered. Its payload stays in the journal: the state knows its entry. It stays
// in the mailbox until a call has received it: see callwaits.go.

// letter is a message that was not received.
type letter struct {
	id    string
	entry uint64
}

// ---- folding -------------------------------------------------------------------

func (s *State) applySignaled(k *messages.Signaled) {
	if s.mailbox == nil {
		s.mailbox = map[string][]letter{}
	}
	s.mailbox[k.Name] = append(s.mailbox[k.Name], letter{k.MessageId, s.Number + 1})
	s.signaled.note(k.MessageId, signalHash(k.Name, k.Payload))
	s.unread++
}

// signalHash tells messages of one id from each other.
func signalHash(name string, payload []byte) string {
	return name + " " + messages.HashInput(payload)
}

// applyReceived takes a message out of the mailbox.
func (s *State) applyReceived(k *messages.CallRecorded) {
	if k.SignalEntry == 0 {
		return
	}
	// See signalHash.
	hash, _ := s.signaled.of(k.MessageId)
	name, _, _ := strings.Cut(hash, " ")
	box := s.mailbox[name]
	i := slices.IndexFunc(box, func(l letter) bool { return l.id == k.MessageId })
	if i < 0 {
		return
	}
	s.mailbox[name] = slices.Delete(slices.Clone(box), i, i+1)
	s.unread--
	if len(s.mailbox[name]) == 0 {
		delete(s.mailbox, name)
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

// LetterEntries are the numbers of the entries that have the messages of the mailbox, in order.
func (s *State) LetterEntries() (numbers []uint64) {
	for _, box := range s.mailbox {
		for _, l := range box {
			numbers = append(numbers, l.entry)
		}
	}
	slices.Sort(numbers)
	return slices.Compact(numbers)
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
	if _, again := m.s.signaled.of(msg.MessageId); err == nil && !again {
		m.turn.bytes += len(msg.Payload)
		m.emit(&messages.Event{Kind: &messages.Event_Signaled{Signaled: &messages.Signaled{
			Name: msg.Name, MessageId: msg.MessageId, Payload: msg.Payload}}})
		m.settle(func(w callWait) bool { return w.isFor(messages.CallKind_CALL_KIND_RECEIVE, msg.Name) })
	}
	return err
}

func (m *Machine) signalFault(msg *messages.SignalRun) error {
	if m.s.Start == nil {
		return unknownRun(m.s.RunID)
	}
	had, again := m.s.signaled.of(msg.MessageId)
	switch {
	case again && had == signalHash(msg.Name, msg.Payload):
		return nil
	case again:
		return messages.Errorf(messages.CodeIdempotencyMismatch, "run %s has message %q with another name or payload than signal %q of %d bytes", m.s.RunID, msg.MessageId, msg.Name, len(msg.Payload))
	case m.s.Ended():
		return messages.Errorf(messages.CodeRunFinished, "run %s has already ended: it is %s, and receives signal %q no more", m.s.RunID, statusWord(m.s.Status), msg.Name)
	case m.s.unread >= messages.SignalsMax && !m.receivedAtOnce(msg.Name):
		return messages.Errorf(messages.CodeLimitExceeded, "run %s has %d messages that were not received, no more than SignalsMax = %d may wait", m.s.RunID, m.s.unread, messages.SignalsMax)
	}
	return nil
}

// receivedAtOnce says that a call waits for a message of the name: it does not stay in
// the mailbox, and is no further one of a full mailbox.
func (m *Machine) receivedAtOnce(name string) bool {
	return len(m.s.undecided(func(w callWait) bool { return w.isFor(messages.CallKind_CALL_KIND_RECEIVE, name) })) > 0
}
