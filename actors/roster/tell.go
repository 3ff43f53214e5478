package roster

import (
	"time"

	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// Watch sends news of a worker to a watcher until Unwatch. What it does not
// expect is told at once: that the given process is draining or gone, and that
// another one is up. "" is no process. One that may have a lease is not called
// gone before that has ended, one that was never seen not before the settle time
// is over.
func (c *Core[W]) Watch(now time.Time, by W, workerID, incarnation string) []Action {
	c.now = now
	w := c.worker(workerID)
	w.watchers.add(by)
	only := []W{by}
	h := w.holder()
	same := h != nil && h.ref.Incarnation == incarnation
	gone := w.verdictOn(incarnation)
	switch {
	case w.claims(incarnation):
		// What it says of itself will be news.
	case same && h.told == run.WorkerDraining:
		c.tellOnly(h.news(run.WorkerDraining), only)
	case same:
	case incarnation == "":
		c.tellPresent(w, only)
	case gone != nil && gone.final:
		c.tellOnly(gone.news, only)
		c.tellPresent(w, only)
	default:
		c.doubt(w, incarnation, by)
	}
	return c.take()
}

// claims says that the process is there and has yet to say who it is, or is back
// and has yet to say it again; not of one that began before the holder.
func (w *worker[W]) claims(incarnation string) bool {
	p, h := w.processNamed(incarnation), w.holder()
	return p != nil && p != h && p.told != run.WorkerGone && (h == nil || h.ref.Incarnation < incarnation)
}

// Unwatch ends the news of a worker to a watcher. A doubt goes on all the same: a
// run that leaves memory is woken by what everybody is told.
func (c *Core[W]) Unwatch(by W, workerID string) {
	if w := c.workers[workerID]; w != nil {
		w.watchers.remove(by)
		c.forgetUnknown(w)
	}
}

// forgetUnknown forgets a worker that was never here and that nobody asks about.
func (c *Core[W]) forgetUnknown(w *worker[W]) {
	if w.watchers.len() == 0 && len(w.there) == 0 && w.last == nil && len(w.doubts) == 0 {
		c.forget(w)
	}
}

// news is that a process is in a state.
func (p *process[W]) news(s run.WorkerState) *run.WorkerChanged {
	n := &run.WorkerChanged{Worker: p.ref, State: s, Info: p.info}
	switch s {
	case run.WorkerGone:
		n.Reason = p.reason
	case run.WorkerDraining:
		n.Reason = messages.Reason_REASON_WORKER_DRAINING
	}
	return n
}

// tell tells everybody who watches the worker.
func (c *Core[W]) tell(n *run.WorkerChanged) {
	c.do(Tell[W]{n, c.workers[n.Worker.WorkerId].watchers.all(), true})
}

// tellOnly tells some watchers what others have heard before.
func (c *Core[W]) tellOnly(n *run.WorkerChanged, to []W) {
	if len(to) > 0 {
		c.do(Tell[W]{n, to, false})
	}
}

// tellPresent tells watchers of the process that holds the id now: that it is
// up, and that it is draining.
func (c *Core[W]) tellPresent(w *worker[W], to []W) {
	h := w.holder()
	if h == nil {
		return
	}
	c.tellOnly(h.news(run.WorkerUp), to)
	if h.told == run.WorkerDraining {
		c.tellOnly(h.news(run.WorkerDraining), to)
	}
}

// tellState tells of a holder that began to drain, or came back from it.
func (c *Core[W]) tellState(p *process[W]) {
	state := run.WorkerUp
	if p.state != Ready {
		state = run.WorkerDraining
	}
	if p.told == state {
		return
	}
	p.told = state
	c.tell(p.news(state))
}

// tellGone tells that a process has gone.
func (c *Core[W]) tellGone(p *process[W]) {
	p.told = run.WorkerGone
	gone := p.news(run.WorkerGone)
	p.worker.remember(verdict{gone, c.cfg.Ended(p.worker.id, p.ref.Incarnation)})
	c.tell(gone)
}
