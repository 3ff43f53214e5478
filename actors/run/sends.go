package run

import (
	"cmp"
	"maps"
	"slices"
	"strconv"

	"github.com/limpetrun/limpet/messages"
)

// Messages that steps send to other runs. The id of a message follows from the call, so
// that the other run has it once, however often it is sent: until how that came out is
// on record. A later attempt that would send something else under the id finds that the
// earlier one has sent it.
//
// A message to the run of an idempotency key goes with a start, for it may not be there.

// send is a call that sends.
type send struct {
	step, name, key string
	attempt         int32
}

// sends are the tokens of those that wait for what became of a message.
type sends map[send][]any

// giveUp takes the tokens of all who wait.
func (s sends) giveUp() (tokens []any) {
	for _, of := range slices.SortedFunc(maps.Keys(s), func(a, b send) int {
		return cmp.Or(cmp.Compare(a.step, b.step), cmp.Compare(a.name, b.name), cmp.Compare(a.key, b.key), cmp.Compare(a.attempt, b.attempt))
	}) {
		tokens = append(tokens, s[of]...)
	}
	clear(s)
	return tokens
}

// sendSignal sends a message for a call, unless it is on record what became of it.
func (m *Machine) sendSignal(in SendSignal) {
	msg := in.Message
	st, err := m.calling(msg.Step, msg.Attempt, msg.Epoch)
	if c, ok := st.call(msg.Name, msg.Key); err == nil && ok {
		m.later(readCall(in.Token, c, msg))
		return
	}
	to := receiverOf(msg)
	if err == nil {
		err = cmp.Or(messages.CheckName("run id", to), st.mayRecord(msg.Step))
	}
	if err != nil {
		m.later(Reply{Token: in.Token, Err: err})
		m.dieBehind(err)
		return
	}
	of := send{msg.Step, msg.Name, msg.Key, msg.Attempt}
	if m.sends == nil {
		m.sends = sends{}
	}
	m.sends[of] = append(m.sends[of], in.Token)
	if len(m.sends[of]) > 1 {
		return
	}
	m.later(SignalOther{of: of, Keyed: msg.Keyed, Traceparent: messages.AttemptSpan(m.s.Start.Traceparent, m.s.RunID, msg.Step, msg.Attempt), Message: &messages.SignalRun{RunId: to, Name: msg.Signal, Payload: msg.Payload,
		MessageId: messages.MessageIDForCall(m.s.RunID, m.s.Generation, msg.Step, msg.Name, msg.Key)}})
}

// receiverOf is the id of the run that is to have a message.
func receiverOf(msg *messages.SendSignal) string {
	if k := msg.Keyed; k != nil {
		return messages.RunIDForKey(k.Workflow, k.IdempotencyKey)
	}
	return msg.ToRun
}

// recordOf is the record of a message that the other run has.
func (act SignalOther) recordOf() (messages.CallKind, *messages.CallRecorded) {
	if act.Keyed == nil {
		return messages.CallKind_CALL_KIND_SIGNAL, &messages.CallRecorded{Outcome: &messages.CallRecorded_Output{Output: []byte("null")}}
	}
	return messages.CallKind_CALL_KIND_START, &messages.CallRecorded{Outcome: &messages.CallRecorded_Output{Output: strconv.AppendQuote(nil, act.Message.RunId)}}
}

// signalSent records what became of a message, if that stays so.
func (m *Machine) signalSent(in SignalSent) {
	of, tokens := in.Of.of, m.sends[in.Of.of]
	delete(m.sends, of)
	kind, call := in.Of.recordOf()
	err := in.Err
	switch messages.CodeOf(err) {
	case "", messages.CodeIdempotencyMismatch:
		err = nil
	case messages.CodeUnknownRun, messages.CodeRunFinished:
		call, err = failed(err), nil
	}
	st := m.s.Step(of.step)
	if err == nil && (st.Phase != Live || st.Attempt != of.attempt) {
		err = messages.Errorf(messages.CodeStaleAttempt, "attempt %s/%s#%d is not live any more", m.s.RunID, of.step, of.attempt)
	}
	key := callKey{of.name, of.key}
	if _, again := st.call(of.name, of.key); err == nil && !again {
		m.emitCall(st, key, callWait{kind: kind, attempt: st.Attempt}, call)
	}
	for _, token := range tokens {
		if err != nil {
			m.later(Reply{Token: token, Err: err})
			continue
		}
		m.later(readCall(token, st.calls[key], &messages.RecordedCalls{Step: of.step, Attempt: of.attempt, Name: of.name, Key: of.key}))
	}
}
