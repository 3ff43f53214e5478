package sim

import (
	"slices"
	"time"

	"github.com/limpetrun/limpet/actors/roster"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// watcher is what is around the real core of a server's roster: it sends what
// the core asks to be sent, and lets its time pass.
type watcher struct {
	sv   *server
	core *roster.Core[*actor]
	// next is the time of the tick that is set; zero for none.
	next time.Time
}

func newWatcher(sv *server) *watcher {
	return &watcher{sv: sv, core: roster.New[*actor](roster.Config{Ended: func(workerID, incarnation string) bool {
		w := sv.sim.byRef[workerID+"~"+incarnation]
		return w != nil && sv.ended(w.proc)
	}})}
}

// viewChanged shows the core what the server's view has of workers.
func (r *watcher) viewChanged() {
	var view []roster.Process
	for _, p := range r.sv.sim.procs {
		if p.worker == nil || !r.sv.sees[p] || r.sv.state[p] == memberJoining {
			continue
		}
		state := [...]roster.ProcessState{memberReady: roster.Ready, memberDraining: roster.Draining, memberLeaving: roster.Leaving}
		view = append(view, roster.Process{WorkerID: p.id, Incarnation: p.worker.inc(), Address: p.address, State: state[r.sv.state[p]]})
	}
	r.do(r.core.ViewChanged(r.sv.clock(), view))
}

func (r *watcher) watch(a *actor, workerID, incarnation string) {
	r.do(r.core.Watch(r.sv.clock(), a, workerID, incarnation))
}

func (r *watcher) unwatch(a *actor, workerID string) { r.core.Unwatch(a, workerID) }

// up returns the process that holds a worker id, as far as the server knows.
func (r *watcher) up(id string) *worker {
	if st, ok := r.core.Worker(r.sv.clock(), id); ok && st.State != run.WorkerGone {
		return r.sv.sim.byRef[id+"~"+st.Incarnation]
	}
	return nil
}

// holders are the processes that hold a worker id, by worker id.
func (r *watcher) holders() []roster.WorkerStatus {
	return slices.DeleteFunc(r.core.Workers(r.sv.clock()), func(w roster.WorkerStatus) bool { return w.State == run.WorkerGone })
}

func (r *watcher) do(actions []roster.Action) {
	s := r.sv.sim
	for _, a := range actions {
		switch a := a.(type) {
		case roster.Tell[*actor]:
			r.tell(a)
		case roster.Ask:
			w := s.workerOf(a.Process)
			r.sv.ask(w, roster.AskWithin, func(answered, draining bool) {
				if answered {
					r.do(r.core.Described(r.sv.clock(), a.Question, w.info, draining))
				} else {
					r.do(r.core.Silent(r.sv.clock(), a.Question))
				}
			})
		case roster.AskLeases:
			r.sv.later(tiny, func() { r.askLeases(a, 0, false) })
		case roster.Supersede:
			w, by := s.workerOf(a.Process), s.workerOf(a.By)
			s.send(r.sv.proc, w.proc, "superseded", func() { w.superseded(by) })
		}
	}
	s.must(r.core.Check())
	r.setTick()
}

func (r *watcher) setTick() {
	next := r.core.Next()
	if next.Equal(r.next) {
		return
	}
	r.next = next
	if next.IsZero() {
		return
	}
	r.sv.later(max(0, next.Sub(r.sv.clock())), func() {
		if next.Equal(r.next) {
			r.next = time.Time{}
			r.do(r.core.Tick(r.sv.clock()))
		}
	})
}

// tell spreads news: to placement, to whoever watches, to dormant runs.
func (r *watcher) tell(t roster.Tell[*actor]) {
	w := r.sv.sim.workerOf(t.News.Worker)
	if t.News.State == run.WorkerGone {
		r.sv.sim.monitor.declaredGone(t.News.Worker)
	}
	if t.Public {
		r.sv.sim.tracef("%s tells %s: %s %s", r.sv.address, processKey(t.News.Worker), t.News.State, t.News.Reason.Words())
		r.sv.workerChanged(w, *t.News)
	}
	for _, a := range t.To {
		r.sv.later(tiny, func() { a.receive(t.News) })
	}
}

// askLeases asks about one process after the other.
func (r *watcher) askLeases(q roster.AskLeases, most time.Duration, inView bool) {
	if len(q.Incarnations) == 0 {
		r.do(r.core.Leases(r.sv.clock(), q.Question, most, inView))
		return
	}
	ref := &messages.WorkerRef{WorkerId: q.WorkerID, Incarnation: q.Incarnations[0]}
	q.Incarnations = q.Incarnations[1:]
	r.sv.leaseHold(ref, func(hold time.Duration) {
		w := r.sv.sim.workerOf(ref)
		r.askLeases(q, max(most, hold), inView || w != nil && r.sv.sees[w.proc])
	})
}

// ask asks a process who it is.
func (sv *server) ask(w *worker, patience time.Duration, done func(answered, draining bool)) {
	over := false
	end := func(answered, draining bool) {
		if !over {
			over = true
			done(answered, draining)
		}
	}
	sv.sim.send(sv.proc, w.proc, "describe", func() {
		draining := w.core.Draining()
		sv.sim.send(w.proc, sv.proc, "described", func() { end(true, draining) })
	})
	sv.later(patience, func() { end(false, false) })
}

// tellVerdict tells a worker that is back that it had been declared gone.
func (sv *server) tellVerdict(w *worker) {
	if sv.sim.monitor.gone[processKey(w.ref())] {
		sv.sim.send(sv.proc, w.proc, "declared gone", func() { w.givenUp(sv) })
	}
}
