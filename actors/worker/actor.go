package worker

import (
	"cmp"
	"context"
	"fmt"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/limpetrun/limpet/actors/slots"
	"github.com/limpetrun/limpet/messages"
)

// What the worker actor hears from its own process.
type (
	functionEnded struct {
		id      uint64
		output  []byte
		failure *messages.Failure
	}
	childWaitBegan struct{ id uint64 }
	childWaitEnded struct{ id uint64 }
	tick           struct{}
	beginDrain     struct{ deadline time.Time }
	supersede      struct{ cause error }
	givenUp        struct {
		// host of the server that says so.
		host  string
		cause error
	}
)

// workerActor is the shell around slots.Core: messages in, actions out.
type workerActor struct {
	worker   *Worker
	core     *slots.Core
	attempts map[uint64]*actor.PID
	// lease is the context of the lease that the core knows of; nil before the
	// first, while it starts nothing.
	lease context.Context
	timer *time.Timer
	// armed is when the timer fires; zero while it is not set.
	armed time.Time
	// overheld is why the worker ends by itself; nil while it does not.
	overheld error
}

// Receive routes. A fault of the core ends the worker: it holds the truth about
// what runs, and a new one would not know it.
func (a *workerActor) Receive(ctx actor.Context) {
	defer func() {
		if p := recover(); p != nil {
			a.worker.cfg.Logger.Error("the worker failed", "panic", p, "stack", string(debug.Stack()))
			a.worker.finish(messages.Errorf(messages.CodeInternal, "worker %q failed: %v", a.worker.info.WorkerId, p))
		}
	}()
	now := time.Now()
	switch m := ctx.Message().(type) {
	case *actor.Started:
		a.do(ctx, a.core.Tick(now))
	case *actor.Stopping:
		if a.timer != nil {
			a.timer.Stop()
		}
		return
	case *actor.DeadLetterResponse:
		a.worker.reporter.notDelivered(m.Target)
		a.do(ctx, a.core.ReplyGone(now, slots.Address{Host: m.Target.GetAddress(), ID: m.Target.GetId()}))
	default:
		if !a.heardFromRun(ctx, now, m) && !a.heardFromServer(ctx, now, m) {
			a.heardFromWithin(ctx, now, m)
		}
	}
	a.arm(now)
}

// heardFromRun takes what runs, and hosts for them, say; false for other
// messages.
func (a *workerActor) heardFromRun(ctx actor.Context, now time.Time, msg any) bool {
	switch m := msg.(type) {
	case *messages.Dispatch:
		a.do(ctx, a.core.Dispatch(now, m))
		if m.TakeUp {
			a.worker.news.came(attemptIDOf(m))
		}
	case *messages.ResultAck:
		a.do(ctx, a.core.ResultAck(now, m))
	case *messages.Revoke:
		a.do(ctx, a.core.Revoke(now, m))
	case *messages.CancelAttempt:
		a.do(ctx, a.core.CancelAttempt(now, m))
	case *messages.Suspended:
		a.do(ctx, a.core.Suspended(now, m))
	case *messages.RunReleased:
		a.do(ctx, a.core.RunReleased(now, m))
	case *messages.HandOff:
		actions, may := a.core.HandOff(now, m)
		a.do(ctx, actions)
		if may {
			a.do(ctx, a.core.HandOffBegan(now, m.RunId))
			a.worker.locals.handOff(a.lease, m)
		}
	default:
		return false
	}
	return true
}

// heardFromServer takes what rosters, placement and the API say; false for other
// messages.
func (a *workerActor) heardFromServer(ctx actor.Context, now time.Time, msg any) bool {
	switch m := msg.(type) {
	case *messages.LocalKeysOf:
		a.worker.locals.answerKeys(ctx.Sender(), m)
	case *messages.AskWorker:
		a.worker.queries.ask(ctx.Sender(), a.lease, m, a.core.MayAsk(m.RunId, m.Epoch))
	case *messages.DrainWorker:
		a.drain(ctx, now, m)
	case *messages.Describe:
		a.describe(ctx)
	case *messages.ReportLoad:
		a.worker.reporter.reportTo(ctx.Sender())
	case *messages.Superseded:
		a.superseded(ctx, now, m)
	case *messages.RegisterReply:
		// Placement got a report of a worker that it does not know.
		if !m.Admitted {
			a.worker.reporter.registerAgain()
		}
	default:
		return false
	}
	return true
}

// heardFromWithin takes what the worker's own process says.
func (a *workerActor) heardFromWithin(ctx actor.Context, now time.Time, msg any) {
	switch m := msg.(type) {
	case functionEnded:
		a.functionEnded(ctx, now, m)
	case tick:
		a.armed = time.Time{}
		if !a.core.Leaseless() && !a.worker.mayAct() {
			// That comes first, and is on its way: what was stopped for so long has lost
			// its lease, and did not run out of time.
			return
		}
		a.do(ctx, a.core.Tick(now))
	case handOffAnswered:
		a.do(ctx, a.core.HandOffEnded(now, m.runID))
	case heldChanged:
		a.do(ctx, a.core.LoadChanged(now))
	case beginDrain:
		a.do(ctx, a.core.Drain(now, m.deadline))
	case leaseBegan:
		a.lease = m.ctx
		a.do(ctx, a.core.LeaseBegan(now, m.term))
	case leaseEnded:
		a.do(ctx, a.core.LeaseEnded(now, m.term, m.cause))
	case givenUp:
		a.do(ctx, a.core.GivenUp(now, m.host, m.cause))
	case supersede:
		a.do(ctx, a.core.Superseded(now, m.cause))
	default:
		a.heardFromFunction(ctx, now, m)
	}
}

// heardFromFunction takes what a function says by its calls.
func (a *workerActor) heardFromFunction(ctx actor.Context, now time.Time, msg any) {
	switch m := msg.(type) {
	case childWaitBegan:
		a.do(ctx, a.core.ChildWaitBegan(now, m.id))
	case childWaitEnded:
		a.do(ctx, a.core.ChildWaitEnded(now, m.id))
	case attemptIdle:
		a.do(ctx, a.core.Idle(now, m.id, m.waits, m.bytes))
	case progressed:
		a.do(ctx, a.core.Progress(now, m.calls.id, m.calls.takeTold()))
	case extends:
		a.do(ctx, a.core.Extend(now, m.id, m.more))
	}
}

func (a *workerActor) functionEnded(ctx actor.Context, now time.Time, m functionEnded) {
	if pid := a.attempts[m.id]; pid != nil {
		delete(a.attempts, m.id)
		ctx.Stop(pid)
	}
	a.do(ctx, a.core.FunctionEnded(now, m.id, m.output, m.failure))
}

// describe answers who the worker is. Placement asks it of a worker that it
// does not know: then it is time to register.
func (a *workerActor) describe(ctx actor.Context) {
	if ctx.Sender() == nil {
		return
	}
	ctx.Respond(&messages.DescribeReply{Worker: a.worker.info, Draining: a.core.Draining(), RunningUs: a.worker.running()})
	a.worker.reporter.describedTo(ctx.Sender())
}

func (a *workerActor) superseded(ctx actor.Context, now time.Time, m *messages.Superseded) {
	w := a.worker
	if m.WorkerId != w.info.WorkerId || m.Incarnation != w.info.Incarnation {
		return
	}
	a.do(ctx, a.core.Superseded(now, messages.Errorf(messages.CodeWorkerSuperseded,
		"worker id %q was taken over by the process at %s", w.info.WorkerId, m.ByAddress)))
}

// do carries actions out.
func (a *workerActor) do(ctx actor.Context, actions []slots.Action) {
	for _, act := range actions {
		switch act.Kind {
		case slots.Start:
			a.start(ctx, act)
		case slots.Resume:
			ctx.Send(a.attempts[act.ID], resumeFunction{act.Deadline})
		case slots.Extended:
			ctx.Send(a.attempts[act.ID], extendFunction{act.Deadline})
		case slots.CancelContext:
			ctx.Send(a.attempts[act.ID], cancelFunction{act.Err})
		case slots.Send:
			a.sign(act.Message)
			if act.To == (slots.Address{}) {
				a.worker.outbox.deliver(act.RunID, act.Message)
				continue
			}
			ctx.Request(actor.NewPID(act.To.Host, act.To.ID), act.Message)
		case slots.Report:
			a.worker.reporter.put(act.Load)
		case slots.Released:
			a.worker.locals.released(act.RunID, act.Epoch, act.Reason)
		case slots.AskBound:
			a.worker.askBound(act.Runs)
		case slots.AskedToHandOff:
			ctx.Send(ctx.Self(), act.Message)
		case slots.Stopped:
			a.worker.finish(cmp.Or(a.overheld, act.Err))
		default:
			a.slotHeld(act)
		}
	}
}

// sign says who asks, where the answer goes to the process that has the attempt.
func (a *workerActor) sign(msg any) {
	if m, ok := msg.(*messages.SuspendAttempt); ok {
		w := a.worker.info
		m.Worker = &messages.WorkerRef{WorkerId: w.WorkerId, Incarnation: w.Incarnation, Address: w.Address, ActorId: w.ActorId}
	}
}

// slotHeld says what a function does that does not return. When it has done so for
// too long the worker comes to its end as if it were told to.
func (a *workerActor) slotHeld(act slots.Action) {
	w, h := a.worker, act.Held
	log := w.cfg.Logger.With("run", h.RunID, "step", h.Step, "attempt", h.Attempt)
	switch {
	case h.Suspended && act.Kind == slots.SlotHeld:
		log.Warn("the function of a suspended step has not returned although its context has ended; it holds no slot", "ended", slots.CancelGrace)
		return
	case h.Suspended:
		log.Warn("the function of a suspended step has returned at last")
		return
	}
	switch act.Kind {
	case slots.SlotHeld:
		log.Warn("the function of a step has not returned although its context has ended: it holds its slot until it does",
			"ended", slots.CancelGrace, "slots", w.info.Slots)
	case slots.SlotFreed:
		log.Warn("the function of a step has returned at last, and its slot is free", "held", h.For)
	case slots.Overheld:
		log.Error("the worker ends: a function of a step has held its slot for too long", "held", h.For, "limit", w.cfg.EndIfHeldFor)
		a.overheld = act.Err
		w.Drain()
	}
}

// start gives a function an actor of its own, a child of this one.
func (a *workerActor) start(ctx actor.Context, act slots.Action) {
	shell := &attemptActor{worker: a.worker, id: act.ID, dispatch: act.Dispatch, deadline: act.Deadline, lease: a.lease}
	// Before the spawn: the function may have returned by the end of it.
	a.worker.functions.Add(1)
	a.worker.locals.began(act.ID, act.Dispatch)
	pid, err := ctx.SpawnNamed(actor.PropsFromProducer(func() actor.Actor { return shell }, actor.WithDispatcher(a.worker.dispatcher)), strconv.FormatUint(act.ID, 10))
	if err != nil {
		a.worker.functions.Done()
		panic(fmt.Sprintf("actor of function %d: %v", act.ID, err))
	}
	a.attempts[act.ID] = pid
}

// arm sets the timer to the next time at which the core has something to do.
func (a *workerActor) arm(now time.Time) {
	next := a.core.Next()
	if next.IsZero() || !a.armed.IsZero() && !next.Before(a.armed) {
		return
	}
	a.armed = next
	if a.timer == nil {
		w := a.worker
		a.timer = time.AfterFunc(next.Sub(now), func() { w.root.Send(w.pid, tick{}) })
		return
	}
	a.timer.Reset(next.Sub(now))
}
