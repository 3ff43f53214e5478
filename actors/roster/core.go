package roster

import (
	"time"

	"github.com/limpetrun/limpet/actors/heap"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

const (
	// SettleFor is the time that a process has to appear which a run watches and
	// which this server has never seen.
	SettleFor = 3 * time.Second
	// AskWithin bounds one question to a process who it is.
	AskWithin = time.Second
	// Pauses before a process that was silent is asked again: they double.
	askPauseMin = 20 * time.Millisecond
	askPauseMax = time.Second
	// leasePauseMax is the longest pause before leases are asked about again.
	leasePauseMax = 200 * time.Millisecond
	// SupersedeEvery is the pause between two messages to a superseded process.
	SupersedeEvery = time.Second
	// PastMax is how many verdicts on processes of a worker id are remembered.
	PastMax = 8
	// WorkersMax is how many worker ids are remembered. Those that are neither
	// there nor watched are forgotten above it.
	WorkersMax = 100_000
)

// Config of a Core. Zero fields take their defaults.
type Config struct {
	// WorkersMax replaces the constant of that name; 0 means the constant.
	WorkersMax int
	// Ended says that a process is known to have ended, or to have left: it never
	// acts again. nil means that nothing is known.
	Ended func(workerID, incarnation string) bool
	// Left says that a process that is not there had said that it leaves, also if no
	// view showed that. nil means that none had.
	Left func(workerID, incarnation string) bool
}

// ProcessState is what a process that is admitted says of itself in the view.
type ProcessState uint8

const (
	// Ready takes everything.
	Ready ProcessState = iota
	// Draining takes nothing new and may be ready again.
	Draining
	// Leaving takes nothing new and ends.
	Leaving
)

// Process is an admitted process of a worker as the view has it.
type Process struct {
	WorkerID, Incarnation, Address string
	State                          ProcessState
}

// Action is what a core wants done, in order.
type Action interface{ action() }

// Tell is news of a process: for the watchers, who are told in order.
type Tell[W comparable] struct {
	News *run.WorkerChanged
	To   []W
	// Public: it is a change, and those who listen to all changes are told too.
	Public bool
}

// Ask asks a process who it is. Described or Silent is to follow, within
// AskWithin.
type Ask struct {
	Question uint64
	Process  *messages.WorkerRef
}

// AskLeases asks the other servers for the leases of processes of a worker id.
// Leases is to follow.
type AskLeases struct {
	Question     uint64
	WorkerID     string
	Incarnations []string
}

// Supersede tells a process that another one holds its worker id.
type Supersede struct{ Process, By *messages.WorkerRef }

func (Tell[W]) action()   {}
func (Ask) action()       {}
func (AskLeases) action() {}
func (Supersede) action() {}

// Core is the roster of one server. W names a watcher: it is equal to itself
// only. A core is not safe for concurrent use. Times that are given to it must
// not go back.
type Core[W comparable] struct {
	cfg     Config
	workers map[string]*worker[W]
	// there are the processes of the view, in the order in which they came, and
	// views counts the views.
	there []*process[W]
	views uint64
	// questions are those that are not answered.
	questions map[uint64]*waiter[W]
	asked     uint64
	timers    heap.Heap[*waiter[W]]
	timersSet uint64

	now time.Time
	out []Action
}

// worker is all that is known of a worker id.
type worker[W comparable] struct {
	id string
	// last holds the id, or held it last; nil if no process ever said who it is.
	last *process[W]
	// there are the processes of the id that are there.
	there []*process[W]
	// past are the verdicts, the newest last.
	past     []verdict
	watchers watchers[W]
	// doubts are about processes that are not there.
	doubts []*doubt[W]
	load   *messages.LoadReport
	loadAt time.Time
	// touched is the number of the view that changed something.
	touched uint64
}

// process is one process of a worker id, from when it is there to when it is not.
type process[W comparable] struct {
	worker *worker[W]
	ref    *messages.WorkerRef
	state  ProcessState
	// seen is the number of the last view that had it.
	seen uint64
	// info is what it said of itself; nil before that.
	info *messages.WorkerInfo
	// told is what was told of it last; 0 for nothing.
	told   run.WorkerState
	reason messages.Reason
	claim  claim[W]
	waits  waiter[W]
	// by holds the id instead of it; nil if nobody is known to.
	by *messages.WorkerRef
}

// waiter is what a claim or a doubt waits for: an answer or a time.
type waiter[W comparable] struct {
	// One of the two.
	process *process[W]
	doubt   *doubt[W]
	// question that is not answered; 0 for none.
	question uint64
	due      time.Time
	order    uint64 // of equal times
	place    heap.Place
}

// New returns a core that has seen no view.
func New[W comparable](cfg Config) *Core[W] {
	if cfg.WorkersMax <= 0 {
		cfg.WorkersMax = WorkersMax
	}
	if cfg.Ended == nil {
		cfg.Ended = func(string, string) bool { return false }
	}
	if cfg.Left == nil {
		cfg.Left = func(string, string) bool { return false }
	}
	return &Core[W]{cfg: cfg, workers: map[string]*worker[W]{}, questions: map[uint64]*waiter[W]{},
		timers: heap.New(
			func(a, b *waiter[W]) bool {
				return a.due.Before(b.due) || a.due.Equal(b.due) && a.order < b.order
			},
			func(w *waiter[W]) *heap.Place { return &w.place })}
}

// ---- the view ------------------------------------------------------------------

// ViewChanged takes in the admitted processes of all workers.
func (c *Core[W]) ViewChanged(now time.Time, view []Process) []Action {
	c.now = now
	c.views++
	var touched []*worker[W]
	touch := func(w *worker[W]) {
		if w.touched != c.views {
			w.touched = c.views
			touched = append(touched, w)
		}
	}
	for _, p := range view {
		if isNew, w := c.sighted(p); isNew {
			touch(w)
		}
	}
	left := c.there[:0]
	for _, p := range c.there {
		if p.seen == c.views {
			left = append(left, p)
			continue
		}
		touch(p.worker)
		c.vanished(p)
	}
	clear(c.there[len(left):])
	c.there = left
	for _, w := range touched {
		c.settleClaims(w)
	}
	return c.take()
}

// sighted notes a process of the view.
func (c *Core[W]) sighted(s Process) (isNew bool, w *worker[W]) {
	w = c.worker(s.WorkerID)
	p := w.processNamed(s.Incarnation)
	if p == nil {
		ref := &messages.WorkerRef{WorkerId: s.WorkerID, Incarnation: s.Incarnation, Address: s.Address,
			ActorId: messages.WorkerActorID(s.WorkerID, s.Incarnation)}
		p = &process[W]{worker: w, ref: ref, state: s.State, seen: c.views}
		p.waits.process = p
		w.there, c.there = append(w.there, p), append(c.there, p)
		if d := w.doubtOf(s.Incarnation); d != nil {
			// What it says of itself will be news.
			c.endDoubt(d)
		}
		return true, w
	}
	before := p.state
	p.state, p.seen = s.State, c.views
	if before != s.State && p == w.last {
		c.tellState(p)
	}
	return false, w
}

// vanished: a process is no longer in the view.
func (c *Core[W]) vanished(p *process[W]) {
	w := p.worker
	w.there = without(w.there, p)
	c.idle(&p.waits)
	if p.told == run.WorkerGone {
		return
	}
	p.reason = c.goneReason(w.id, p.ref.Incarnation)
	if p.state == Leaving {
		p.reason = messages.Reason_REASON_WORKER_LEFT
	}
	c.tellGone(p)
	// Some watch since it was there again, and have not heard of the holder.
	c.tellPresent(w, w.watchers.all())
}

func (c *Core[W]) goneReason(workerID, incarnation string) messages.Reason {
	if c.cfg.Left(workerID, incarnation) {
		return messages.Reason_REASON_WORKER_LEFT
	}
	return messages.Reason_REASON_WORKER_LOST
}

// ---- answers and times -----------------------------------------------------------

// Described says what a process answered to Ask.
func (c *Core[W]) Described(now time.Time, question uint64, info *messages.WorkerInfo, draining bool) []Action {
	if w := c.answered(now, question); w != nil {
		c.said(w.process, info, draining)
	}
	return c.take()
}

// Silent says that a process did not answer Ask.
func (c *Core[W]) Silent(now time.Time, question uint64) []Action {
	if w := c.answered(now, question); w != nil {
		c.saidNothing(w.process)
	}
	return c.take()
}

// Leases answers AskLeases: for how long at least one of the processes may have a
// lease, and whether one of them was in the view, admitted or not, while that was
// found out.
func (c *Core[W]) Leases(now time.Time, question uint64, hold time.Duration, inView bool) []Action {
	w := c.answered(now, question)
	switch {
	case w == nil:
	case w.doubt != nil:
		c.leasesOfDoubt(w.doubt, hold, inView)
	default:
		c.leasesOfRivals(w.process, hold)
	}
	return c.take()
}

// answered returns what waits for an answer; nil if that is wanted no more.
func (c *Core[W]) answered(now time.Time, question uint64) *waiter[W] {
	c.now = now
	w := c.questions[question]
	if w != nil {
		c.idle(w)
	}
	return w
}

// Next is the time of the next Tick; zero for none.
func (c *Core[W]) Next() time.Time {
	if c.timers.Len() == 0 {
		return time.Time{}
	}
	return c.timers.First().due
}

// Tick lets time pass.
func (c *Core[W]) Tick(now time.Time) []Action {
	c.now = now
	for c.timers.Len() > 0 && !c.timers.First().due.After(now) {
		w := c.timers.Pop()
		switch {
		case w.doubt != nil:
			c.askDoubt(w.doubt)
		case w.process.by != nil:
			c.supersede(w.process)
		default:
			c.askClaim(w.process)
		}
	}
	return c.take()
}

// ask has what waits wait for the answer to a new question.
func (c *Core[W]) ask(w *waiter[W]) uint64 {
	c.idle(w)
	c.asked++
	w.question = c.asked
	c.questions[w.question] = w
	return w.question
}

// wake has what waits wait for a time.
func (c *Core[W]) wake(w *waiter[W], after time.Duration) {
	c.idle(w)
	c.timersSet++
	w.due, w.order = c.now.Add(after), c.timersSet
	c.timers.Push(w)
}

// idle ends the waiting.
func (c *Core[W]) idle(w *waiter[W]) {
	if w.question != 0 {
		delete(c.questions, w.question)
		w.question = 0
	}
	if w.place.In() {
		c.timers.Remove(w)
	}
}

func (w *waiter[W]) waiting() bool { return w.question != 0 || w.place.In() }

func (c *Core[W]) do(a Action) { c.out = append(c.out, a) }

func (c *Core[W]) take() []Action {
	out := c.out
	c.out = nil
	return out
}

// ---- worker ids ------------------------------------------------------------------

// worker returns the entry of an id.
func (c *Core[W]) worker(id string) *worker[W] {
	w := c.workers[id]
	if w == nil {
		if len(c.workers) >= c.cfg.WorkersMax {
			c.forgetAbsent()
		}
		w = &worker[W]{id: id}
		c.workers[id] = w
	}
	return w
}

func (c *Core[W]) forgetAbsent() {
	for _, w := range c.workers {
		if len(w.there) == 0 && w.watchers.len() == 0 {
			c.forget(w)
		}
	}
}

func (c *Core[W]) forget(w *worker[W]) {
	for _, d := range w.doubts {
		c.idle(&d.waits)
	}
	delete(c.workers, w.id)
}

// holder is the process that holds the id and is there; nil for none.
func (w *worker[W]) holder() *process[W] {
	if h := w.last; h != nil && h.told != run.WorkerGone {
		return h
	}
	return nil
}

func (w *worker[W]) processNamed(incarnation string) *process[W] {
	for _, p := range w.there {
		if p.ref.Incarnation == incarnation {
			return p
		}
	}
	return nil
}

func without[T comparable](list []T, x T) []T {
	for i, y := range list {
		if x == y {
			return append(list[:i:i], list[i+1:]...)
		}
	}
	return list
}
