package activation

import (
	"slices"
	"time"

	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// What becomes of the machine's actions.
//
// A worker that has a lease again executes what comes under its new term. An
// activation that has not noticed that the run went to another worker meanwhile
// must not send under that term: it uses what the server knew before the
// activation was last shown to be the newest. See package lease.

// Tokens of inputs whose answer is a message to a sender.
type (
	commander struct{ sender any }
	spawner   struct{ sender any }
	recorder  struct{ sender any }
	finder    struct{ sender any }
	locator   struct{ sender any }
	opener    struct{ sender any }
)

// handle gives an input to the machine. The machine's own slice carries the
// actions on, for there is one for each message of each run; those that are there
// already are kept, for they may be in it.
func (a *Activation) handle(in run.Input, now time.Time) {
	a.out = slices.Clone(a.out)
	actions := a.m.Handle(in, now)
	kept := actions[:0]
	for _, action := range actions {
		if action = a.effect(action); action != nil {
			kept = append(kept, action)
		}
	}
	if a.out == nil {
		a.out = kept
		return
	}
	a.out = append(a.out, kept...)
}

// effect returns the action that the shell is to carry out; nil for none.
func (a *Activation) effect(action Action) Action {
	switch act := action.(type) {
	case run.Append:
		a.appendMark = a.facts.LeaseMark()
	case run.SendWorker:
		return a.underTerm(action, act)
	case run.Watch:
		if !slices.Contains(a.watched, act.WorkerID) {
			a.watched = append(a.watched, act.WorkerID)
		}
	case run.Unwatch:
		a.watched = slices.DeleteFunc(a.watched, func(id string) bool { return id == act.WorkerID })
	case run.Reply:
		return a.reply(act)
	case run.ReadCalls:
		if act.Token = act.Token.(finder).sender; act.Token == nil {
			return nil
		}
		return act
	case run.Stop:
		if a.retired {
			return nil
		}
		a.retired = true
	}
	return action
}

// reply is what goes to who asked for something.
func (a *Activation) reply(act run.Reply) Action {
	if act.Unproven {
		return a.prove(act)
	}
	failure := messages.ToFailure(act.Err)
	switch to := act.Token.(type) {
	case commander:
		return answer(to.sender, &messages.CommandReply{Error: failure, Decided: act.Decided})
	case spawner:
		return answer(to.sender, &messages.SpawnChildReply{ChildRun: act.ChildRun, Error: failure})
	case recorder:
		return answer(to.sender, &messages.RecordCallReply{Error: failure})
	case finder:
		return answer(to.sender, &messages.RecordedCallsReply{Error: failure})
	case opener:
		return answer(to.sender, &messages.OpenStreamReply{Section: act.Section, Error: failure})
	case locator:
		found := act.Found
		if found == nil {
			found = &messages.FoundRun{Error: failure}
		}
		return answer(to.sender, found)
	}
	return act
}

// underTerm adds the lease term that the activation may use. An attempt whose
// worker has another term is withdrawn instead, for the lease has ended that it
// was sent under. Only the worker can say what became of it: another activation
// may have sent it again under the new term, which no entry says.
func (a *Activation) underTerm(action Action, act run.SendWorker) Action {
	switch m := act.Message.(type) {
	case *messages.Dispatch:
		term, known := a.facts.LeaseTerm(act.To, a.mark)
		if !known && !m.TakeUp {
			return run.SendWorker{To: act.To, Message: &messages.Revoke{RunId: m.RunId, Step: m.Step, Attempt: m.Attempt,
				Reason: messages.Reason_REASON_LEASE_EXPIRED}}
		}
		m.LeaseTerm = term
	case *messages.HandOff:
		term, known := a.facts.LeaseTerm(act.To, a.mark)
		if !known {
			// It is asked again after a while: by then the activation may have been
			// shown to be the newest.
			return a.compare()
		}
		m.LeaseTerm = term
	}
	return action
}

// answer is the action that answers a sender; nil if nobody wants it.
func answer(sender, message any) Action {
	if sender == nil {
		return nil
	}
	return Respond{To: sender, Message: message}
}

func (a *Activation) respond(sender, message any) {
	if action := answer(sender, message); action != nil {
		a.act(action)
	}
}
