package server

import (
	"context"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// A process of a worker that is not there may act all the same: another server
// may have given it a lease. That this server has called it lost before changes
// nothing, for it may have come back to another one since, and the run with it. So
// a run is not told so before this server has asked the others, after the run began
// to watch: whoever dispatched for the run before its history was read here did so
// under a lease that has ended by then. See package lease.

// doubtAgain is the longest pause between two looks whether a lease is left.
const doubtAgain = 200 * time.Millisecond

// verdict is that a process has gone, and why.
type verdict struct {
	run.WorkerChanged
	// final: it has ended, or left, and never acts again.
	final bool
}

func (w *rosterWorker) remember(v verdict) {
	w.past = slices.DeleteFunc(w.past, func(old verdict) bool { return old.Worker.Incarnation == v.Worker.Incarnation })
	w.past = append(w.past, v)
	if len(w.past) > pastMax {
		w.past = w.past[1:]
	}
}

// verdictOn is the verdict on a process; nil if there is none.
func (w *rosterWorker) verdictOn(incarnation string) *verdict {
	i := slices.IndexFunc(w.past, func(v verdict) bool { return v.Worker.Incarnation == incarnation })
	if i < 0 {
		return nil
	}
	return &w.past[i]
}

// doubt is about a process that is not there.
type doubt struct {
	// waiting are the runs that began to watch it after the last look began.
	waiting []*actor.PID
	stop    context.CancelFunc
}

// doubt finds out whether a process may act, and tells a run when it may not.
// Called with mu held.
func (r *Roster) doubt(w *rosterWorker, incarnation string, by *actor.PID) {
	if d := w.doubted[incarnation]; d != nil {
		d.waiting = append(d.waiting, by)
		return
	}
	wait := r.cfg.Settle
	if h := w.holder(); w.verdictOn(incarnation) != nil || h != nil && h.member.Incarnation > incarnation {
		wait = 0 // It will not appear any more.
	}
	ctx, stop := context.WithCancel(r.ctx)
	d := &doubt{waiting: []*actor.PID{by}, stop: stop}
	w.doubted[incarnation] = d
	id := w.id
	r.work.Go(func() {
		defer stop()
		for ctx.Err() == nil {
			select {
			case <-ctx.Done():
			case <-time.After(wait):
				wait = r.look(ctx, id, incarnation, d)
			}
		}
	})
}

// look tells the runs that wait that a process has gone, if it may not act. It
// returns when to look again.
func (r *Roster) look(ctx context.Context, workerID, incarnation string, d *doubt) time.Duration {
	r.mu.Lock()
	w := r.workers[workerID]
	if w == nil || w.doubted[incarnation] != d {
		r.mu.Unlock()
		d.stop()
		return 0
	}
	judged := w.verdictOn(incarnation) != nil
	told := d.waiting
	d.waiting = nil
	r.mu.Unlock()

	_, there := r.cfg.Node.View().Member(workerID + "~" + incarnation)
	hold := r.cfg.Node.LeaseHold(ctx, workerID, incarnation)
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed || ctx.Err() != nil:
		return 0
	case there && !judged:
		// Not admitted yet, or the news of it is on its way.
		d.waiting = append(told, d.waiting...)
		return r.cfg.Settle
	case hold > 0:
		d.waiting = append(told, d.waiting...)
		return min(hold, doubtAgain)
	}
	r.giveUp(w, incarnation, told)
	if len(d.waiting) == 0 {
		delete(w.doubted, incarnation)
		d.stop()
	}
	return 0
}

// giveUp tells runs that a process has gone which they watch, and everybody else
// if that is new. Called with mu held.
func (r *Roster) giveUp(w *rosterWorker, incarnation string, told []*actor.PID) {
	gone := run.WorkerChanged{Worker: &messages.WorkerRef{WorkerId: w.id, Incarnation: incarnation}, State: run.WorkerGone, Reason: messages.Reason_REASON_WORKER_LOST}
	if w.holder() != nil {
		gone.Reason = messages.Reason_REASON_WORKER_SUPERSEDED
	}
	final := r.cfg.Node.HasEnded(w.id, incarnation)
	if v := w.verdictOn(incarnation); v != nil {
		v.final = final
		r.news.tell(v.WorkerChanged, told)
	} else {
		w.remember(verdict{gone, final})
		if f := r.cfg.Hooks.Changed; f != nil {
			f(gone)
		}
		r.news.announce(gone, told)
	}
	r.tellPresent(w, told)
}

// tellPresent tells runs of the process that holds the id now.
func (r *Roster) tellPresent(w *rosterWorker, runs []*actor.PID) {
	for _, c := range w.present() {
		r.news.tell(c, runs)
	}
}

// holdEarlier is for how long a process may not take its id over: an earlier one
// that is there, or that runs are bound to, may have a lease.
func (r *Roster) holdEarlier(ctx context.Context, p *rosterProcess) (hold time.Duration) {
	r.mu.Lock()
	var earlier []string
	if w, there := r.stillThere(p); there {
		for incarnation, other := range w.there {
			if incarnation < p.member.Incarnation && other.told != run.WorkerGone {
				earlier = append(earlier, incarnation)
			}
		}
		for incarnation := range w.doubted {
			if incarnation < p.member.Incarnation {
				earlier = append(earlier, incarnation)
			}
		}
	}
	r.mu.Unlock()
	for _, incarnation := range earlier {
		hold = max(hold, r.cfg.Node.LeaseHold(ctx, p.member.WorkerID, incarnation))
	}
	return hold
}
