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

// verdict is that a process has gone, and why; final if it never acts again.
type verdict struct {
	run.WorkerChanged
	final bool
}

// doubt is about a process that is not there: waiting are the activations that
// began to watch it after the last look began.
type doubt struct{ waiting []*activation }

// sighting is one process of a worker id.
type sighting struct {
	w      *worker
	state  memberState
	asked  bool // its claim is being looked into
	said   bool // who it is
	told   toldState
	reason string
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
		p.reason = "worker lost"
		if p.state == memberDraining {
			p.reason = "worker left"
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
	if p == k.current || k.current == nil {
		return false
	}
	return slices.ContainsFunc(k.past, func(v verdict) bool { return v.Worker.Incarnation == p.w.inc() })
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

// holdEarlier is for how long a process may not take its id over: an earlier one
// that is there, or that runs are bound to, may have a lease.
func (r *roster) holdEarlier(k *known, p *sighting, done func(hold time.Duration)) {
	var earlier []string
	for _, other := range k.there {
		if other.w.inc() < p.w.inc() && other.told != toldGone {
			earlier = append(earlier, other.w.inc())
		}
	}
	for _, w := range r.sv.sim.procs {
		if w.worker != nil && w.id == k.id && w.worker.inc() < p.w.inc() && k.doubted[w.worker.inc()] != nil {
			earlier = append(earlier, w.worker.inc())
		}
	}
	var most time.Duration
	var next func()
	next = func() {
		if len(earlier) == 0 {
			done(most)
			return
		}
		ref := &messages.WorkerRef{WorkerId: k.id, Incarnation: earlier[0]}
		earlier = earlier[1:]
		r.sv.leaseHold(ref, func(hold time.Duration) {
			most = max(most, hold)
			next()
		})
	}
	next()
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
	r.tell(k, r.news(p.w, run.WorkerUp, ""))
	r.tellState(k, p)
}

func (r *roster) displace(k *known, p, by *sighting) {
	if p.told == toldGone {
		return
	}
	p.reason = "worker superseded"
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
	state, news := toldUp, r.news(p.w, run.WorkerUp, "")
	if p.state == memberDraining {
		state, news = toldDraining, r.news(p.w, run.WorkerDraining, "worker draining")
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
	k.remember(verdict{gone, p.reason == "worker left" || r.sv.ended(p.w)})
	r.tell(k, gone)
}

func (k *known) remember(v verdict) {
	k.past = slices.DeleteFunc(k.past, func(old verdict) bool { return old.Worker.Incarnation == v.Worker.Incarnation })
	if k.past = append(k.past, v); len(k.past) > pastMax {
		k.past = k.past[1:]
	}
}

func (k *known) verdictOn(incarnation string) *verdict {
	i := slices.IndexFunc(k.past, func(v verdict) bool { return v.Worker.Incarnation == incarnation })
	if i < 0 {
		return nil
	}
	return &k.past[i]
}

// tellVerdict tells a worker that is back that it had been declared gone.
func (sv *server) tellVerdict(w *worker) {
	if sv.sim.monitor.gone[processKey(w.ref())] {
		sv.sim.send(sv.proc, w.proc, "declared gone", func() { w.givenUp(sv) })
	}
}

func (r *roster) news(w *worker, state run.WorkerState, reason string) run.WorkerChanged {
	return run.WorkerChanged{Worker: w.ref(), State: state, Reason: reason}
}

// tell spreads news: to placement, to dormant runs, to whoever watches.
func (r *roster) tell(k *known, news run.WorkerChanged) {
	w := r.sv.sim.workerOf(news.Worker)
	r.sv.sim.tracef("%s tells %s~%s: %s %s", r.sv.address, k.id, news.Worker.Incarnation, stateName(news.State), news.Reason)
	if news.State == run.WorkerGone {
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
		r.sendNews(a, r.news(p.w, run.WorkerDraining, "worker draining"), p.w)
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
	list := []run.WorkerChanged{r.news(p.w, run.WorkerUp, "")}
	if p.told == toldDraining {
		list = append(list, r.news(p.w, run.WorkerDraining, "worker draining"))
	}
	return list
}

func (r *roster) tellPresent(k *known, a *activation) {
	for _, c := range r.present(k) {
		r.sendNews(a, c, k.current.w)
	}
}

// doubt finds out whether a process that is not there may act, and tells an
// activation when it may not.
func (r *roster) doubt(k *known, incarnation string, a *activation) {
	if d := k.doubted[incarnation]; d != nil {
		d.waiting = append(d.waiting, a)
		return
	}
	wait := settle
	if h := k.holder(); k.verdictOn(incarnation) != nil || h != nil && h.w.inc() > incarnation {
		wait = 0
	}
	d := &doubt{waiting: []*activation{a}}
	k.doubted[incarnation] = d
	r.sv.later(wait, func() { r.look(k, &messages.WorkerRef{WorkerId: k.id, Incarnation: incarnation}, d) })
}

// look tells the activations that wait that a process has gone, if it may not
// act, and looks again if it may.
func (r *roster) look(k *known, ref *messages.WorkerRef, d *doubt) {
	if k.doubted[ref.Incarnation] != d {
		return
	}
	told := d.waiting
	d.waiting = nil
	again := func(wait time.Duration) { r.sv.later(wait, func() { r.look(k, ref, d) }) }
	r.sv.leaseHold(ref, func(hold time.Duration) {
		w := r.sv.sim.workerOf(ref)
		switch {
		case k.doubted[ref.Incarnation] != d:
		case w != nil && r.sv.sees[w.proc] && k.verdictOn(ref.Incarnation) == nil:
			// Not admitted yet, or the news of it is on its way.
			d.waiting = append(told, d.waiting...)
			again(settle)
		case hold > 0:
			d.waiting = append(told, d.waiting...)
			again(min(hold, doubtAgain))
		default:
			r.giveUp(k, ref, told)
			if len(d.waiting) == 0 {
				delete(k.doubted, ref.Incarnation)
			} else {
				again(0)
			}
		}
	})
}

func (r *roster) giveUp(k *known, ref *messages.WorkerRef, told []*activation) {
	gone := run.WorkerChanged{Worker: ref, State: run.WorkerGone, Reason: "worker lost"}
	if k.holder() != nil {
		gone.Reason = "worker superseded"
	}
	w := r.sv.sim.workerOf(ref)
	final := w != nil && r.sv.ended(w)
	r.sv.sim.monitor.declaredGone(ref)
	if v := k.verdictOn(ref.Incarnation); v != nil {
		v.final, gone = final, v.WorkerChanged
	} else {
		k.remember(verdict{gone, final})
		r.sv.workerChanged(w, gone)
	}
	for _, a := range told {
		r.sendNews(a, gone, w)
		r.tellPresent(k, a)
	}
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
