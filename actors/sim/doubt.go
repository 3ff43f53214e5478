package sim

import (
	"slices"
	"time"

	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// A model of the doubts of a roster: before a run is told that a process has gone
// that is not there, the other servers are asked for its leases.

// verdict is that a process has gone, and why; final if it never acts again.
type verdict struct {
	run.WorkerChanged
	final bool
}

// doubt is about a process that is not there: waiting are the activations that
// began to watch it after the last look began.
type doubt struct{ waiting []*activation }

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
	gone := run.WorkerChanged{Worker: ref, State: run.WorkerGone, Reason: messages.Reason_REASON_WORKER_LOST}
	if k.holder() != nil {
		gone.Reason = messages.Reason_REASON_WORKER_SUPERSEDED
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
