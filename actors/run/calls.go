package run

import (
	"time"

	"github.com/limpetrun/limpet/messages"
)

// Calls of steps. A step asks for the record of a call before it makes it, and has
// it recorded before it goes on:
//
//	FindCall     Where the record is in the journal, if there is one. Records stay
//	             there: the state knows of each only its entry, for together they
//	             may be larger than memory.
//	RecordCall   One event. Those that come while an append is in flight share the
//	             next entry.
//
// Both are for a live attempt alone, and are answered after what they say is
// durable. A cancel of the run does not refuse them: it is for the step to clean up.

// callKey names a call within a step.
type callKey struct{ name, key string }

// recordedCall is what the state knows of a call.
type recordedCall struct {
	// entry is the number of the one that has the record.
	entry   uint64
	attempt int32
}

// callPageBytes is how much is read along with the record that was asked for.
const callPageBytes = 1 << 20

// Calls is how many calls of the step are recorded, LastCall the newest: its name
// and key.
func (st *Step) Calls() (recorded int, last string) { return st.recorded, st.lastCall }

// applyCall folds the record of a call.
func (s *State) applyCall(st *Step, k *messages.CallRecorded, at time.Time) {
	if st.calls == nil {
		st.calls = map[callKey]recordedCall{}
	}
	st.calls[callKey{k.Name, k.Key}] = recordedCall{s.Number + 1, k.Attempt}
	key := callKey{k.Name, k.Key}
	w := st.waits[key]
	delete(st.waits, key)
	s.applyReceived(k)
	s.applyChildEnd(k.GetChild())
	if k.Kind == messages.CallKind_CALL_KIND_CONTINUE {
		st.next = k.GetOutput()
	}
	st.recorded++
	st.lastCall = k.Name + " " + k.Key
	st.resume(key, w, at)
}

// forgetCalls lets go of what no later execution of the step can ask for: there
// will be none without a replay, but for its local state, or if the code was at
// fault and is mended.
func (st *Step) forgetCalls() {
	st.waits = nil
	if !st.Def.BuildsState && !st.keepsCalls() {
		st.calls = nil
	}
}

// keepsCalls says that a replay of this very step leaves its calls recorded: its
// code asked for other calls than are on record, so that mended code goes on.
func (st *Step) keepsCalls() bool {
	return st.Phase == Failed && messages.Code(st.Failure.GetCode()) == messages.CodeCallMismatch
}

// recordCall records how a call came out.
func (m *Machine) recordCall(in RecordCall) {
	call := in.Message.Call
	st, err := m.calling(call.Step, call.Attempt, in.Message.Epoch)
	if err == nil {
		err = st.takes(call)
	}
	if _, again := st.call(call.Name, call.Key); err == nil && !again {
		m.turn.bytes += len(call.GetOutput())
		m.emit(&messages.Event{Kind: &messages.Event_CallRecorded{CallRecorded: call}})
	}
	m.later(Reply{Token: in.Token, Err: err})
	m.dieBehind(err)
}

// mayRecord returns LIMIT_EXCEEDED for a step that may record no more.
func (st *Step) mayRecord(step string) error {
	if st.recorded < messages.CallsMax {
		return nil
	}
	return messages.Errorf(messages.CodeLimitExceeded, "step %q has recorded %d calls; more than CallsMax = %d cannot be", step, st.recorded, messages.CallsMax)
}

// findCall says in which entry the record of a call is.
func (m *Machine) findCall(in FindCall) {
	msg := in.Message
	st, err := m.calling(msg.Step, msg.Attempt, msg.Epoch)
	found, ok := st.call(msg.Name, msg.Key)
	if err == nil && ok {
		m.later(readCall(in.Token, found, msg))
		return
	}
	m.later(Reply{Token: in.Token, Err: err})
	m.dieBehind(err)
}

// calling returns the step whose live attempt makes a call: STALE_ATTEMPT if there
// is none, SUSPENDED if it was let go while it waits, and JOURNAL_CONFLICT for an
// attempt that another activation made: this one is behind the journal.
func (m *Machine) calling(step string, attempt int32, epoch uint64) (*Step, error) {
	st := m.s.Step(step)
	switch {
	case st != nil && attempt > st.Attempt:
		return nil, m.elsewhere()
	case st != nil && st.Phase == Suspended && st.Attempt == attempt && st.Epoch == epoch:
		return nil, messages.SuspendedError(m.s.RunID, step, attempt)
	case st == nil || st.Phase != Live || st.Attempt != attempt || st.Epoch != epoch:
		return nil, messages.Errorf(messages.CodeStaleAttempt, "attempt %s/%s#%d is not live and may make no calls", m.s.RunID, step, attempt)
	}
	return st, nil
}

// dieBehind throws the activation away if it is behind the journal.
func (m *Machine) dieBehind(err error) {
	if messages.CodeOf(err) == messages.CodeJournalConflict {
		m.die(err)
	}
}

// call is what is known of a call; false if it is not recorded.
func (st *Step) call(name, key string) (recordedCall, bool) {
	if st == nil {
		return recordedCall{}, false
	}
	c, ok := st.calls[callKey{name, key}]
	return c, ok
}

// takes checks that a call may be recorded. What the same attempt recorded may
// come again.
func (st *Step) takes(call *messages.CallRecorded) error {
	c, again := st.call(call.Name, call.Key)
	switch {
	case again && c.attempt != call.Attempt:
		return messages.Errorf(messages.CodeInvalidArgument, "call %q %s of step %q was recorded by attempt %d, which attempt %d did not ask for",
			call.Name, call.Key, call.Step, c.attempt, call.Attempt)
	case again:
		return nil
	case call.Kind == messages.CallKind_CALL_KIND_CONTINUE && (st.isEnd() || len(call.GetOutput()) == 0):
		return messages.Errorf(messages.CodeInvalidArgument, "call %q %s of step %q: an end step does not have its run go on as new, nor does any without an input", call.Name, call.Key, call.Step)
	case call.Kind != messages.CallKind_CALL_KIND_DO && call.Kind != messages.CallKind_CALL_KIND_CONTINUE:
		return messages.Errorf(messages.CodeInvalidArgument, "call %q %s of step %q is %s: how that comes out is not for the step to say", call.Name, call.Key, call.Step, call.Kind.Words())
	}
	return st.mayRecord(call.Step)
}

// CallPage gathers records of calls from the entries of a run.
type CallPage struct {
	find  *messages.RecordedCalls
	calls []*messages.CallRecorded
	bytes int
}

// NewCallPage begins a page with the record that was asked for.
func NewCallPage(find *messages.RecordedCalls) *CallPage { return &CallPage{find: find} }

// Add takes from an entry; the first one is that of ReadCalls. It says whether
// there is room for more.
func (p *CallPage) Add(entry []byte) (more bool, err error) {
	e, err := DecodeEntry(entry)
	if err != nil {
		return false, err
	}
	for _, ev := range e.Events {
		call := ev.GetCallRecorded()
		switch {
		case call.GetStep() != p.find.Step:
			continue
		case len(p.calls) == 0 && (call.Name != p.find.Name || call.Key != p.find.Key):
			continue
		case len(p.calls) > 0 && (p.bytes+call.SizeVT() > callPageBytes || call.SignalEntry != 0):
			return false, nil
		}
		p.calls, p.bytes = append(p.calls, call), p.bytes+call.SizeVT()
		if call.SignalEntry != 0 {
			return false, nil
		}
	}
	return true, nil
}

// Signal is the number of the entry that has the payload of the first record, which
// is alone in its page then; 0 for none.
func (p *CallPage) Signal() uint64 {
	if len(p.calls) == 0 {
		return 0
	}
	return p.calls[0].SignalEntry
}

// AddSignal takes that from the entry.
func (p *CallPage) AddSignal(entry []byte) error {
	e, err := DecodeEntry(entry)
	if err != nil {
		return err
	}
	for _, ev := range e.Events {
		if s := ev.GetSignaled(); s != nil && s.MessageId == p.calls[0].MessageId {
			p.calls[0].Outcome = &messages.CallRecorded_Output{Output: s.Payload}
			return nil
		}
	}
	return messages.Errorf(messages.CodeJournalCorrupt, "entry %d has no message %q", p.Signal(), p.calls[0].MessageId)
}

// Calls are those that were gathered.
func (p *CallPage) Calls() []*messages.CallRecorded { return p.calls }
