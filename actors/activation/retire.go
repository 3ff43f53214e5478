package activation

import (
	"time"

	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// How an activation ends: no message is lost between it and the next one.

// leave ends the activation: at once, or when the append in flight is stored, so
// that whoever is told of its answer is told the truth, and the next owner reads
// it.
func (a *Activation) leave(now time.Time) {
	if a.m.Appending() {
		a.leaving = true
		return
	}
	a.handle(run.Drop{}, now)
	a.retire()
	a.passHeld()
}

// hold keeps what comes while the last append is on its way.
func (a *Activation) hold(e envelope, now time.Time) {
	done, ok := e.message.(run.Appended)
	if !ok {
		a.held.Add(e, e.message)
		return
	}
	a.appended(done, now)
	if !a.retired {
		a.leave(now)
		return
	}
	a.passHeld()
}

func (a *Activation) passHeld() {
	a.leaving = false
	for _, e := range a.held.Take() {
		a.pass(e)
	}
}

// retire makes the host forget this activation.
func (a *Activation) retire() {
	if !a.retired {
		a.retired = true
		a.act(run.Stop{})
	}
}

// pass sends what reaches a retired activation to the next one.
func (a *Activation) pass(e envelope) {
	owned := a.facts.Owns(a.RunID)
	switch msg := e.message.(type) {
	case run.TimerDue, run.Appended, run.ChildAsked, run.ParentTold, run.EventsSought, run.SignalSent, *messages.Placed, *messages.PlaceWaiting, run.PlacementReset, run.Park, run.Admit, Drop, StoredUpTo, CompareStored, Compared, *Bound:
		return
	case *messages.FindRun:
		// It brings no run into memory: what is stored answers it.
		a.refuse(e, messages.Errorf(messages.CodeUnavailable, "run %s is leaving memory", a.RunID))
		return
	case *run.WorkerChanged:
		// It may be what the run, dormant since a moment ago, waits for. The
		// next activation hears it from the roster.
		if a.m != nil && !a.m.State().Ended() && owned {
			a.act(PassOn{})
		}
		return
	case *messages.Result:
		if a.failed == nil && !owned {
			a.act(PassOver{Result: msg, Sender: e.sender})
			return
		}
	}
	if a.failed == nil && !owned {
		a.failed = messages.Errorf(messages.CodeUnavailable, "run %s belongs to another server now", a.RunID)
	}
	if a.failed != nil {
		a.refuse(e, a.failed)
		return
	}
	a.act(PassOn{Message: e.message, Sender: e.sender})
}

// refuse answers what cannot be handled.
func (a *Activation) refuse(e envelope, err error) {
	switch msg := e.message.(type) {
	case run.Start:
		a.act(run.Reply{Token: msg.Token, Err: err})
	case *messages.CancelRun, *messages.ReplayRun, *messages.SignalRun, *messages.ChildEnded, *messages.DeliverEvent:
		a.respond(e.sender, &messages.CommandReply{Error: messages.ToFailure(err)})
	case *messages.SpawnChild:
		a.respond(e.sender, &messages.SpawnChildReply{Error: messages.ToFailure(err)})
	case *messages.RecordCall:
		a.respond(e.sender, &messages.RecordCallReply{Error: messages.ToFailure(err)})
	case *messages.RecordedCalls, *messages.AwaitCall, *messages.SendSignal:
		a.respond(e.sender, &messages.RecordedCallsReply{Error: messages.ToFailure(err)})
	case *messages.OpenStream:
		a.respond(e.sender, &messages.OpenStreamReply{Error: messages.ToFailure(err)})
	case *SpawnResolved:
		a.respond(msg.Sender, &messages.SpawnChildReply{Error: messages.ToFailure(err)})
	case AskWaitingFor:
		a.respond(e.sender, WaitingFor(""))
	case *messages.FindRun:
		a.respond(e.sender, &messages.FoundRun{Error: messages.ToFailure(err)})
	case *messages.Result:
		if messages.CodeOf(err) == messages.CodeUnknownRun {
			// Deleted after its retention: nobody will ever want the result.
			a.act(run.SendWorker{To: &messages.WorkerRef{WorkerId: msg.WorkerId, Incarnation: msg.Incarnation},
				Message: &messages.ResultAck{RunId: msg.RunId, Step: msg.Step, Attempt: msg.Attempt}})
		}
	}
}
