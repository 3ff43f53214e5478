package sim

import (
	"time"

	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// roster models a server's watcher of workers: what the view shows becomes news
// for runs, for placement and for dormant runs.
type roster struct {
	sv      *server
	workers map[string]*known
	order   []string
}

// known is what a roster knows of a worker id.
type known struct {
	id       string
	current  *worker
	state    run.WorkerState
	reason   string
	past     map[*worker]run.WorkerChanged
	watchers []*activation
	doubted  map[string]bool
}

// settle is how long a process that was never seen may take to appear.
const settle = 3 * time.Second

func (r *roster) worker(id string) *known {
	k := r.workers[id]
	if k == nil {
		k = &known{id: id, past: map[*worker]run.WorkerChanged{}, doubted: map[string]bool{}}
		r.workers[id] = k
		r.order = append(r.order, id)
	}
	return k
}

func (r *roster) forgetAll() { r.workers, r.order = map[string]*known{}, nil }

// joined: the view has the process; it is asked who it is.
func (r *roster) joined(w *worker) {
	s := r.sv.sim
	r.sv.later(s.dice.between(time.Millisecond, 20*time.Millisecond), func() {
		if !r.sv.sees[w.proc] {
			return
		}
		k := r.worker(w.id)
		if k.current != nil && k.current != w && k.state != run.WorkerGone {
			if k.current.incarnation > w.incarnation {
				r.supersede(w, k.current)
				return
			}
			r.tell(k, r.news(k.current, run.WorkerGone, "worker superseded"))
			r.supersede(k.current, w)
		}
		if k.current == w && k.state == run.WorkerUp {
			return
		}
		k.current = w
		delete(k.past, w)
		state := run.WorkerUp
		r.tell(k, r.news(w, state, ""))
		if w.core.Draining() {
			r.tell(k, r.news(w, run.WorkerDraining, "worker draining"))
		}
	})
}

// supersede tells a process, until it is gone, that its id has gone to another.
func (r *roster) supersede(w, by *worker) {
	if !r.sv.sees[w.proc] {
		return
	}
	r.sv.sim.send(r.sv.proc, w.proc, "superseded", func() { w.superseded(by) })
	r.sv.later(time.Second, func() { r.supersede(w, by) })
}

// tellVerdict tells a worker that is back that it had been declared gone.
func (sv *server) tellVerdict(w *worker) {
	if sv.sim.monitor.gone[processKey(w.ref())] {
		sv.sim.send(sv.proc, w.proc, "declared gone", w.givenUp)
	}
}

func (r *roster) left(w *worker) {
	k := r.worker(w.id)
	if k.current != w || k.state == run.WorkerGone {
		return
	}
	reason := "worker lost"
	if w.left {
		reason = "worker left"
	}
	r.tell(k, r.news(w, run.WorkerGone, reason))
}

func (r *roster) drains(w *worker) {
	if k := r.worker(w.id); k.current == w && k.state == run.WorkerUp {
		r.tell(k, r.news(w, run.WorkerDraining, "worker draining"))
	}
}

func (r *roster) news(w *worker, state run.WorkerState, reason string) run.WorkerChanged {
	return run.WorkerChanged{Worker: w.ref(), State: state, Reason: reason}
}

// tell spreads news: to placement, to dormant runs, to whoever watches.
func (r *roster) tell(k *known, news run.WorkerChanged) {
	w := r.sv.sim.workerOf(news.Worker)
	r.sv.sim.tracef("%s tells %s~%s: %s %s", r.sv.address, k.id, news.Worker.Incarnation, stateName(news.State), news.Reason)
	if k.current == w {
		k.state, k.reason = news.State, news.Reason
	}
	if news.State == run.WorkerGone {
		k.past[w] = news
		r.sv.sim.monitor.declaredGone(news.Worker)
	}
	r.sv.workerChanged(w, news)
	for _, a := range k.watchers {
		r.sendNews(a, news, w)
	}
}

func (r *roster) sendNews(a *activation, news run.WorkerChanged, w *worker) {
	news.HasSteps = w != nil && w.hasAll(a.def.Def)
	r.sv.later(tiny, func() { a.receive(news) })
}

func stateName(s run.WorkerState) string {
	return [...]string{"up", "draining", "gone"}[s]
}

// watch tells at once what the run does not expect: that the process is
// draining or gone, and that another one is up.
func (r *roster) watch(a *activation, workerID, incarnation string) {
	k := r.worker(workerID)
	known := false
	for _, have := range k.watchers {
		known = known || have == a
	}
	if !known {
		k.watchers = append(k.watchers, a)
	}
	same := k.current != nil && k.current.inc() == incarnation
	if same && k.state == run.WorkerGone {
		r.sendNews(a, r.news(k.current, run.WorkerGone, k.reason), k.current)
		return
	}
	if !same {
		r.tellAbsence(a, k, incarnation)
	}
	if k.current == nil || k.state == run.WorkerGone {
		return
	}
	if !same {
		r.sendNews(a, r.news(k.current, run.WorkerUp, ""), k.current)
	}
	if k.state == run.WorkerDraining {
		r.sendNews(a, r.news(k.current, run.WorkerDraining, k.reason), k.current)
	}
}

func (r *roster) tellAbsence(a *activation, k *known, incarnation string) {
	gone := run.WorkerChanged{Worker: &messages.WorkerRef{WorkerId: k.id, Incarnation: incarnation}, State: run.WorkerGone}
	w := r.sv.sim.workerOf(gone.Worker)
	if past, ok := k.past[w]; w != nil && ok {
		r.sendNews(a, past, w)
		return
	}
	if k.current != nil && k.state != run.WorkerGone && w != nil && k.current.incarnation > w.incarnation {
		gone.Reason = "worker superseded"
		r.sv.sim.monitor.declaredGone(gone.Worker)
		r.sendNews(a, gone, w)
		return
	}
	if !k.doubted[incarnation] {
		r.doubt(k, incarnation)
	}
}

// doubt gives a process the settle time to appear.
func (r *roster) doubt(k *known, incarnation string) {
	k.doubted[incarnation] = true
	r.sv.later(settle, func() {
		ref := &messages.WorkerRef{WorkerId: k.id, Incarnation: incarnation}
		w := r.sv.sim.workerOf(ref)
		if r.workers[k.id] != k || k.current != nil && k.current.inc() == incarnation && k.state != run.WorkerGone {
			delete(k.doubted, incarnation)
			return
		}
		if w != nil && r.sv.sees[w.proc] {
			r.doubt(k, incarnation)
			return
		}
		delete(k.doubted, incarnation)
		news := run.WorkerChanged{Worker: ref, State: run.WorkerGone, Reason: "worker lost"}
		if k.current != nil && k.state != run.WorkerGone {
			news.Reason = "worker superseded"
		}
		if w == nil {
			return
		}
		r.tell(k, news)
	})
}

func (r *roster) unwatch(a *activation, workerID string) {
	k := r.worker(workerID)
	for i, have := range k.watchers {
		if have == a {
			k.watchers = append(k.watchers[:i:i], k.watchers[i+1:]...)
			return
		}
	}
}

// up returns the process that holds a worker id, as far as the server knows.
func (r *roster) up(id string) *worker {
	if k := r.workers[id]; k != nil && k.current != nil && k.state != run.WorkerGone {
		return k.current
	}
	return nil
}
