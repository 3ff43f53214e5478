package run

import (
	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/messages"
)

// Foreign refuses a worker's message about an attempt that is another worker's, or about
// a binding: STALE_ATTEMPT; nil for all else. The node that took the message has noted
// in it who sent it (messages.SentBy). One about what is not live is left to those who
// tell what is late from what is not, and so is a Result, which says itself whose it is.
func (m *Machine) Foreign(msg proto.Message) error {
	by, ok := msg.(interface{ GetFromWorker() string })
	if !ok || by.GetFromWorker() == "" {
		return nil
	}
	var of *messages.WorkerRef
	what := string(proto.MessageName(msg).Name())
	switch msg := msg.(type) {
	case *messages.HandedOff:
		if msg.Epoch == m.s.Binding.Epoch {
			of = m.s.Binding.Worker
		}
	case *messages.RecordCall:
		of = m.holder(&messages.Started{Step: msg.Call.GetStep(), Attempt: msg.Call.GetAttempt()})
	case attemptMessage:
		of = m.holder(msg)
	}
	if of == nil || of.WorkerId == by.GetFromWorker() {
		return nil
	}
	return messages.Errorf(messages.CodeStaleAttempt, "%s of run %s comes from worker %q, and is for %q alone to say", what, m.s.RunID, by.GetFromWorker(), of.WorkerId)
}

// holder is the worker that has the attempt, if that is live.
func (m *Machine) holder(of attemptMessage) *messages.WorkerRef {
	i, live := m.live(of)
	if !live {
		return nil
	}
	return m.s.Steps[i].Worker
}
