package sim

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/activation"
	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/projection"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// actor is what is around the real core of an activation: a mailbox, a timer,
// and the sending of what it wants sent.
type actor struct {
	sv   *server
	core *activation.Activation
	// mailbox is what was sent to it; scheduled: it is about to be received.
	mailbox   []mail
	scheduled bool
	// timers counts settings; only the last one fires.
	timers int
	// over: what is sent to it now is not delivered.
	over bool
}

// mail is a message, and who is to get its answer: an asker, if anybody.
type mail struct{ message, sender any }

// asker takes the answer to a message.
type asker func(answer any)

// Messages of a mailbox to itself.
type (
	beginIt struct{}
	endIt   struct{}
)

func (a *actor) id() string { return a.core.RunID }
func (a *actor) pid() string {
	return fmt.Sprintf("%s/%s/%d", a.sv.address, a.core.RunID, a.core.Serial)
}

// receive puts a message into the mailbox; false if that is gone.
func (a *actor) receive(message any, sender ...any) bool {
	if a.over {
		return false
	}
	m := mail{message: message}
	if len(sender) > 0 {
		m.sender = sender[0]
	}
	a.mailbox = append(a.mailbox, m)
	if !a.scheduled {
		a.scheduled = true
		a.sv.later(tiny, a.receiveAll)
	}
	return true
}

func (a *actor) receiveAll() {
	a.scheduled = false
	mailbox := a.mailbox
	a.mailbox = nil
	for _, m := range mailbox {
		a.receiveOne(m)
	}
}

func (a *actor) receiveOne(m mail) {
	s := a.sv.sim
	switch m.message.(type) {
	case beginIt:
		a.do(a.core.Begin(a.sv.engine()))
	case endIt:
		a.over = true
	default:
		s.tracef("%s ← %s", a.pid(), describeAny{m.message})
		a.do(a.core.Receive(m.message, m.sender, a.sv.engine()))
	}
	s.must(a.core.Check())
}

func (a *actor) do(actions []activation.Action) {
	for _, action := range actions {
		a.sv.sim.tracef("%s → %s", a.pid(), describeAction{action})
		a.doOne(action)
	}
}

// doOne carries out an action of the machine, or one of the activation's own: a
// case for each kind.
//
//gocyclo:ignore
func (a *actor) doOne(action activation.Action) {
	switch act := action.(type) {
	case run.Append:
		a.append(act)
	case run.SendWorker:
		a.sendWorker(act.To, act.Message)
	case run.Ask:
		act.Message.ReplyAddress, act.Message.ReplyActorId = a.sv.address, a.pid()
		a.sv.toPlacement(act.Message)
	case run.Withdraw:
		act.Message.ReplyAddress, act.Message.ReplyActorId = a.sv.address, a.pid()
		a.sv.toPlacement(act.Message)
	case run.Unbound:
		a.sv.toPlacement(act.Message)
	case run.Watch:
		a.sv.roster.watch(a, act.WorkerID, act.Incarnation)
	case run.Unwatch:
		a.sv.roster.unwatch(a, act.WorkerID)
	case run.StartChild:
		a.startChild(act.Message)
	case run.ListChildren:
		a.listChildren()
	case run.CancelChild:
		a.cancelChild(act)
	case run.ReadCalls:
		a.readCalls(act)
	case run.SeekEvents:
		a.seekEvents(act)
	case run.AskChild:
		a.askChild(act)
	case run.TellParent:
		a.tellParent(act)
	case run.SignalOther:
		a.signalOther(act)
	case run.Reply:
		st := act.Token.(*activation.Starting)
		if reply := st.Answered(act); reply != nil {
			st.Done.(func(error))(messages.FromFailure(reply.Error))
			return
		}
		a.sv.handle(activation.Start{Starting: st})
	case run.InLine:
		a.sv.handle(activation.Lined{Activation: a.core, InLine: act})
	case *run.SetTimer:
		a.setTimer(act.At)
	case run.Stop:
		a.retire()
	default:
		a.doOwn(action)
	}
}

// loadFailed tells the host; what can never be read is a fault.
func (a *actor) loadFailed(err error) {
	if code := messages.CodeOf(err); code != messages.CodeUnknownRun && !code.Retryable() {
		a.sv.sim.fail("run %s cannot be read: %v", a.id(), err)
	}
	a.sv.handle(activation.Failed{RunID: a.id(), Err: err})
}

func (a *actor) doOwn(action activation.Action) {
	s := a.sv.sim
	switch act := action.(type) {
	case activation.Load:
		a.sv.load(a)
	case activation.Seen:
		a.sv.seen(act.At)
	case activation.Resolve:
		a.resolve(act)
	case activation.StartCanceled:
		a.startCanceled(act.Of)
	case activation.Respond:
		act.To.(asker)(act.Message)
	case activation.PassOn:
		if act.Message == nil {
			a.sv.handle(activation.Want{RunID: a.id()})
			return
		}
		a.sv.deliver(a.id(), act.Message, act.Sender)
	case activation.PassOver:
		a.sv.handle(activation.Misplaced{RunID: a.id(), PassOver: act})
	case activation.Foreign:
		s.fail("nobody lies, and %v", act.Err)
	case activation.Compare:
		a.sv.compare(a, act)
	case activation.LoadAgain:
		a.sv.handle(activation.Again{RunID: a.id(), LoadAgain: act})
	case activation.LoadFailed:
		a.loadFailed(act.Err)
	case activation.AppendFailed:
		if messages.CodeOf(act.Err) == messages.CodeJournalConflict {
			s.monitor.counts.Conflicts++
		}
	default:
		s.fail("nobody carries out %T", action)
	}
}

func (a *actor) append(act run.Append) {
	s := a.sv.sim
	var row *journal.Row
	var metadata map[string]string
	if act.RowChanged || act.Number == 1 {
		row = projection.Row(a.core.State(), shardOf(a.id()))
		metadata = a.core.State().Start.GetMetadata()
	}
	a.sv.appending++
	s.store.append(a.sv, journal.Append{RunID: a.id(), Number: act.Number, Entry: marshal(act.Entry), Row: row, Metadata: metadata, Waits: eventWaits(act.Events), Streams: projection.StreamChanges(act.Streams), Cut: act.Cut, Kept: act.Kept}, func(err error) {
		a.sv.appending--
		a.receive(run.Appended{Err: err})
	})
}

func (a *actor) setTimer(at time.Time) {
	a.timers++
	if at.IsZero() {
		return
	}
	mine := a.timers
	a.sv.later(max(0, at.Sub(a.sv.engine())), func() {
		if mine == a.timers {
			a.receive(run.TimerDue{})
		}
	})
}

// retire ends what the server does for the activation. What is in the mailbox is
// received before that ends.
func (a *actor) retire() {
	a.sv.sim.tracef("%s retires", a.pid())
	a.timers++
	for _, id := range a.core.Watched() {
		a.sv.roster.unwatch(a, id)
	}
	a.sv.handle(activation.Retired{Activation: a.core})
	a.receive(endIt{})
}

// sendWorker sends to a worker actor; messages that want answers carry the
// run's own address.
func (a *actor) sendWorker(to *messages.WorkerRef, msg proto.Message) {
	s := a.sv.sim
	w := s.workerOf(to)
	if w == nil {
		return
	}
	switch m := msg.(type) {
	case *messages.Dispatch:
		m.ReplyAddress, m.ReplyActorId = a.sv.address, a.pid()
	case *messages.Revoke:
		m.ReplyAddress, m.ReplyActorId = a.sv.address, a.pid()
	case *messages.CancelAttempt:
		m.ReplyAddress, m.ReplyActorId = a.sv.address, a.pid()
	case *messages.HandOff:
		m.ReplyAddress, m.ReplyActorId = a.sv.address, a.pid()
	}
	s.must(s.monitor.sent(to, msg))
	s.send(a.sv.proc, w.proc, "to worker", func() { w.receive(msg) })
}

// resolve looks up a child's definition.
func (a *actor) resolve(act activation.Resolve) {
	answer := &activation.SpawnResolved{Resolve: act}
	if s := a.sv.sim; s.journalDown() && s.extra.chance(0.2) {
		answer.Err = unavailable
	} else {
		def := s.work.byName[act.Message.Workflow]
		answer.Def, answer.Hash = def.Def, def.hash
		rec, err := s.store.Entries(background, act.Earlier, 0, 0)
		answer.Unsuccessful = err == nil && journal.Finished(rec.Row.Status) && rec.Row.Status != messages.RunStatus_RUN_STATUS_SUCCEEDED
	}
	a.receive(answer)
}

// listChildren reads which children have ended.
func (a *actor) listChildren() {
	s := a.sv.sim
	a.sv.later(s.dice.between(100*time.Microsecond, 2*time.Millisecond), func() {
		var answer run.ChildrenListed
		if s.journalDown() {
			answer.Err = unavailable
		} else {
			answer.Ended, answer.Err = journal.EndedChildren(background, s.store, a.id())
		}
		a.receive(answer)
	})
}

// callTimeout bounds what a run asks of other runs.
const callTimeout = 30 * time.Second

func (a *actor) startChild(msg *messages.StartRun) {
	a.sv.call(msg.RunId, callTimeout, func(sv *server, reply func(any)) {
		sv.start(msg, func(err error) {
			if messages.CodeOf(err).Retryable() {
				return
			}
			reply(run.ChildStarted{ChildRun: msg.RunId, Err: err})
		})
	}, func(answer any) {
		if answer == nil {
			answer = run.ChildStarted{ChildRun: msg.RunId, Err: messages.Errorf(messages.CodeUnavailable, "no server answered")}
		}
		a.receive(answer)
	})
}

func (a *actor) cancelChild(act run.CancelChild) {
	a.sv.call(act.RunID, callTimeout, func(sv *server, reply func(any)) {
		sv.deliver(act.RunID, &messages.CancelRun{RunId: act.RunID, Reason: act.Reason}, asker(func(answer any) {
			if err := messages.FromFailure(answer.(*messages.CommandReply).Error); !messages.CodeOf(err).Retryable() {
				reply(activation.ChildAnswered{Of: act, Err: err})
			}
		}))
	}, func(answer any) {
		if answer != nil {
			a.receive(answer)
		}
	})
}

func (a *actor) startCanceled(act run.CancelChild) {
	msg := &messages.StartRun{RunId: act.RunID, Start: act.Start, Cancel: &messages.CancelRequested{Reason: act.Reason}}
	a.sv.call(act.RunID, callTimeout, func(sv *server, reply func(any)) {
		sv.start(msg, func(err error) {
			if !messages.CodeOf(err).Retryable() {
				reply(activation.ChildAnswered{Of: act, Started: true, Err: err})
			}
		})
	}, func(answer any) {
		if answer != nil {
			a.receive(answer)
		}
	})
}

// codeIn is the error in the answer to a command.
func codeIn(answer any) messages.Code {
	return messages.CodeOf(messages.FromFailure(answer.(*messages.CommandReply).Error))
}
