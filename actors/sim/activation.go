package sim

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/projection"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// activation models the run actor: it turns messages into inputs of the
// machine, and the machine's actions into messages and appends.
type activation struct {
	sv  *server
	id  string
	seq int
	def *definition
	m   *run.Machine

	early   []any
	watched []string
	// timers counts settings; only the last one is due.
	timers  int
	retired bool
	failed  error
	// mark is when the activation was last shown to be the newest, appendMark
	// when the append in flight began.
	mark, appendMark uint64
}

// token answers an input of the machine.
type token func(run.Reply)

type (
	timerDue struct{}
	appended struct{ err error }
)

func (a *activation) pid() string { return fmt.Sprintf("%s/%s/%d", a.sv.address, a.id, a.seq) }

// load reads the run from the journal and takes it up.
func (a *activation) load() {
	if a.retired || a.m != nil {
		return
	}
	if a.sv.sim.journalDown() {
		// Loaded again, as after any failure that may pass.
		a.failed = unavailable
		for _, msg := range a.early {
			a.refuse(msg)
		}
		a.early = nil
		a.retire()
		a.sv.again(a.id)
		return
	}
	a.mark = a.sv.lease.Mark()
	record, err := a.sv.sim.store.Load(background, a.id)
	if err == nil {
		a.def = a.sv.sim.work.byHash[record.Row.DefinitionHash]
		a.m, err = run.Restore(a.id, a.def.Def, record.Entries, a.sv.sim.runConfig)
	}
	early := a.early
	a.early = nil
	if err != nil {
		if messages.CodeOf(err) != messages.CodeUnknownRun {
			a.sv.sim.fail("run %s cannot be read: %v", a.id, err)
		}
		a.failed = err
		for _, msg := range early {
			a.refuse(msg)
		}
		a.retire()
		return
	}
	a.handle(run.TakeUp{})
	for _, msg := range early {
		a.receive(msg)
	}
}

// refuse answers what cannot be handled because there is no such run.
func (a *activation) refuse(msg any) {
	switch msg := msg.(type) {
	case run.Start:
		msg.Token.(token)(run.Reply{Err: a.failed})
	case run.Cancel:
		msg.Token.(token)(run.Reply{Err: a.failed})
	case run.Replay:
		msg.Token.(token)(run.Reply{Err: a.failed})
	case run.Spawn:
		msg.Token.(token)(run.Reply{Err: a.failed})
	case run.FromWorker:
		if r, ok := msg.Message.(*messages.Result); ok && messages.CodeOf(a.failed) == messages.CodeUnknownRun {
			a.sendWorker(&messages.WorkerRef{WorkerId: r.WorkerId, Incarnation: r.Incarnation},
				&messages.ResultAck{RunId: r.RunId, Step: r.Step, Attempt: r.Attempt})
		}
	}
}

// receive takes a message of the mailbox. While the run is loaded messages are
// kept; after it was retired they are passed on.
func (a *activation) receive(msg any) {
	switch {
	case !a.sv.alive:
	case a.retired:
		a.passOn(msg)
	case a.m == nil:
		a.early = append(a.early, msg)
	default:
		a.input(msg)
	}
}

func (a *activation) passOn(msg any) {
	switch msg := msg.(type) {
	case timerDue, appended, run.Placed, run.PlaceWaiting, run.PlacementReset:
	default:
		if a.failed != nil {
			a.refuse(msg)
			return
		}
		a.sv.deliver(a.id, msg)
	}
}

func (a *activation) input(msg any) {
	switch msg := msg.(type) {
	case timerDue:
		a.handle(run.TimerDue{})
	case appended:
		if msg.err == nil {
			a.mark = a.appendMark
		}
		a.handle(run.Appended{Err: msg.err})
		if msg.err != nil {
			a.sv.again(a.id)
		}
	case run.Spawn:
		a.handle(a.resolve(msg))
	case run.Input:
		a.handle(msg)
	}
}

// resolve says whether the child is registered on the spawning worker.
func (a *activation) resolve(in run.Spawn) run.Spawn {
	def := a.sv.sim.work.byName[in.Message.Workflow]
	in.Def, in.Hash = def.Def, def.hash
	if st := a.m.State().Step(in.Message.Step); st != nil && st.Worker != nil {
		if w := a.sv.roster.up(st.Worker.WorkerId); w != nil && w.inc() == st.Worker.Incarnation {
			in.OnWorker = w.hasAll(def.Def)
		}
	}
	return in
}

func (a *activation) handle(in run.Input) {
	s := a.sv.sim
	s.tracef("%s ← %s", a.pid(), describeInput{in})
	for _, action := range a.m.Handle(in, a.sv.clock()) {
		a.do(action)
	}
	s.must(a.m.State().Check())
}

// do carries out one action.
func (a *activation) do(action run.Action) {
	s := a.sv.sim
	s.tracef("%s → %s", a.pid(), describeAction{action})
	switch act := action.(type) {
	case run.Append:
		var row *journal.Row
		if act.RowChanged || act.Number == 1 {
			row = projection.Row(a.m.State(), shardOf(a.m.State().RunID))
			if row.Dormant && !row.WakeAt.IsZero() && !a.m.State().Ended() {
				a.sv.kick(row.WakeAt)
			}
		}
		a.appendMark = a.sv.lease.Mark()
		s.store.append(a.sv, journal.Append{RunID: a.id, Number: act.Number, Entry: marshal(act.Entry), Row: row}, func(err error) {
			a.receive(appended{err})
		})
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
		a.watched = append(a.watched, act.WorkerID)
		a.sv.roster.watch(a, act.WorkerID, act.Incarnation)
	case run.Unwatch:
		a.sv.roster.unwatch(a, act.WorkerID)
	case run.StartChild:
		a.startChild(act.Message)
	case run.CancelChild:
		a.cancelChild(act)
	case run.Reply:
		act.Token.(token)(act)
	case run.SetTimer:
		a.setTimer(act.At)
	case run.Stop:
		a.retire()
	}
}

func (a *activation) setTimer(at time.Time) {
	a.timers++
	if at.IsZero() {
		return
	}
	mine := a.timers
	a.sv.later(max(0, at.Sub(a.sv.clock())), func() {
		if mine == a.timers && !a.retired {
			a.receive(timerDue{})
		}
	})
}

// sendWorker sends to a worker actor; messages that want answers carry the
// run's own address.
func (a *activation) sendWorker(to *messages.WorkerRef, msg proto.Message) {
	s := a.sv.sim
	w := s.workerOf(to)
	if w == nil {
		return
	}
	switch m := msg.(type) {
	case *messages.Dispatch:
		term, known := a.sv.lease.Term(processKey(to), a.mark)
		if !known && !m.TakeUp {
			a.sv.later(0, func() { a.receive(run.FromWorker{Message: run.LeaseLost(m, to)}) })
			return
		}
		m.LeaseTerm, m.ReplyAddress, m.ReplyActorId = term, a.sv.address, a.pid()
	case *messages.Revoke:
		m.ReplyAddress, m.ReplyActorId = a.sv.address, a.pid()
	case *messages.CancelAttempt:
		m.ReplyAddress, m.ReplyActorId = a.sv.address, a.pid()
	case *messages.HandOff:
		term, known := a.sv.lease.Term(processKey(to), a.mark)
		if !known {
			return
		}
		m.LeaseTerm, m.ReplyAddress, m.ReplyActorId = term, a.sv.address, a.pid()
	}
	s.must(s.monitor.sent(to, msg))
	s.send(a.sv.proc, w.proc, "to worker", func() { w.receive(msg) })
}

// drop ends the activation of a run that belongs to another server now.
func (a *activation) drop() {
	if a.m != nil && !a.retired {
		a.handle(run.Drop{})
	}
	a.retire()
}

// retire makes the host forget this activation.
func (a *activation) retire() {
	if a.retired {
		return
	}
	a.sv.sim.tracef("%s retires", a.pid())
	a.retired = true
	a.timers++
	for _, id := range a.watched {
		a.sv.roster.unwatch(a, id)
	}
	early := a.early
	a.early = nil
	a.sv.forget(a)
	for _, msg := range early {
		a.passOn(msg)
	}
}

// startCanceled records a child as canceled that is not there.
func (a *activation) startCanceled(sv *server, act run.CancelChild, reply func(any)) {
	msg := &messages.StartRun{RunId: act.RunID, Start: act.Start, Cancel: &messages.CancelRequested{Reason: act.Reason}}
	sv.start(msg, func(err error) {
		if err == nil {
			reply(run.ChildCanceled{ChildRun: act.RunID})
		}
	})
}

// callTimeout bounds what a run asks of other runs.
const callTimeout = 30 * time.Second

func (a *activation) startChild(msg *messages.StartRun) {
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

func (a *activation) cancelChild(act run.CancelChild) {
	a.sv.call(act.RunID, callTimeout, func(sv *server, reply func(any)) {
		sv.deliver(act.RunID, run.Cancel{Reason: act.Reason, Token: token(func(r run.Reply) {
			switch messages.CodeOf(r.Err) {
			case "", messages.CodeRunFinished:
				reply(run.ChildCanceled{ChildRun: act.RunID})
			case messages.CodeUnknownRun:
				a.startCanceled(sv, act, reply)
			}
		})})
	}, func(answer any) {
		if answer != nil {
			a.receive(answer)
		}
	})
}
