package placement

import (
	"time"

	"github.com/limpetrun/limpet/messages"
)

// earlyReportsMax limits the reports that are kept of workers not known yet.
const earlyReportsMax = 10_000

// worker is an admitted process.
type worker struct {
	info *messages.WorkerInfo
	hash uint64 // of the id
	seat int
	// Place in Core.open; -1 while not open.
	openAt int

	slots, running, queued int
	// stuck are those of running that functions hold which do not return.
	stuck int
	// What takes slots: executing, queued at the worker, or on its way. Kept
	// by touch.
	taken         int
	boundReported int
	draining      bool
	silent        bool
	// settling: another placement may have granted it just before.
	settling bool
	// The membership has it, not only its own registration.
	confirmed  bool
	reported   bool
	reportedAt time.Time
	serial     uint64
	upAt       time.Time
	summonedAt time.Time
	// Incarnation that this one was admitted instead of.
	replaced string
	// admitted here, not only seen in the membership.
	admitted bool
	// crowded is a run that was granted although no slot was free; empty for
	// none.
	crowded string

	// held are the keys that it reports, sorted; promised those of runs that it
	// was granted of late, and until when they count.
	held     []uint64
	promised map[uint64]time.Time
	unseen   map[uint64]*question // by grant
	sticky   *stickyRuns          // nil without a StickyRunsMax
	steps    map[string]map[string]bool
}

// earlyReport is a report of a worker that is not known yet.
type earlyReport struct {
	report *messages.LoadReport
	at     time.Time
}

func (w *worker) id() string { return w.info.GetWorkerId() }

func (w *worker) heardAt() time.Time {
	if w.reportedAt.After(w.upAt) {
		return w.reportedAt
	}
	return w.upAt
}

// isOpen: it may get a grant now.
func (w *worker) isOpen() bool {
	return w.reported && !w.draining && !w.silent && !w.settling && w.taken < w.slots
}

// boundRuns is for choosing the worker with the fewest.
func (w *worker) boundRuns() int {
	if w.sticky != nil {
		return w.sticky.count()
	}
	return w.boundReported + len(w.unseen)
}

func (w *worker) figures() Load {
	l := Load{
		WorkerID: w.id(), Incarnation: w.info.GetIncarnation(),
		Slots: w.slots, Running: w.running, Queued: w.queued, Granted: len(w.unseen),
		BoundRuns: w.boundReported, Draining: w.draining, ReportedAt: w.reportedAt,
	}
	if w.sticky != nil && w.sticky.known {
		l.BoundRuns = w.sticky.count()
	}
	return l
}

// has says whether the worker has the workflow, and all of the steps.
func (w *worker) has(workflow string, steps []string) (hasWorkflow, hasSteps bool) {
	have, ok := w.steps[workflow]
	if !ok {
		return false, false
	}
	for _, s := range steps {
		if !have[s] {
			return true, false
		}
	}
	return true, true
}

// WorkerUp says that the membership has a worker that is ready. The worker
// gets grants from its first LoadReport on.
func (c *Core) WorkerUp(info *messages.WorkerInfo, now time.Time) []Action {
	if messages.EffectivePool(info.GetPool()) != c.cfg.Pool {
		return c.take()
	}
	w := c.workers[info.GetWorkerId()]
	switch {
	case w == nil:
		w = c.addWorker(info, c.cfg.SettleFor > 0, now)
		w.confirmed = true
		c.fill(w, now)
	case w.info.GetIncarnation() == info.GetIncarnation():
		w.confirmed = true
	case w.replaced == info.GetIncarnation():
		// What was admitted since is newer.
	case w.admitted && now.Sub(w.heardAt()) <= c.cfg.SilentAfter:
		// An earlier process is back, and the membership has yet to hear of
		// what was admitted since.
	default:
		old := w.info.GetIncarnation()
		c.removeWorker(w)
		w = c.addWorker(info, c.cfg.SettleFor > 0, now)
		w.confirmed, w.replaced = true, old
		c.fill(w, now)
	}
	return c.take()
}

// WorkerDraining says that a worker takes nothing new.
func (c *Core) WorkerDraining(workerID, incarnation string, _ time.Time) []Action {
	if w := c.workers[workerID]; w != nil && w.info.GetIncarnation() == incarnation && !w.draining {
		w.draining = true
		c.fleet++
		c.touch(w)
	}
	return c.take()
}

// WorkerGone says that a process left, was declared dead or was superseded.
// Grants to it are void: the runs hear of the loss and ask again.
func (c *Core) WorkerGone(workerID, incarnation string, _ time.Time) []Action {
	if w := c.workers[workerID]; w != nil && w.info.GetIncarnation() == incarnation {
		c.removeWorker(w)
	}
	if e := c.entrants[workerID]; e != nil && e.info.GetIncarnation() == incarnation {
		delete(c.entrants, workerID)
	}
	if e, ok := c.early[workerID]; ok && e.report.GetIncarnation() == incarnation {
		delete(c.early, workerID)
	}
	return c.take()
}

// Report takes the load of a worker. Reports may be lost, doubled and
// overtaken; the one with the greatest serial counts.
func (c *Core) Report(r *messages.LoadReport, now time.Time) []Action {
	w := c.workers[r.GetWorkerId()]
	switch {
	case w == nil:
		if _, known := c.early[r.GetWorkerId()]; known || len(c.early) < earlyReportsMax {
			c.early[r.GetWorkerId()] = earlyReport{r, now}
		}
		c.emit(Introduce{r.GetWorkerId(), r.GetIncarnation()})
	case w.info.GetIncarnation() == r.GetIncarnation():
		c.applyReport(w, r, now)
		c.fill(w, now)
	case w.replaced != r.GetIncarnation():
		c.emit(Introduce{r.GetWorkerId(), r.GetIncarnation()})
	}
	return c.take()
}

func (c *Core) applyReport(w *worker, r *messages.LoadReport, now time.Time) {
	for _, id := range r.GetGrantsSeen() {
		if q, ok := w.unseen[id]; ok {
			q.seen = true
			delete(w.unseen, id)
		}
	}
	if w.reported && r.GetSerial() < w.serial {
		c.touch(w)
		return
	}
	if slots := int(r.GetSlots()); slots > 0 && slots != w.slots {
		w.slots = slots
		c.fleet++
	}
	if stuck := int(r.GetHeldSlots()); stuck != w.stuck || !w.reported || w.silent || w.draining != r.GetDraining() {
		w.stuck = stuck
		c.fleet++
	}
	w.reported, w.silent, w.reportedAt, w.serial = true, false, now, r.GetSerial()
	w.running, w.queued, w.boundReported = int(r.GetRunning()), int(r.GetQueued()), int(r.GetBoundRuns())
	w.draining = r.GetDraining()
	c.held.report(w, r.GetHeldKeys())
	c.touch(w)
}

// addWorker seats a process and finds out which classes it fits.
func (c *Core) addWorker(info *messages.WorkerInfo, settling bool, now time.Time) *worker {
	w := &worker{
		info: info, hash: hashText(info.GetWorkerId()), openAt: -1, slots: int(info.GetSlots()), upAt: now, settling: settling,
		unseen: map[uint64]*question{}, steps: make(map[string]map[string]bool, len(info.GetWorkflows())),
	}
	for _, d := range info.GetWorkflows() {
		names := make(map[string]bool, len(d.GetSteps()))
		for _, s := range d.GetSteps() {
			names[s.GetName()] = true
		}
		w.steps[d.GetName()] = names
	}
	if most := int(info.GetStickyRunsMax()); most > 0 {
		w.sticky = &stickyRuns{max: most, runs: map[string]uint64{}}
	}
	if n := len(c.vacant); n > 0 {
		w.seat, c.vacant = c.vacant[n-1], c.vacant[:n-1]
		c.seats[w.seat] = w
	} else {
		w.seat = len(c.seats)
		c.seats = append(c.seats, w)
	}
	c.workers[w.id()] = w
	for _, cl := range c.classes {
		cl.seat(w)
	}
	c.fleet++
	if e, ok := c.early[w.id()]; ok {
		delete(c.early, w.id())
		if e.report.GetIncarnation() == info.GetIncarnation() {
			c.applyReport(w, e.report, e.at)
		}
	}
	c.listBound(w, now)
	return w
}

// A worker that is up and has not reported is summoned after summonFirst, one
// that did after summonAfter, and again after summonEvery.
const (
	summonFirst = 300 * time.Millisecond
	summonAfter = 2 * time.Second
	summonEvery = time.Second
)

// summon asks for reports that questions wait for.
func (c *Core) summon(now time.Time) {
	if c.waiting == 0 {
		return
	}
	for _, w := range c.seats {
		if w == nil || w.draining || now.Sub(w.summonedAt) < summonEvery {
			continue
		}
		patience := summonFirst
		if w.reported {
			patience = summonAfter
		}
		if now.Sub(w.heardAt()) >= patience {
			w.summonedAt = now
			c.emit(Summon{w.id(), w.info.GetIncarnation()})
		}
	}
}

// settleWorkers opens those whose time to settle is over.
func (c *Core) settleWorkers(now time.Time) {
	for _, w := range c.seats {
		if w != nil && w.settling && now.Sub(w.upAt) >= c.cfg.SettleFor {
			w.settling = false
			c.fleet++
			c.touch(w)
			c.fill(w, now)
		}
	}
}

func (c *Core) removeWorker(w *worker) {
	for _, q := range w.unseen {
		q.worker = nil
	}
	clear(w.unseen)
	w.reported = false
	c.held.gone(w)
	c.touch(w)
	for _, cl := range c.classes {
		cl.unseat(w)
	}
	c.seats[w.seat] = nil
	c.vacant = append(c.vacant, w.seat)
	delete(c.workers, w.id())
	c.fleet++
}

// touch keeps Core.open true to the worker's state after any change to it.
func (c *Core) touch(w *worker) {
	w.taken = w.running + w.queued + len(w.unseen)
	switch isOpen := w.isOpen(); {
	case isOpen && w.openAt < 0:
		w.openAt = len(c.open)
		c.open = append(c.open, w)
	case !isOpen && w.openAt >= 0:
		last := len(c.open) - 1
		moved := c.open[last]
		c.open[w.openAt], moved.openAt = moved, w.openAt
		c.open[last] = nil
		c.open, w.openAt = c.open[:last], -1
	}
}

// noteSilence closes a worker that does not report. With the defaults a grant
// that expires frees a slot only of a worker that reported since the grant.
func (c *Core) noteSilence(w *worker, now time.Time) {
	if w.reported && !w.silent && now.Sub(w.reportedAt) >= c.cfg.SilentAfter {
		w.silent = true
		c.fleet++
		c.touch(w)
	}
}
