package server

import (
	"context"
	"log/slog"
	"sort"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
)

// WorkerStatus is a worker as listings show it. It must not be changed.
type WorkerStatus struct {
	WorkerID, Incarnation string
	State                 run.WorkerState
	Reason                messages.Reason
	Info                  *messages.WorkerInfo
	// Load is the last report, if placement of the worker's pool is on this
	// server, or was; nil otherwise. LoadAge is how long ago it came.
	Load    *messages.LoadReport
	LoadAge time.Duration
}

// RosterConfig configures a Roster.
type RosterConfig struct {
	// Node whose view tells of workers. Required.
	Node *cluster.Node
	// Settle is the time that a worker which a run watches, and which this
	// server has not seen, has to appear before it counts as gone. Defaults to
	// 3 s.
	Settle time.Duration
	// Clock for the times at which workers started. Defaults to the local one.
	Clock *Clock
	// Logger defaults to slog.Default().
	Logger *slog.Logger
	// Hooks may be zero.
	Hooks RosterHooks
}

// RosterHooks are told what happens; nil ones are not called. They must not
// block.
type RosterHooks struct {
	Changed func(run.WorkerChanged)
}

const (
	// describeTry bounds one question to a worker who it is.
	describeTry     = time.Second
	describePause   = 20 * time.Millisecond
	describePauseTo = time.Second
	// supersedeEvery is the pause between two messages to a superseded process.
	supersedeEvery = time.Second
	// pastMax is how many earlier processes of a worker id are remembered.
	pastMax = 8
	// idsMax is how many worker ids are remembered; those that are neither
	// there nor watched are forgotten above it.
	idsMax = 100_000
)

// Roster is a server's one watcher of workers: the view tells which processes
// are there, each is asked who it is, and runs are told what becomes of theirs.
// It is safe for concurrent use; news of one worker arrives in order.
type Roster struct {
	cfg     RosterConfig
	root    *actor.RootContext
	news    *newsroom
	ctx     context.Context
	cancel  context.CancelFunc
	work    sync.WaitGroup
	unwatch func() // the view

	mu      sync.Mutex
	closed  bool
	version uint64 // of the newest view
	workers map[string]*rosterWorker
}

// rosterWorker is all that is known of a worker id.
type rosterWorker struct {
	id string
	// The process that holds the id, or held it last: it has said who it is; nil
	// if none ever did.
	current *rosterProcess
	// Processes of the id in the view that are admitted, by incarnation.
	there map[string]*rosterProcess
	// Why earlier processes went, the newest last.
	past     []verdict
	watchers map[string]*actor.PID
	// watchersMost is how many there were since watchers was made.
	watchersMost int
	// Processes that are watched, are not there, and may act all the same.
	doubted map[string]*doubt
	load    *messages.LoadReport
	loadAt  time.Time
}

// rosterProcess is one process of a worker id.
type rosterProcess struct {
	member cluster.Member
	asked  bool                 // its claim to the id is being looked into
	info   *messages.WorkerInfo // nil until described
	told   run.WorkerState      // last state that was told; 0 for none
	reason messages.Reason
	// Ends the asking, or the telling that it is superseded.
	stop context.CancelFunc
}

// NewRoster starts to watch the workers of a node's view.
func NewRoster(c RosterConfig) *Roster {
	if c.Settle <= 0 {
		c.Settle = 3 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	r := &Roster{cfg: c, root: c.Node.System().Root, workers: map[string]*rosterWorker{}}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.news = newNewsroom(r.root)
	r.work.Go(r.news.loop)
	r.unwatch = c.Node.Subscribe(r.viewChanged)
	r.viewChanged(c.Node.View())
	return r
}

// Stop ends the watching. Nobody is told anything afterwards.
func (r *Roster) Stop() {
	r.unwatch()
	r.cancel()
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.news.close()
	r.work.Wait()
}

// Watch sends news of a worker to a run, an actor of this process, as
// *run.WorkerChanged, until Unwatch. What the run does not expect is told at once:
// that the given process is draining or gone, and that another one is up. "" is
// no process. One that may have a lease is not called gone before that has ended,
// one that was never seen not before the settle time is over.
func (r *Roster) Watch(workerID, incarnation string, by *actor.PID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	w := r.worker(workerID)
	w.watchers[by.Id] = by
	only := []*actor.PID{by}
	p := w.current
	same := p != nil && p.member.Incarnation == incarnation && p.told != run.WorkerGone
	gone := w.verdictOn(incarnation)
	switch {
	case w.asking(incarnation):
		// What it says of itself will be news.
	case same && p.told == run.WorkerDraining:
		r.news.tell(p.changed(run.WorkerDraining), only)
	case same:
	case incarnation == "":
		r.tellPresent(w, only)
	case gone != nil && gone.final:
		r.news.tell(gone.WorkerChanged, only)
		r.tellPresent(w, only)
	default:
		r.doubt(w, incarnation, by)
	}
}

// asking says that the process is there and has yet to say who it is, or is
// back and has yet to say it again; not of one that began before the holder.
func (w *rosterWorker) asking(incarnation string) bool {
	p, h := w.there[incarnation], w.holder()
	return p != nil && p != h && p.told != run.WorkerGone && (h == nil || h.member.Incarnation < incarnation)
}

// present is the news of the process that holds the id now: none, up, or up
// and draining.
func (w *rosterWorker) present() []run.WorkerChanged {
	p := w.current
	if p == nil || p.info == nil || p.told == run.WorkerGone {
		return nil
	}
	news := []run.WorkerChanged{p.changed(run.WorkerUp)}
	if p.told == run.WorkerDraining {
		news = append(news, p.changed(run.WorkerDraining))
	}
	return news
}

// Unwatch ends the news of a worker to a run.
func (r *Roster) Unwatch(workerID string, by *actor.PID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.workers[workerID]
	if w == nil {
		return
	}
	delete(w.watchers, by.Id)
	w.watchers = trimmed(w.watchers, &w.watchersMost)
	if len(w.watchers) == 0 && len(w.there) == 0 && w.current == nil {
		r.drop(w)
	}
}

// Worker returns the process that holds a worker id, or held it last; false if
// none was seen and described.
func (r *Roster) Worker(workerID string) (WorkerStatus, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.workers[workerID]
	if w == nil || w.current == nil || w.current.info == nil {
		return WorkerStatus{}, false
	}
	return w.status(), true
}

// Workers returns all workers that were seen, by id, those that have gone
// included.
func (r *Roster) Workers() []WorkerStatus {
	r.mu.Lock()
	out := make([]WorkerStatus, 0, len(r.workers))
	for _, w := range r.workers {
		if w.current != nil && w.current.info != nil {
			out = append(out, w.status())
		}
	}
	r.mu.Unlock()
	sort.Slice(out, func(i, j int) bool { return out[i].WorkerID < out[j].WorkerID })
	return out
}

// OnChange calls f with each change of a worker, before the runs that watch it
// are told. All calls come from one goroutine, in order: f has to be quick.
// After cancel at most one call that is under way ends.
func (r *Roster) OnChange(f func(run.WorkerChanged)) (cancel func()) { return r.news.listen(f, false) }

// OnTold is OnChange after the runs that watch the worker were told: for who
// looks for runs that do not watch it any more.
func (r *Roster) OnTold(f func(run.WorkerChanged)) (cancel func()) { return r.news.listen(f, true) }

// Told is closed when the runs that watch workers have been told all that is
// known of them so far: whatever they get afterwards comes after that.
func (r *Roster) Told() <-chan struct{} { return r.news.told() }

// NoteLoad keeps the last report of a worker, for listings.
func (r *Roster) NoteLoad(report *messages.LoadReport) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if w := r.workers[report.GetWorkerId()]; w != nil {
		w.noteLoad(report)
	}
}

// noteLoad keeps the newest report of a process. How its local state fares is
// not in each of them.
func (w *rosterWorker) noteLoad(report *messages.LoadReport) {
	if w.load.GetIncarnation() == report.GetIncarnation() {
		if report.GetSerial() < w.load.GetSerial() {
			return
		}
		if len(report.GetLocals()) == 0 && len(w.load.GetLocals()) > 0 {
			report = proto.CloneOf(report)
			report.Locals = w.load.GetLocals()
		}
	}
	w.load, w.loadAt = report, time.Now()
}

// Loads are the last reports of the workers of a pool.
func (r *Roster) Loads(pool string) []*messages.WorkerLoad {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*messages.WorkerLoad
	for _, w := range r.workers {
		if w.load != nil && messages.EffectivePool(w.load.GetPool()) == pool {
			out = append(out, &messages.WorkerLoad{Load: w.load, AgeMs: time.Since(w.loadAt).Milliseconds()})
		}
	}
	return out
}

// worker returns the entry of an id. Called with mu held.
func (r *Roster) worker(id string) *rosterWorker {
	w := r.workers[id]
	if w == nil {
		if len(r.workers) >= idsMax {
			r.forgetAbsent()
		}
		w = &rosterWorker{id: id, there: map[string]*rosterProcess{}, watchers: map[string]*actor.PID{}, doubted: map[string]*doubt{}}
		r.workers[id] = w
	}
	return w
}

func (r *Roster) forgetAbsent() {
	for _, w := range r.workers {
		if len(w.there) == 0 && len(w.watchers) == 0 {
			r.drop(w)
		}
	}
}

func (r *Roster) drop(w *rosterWorker) {
	for _, d := range w.doubted {
		d.stop()
	}
	delete(r.workers, w.id)
}

func (w *rosterWorker) status() WorkerStatus {
	p := w.current
	s := WorkerStatus{WorkerID: w.id, Incarnation: p.member.Incarnation, State: p.told, Reason: p.reason, Info: p.info}
	if w.load.GetIncarnation() == p.member.Incarnation {
		s.Load, s.LoadAge = w.load, time.Since(w.loadAt)
	}
	return s
}

func (p *rosterProcess) changed(s run.WorkerState) run.WorkerChanged {
	c := run.WorkerChanged{Worker: refOf(p.member), State: s, Info: p.info}
	switch s {
	case run.WorkerGone:
		c.Reason = p.reason
	case run.WorkerDraining:
		c.Reason = messages.Reason_REASON_WORKER_DRAINING
	}
	return c
}

// tell tells everybody who watches the worker. Called with mu held.
func (r *Roster) tell(w *rosterWorker, c run.WorkerChanged) {
	if f := r.cfg.Hooks.Changed; f != nil {
		f(c)
	}
	pids := make([]*actor.PID, 0, len(w.watchers))
	for _, pid := range w.watchers {
		pids = append(pids, pid)
	}
	r.news.announce(c, pids)
}
