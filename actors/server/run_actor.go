package server

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/projection"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// Messages that a run actor gets from its own server only.
type (
	// startRun starts the run, or asks whether it is this one.
	startRun struct {
		msg   *messages.StartRun
		token token
	}
	// loaded ends the loading of a run from the journal.
	loaded struct {
		record journal.Record
		def    *Definition
		err    error
	}
	appended      struct{ err error }
	timerDue      struct{}
	spawnResolved struct {
		msg   *messages.SpawnChild
		def   *Definition
		err   error
		token token
	}
	askWaitingFor struct{}
	// dropRun ends the activation without a word, once its append in flight is
	// stored: the shard went to another server, or, if anew is set, what this
	// server holds in memory may be old.
	dropRun struct{ anew bool }
	// storedUpTo ends the activation if it is behind the journal.
	storedUpTo struct{ number uint64 }
	// compareStored makes the activation look whether it is behind the journal.
	compareStored struct{}
)

// token answers an input of the machine.
type token func(run.Reply)

// runActor is the activation of one run: it turns messages into inputs of the
// machine, and the machine's actions into messages and appends.
type runActor struct {
	host *Host
	id   string
	// fresh is the definition of a run that is about to be started; nil for
	// one that is to be loaded.
	fresh *Definition
	// read is the run as its host has read it already; nil otherwise.
	read *loaded

	m       *run.Machine
	def     *Definition
	self    *actor.PID
	timer   *runTimer
	watched map[string]bool
	// early holds what came while the run was loaded.
	early []envelope
	// failures counts the activations in a row that failed before this one.
	failures int
	// leaving: it ends when the append in flight is stored; what comes in the
	// meantime is held, and passed on then.
	leaving bool
	held    []envelope
	// retired: the host has forgotten this activation.
	retired bool
	failed  error
	// mark is when the activation was last shown to be the newest, appendMark
	// when the append in flight began.
	mark, appendMark uint64
}

type envelope struct {
	message any
	sender  *actor.PID
}

// Receive routes. While the run is loaded, and after it was retired, messages
// are kept or passed on: none is lost between two activations.
func (a *runActor) Receive(ctx actor.Context) {
	switch msg := ctx.Message().(type) {
	case *actor.Started:
		a.start(ctx)
	case *actor.Stopped:
		a.release()
		a.host.stopped(a)
	case actor.SystemMessage, actor.AutoReceiveMessage:
	case *loaded:
		a.restore(ctx, msg)
	default:
		switch {
		case a.retired:
			a.pass(ctx, envelope{msg, ctx.Sender()})
		case a.m == nil:
			a.early = append(a.early, envelope{msg, ctx.Sender()})
		case a.leaving:
			a.hold(ctx, msg)
		default:
			a.route(ctx, msg, ctx.Sender())
		}
	}
}

func (a *runActor) start(ctx actor.Context) {
	a.self = ctx.Self()
	root := ctx.ActorSystem().Root
	self := a.self
	a.timer = &runTimer{fire: func() { root.Send(self, timerDue{}) }}
	a.watched = map[string]bool{}
	switch {
	case a.fresh != nil:
		a.def = a.fresh
		a.m = run.New(a.id, a.def.Def, a.host.cfg.Run)
	case a.read != nil:
		a.restore(ctx, a.read)
		a.read = nil
	default:
		a.mark = a.host.cfg.Node.LeaseMark()
		a.host.loader.Schedule(func() { root.Send(self, a.host.load(a.id)) })
	}
}

func (a *runActor) restore(ctx actor.Context, msg *loaded) {
	if a.m != nil {
		return
	}
	err := msg.err
	if err == nil {
		a.def = msg.def
		a.m, err = run.Restore(a.id, msg.def.Def, msg.record.Entries, a.host.cfg.Run)
	}
	early := a.early
	a.early = nil
	if err != nil {
		a.failed = err
		a.host.hooks().loadFailed(a.id, err)
		// Off the map first: a start that is refused here is tried again at
		// once, and needs another activation for it.
		a.retire(ctx)
		for _, e := range early {
			a.refuse(ctx, e)
		}
		if messages.CodeOf(err).Retryable() {
			a.host.again(a, err)
		}
		return
	}
	a.handle(ctx, run.TakeUp{})
	for _, e := range early {
		if a.retired {
			a.host.tell(a.id, nil, e.message, e.sender)
			continue
		}
		if a.leaving {
			a.held = append(a.held, e)
			continue
		}
		a.route(ctx, e.message, e.sender)
	}
}

// refuse answers what cannot be handled because the run could not be loaded.
func (a *runActor) refuse(ctx actor.Context, e envelope) {
	switch msg := e.message.(type) {
	case *startRun:
		msg.token(run.Reply{Err: a.failed})
	case *messages.CancelRun, *messages.ReplayRun:
		respond(ctx, e.sender, &messages.CommandReply{Error: messages.ToFailure(a.failed)})
	case *messages.SpawnChild:
		respond(ctx, e.sender, &messages.SpawnChildReply{Error: messages.ToFailure(a.failed)})
	case askWaitingFor:
		respond(ctx, e.sender, waitingFor(""))
	case *messages.Result:
		if messages.CodeOf(a.failed) == messages.CodeUnknownRun {
			// Deleted after its retention: nobody will ever want the result.
			a.host.sendWorker(a.self, &messages.WorkerRef{WorkerId: msg.WorkerId, Incarnation: msg.Incarnation},
				&messages.ResultAck{RunId: msg.RunId, Step: msg.Step, Attempt: msg.Attempt})
		}
	}
}

// pass sends what reaches a retired activation to the next one.
func (a *runActor) pass(ctx actor.Context, e envelope) {
	switch msg := e.message.(type) {
	case timerDue, appended, *messages.Placed, *messages.PlaceWaiting, placementReset, dropRun, storedUpTo, compareStored, *stillBound:
	case *run.WorkerChanged:
		// It may be what the run, dormant since a moment ago, waits for. The
		// next activation hears it from the roster.
		if a.m != nil && !a.m.State().Ended() && a.host.owns(a.id) {
			a.host.activation(a.id, nil)
		}
	default:
		if result, ok := msg.(*messages.Result); ok && a.failed == nil && !a.host.owns(a.id) {
			a.host.forward(a.id, result, e.sender)
			return
		}
		if a.failed == nil && !a.host.owns(a.id) {
			a.failed = messages.Errorf(messages.CodeUnavailable, "run %s belongs to another server now", a.id)
		}
		if a.failed != nil {
			a.refuse(ctx, e)
			return
		}
		a.host.tell(a.id, nil, msg, e.sender)
	}
}

// route turns a message into an input.
func (a *runActor) route(ctx actor.Context, msg any, sender *actor.PID) {
	switch msg := msg.(type) {
	case *startRun:
		a.handle(ctx, run.Start{Started: msg.msg.Start, Cancel: msg.msg.Cancel, Token: msg.token})
	case appended:
		a.handleAppended(ctx, msg.err)
	case timerDue:
		a.handle(ctx, run.TimerDue{})
	case *messages.Placed:
		a.handle(ctx, run.Placed{Message: msg})
	case *messages.PlaceWaiting:
		a.handle(ctx, run.PlaceWaiting{Message: msg})
	case placementReset:
		a.handle(ctx, run.PlacementReset{})
	case *run.WorkerChanged:
		a.handle(ctx, *msg)
	case *messages.CancelRun:
		a.handle(ctx, run.Cancel{Reason: msg.Reason, Token: commandToken(ctx, sender)})
	case *messages.ReplayRun:
		a.handle(ctx, run.Replay{Steps: msg.Steps, RequestID: msg.RequestId, Token: commandToken(ctx, sender)})
	case *messages.SpawnChild:
		a.resolveSpawn(ctx, msg, sender)
	case *spawnResolved:
		a.handle(ctx, a.spawn(msg))
	case run.ChildStarted:
		a.handle(ctx, msg)
	case run.ChildCanceled:
		a.handle(ctx, msg)
	case askWaitingFor:
		respond(ctx, sender, waitingFor(a.m.WaitingFor()))
	case dropRun:
		if !msg.anew && a.host.owns(a.id) {
			return // It came back meanwhile.
		}
		a.leave(ctx)
	case storedUpTo:
		// One that is appending will learn it by that.
		if a.m.State().Number < msg.number && !a.m.Appending() {
			a.leave(ctx)
			a.host.again(a, messages.Errorf(messages.CodeJournalConflict, "run %s has %d entries in the journal and %d here", a.id, msg.number, a.m.State().Number))
		}
	case compareStored:
		a.compareStored(ctx)
	case *stillBound:
		a.stillBound(ctx, msg)
	case proto.Message:
		a.handle(ctx, run.FromWorker{Message: msg})
	}
}

// leave ends the activation: at once, or when the append in flight is stored,
// so that whoever is told of its answer is told the truth, and the next owner
// reads it.
func (a *runActor) leave(ctx actor.Context) {
	if a.m.Appending() {
		a.leaving = true
		return
	}
	a.handle(ctx, run.Drop{})
	a.retire(ctx)
	for _, e := range a.held {
		a.pass(ctx, e)
	}
	a.held = nil
}

// hold keeps what comes while the last append is on its way.
func (a *runActor) hold(ctx actor.Context, msg any) {
	if done, ok := msg.(appended); ok {
		a.handleAppended(ctx, done.err)
		if !a.retired {
			a.leave(ctx)
			return
		}
		for _, e := range a.held {
			a.pass(ctx, e)
		}
		a.held = nil
		return
	}
	a.held = append(a.held, envelope{msg, ctx.Sender()})
}

func (a *runActor) handle(ctx actor.Context, in run.Input) {
	for _, action := range a.m.Handle(in, a.host.clock.Now()) {
		a.do(ctx, action)
	}
}

// handleAppended drops the activation when its append was refused: another
// activation went on, or the journal is out of reach.
func (a *runActor) handleAppended(ctx actor.Context, err error) {
	if err != nil {
		a.host.hooks().appendFailed(a.id, err)
	} else {
		a.mark = a.appendMark
	}
	a.handle(ctx, run.Appended{Err: err})
	switch {
	case err == nil:
		a.failures = 0
	case a.m.State().Number > 1:
		a.host.again(a, err)
	default:
		// A run that was not stored, or exists; whoever starts it looks.
	}
}

// do carries out one action.
func (a *runActor) do(ctx actor.Context, action run.Action) {
	switch act := action.(type) {
	case run.Append:
		a.append(ctx, act)
	case run.SendWorker:
		a.sendWorker(ctx, act.To, act.Message)
	case run.Ask:
		act.Message.ReplyAddress, act.Message.ReplyActorId = a.self.Address, a.self.Id
		a.host.placements.send(act.Message.Pool, act.Message)
	case run.Withdraw:
		act.Message.ReplyAddress, act.Message.ReplyActorId = a.self.Address, a.self.Id
		a.host.placements.send(act.Message.Pool, act.Message)
	case run.Unbound:
		a.host.placements.send(act.Message.Pool, act.Message)
	case run.Watch:
		a.watched[act.WorkerID] = true
		a.host.roster.Watch(act.WorkerID, act.Incarnation, a.self)
	case run.Unwatch:
		delete(a.watched, act.WorkerID)
		a.host.roster.Unwatch(act.WorkerID, a.self)
	case run.StartChild:
		a.startChild(ctx, act.Message)
	case run.CancelChild:
		a.cancelChild(ctx, act)
	case run.Reply:
		if t, ok := act.Token.(token); ok {
			t(act)
		}
	case run.SetTimer:
		a.host.timers.reset(a.timer, act.At)
	case run.Stop:
		a.retire(ctx)
	}
}

func (a *runActor) append(ctx actor.Context, act run.Append) {
	data, err := messages.Marshal(act.Entry)
	root, self := ctx.ActorSystem().Root, a.self
	if err != nil {
		root.Send(self, appended{messages.Errorf(messages.CodeInternal, "run %s, entry %d: %w", a.id, act.Number, err)})
		return
	}
	var row *journal.Row
	if act.RowChanged || act.Number == 1 {
		row = projection.Row(a.m.State(), messages.Shard(a.id))
	}
	host := a.host
	a.appendMark = host.cfg.Node.LeaseMark()
	host.committer.Append(journal.Append{RunID: a.id, Number: act.Number, Entry: data, Row: row}, func(err error) {
		if err == nil && row != nil {
			host.rowStored(row)
		}
		root.Send(self, appended{err})
	})
}

// retire makes the host forget this activation. What is still in the mailbox
// is passed on to the next one before the actor stops.
func (a *runActor) retire(ctx actor.Context) {
	if a.retired {
		return
	}
	a.retired = true
	a.release()
	a.host.forget(a.id, a.self)
	ctx.Poison(a.self)
}

// release takes the timer back and ends the watching of workers.
func (a *runActor) release() {
	if a.timer != nil {
		a.host.timers.reset(a.timer, time.Time{})
	}
	for id := range a.watched {
		a.host.roster.Unwatch(id, a.self)
	}
	clear(a.watched)
}

// compareStored reads whether the journal has entries after this activation's.
func (a *runActor) compareStored(ctx actor.Context) {
	root, self, host, id, number := ctx.ActorSystem().Root, a.self, a.host, a.id, a.m.State().Number
	host.loader.Schedule(func() {
		entries, _, err := host.cfg.Store.Entries(host.ctx, id, number, 1)
		if err == nil && len(entries) > 0 {
			root.Send(self, storedUpTo{number + 1})
		}
	})
}

// commandToken answers CancelRun and ReplayRun once they are durable.
func commandToken(ctx actor.Context, sender *actor.PID) token {
	root := ctx.ActorSystem().Root
	return func(r run.Reply) {
		if sender != nil {
			root.Send(sender, &messages.CommandReply{Error: messages.ToFailure(r.Err)})
		}
	}
}

func respond(ctx actor.Context, sender *actor.PID, msg any) {
	if sender != nil {
		ctx.Send(sender, msg)
	}
}

// waitingFor answers askWaitingFor.
type waitingFor string
