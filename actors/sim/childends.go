package sim

import (
	"fmt"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// What runs ask and tell each other of ends of children, and the messages that their
// steps send.

// tellWithin bounds one telling of a parent.
const tellWithin = 2 * time.Second

// askChild reads whether a child has ended.
func (a *actor) askChild(act run.AskChild) {
	s := a.sv.sim
	a.sv.later(s.dice.between(100*time.Microsecond, 2*time.Millisecond), func() {
		asked := run.ChildAsked{RunID: act.RunID, Serial: act.Serial}
		if asked.End, asked.Err = s.endOf(act.RunID); s.journalDown() {
			asked.End, asked.Err = nil, unavailable
		}
		a.receive(asked)
	})
}

// endOf is how a run has ended by the journal; nil if it goes on.
func (s *Sim) endOf(runID string) (*messages.ChildEnd, error) {
	record, err := s.store.Load(background, runID)
	if err != nil || !journal.Finished(record.Row.Status) {
		return nil, err
	}
	var history run.ChildHistory
	for i, data := range record.Entries {
		s.must(history.Add(record.After+uint64(i)+1, data))
	}
	return history.End(runID), nil
}

func (a *actor) tellParent(act run.TellParent) {
	to := act.Message.RunId
	a.sv.call(to, tellWithin, func(sv *server, reply func(any)) {
		sv.deliver(to, act.Message, asker(func(answer any) {
			if code := codeIn(answer); !code.Retryable() {
				reply(run.ParentTold{Of: act.Of})
			}
		}))
	}, func(answer any) {
		if answer != nil {
			a.receive(answer)
		}
	})
}

func (a *actor) signalOther(act run.SignalOther) {
	to := act.Message.RunId
	a.sv.call(to, callTimeout, func(sv *server, reply func(any)) {
		sv.deliver(to, act.Message, asker(func(answer any) {
			if err := messages.FromFailure(answer.(*messages.CommandReply).Error); !messages.CodeOf(err).Retryable() {
				reply(run.SignalSent{Of: act, Err: err})
			}
		}))
	}, func(answer any) {
		if answer == nil {
			answer = run.SignalSent{Of: act, Err: messages.Errorf(messages.CodeUnavailable, "no server answered")}
		}
		a.receive(answer)
	})
}

// childReturned checks that a step goes on with an end that is in the child's history.
func (m *monitor) childReturned(f *function, child string, call *messages.CallRecorded) error {
	end := call.GetChild()
	entry, err := m.sim.store.Entry(background, child, end.GetEntry())
	if err != nil || entry == nil || end.GetChildRun() != child {
		return fmt.Errorf("%s goes on with the end %v of child %s: %w", f.key(), end, child, err)
	}
	var history run.ChildHistory
	m.sim.must(history.Add(end.Entry, entry))
	if had := history.End(child); had.GetStatus() != end.Status {
		return fmt.Errorf("%s goes on with the end %v of child %s, its entry has %v", f.key(), end, child, had)
	}
	return nil
}
