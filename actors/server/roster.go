package server

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/clock"
	"github.com/limpetrun/limpet/actors/roster"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// RosterConfig configures a Roster.
type RosterConfig struct {
	// Node whose view tells of workers. Required.
	Node *cluster.Node
	// Clock for the times at which workers started. Defaults to the local one.
	Clock *clock.Clock
	// Logger is told what becomes of workers. Defaults to none.
	Logger *slog.Logger
}

// Roster is a server's one watcher of workers, a shell around the core of package
// roster: it shows it the view, asks what it wants asked, and tells what it wants
// told. It is safe for concurrent use; news of one worker arrives in order.
type Roster struct {
	cfg     RosterConfig
	root    *actor.RootContext
	news    *notifier
	log     *workerLog
	ctx     context.Context
	cancel  context.CancelFunc
	work    sync.WaitGroup
	unwatch func() // the view, and leases

	mu      sync.Mutex
	closed  bool
	version uint64 // of the newest view
	core    *roster.Core[*actor.PID]
	// timer of the core's next tick, which is at next; zero for none.
	timer *time.Timer
	next  time.Time
}

// NewRoster starts to watch the workers of a node's view.
func NewRoster(c RosterConfig) *Roster {
	r := &Roster{cfg: c, root: c.Node.System().Root}
	r.core = roster.New[*actor.PID](roster.Config{Ended: c.Node.HasEnded, Left: c.Node.HasLeft})
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.news = &notifier{send: func(to *actor.PID, n *run.WorkerChanged) { r.root.Send(to, n) }}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	r.log = newWorkerLog(c.Logger, c.Clock)
	r.news.changed.Add(r.log.changed)
	r.work.Go(func() { r.news.run(r.ctx) })
	unhook := c.Node.OnLapse(func(l cluster.Lapse) { r.log.say(workerLapsed, l.WorkerID, l.Incarnation) })
	again := c.Node.OnLeaseAgain(func(l cluster.Lapse) { r.log.say(workerLeaseBack, l.WorkerID, l.Incarnation) })
	unsubscribe := c.Node.Subscribe(r.viewChanged)
	r.unwatch = func() {
		unsubscribe()
		unhook()
		again()
	}
	r.viewChanged(c.Node.View())
	return r
}

// Stop ends the watching. Nobody is told anything afterwards.
func (r *Roster) Stop() {
	r.unwatch()
	r.mu.Lock()
	r.closed = true
	if r.timer != nil {
		r.timer.Stop()
	}
	r.mu.Unlock()
	r.cancel()
	r.work.Wait()
	r.log.stop()
	r.news.close()
}

// Watch sends news of a worker to a run, an actor of this process, as
// *run.WorkerChanged, until Unwatch with the same PID. What the run does not
// expect is told soon: that the given process is draining or gone, and that
// another one is up. "" is no process. See roster.Core.Watch.
func (r *Roster) Watch(workerID, incarnation string, by *actor.PID) {
	r.step(func(now time.Time) []roster.Action { return r.core.Watch(now, by, workerID, incarnation) })
}

// Unwatch ends the news of a worker to a run.
func (r *Roster) Unwatch(workerID string, by *actor.PID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.core.Unwatch(by, workerID)
}

// Worker returns the process that holds a worker id, or held it last; false if
// none was seen and described.
func (r *Roster) Worker(workerID string) (roster.WorkerStatus, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.core.Worker(time.Now(), workerID)
}

// Workers returns all workers that were seen, by id, those that have gone
// included.
func (r *Roster) Workers() []roster.WorkerStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.core.Workers(time.Now())
}

// OnChange calls f with each change of a worker, before the runs that watch it
// are told. All calls come from one goroutine, in order: f has to be quick.
// After cancel at most one call that is under way ends.
func (r *Roster) OnChange(f func(run.WorkerChanged)) (cancel func()) { return r.news.changed.Add(f) }

// OnTold is OnChange after the runs that watch the worker were told: for who
// looks for runs that do not watch it any more.
func (r *Roster) OnTold(f func(run.WorkerChanged)) (cancel func()) { return r.news.told.Add(f) }

// Told is closed when the runs that watch workers have been told all that is
// known of them so far: whatever they get afterwards comes after that.
func (r *Roster) Told() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	told := make(chan struct{})
	if r.closed {
		close(told)
	} else {
		r.news.queue.Put(notice{told: told})
	}
	return told
}

// Events returns what was seen to become of a worker, in order: see workerHistory.
func (r *Roster) Events(workerID string) []*api.WorkerEvent { return r.log.kept.of(workerID) }

// OnEvent calls f with each event of a worker. f must be quick.
func (r *Roster) OnEvent(f func(workerID string, e *api.WorkerEvent)) (cancel func()) {
	return r.log.kept.added.Add(func(k keptEvent) { f(k.workerID, k.event) })
}

// NoteLoad keeps the last report of a worker, for listings.
func (r *Roster) NoteLoad(report *messages.LoadReport) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.core.NoteLoad(time.Now(), report)
}

// Loads are the last reports of the workers of a pool.
func (r *Roster) Loads(pool string) []*messages.WorkerLoad {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.core.Loads(time.Now(), pool)
}

// viewChanged shows the core which processes of workers are admitted.
func (r *Roster) viewChanged(v *cluster.View) {
	view := make([]roster.Process, 0, len(v.Members))
	for _, m := range v.Members {
		if m.Role != cluster.RoleWorker || m.State == cluster.StateJoining {
			continue
		}
		p := roster.Process{WorkerID: m.WorkerID, Incarnation: m.Incarnation, Address: m.Address}
		switch m.State {
		case cluster.StateDraining:
			p.State = roster.Draining
		case cluster.StateLeaving:
			p.State = roster.Leaving
		}
		view = append(view, p)
	}
	r.step(func(now time.Time) []roster.Action {
		if v.Version < r.version {
			return nil
		}
		r.version = v.Version
		return r.core.ViewChanged(now, view)
	})
}

// step gives the core an input, and does what it wants done.
func (r *Roster) step(input func(now time.Time) []roster.Action) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	for _, a := range input(time.Now()) {
		switch a := a.(type) {
		case roster.Tell[*actor.PID]:
			r.news.queue.Put(notice{news: a.News, to: a.To, public: a.Public})
		case roster.Ask:
			r.work.Go(func() { r.ask(a) })
		case roster.AskLeases:
			r.work.Go(func() { r.askLeases(a) })
		case roster.Supersede:
			r.root.Send(pidOf(a.Process), &messages.Superseded{WorkerId: a.Process.WorkerId, Incarnation: a.Process.Incarnation,
				ByIncarnation: a.By.Incarnation, ByAddress: a.By.Address})
		}
	}
	r.setTimer()
}

// setTimer has the core get its next tick. Called with mu held.
func (r *Roster) setTimer() {
	next := r.core.Next()
	if next.Equal(r.next) {
		return
	}
	r.next = next
	switch {
	case next.IsZero():
		r.timer.Stop()
	case r.timer == nil:
		r.timer = time.AfterFunc(time.Until(next), r.tick)
	default:
		r.timer.Reset(time.Until(next))
	}
}

func (r *Roster) tick() {
	r.step(func(now time.Time) []roster.Action {
		r.next = time.Time{}
		return r.core.Tick(now)
	})
}

// ask asks a process who it is, once.
func (r *Roster) ask(q roster.Ask) {
	try, cancel := context.WithTimeout(r.ctx, roster.AskWithin)
	defer cancel()
	reply, err := r.cfg.Node.Request(try, pidOf(q.Process), &messages.Describe{})
	d, ok := reply.(*messages.DescribeReply)
	if err != nil || !ok {
		r.step(func(now time.Time) []roster.Action { return r.core.Silent(now, q.Question) })
		return
	}
	info := r.infoOf(d)
	r.step(func(now time.Time) []roster.Action { return r.core.Described(now, q.Question, info, d.GetDraining()) })
}

// infoOf is what a process says of itself, with its start on this server's
// clock: the worker's own may be another.
func (r *Roster) infoOf(d *messages.DescribeReply) *messages.WorkerInfo {
	if d.GetRunningUs() <= 0 {
		return d.GetWorker()
	}
	info := proto.Clone(d.GetWorker()).(*messages.WorkerInfo)
	info.StartedUs = r.cfg.Clock.Now().UnixMicro() - d.GetRunningUs()
	return info
}

// askLeases asks the other servers about one process after the other.
func (r *Roster) askLeases(q roster.AskLeases) {
	var hold time.Duration
	inView := false
	for _, incarnation := range q.Incarnations {
		there := func() bool {
			_, there := r.cfg.Node.View().Member(q.WorkerID + "~" + incarnation)
			return there
		}
		inView = inView || there()
		hold = max(hold, r.cfg.Node.LeaseHold(r.ctx, q.WorkerID, incarnation))
		inView = inView || there()
	}
	r.step(func(now time.Time) []roster.Action { return r.core.Leases(now, q.Question, hold, inView) })
}

// pidOf is the worker actor of a process.
func pidOf(w *messages.WorkerRef) *actor.PID { return actor.NewPID(w.Address, w.ActorId) }
