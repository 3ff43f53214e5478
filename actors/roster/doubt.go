package roster

import (
	"slices"
	"time"

	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// verdict is that a process has gone, and why.
type verdict struct {
	news *run.WorkerChanged
	// final: it has ended, or left, and never acts again.
	final bool
}

// remember keeps the verdict, in place of an earlier one on the process.
func (w *worker[W]) remember(v verdict) {
	incarnation := v.news.Worker.Incarnation
	w.past = slices.DeleteFunc(w.past, func(old verdict) bool { return old.news.Worker.Incarnation == incarnation })
	w.past = append(w.past, v)
	if len(w.past) > PastMax {
		w.past = slices.Delete(w.past, 0, 1)
	}
}

// verdictOn is the verdict on a process; nil if there is none.
func (w *worker[W]) verdictOn(incarnation string) *verdict {
	for i := range w.past {
		if w.past[i].news.Worker.Incarnation == incarnation {
			return &w.past[i]
		}
	}
	return nil
}

// doubt is about a process that is not there.
type doubt[W comparable] struct {
	worker      *worker[W]
	incarnation string
	// asked are the watchers for whom leases are being asked about, and waiting
	// those that began to watch after that.
	asked, waiting []W
	waits          waiter[W]
}

func (w *worker[W]) doubtOf(incarnation string) *doubt[W] {
	for _, d := range w.doubts {
		if d.incarnation == incarnation {
			return d
		}
	}
	return nil
}

// doubt finds out whether a process may act, and tells a watcher when it may not.
func (c *Core[W]) doubt(w *worker[W], incarnation string, by W) {
	if d := w.doubtOf(incarnation); d != nil {
		d.waiting = append(d.waiting, by)
		return
	}
	d := &doubt[W]{worker: w, incarnation: incarnation, waiting: []W{by}}
	d.waits.doubt = d
	w.doubts = append(w.doubts, d)
	if h := w.holder(); w.verdictOn(incarnation) != nil || h != nil && h.ref.Incarnation > incarnation {
		c.askDoubt(d) // It will not appear any more.
		return
	}
	c.wake(&d.waits, SettleFor)
}

// askDoubt asks about the leases of a doubted process, for all who watch it by
// now.
func (c *Core[W]) askDoubt(d *doubt[W]) {
	d.asked = append(d.asked, d.waiting...)
	d.waiting = nil
	c.do(AskLeases{c.ask(&d.waits), d.worker.id, []string{d.incarnation}})
}

// leasesOfDoubt tells those who wait that a process has gone, if it may not act.
func (c *Core[W]) leasesOfDoubt(d *doubt[W], hold time.Duration, inView bool) {
	switch {
	case inView && d.worker.verdictOn(d.incarnation) == nil:
		// Not admitted yet, or the news of it is on its way.
		c.wake(&d.waits, SettleFor)
		return
	case hold > 0:
		c.wake(&d.waits, min(hold, leasePauseMax))
		return
	}
	c.giveUp(d)
	d.asked = nil
	if len(d.waiting) > 0 {
		c.askDoubt(d)
		return
	}
	c.endDoubt(d)
}

func (c *Core[W]) endDoubt(d *doubt[W]) {
	c.idle(&d.waits)
	d.worker.doubts = without(d.worker.doubts, d)
	c.forgetUnknown(d.worker)
}

// giveUp tells watchers that a process has gone, and everybody else if that is
// new.
func (c *Core[W]) giveUp(d *doubt[W]) {
	w := d.worker
	to := slices.DeleteFunc(d.asked, func(by W) bool { return !w.watchers.has(by) })
	final := c.cfg.Ended(w.id, d.incarnation)
	if v := w.verdictOn(d.incarnation); v != nil {
		v.final = final
		c.tellOnly(v.news, to)
	} else {
		gone := &run.WorkerChanged{Worker: &messages.WorkerRef{WorkerId: w.id, Incarnation: d.incarnation},
			State: run.WorkerGone, Reason: c.goneReason(w.id, d.incarnation)}
		if w.holder() != nil {
			gone.Reason = messages.Reason_REASON_WORKER_SUPERSEDED
		}
		w.remember(verdict{gone, final})
		c.do(Tell[W]{gone, to, true})
	}
	c.tellPresent(w, to)
}
