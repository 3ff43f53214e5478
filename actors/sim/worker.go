package sim

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/slots"
	"github.com/limpetrun/limpet/cluster/lease"
	"github.com/limpetrun/limpet/messages"
)

// worker models a worker process around the real core of slots.
type worker struct {
	*proc
	core  *slots.Core
	lease *lease.Holder
	// checks count the settings of the check at the lease's end; lapsed says that a
	// lease has ended.
	checks    int
	lapses    int // leases that have ended
	lapsed    bool
	leased    bool // it has had a lease
	info      *messages.WorkerInfo
	has       map[string]map[string]bool
	functions map[uint64]*function
	// values are the local state of runs, and handed what was handed off of it.
	values map[string]*value
	handed map[string]*messages.HandedOff
	// drained: it was told to drain once.
	drained bool
	// held slots, by functions that do not return; allHeld: all were so once.
	held    int32
	allHeld bool
	// ticks counts settings of the tick; only the last one counts.
	ticks int
	// idleSince is when the last function ended, or began to wait; zero while one runs.
	idleSince time.Time
	// accepted: placement has taken it in once; admitted: it has shown itself since.
	// registering: it asks; again: it is to ask; owner is the server whose placement
	// admitted it last.
	accepted, admitted, registering, again bool
	owner                                  *proc
	// taken: some placement has admitted it, whether it heard of that or not.
	taken bool
	// last is its newest load, pending the one that waits to be sent, and
	// others the placements that asked for it, and until when they get it.
	last, pending *messages.LoadReport
	// holds are the keys of shared state that it has, those used last in front.
	holds []uint64
	// succeeds is the draining process of its id that it came after, if any.
	succeeds *proc
	others   []summons
}

type summons struct {
	by    *placer
	until time.Time
}

func (s *Sim) startWorker(id string, workflows []*messages.WorkflowDefinition) *worker {
	p := s.newProc(id)
	w := &worker{proc: p, functions: map[uint64]*function{}, values: map[string]*value{}, handed: map[string]*messages.HandedOff{}, has: map[string]map[string]bool{}}
	p.worker = w
	w.info = &messages.WorkerInfo{WorkerId: id, Incarnation: w.inc(), Address: p.address, ActorId: "worker",
		Slots: s.world.slots[id], StickyRunsMax: s.world.stickyMax[id], Workflows: workflows, Labels: s.world.labels[id],
		SharesInputs: id != "w2"}
	for _, d := range workflows {
		steps := map[string]bool{}
		for _, st := range d.Steps {
			steps[st.Name] = true
		}
		w.has[d.Name] = steps
	}
	w.lease = lease.NewHolder(leaseConfig)
	w.core = slots.New(slots.Config{WorkerID: id, Incarnation: w.inc(), Slots: int(w.info.Slots), Leased: true, EndIfHeldFor: s.holding.endFor, KeptMax: s.keeping.most,
		Knows:    func(workflow, step string) bool { return w.has[workflow][step] },
		HandsOff: func(workflow string) bool { return handsOff(s.work.byName[workflow].Def) }})
	s.tracef("worker %s starts with %d slots", p.address, w.info.Slots)
	s.byRef[id+"~"+w.inc()] = w
	s.reconsider()
	w.later(s.dice.between(5*time.Millisecond, 50*time.Millisecond), func() {
		w.do(w.core.Tick(w.clock()))
		w.wake()
		w.leaseLoop()
	})
	return w
}

// inc names the process; later ones compare greater, as ULIDs do.
func (w *worker) inc() string { return fmt.Sprintf("i%03d", w.incarnation) }

func (w *worker) ref() *messages.WorkerRef {
	return &messages.WorkerRef{WorkerId: w.id, Incarnation: w.inc(), Address: w.address, ActorId: "worker"}
}

func (w *worker) hasAll(def *messages.WorkflowDefinition) bool {
	for _, st := range def.Steps {
		if !w.has[def.Name][st.Name] {
			return false
		}
	}
	return true
}

func (w *worker) receive(msg proto.Message) {
	s := w.sim
	s.tracef("%s ← %s", w.address, describeMessage{msg})
	switch m := msg.(type) {
	case *messages.Dispatch:
		w.do(w.core.Dispatch(w.clock(), m))
		if m.TakeUp {
			w.newsOf(m)
		}
	case *messages.Revoke:
		w.do(w.core.Revoke(w.clock(), m))
	case *messages.CancelAttempt:
		w.do(w.core.CancelAttempt(w.clock(), m))
	case *messages.ResultAck:
		w.do(w.core.ResultAck(w.clock(), m))
	case *messages.HandOff:
		w.handOff(m)
	case *messages.Suspended:
		w.do(w.core.Suspended(w.clock(), m))
	case *messages.RunReleased:
		w.released(m)
		w.do(w.core.RunReleased(w.clock(), m))
	}
}

func (w *worker) superseded(by *worker) {
	w.sim.tracef("%s is superseded by %s", w.address, by.address)
	w.do(w.core.Superseded(w.clock(), messages.Errorf(messages.CodeWorkerSuperseded, "by %s", by.address)))
}

// givenUp hears that a server had declared it gone, and sees it again.
func (w *worker) givenUp(by *server) {
	w.sim.tracef("%s hears that %s declared it gone", w.address, by.address)
	w.do(w.core.GivenUp(w.clock(), by.address, messages.Errorf(messages.CodeWorkerLost, "declared gone")))
	w.registerAgain()
}

// drain lets the worker come to its end.
func (w *worker) drain(grace time.Duration) {
	s := w.sim
	s.tracef("%s drains for %v", w.address, grace)
	w.drained = true
	s.setState(w.proc, memberLeaving)
	w.do(w.core.Drain(w.clock(), w.clock().Add(grace)))
}

func (w *worker) do(actions []slots.Action) {
	s := w.sim
	stopped := false
	for _, a := range actions {
		switch a.Kind {
		case slots.Start:
			w.startFunction(a)
		case slots.Resume:
			if f := w.functions[a.ID]; f != nil {
				f.resume()
			}
		case slots.CancelContext:
			if f := w.functions[a.ID]; f != nil {
				f.cancel()
			}
		case slots.Send:
			w.send(a)
		case slots.Report:
			w.report(a.Load)
		case slots.AskBound:
			w.askBound(a.Runs)
		case slots.AskedToHandOff:
			w.later(0, func() { w.handOff(a.Message.(*messages.HandOff)) })
		case slots.Stopped:
			stopped = true
		default:
			w.slotHeld(a)
		}
	}
	s.must(w.core.Check())
	switch {
	case w.works():
		w.idleSince = time.Time{}
	case w.idleSince.IsZero():
		w.idleSince = s.now
	}
	if stopped {
		w.left = true
		s.end(w.proc)
		return
	}
	w.setTick()
}

// works says that a function holds a slot, or is on its way out.
func (w *worker) works() bool {
	for _, f := range w.functions {
		if !f.waiting || f.canceled {
			return true
		}
	}
	return w.core.Running() > len(w.functions)
}

func (w *worker) setTick() {
	w.ticks++
	mine := w.ticks
	w.later(max(0, w.core.Next().Sub(w.clock())), func() {
		if mine == w.ticks {
			w.do(w.core.Tick(w.clock()))
		}
	})
}

// send carries a message to a run: to the activation that asked, or to whoever
// owns the run.
func (w *worker) send(a slots.Action) {
	s := w.sim
	msg := a.Message
	if m, ok := msg.(*messages.SuspendAttempt); ok {
		m.Worker = w.ref()
	}
	messages.SentBy(msg, w.info.WorkerId)
	s.tracef("%s → %s", w.address, describeMessage{msg})
	if a.To != (slots.Address{}) {
		to := s.monitor.actors[a.To.ID]
		s.send(w.proc, to.sv.proc, "to run", func() {
			if !to.receive(msg) {
				s.monitor.counts.NotDelivered++
				s.send(to.sv.proc, w.proc, "not delivered", func() { w.do(w.core.ReplyGone(w.clock(), a.To)) })
			}
		})
		return
	}
	if owner := w.ownerOfRun(a.RunID); owner != nil {
		s.send(w.proc, owner, "to the owner of "+a.RunID, func() { owner.server.deliver(a.RunID, msg, nil) })
	}
}

// report replaces the load that waits to be sent; grants add up.
func (w *worker) report(load *messages.LoadReport) {
	load.HeldKeys = slices.Sorted(slices.Values(w.holds))
	w.last = proto.Clone(load).(*messages.LoadReport)
	w.last.GrantsSeen = nil
	if w.pending != nil {
		load.GrantsSeen = append(slices.Clone(w.pending.GrantsSeen), load.GrantsSeen...)
	}
	w.pending = load
	w.sendReport()
}

func (w *worker) sendReport() {
	load, owner := w.pending, w.ownerIn("placement", "default")
	if load == nil || !w.admitted || w.registering || owner == nil {
		return
	}
	w.pending = nil
	w.sim.send(w.proc, owner, "load", func() {
		if p := owner.server.placement(); p != nil {
			p.receive(load)
		}
	})
	w.others = slices.DeleteFunc(w.others, func(o summons) bool { return w.sim.now.After(o.until) })
	for _, o := range w.others {
		if o.by.sv.proc != owner {
			w.reportToOne(o.by, load)
		}
	}
}

func (w *worker) reportToOne(p *placer, load *messages.LoadReport) {
	w.sim.send(w.proc, p.sv.proc, "load", func() {
		if p.sv.place == p {
			p.receive(load)
		}
	})
}

// reportTo: a placement that the worker does not take for the pool's asks for
// its load.
func (w *worker) reportTo(p *placer) {
	if !w.admitted {
		return
	}
	w.others = slices.DeleteFunc(w.others, func(o summons) bool { return o.by == p })
	w.others = append(w.others, summons{p, w.sim.now.Add(5 * time.Second)})
	if w.last != nil {
		w.reportToOne(p, w.last)
	}
}

// ---- functions -----------------------------------------------------------------

// function is one execution of a step's function.
type function struct {
	w        *worker
	id       uint64
	d        *messages.Dispatch
	plan     plan
	value    *value
	spawned  []string
	canceled bool
	lapses   int // of its worker's leases, when it began
	waiting  bool
	over     bool
	onResume func()
	// news counts how often the waiting calls were to ask again.
	news   int
	onNews func()
	// asked counts its questions for how calls came out. said are the calls in which
	// it says that it does nothing but wait.
	asked int
	said  uint64
	// writer is the stream that it writes to, if any.
	writer *writer
}

func (w *worker) startFunction(a slots.Action) {
	s := w.sim
	f := &function{w: w, id: a.ID, d: a.Dispatch, plan: s.planOf(a.Dispatch), lapses: w.lapses}
	w.hold(s.keysOf(a.Dispatch.RunId))
	w.functions[a.ID] = f
	s.tracef("%s runs %s", w.address, f.key())
	if a.Dispatch.Suspect {
		f.plan.takes += 2 * slots.SuspectNotice
	}
	s.must(s.monitor.executed(w, a.Dispatch))
	s.must(s.monitor.alone(w, a.Dispatch))
	s.must(s.monitor.givenLast(a.Dispatch))
	f.begin()
	s.must(f.endStepBegins())
	f.tells()
	f.writes()
	if f.plan.kills {
		w.later(f.plan.takes/2, func() {
			if w.alive && !f.over && s.faulty() {
				s.tracef("%s is killed by %s", w.address, f.key())
				s.end(w.proc)
			}
		})
	}
	if !f.plan.makesCalls() {
		w.later(f.plan.takes, f.returns)
		return
	}
	w.later(f.plan.takes/2, func() { f.call(0) })
}

// holdsMost is how many shared values a worker keeps.
const holdsMost = 3

// hold builds the shared values that a step asks for, and lets others go.
func (w *worker) hold(keys map[string][]byte) {
	for _, local := range slices.Sorted(maps.Keys(keys)) {
		key := messages.HeldKey(local, keys[local])
		w.holds = slices.DeleteFunc(w.holds, func(k uint64) bool { return k == key })
		w.holds = slices.Insert(w.holds, 0, key)
	}
	w.holds = w.holds[:min(len(w.holds), holdsMost)]
}

func (f *function) key() string { return fmt.Sprintf("%s/%s#%d", f.d.RunId, f.d.Step, f.d.Attempt) }

// returns ends the function as planned.
func (f *function) returns() {
	f.w.sim.must(f.w.sim.monitor.notSuspended(f))
	all, failure := f.streamed()
	switch {
	case f.over:
	case !all:
		f.flushed(f.returns)
	case failure != nil:
		f.end(nil, failure)
	case f.plan.loses:
		f.lose()
	case f.plan.fails:
		f.end(nil, &messages.Failure{Code: string(messages.CodeUserError), Message: "planned", Final: f.plan.final})
	case f.plan.continues:
		f.goOnAsNew()
	default:
		f.keep()
		f.end([]byte(f.key()+"@"+f.w.address), nil)
	}
}

func (f *function) end(output []byte, failure *messages.Failure) {
	if f.over {
		return
	}
	f.over = true
	if f.lapses != f.w.lapses {
		f.w.sim.monitor.lapsed[f.key()+"@"+f.w.address] = true
	}
	delete(f.w.functions, f.id)
	f.w.do(f.w.core.FunctionEnded(f.w.clock(), f.id, output, failure))
}

// cancel ends the context: most functions return soon, some do not care.
func (f *function) cancel() {
	s := f.w.sim
	f.canceled = true
	if f.plan.stubborn && !f.plan.makesCalls() {
		return
	}
	f.w.later(s.dice.between(time.Millisecond, 50*time.Millisecond), func() {
		f.end(nil, &messages.Failure{Code: string(messages.CodeUserError), Message: "context canceled"})
	})
}

// spawn starts the children of a function one after the other, then waits.
func (f *function) spawn(i int) {
	s := f.w.sim
	if f.over || f.canceled {
		return
	}
	if i == len(f.plan.children) {
		f.await(0)
		return
	}
	c := f.plan.children[i]
	msg := &messages.SpawnChild{RunId: f.d.RunId, Step: f.d.Step, Attempt: f.d.Attempt, Epoch: f.d.Epoch,
		Key: strconv.Itoa(i), Workflow: c.workflow, Input: []byte("1"), Sticky: c.sticky, Anew: c.anew}
	if c.leave {
		msg.OnParentEnd = messages.ParentEnd_PARENT_END_LEAVE
	}
	messages.SentBy(msg, f.w.info.WorkerId)
	f.w.call(f.d.RunId, time.Hour, func(sv *server, reply func(any)) {
		sv.deliver(f.d.RunId, msg, asker(func(answer any) {
			code := messages.CodeOf(messages.FromFailure(answer.(*messages.SpawnChildReply).Error))
			if !code.Retryable() || code == messages.CodeStaleAttempt {
				reply(answer)
			}
		}))
	}, func(answer any) {
		r, ok := answer.(*messages.SpawnChildReply)
		switch {
		case !ok || f.over:
		case r.Error != nil:
			s.must(s.monitor.spawnRefused(f, messages.FromFailure(r.Error)))
			f.end(nil, r.Error)
		default:
			s.must(s.monitor.childSpawned(f, c, r.ChildRun))
			f.spawned = append(f.spawned, r.ChildRun)
			f.spawn(i + 1)
		}
	})
}

// await waits for the children, without a slot.
func (f *function) await(i int) {
	if f.over || f.canceled {
		return
	}
	if i == len(f.spawned) {
		f.w.later(f.plan.takes/2, f.returns)
		return
	}
	if f.plan.children[i].alone {
		f.await(i + 1)
		return
	}
	child := f.spawned[i]
	f.awaitCall(&messages.AwaitCall{Kind: messages.CallKind_CALL_KIND_CHILD, Name: "child", Key: child + "#0", TimeoutMs: messages.WaitMsMax,
		Branches: []*messages.WaitBranch{{Kind: messages.CallKind_CALL_KIND_CHILD, ChildRun: child}}}, func(call *messages.CallRecorded) {
		f.w.sim.must(f.w.sim.monitor.childReturned(f, child, call))
		f.await(i + 1)
	})
}

func (f *function) resume() {
	if f.over {
		return
	}
	f.waiting = false
	f.w.sim.must(f.w.sim.monitor.notSuspended(f))
	if next := f.onResume; next != nil {
		f.onResume = nil
		// A function goes on after the worker has done what it was told.
		f.w.later(0, next)
	}
}
