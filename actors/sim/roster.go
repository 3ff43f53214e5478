package sim

import (
	"slices"
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
	id string
	// current holds the id, or held it last; it has said who it is.
	current *sighting
	// there are the admitted processes of the id in the view.
	there    []*sighting
	past     []verdict
	watchers []*activation
	doubted  map[string]*doubt
}

// sighting is one process of a worker id.
type sighting struct {
	w      *worker
	state  memberState
	asked  bool // its claim is being looked into
	said   bool // who it is
	told   toldState
	reason messages.Reason
	// stops counts the ends of what is done about it.
	stops int
}

type toldState uint8

const (
	toldNothing toldState = iota
	toldUp
	toldDraining
	toldGone
)

// settle is how long a process that was never seen may take to appear, doubtAgain
// the longest pause between two looks whether a lease is left.
const (
	settle     = 3 * time.Second
	doubtAgain = 200 * time.Millisecond
)

// pastMax is how many earlier processes of an id are remembered.
const pastMax = 8

func (r *roster) worker(id string) *known {
	k := r.workers[id]
	if k == nil {
		k = &known{id: id, doubted: map[string]*doubt{}}
		r.workers[id] = k
		r.order = append(r.order, id)
	}
	return k
}

// ---- the view ------------------------------------------------------------------

// sighted: the view has the process, which was admitted.
func (r *roster) sighted(w *worker, state memberState) {
	k := r.worker(w.id)
	for _, p := range k.there {
		if p.w == w {
			changed := p.state != state
			p.state = state
			if changed && p == k.current {
				r.tellState(k, p)
			}
			return
		}
	}
	k.there = append(k.there, &sighting{w: w, state: state})
	delete(k.doubted, w.inc())
	r.settleID(k)
}

// vanished: the view has the process no longer.
func (r *roster) vanished(w *worker) {
	k := r.worker(w.id)
	i := slices.IndexFunc(k.there, func(p *sighting) bool { return p.w == w })
	if i < 0 {
		return
	}
	p := k.there[i]
	k.there = slices.Delete(k.there, i, i+1)
	p.stops++
	if p.told != toldGone {
		p.reason = messages.Reason_REASON_WORKER_LOST
		if p.state == memberDraining {
			p.reason = messages.Reason_REASON_WORKER_LEFT
		}
		r.tellGone(k, p)
	}
	r.settleID(k)
}

// settleID looks into the claims of processes that are new. One that began
// later than the holder has been admitted; for one that began earlier, or was
// given up before, the holder is asked first.
func (r *roster) settleID(k *known) {
	for _, p := range slices.Clone(k.there) {
		if p.asked || k.awaits(p) {
			continue
		}
		p.asked = true
		var first *sighting
		if h := k.holder(); h != nil && !k.outranks(p, h) {
			first = h
		}
		r.describe(k, p, first)
	}
}

// awaits says that a later process than p is there, which has yet to say who it
// is.
func (k *known) awaits(p *sighting) bool {
	return slices.ContainsFunc(k.there, func(other *sighting) bool {
		return other != p && other.told != toldGone && !other.said && k.outranks(other, p)
	})
}

func (k *known) holder() *sighting {
	if h := k.current; h != nil && h.told != toldGone {
		return h
	}
	return nil
}

func (k *known) outranks(a, b *sighting) bool {
	return !k.supersededBefore(a) && a.w.inc() > b.w.inc()
}

func (k *known) supersededBefore(p *sighting) bool {
	return p != k.current && k.current != nil && k.verdictOn(p.w.inc()) != nil
}

// describe asks a process who it is until it answers or is given up. Given a
// holder, that one is asked first, each time, and keeps the id if it answers.
func (r *roster) describe(k *known, p, holder *sighting) {
	mine := p.stops
	pause := 20 * time.Millisecond
	var try func()
	askIt := func() {
		r.sv.ask(p.w, time.Second, func(answered, draining bool) {
			switch {
			case p.stops != mine:
			case !answered:
				r.sv.later(pause, try)
				pause = min(2*pause, time.Second)
			case r.stillThere(k, p):
				r.holdEarlier(k, p, func(hold time.Duration) {
					switch {
					case p.stops != mine || !r.stillThere(k, p):
					case hold > 0:
						r.sv.later(min(hold, doubtAgain), try)
					default:
						p.said = true
						if draining {
							p.state = memberDraining
						}
						r.claim(k, p, holder, false)
					}
				})
			}
		})
	}
	try = func() {
		if p.stops != mine {
			return
		}
		if holder == nil {
			askIt()
			return
		}
		r.sv.ask(holder.w, time.Second, func(answered, _ bool) {
			switch {
			case p.stops != mine:
			case !answered:
				askIt()
			case r.stillThere(k, p):
				r.claim(k, p, holder, true)
			}
		})
	}
	try()
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

func (r *roster) stillThere(k *known, p *sighting) bool {
	return slices.Contains(k.there, p) && p.told != toldGone
}

// claim decides between a process and the holder, now that the one or the
// other has answered.
func (r *roster) claim(k *known, p, asked *sighting, answered bool) {
	h := k.holder()
	switch {
	case h == asked && answered:
		r.displace(k, p, h)
	case k.awaits(p):
		p.asked = false
	case p.said && (h == nil || h == asked || k.outranks(p, h)):
		r.install(k, p)
	default:
		p.asked = false
		r.settleID(k)
	}
}

// install makes a process that has said who it is the holder.
func (r *roster) install(k *known, p *sighting) {
	for _, other := range slices.Clone(k.there) {
		if other == k.holder() || other != p && k.outranks(p, other) {
			r.displace(k, other, p)
		}
	}
	k.current = p
	p.told = toldUp
	r.tell(k, r.news(p.w, run.WorkerUp, 0))
	r.tellState(k, p)
}

func (r *roster) displace(k *known, p, by *sighting) {
	if p.told == toldGone {
		return
	}
	p.reason = messages.Reason_REASON_WORKER_SUPERSEDED
	r.tellGone(k, p)
	p.stops++
	r.supersede(p, by.w, p.stops)
}

// supersede tells a process, until it is gone, that its id belongs to another.
func (r *roster) supersede(p *sighting, by *worker, mine int) {
	if p.stops != mine {
		return
	}
	r.sv.sim.send(r.sv.proc, p.w.proc, "superseded", func() { p.w.superseded(by) })
	r.sv.later(time.Second, func() { r.supersede(p, by, mine) })
}

func (r *roster) tellState(k *known, p *sighting) {
	state, news := toldUp, r.news(p.w, run.WorkerUp, 0)
	if p.state == memberDraining {
		state, news = toldDraining, r.news(p.w, run.WorkerDraining, messages.Reason_REASON_WORKER_DRAINING)
	}
	if !p.said || p.told == state {
		return
	}
	p.told = state
	r.tell(k, news)
}

func (r *roster) tellGone(k *known, p *sighting) {
	p.told = toldGone
	gone := r.news(p.w, run.WorkerGone, p.reason)
	k.remember(verdict{gone, r.sv.ended(p.w)})
	r.tell(k, gone)
}

// tellVerdict tells a worker that is back that it had been declared gone.
func (sv *server) tellVerdict(w *worker) {
	if sv.sim.monitor.gone[processKey(w.ref())] {
		sv.sim.send(sv.proc, w.proc, "declared gone", func() { w.givenUp(sv) })
	}
}

func (r *roster) news(w *worker, state run.WorkerState, reason messages.Reason) run.WorkerChanged {
	return run.WorkerChanged{Worker: w.ref(), State: state, Reason: reason}
}

// tell spreads news: to placement, to dormant runs, to whoever watches.
func (r *roster) tell(k *known, news run.WorkerChanged) {
	w := r.sv.sim.workerOf(news.Worker)
	r.sv.sim.tracef("%s tells %s~%s: %s %s", r.sv.address, k.id, news.Worker.Incarnation, news.State, news.Reason.Words())
	if news.State == run.WorkerGone {
		r.sv.sim.monitor.declaredGone(news.Worker)
	}
	r.sv.workerChanged(w, news)
	for _, a := range k.watchers {
		r.sendNews(a, news, w)
	}
}

func (r *roster) sendNews(a *activation, news run.WorkerChanged, w *worker) {
	if w != nil {
		news.Info = w.info
	}
	r.sv.later(tiny, func() { a.receive(news) })
}

// ---- who watches ---------------------------------------------------------------

// watch tells at once what the run does not expect: that the process is
// draining or gone, and that another one is up.
func (r *roster) watch(a *activation, workerID, incarnation string) {
	k := r.worker(workerID)
	if !slices.Contains(k.watchers, a) {
		k.watchers = append(k.watchers, a)
	}
	p := k.current
	same := p != nil && p.w.inc() == incarnation && p.told != toldGone
	gone := k.verdictOn(incarnation)
	switch {
	case k.asking(incarnation):
	case same && p.told == toldDraining:
		r.sendNews(a, r.news(p.w, run.WorkerDraining, messages.Reason_REASON_WORKER_DRAINING), p.w)
	case same:
	case incarnation == "":
		r.tellPresent(k, a)
	case gone != nil && gone.final:
		r.sendNews(a, gone.WorkerChanged, r.sv.sim.workerOf(gone.Worker))
		r.tellPresent(k, a)
	default:
		r.doubt(k, incarnation, a)
	}
}

// asking says that the process is there and has yet to say who it is.
func (k *known) asking(incarnation string) bool {
	for _, p := range k.there {
		if p.w.inc() == incarnation {
			h := k.holder()
			return p != h && p.told != toldGone && (h == nil || h.w.inc() < incarnation)
		}
	}
	return false
}

// present is the news of the process that holds the id now.
func (r *roster) present(k *known) []run.WorkerChanged {
	p := k.current
	if p == nil || p.told == toldGone {
		return nil
	}
	list := []run.WorkerChanged{r.news(p.w, run.WorkerUp, 0)}
	if p.told == toldDraining {
		list = append(list, r.news(p.w, run.WorkerDraining, messages.Reason_REASON_WORKER_DRAINING))
	}
	return list
}

func (r *roster) unwatch(a *activation, workerID string) {
	k := r.worker(workerID)
	if i := slices.Index(k.watchers, a); i >= 0 {
		k.watchers = slices.Delete(slices.Clone(k.watchers), i, i+1)
	}
}

// up returns the process that holds a worker id, as far as the server knows.
func (r *roster) up(id string) *worker {
	if k := r.workers[id]; k != nil && k.holder() != nil {
		return k.current.w
	}
	return nil
}
