package server

import (
	"context"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/activation"
	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/projection"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
)

// runActor is the mailbox of an activation, and carries out what that wants done.
type runActor struct {
	host *Host
	core *activation.Activation
	id   string
	self *actor.PID
	// worker is the one that was sent something last: it knows the way.
	worker *actor.PID
	timer  *runTimer
	// appending is the entry that is on its way to the journal; nil for none.
	appending *messages.Entry
	// retired: the host has forgotten the activation.
	retired bool
}

// Receive gives messages to the core.
func (a *runActor) Receive(ctx actor.Context) {
	switch msg := ctx.Message().(type) {
	case *actor.Started:
		a.start(ctx)
	case *actor.Stopped:
		if !a.retired {
			a.release()
			a.core.Abandoned()
			a.host.handle(activation.Ended{Activation: a.core})
		}
	case actor.SystemMessage, actor.AutoReceiveMessage:
	case askRest:
		ctx.Respond(a.core.Rest())
	default:
		var sender any
		if pid := ctx.Sender(); pid != nil {
			sender = pid
		}
		if appended, ok := msg.(run.Appended); ok {
			a.appended(appended)
		}
		a.do(ctx, a.core.Receive(msg, sender, a.host.clock.Now()))
	}
}

func (a *runActor) start(ctx actor.Context) {
	root, self := ctx.ActorSystem().Root, ctx.Self()
	a.self = self
	a.timer = &runTimer{fire: func() { root.Send(self, run.TimerDue{}) }}
	a.do(ctx, a.core.Begin(a.host.clock.Now()))
}

func (a *runActor) do(ctx actor.Context, actions []activation.Action) {
	for _, action := range actions {
		a.doOne(ctx, action)
	}
}

// doOne carries out an action of the machine, or one of the activation's own: a
// case for each kind.
//
//gocyclo:ignore
func (a *runActor) doOne(ctx actor.Context, action activation.Action) {
	switch act := action.(type) {
	case run.Append:
		a.append(ctx, act)
	case run.SendWorker:
		a.sendWorker(act.To, act.Message)
	case run.Ask:
		act.Message.ReplyAddress, act.Message.ReplyActorId = a.self.Address, a.self.Id
		a.host.placements.send(act.Message.Pool, act.Message)
	case run.Withdraw:
		act.Message.ReplyAddress, act.Message.ReplyActorId = a.self.Address, a.self.Id
		a.host.placements.send(act.Message.Pool, act.Message)
	case run.Unbound:
		a.host.placements.send(act.Message.Pool, act.Message)
	case run.Watch:
		a.host.roster.Watch(act.WorkerID, act.Incarnation, a.self)
	case run.Unwatch:
		a.host.roster.Unwatch(act.WorkerID, a.self)
	case run.StartChild:
		a.startChild(ctx, act.Message)
	case run.ListChildren:
		a.listChildren(ctx)
	case run.CancelChild:
		a.cancelChild(ctx, act)
	case run.ReadCalls:
		a.readCalls(ctx, act)
	case run.SeekEvents:
		a.seekEvents(ctx, act)
	case run.AskChild:
		a.askChild(ctx, act)
	case run.TellParent:
		a.tellParent(ctx, act)
	case run.SignalOther:
		a.signalOther(ctx, act)
	case run.Reply:
		if s, ok := act.Token.(*activation.Starting); ok {
			a.host.startAnswered(s, act)
		}
	case run.InLine:
		a.host.handle(activation.Lined{Activation: a.core, InLine: act})
	case *run.SetTimer:
		a.host.timers.reset(a.timer, act.At)
	case run.Stop:
		a.retire(ctx)
	default:
		a.doOwn(ctx, action)
	}
}

func (a *runActor) doOwn(ctx actor.Context, action activation.Action) {
	switch act := action.(type) {
	case run.Unoffered:
		a.host.notOffered(a.id, act.NotOffered)
	case activation.Load:
		root, self := ctx.ActorSystem().Root, a.self
		a.host.loader.Schedule(func() { root.Send(self, a.host.load(a.id)) })
	case activation.Seen:
		a.host.clock.Seen(act.At)
	case activation.Resolve:
		a.resolve(ctx, act)
	case activation.StartCanceled:
		a.startCanceled(ctx, act.Of)
	case activation.Respond:
		ctx.Send(act.To.(*actor.PID), act.Message)
	case activation.PassOn:
		a.host.passOn(a.id, act)
	case activation.PassOver:
		a.host.handle(activation.Misplaced{RunID: a.id, PassOver: act})
	case activation.Foreign:
		a.host.cfg.Node.Refuse(cluster.RefusedForeign, "a worker sent a message about a run in the name of another one; it is dropped", "error", act.Err)
	case activation.Compare:
		a.compare(ctx, act)
	case activation.LoadAgain:
		a.host.handle(activation.Again{RunID: a.id, LoadAgain: act})
	case activation.LoadFailed:
		a.host.handle(activation.Failed{RunID: a.id, Err: act.Err})
	case activation.AppendFailed:
		if f := a.host.cfg.Hooks.AppendFailed; f != nil {
			f(a.id, act.Err)
		}
	}
}

// sendWorker sends to a worker actor; messages that want answers carry the
// run's own address.
func (a *runActor) sendWorker(to *messages.WorkerRef, msg proto.Message) {
	address, id := to.Address, to.ActorId
	if address == "" {
		w, ok := a.host.roster.Worker(to.WorkerId)
		if !ok || w.Info.GetIncarnation() != to.Incarnation {
			return
		}
		address, id = w.Info.Address, w.Info.ActorId
	}
	switch m := msg.(type) {
	case *messages.Dispatch:
		m.ReplyAddress, m.ReplyActorId = a.self.Address, a.self.Id
	case *messages.Revoke:
		m.ReplyAddress, m.ReplyActorId = a.self.Address, a.self.Id
	case *messages.CancelAttempt:
		m.ReplyAddress, m.ReplyActorId = a.self.Address, a.self.Id
	case *messages.HandOff:
		m.ReplyAddress, m.ReplyActorId = a.self.Address, a.self.Id
	}
	if w := a.worker; w == nil || w.Id != id || w.Address != address {
		a.worker = actor.NewPID(address, id)
	}
	a.host.root.Send(a.worker, msg)
}

// appended tells the host of an entry that is durable, before the run goes on.
func (a *runActor) appended(in run.Appended) {
	entry := a.appending
	a.appending = nil
	if in.Err == nil && entry != nil {
		a.host.committed(a.core.State(), entry)
	}
}

func (a *runActor) append(ctx actor.Context, act run.Append) {
	data, err := messages.Marshal(act.Entry)
	a.appending = act.Entry
	root, self := ctx.ActorSystem().Root, a.self
	if err != nil {
		root.Send(self, run.Appended{Err: messages.Errorf(messages.CodeInternal, "run %s, entry %d: %w", a.id, act.Number, err)})
		return
	}
	var row *journal.Row
	var metadata map[string]string
	if act.RowChanged || act.Number == 1 {
		row = projection.Row(a.core.State(), messages.Shard(a.id))
		metadata = a.core.State().Start.GetMetadata()
	}
	a.host.committer.Append(journal.Append{RunID: a.id, Number: act.Number, Entry: data, Row: row, Metadata: metadata, Waits: eventWaits(act.Events), Streams: projection.StreamChanges(act.Streams), Cut: act.Cut, Kept: act.Kept}, func(err error) {
		root.Send(self, run.Appended{Err: err})
	})
}

// retire has the host forget this activation. What is still in the mailbox is
// passed on to the next one before the actor stops.
func (a *runActor) retire(ctx actor.Context) {
	a.release()
	a.retired = true
	a.host.handle(activation.Retired{Activation: a.core})
	ctx.Poison(a.self)
}

// release takes the timer back and ends the watching of workers.
func (a *runActor) release() {
	if a.timer != nil {
		a.host.timers.reset(a.timer, time.Time{})
	}
	for _, id := range a.core.Watched() {
		a.host.roster.Unwatch(id, a.self)
	}
}

// compare reads whether the journal has entries after this activation's.
func (a *runActor) compare(ctx actor.Context, act activation.Compare) {
	root, self, host, id := ctx.ActorSystem().Root, a.self, a.host, a.id
	host.loader.Schedule(func() {
		compared := activation.Compared{Of: act}
		compared.Err = host.guard.Do(func() error {
			rec, err := host.cfg.Store.Entries(host.ctx, id, act.After, 1)
			compared.More = len(rec.Entries) > 0
			return err
		})
		root.Send(self, compared)
	})
}

// resolve looks up the definition of a child, off the mailbox.
func (a *runActor) resolve(ctx actor.Context, act activation.Resolve) {
	root, self := ctx.ActorSystem().Root, a.self
	go func() {
		c, cancel := context.WithTimeout(context.Background(), callsWithin)
		defer cancel()
		answer := &activation.SpawnResolved{Resolve: act}
		answer.Err = a.host.guard.Do(func() error {
			def, err := a.host.spawnable(c, act.Message)
			if err == nil {
				answer.Def, answer.Hash, answer.NoNew = def.Def, def.Hash, def.MayStart()
				answer.Unsuccessful, err = a.host.unsuccessful(c, act.Earlier)
			}
			return err
		})
		root.Send(self, answer)
	}()
}
