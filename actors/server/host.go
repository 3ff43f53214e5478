package server

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/pool"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
)

// loadsMax bounds the runs that are read one by one at a time: a store has some
// connections, and what waits here is small.
const loadsMax = 32

// HostConfig configures a Host. The first five are required.
type HostConfig struct {
	Node        *cluster.Node
	Store       journal.Store
	Committer   *journal.Committer
	Roster      *Roster
	Definitions *Definitions
	// Run holds the times of the run machines.
	Run run.Config
	// CallTimeout bounds what a run asks of other runs. Default 30 s.
	CallTimeout time.Duration
	// Clock of all that is stored; the host sets it by the store's while it
	// runs. Defaults to one that is the host's alone.
	Clock *Clock
	// Retention after which finished runs are deleted; 0 keeps them for ever.
	Retention time.Duration
	Hooks     HostHooks
	// Logger defaults to slog.Default().
	Logger *slog.Logger
}

// HostHooks are told what happens; nil ones are not called. They must not
// block.
type HostHooks struct {
	// Recovered is called when the unfinished runs of newly owned shards have
	// been brought back.
	Recovered func(runs int, took time.Duration)
	// LoadFailed is called for a run that could not be read.
	LoadFailed func(runID string, err error)
	// AppendFailed is called for an activation whose append was refused.
	AppendFailed func(runID string, err error)
}

// Host is the part of a server that holds the activations of the runs whose
// shards the server owns. It is safe for concurrent use.
type Host struct {
	cfg         HostConfig
	root        *actor.RootContext
	committer   *journal.Committer
	roster      *Roster
	definitions *Definitions
	engine      *Engine
	clock       *Clock
	timers      *runTimers
	placements  *placementLinks
	waker       *waker
	log         *slog.Logger
	dispatcher  *pool.Pool

	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup
	pid    *actor.PID
	stop   []func()

	// loader runs what reads the journal for one run.
	loader *pool.Pool
	// waking counts those who wake dormant runs now.
	waking atomic.Int32
	// anew begins anew after others had given this server up.
	anew     *time.Timer
	forwards atomic.Int32

	mu sync.RWMutex
	// version of the newest view.
	version uint64
	active  map[string]*actor.PID
	// activeMost is how many there were since active was made.
	activeMost int
	owned      map[int]bool
	// taking counts the sets of shards that are being taken up, leaving those
	// that are being handed over.
	taking, leaving int
	// aside are runs that cannot be read, and until when they are not woken.
	aside map[string]time.Time
	// moved is closed, and made anew, when shards went to another server.
	moved  chan struct{}
	closed bool
}

// Messages to the host actor from its own server.
type (
	// placementReset says that placement forgot all questions.
	placementReset struct{}
)

// NewHost makes the host of a server; Start brings the runs back. The node's
// kind "run" is to activate by Activate.
func NewHost(cfg HostConfig) *Host {
	if cfg.CallTimeout == 0 {
		cfg.CallTimeout = 30 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Clock == nil {
		cfg.Clock = NewClock(ClockConfig{Store: cfg.Store, Logger: cfg.Logger})
	}
	h := &Host{cfg: cfg, clock: cfg.Clock, timers: newRunTimers(cfg.Clock), committer: cfg.Committer, roster: cfg.Roster, definitions: cfg.Definitions, log: cfg.Logger,
		dispatcher: pool.New(), active: map[string]*actor.PID{}, owned: map[int]bool{}, aside: map[string]time.Time{}, moved: make(chan struct{}), loader: pool.NewLimited(loadsMax)}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.engine = &Engine{host: h}
	h.anew = time.AfterFunc(time.Hour, h.beginAnew)
	h.anew.Stop()
	return h
}

// Engine is the way of the API to the runs of the cluster.
func (h *Host) Engine() *Engine { return h.engine }

// Start takes up the shards that the server owns, now and at each change of
// the view: their unfinished runs come back from the journal.
func (h *Host) Start() error {
	h.work.Go(h.clock.Follow(h.ctx))
	h.root = h.cfg.Node.System().Root
	h.placements = newPlacementLinks(h.cfg.Node)
	h.waker = newWaker(h)
	pid, err := h.root.SpawnNamed(actor.PropsFromFunc(h.receive), cluster.HostActor)
	if err != nil {
		return messages.Errorf(messages.CodeInternal, "start the host of runs: %w", err)
	}
	h.pid = pid
	h.stop = append(h.stop, h.roster.OnTold(h.workerChanged), h.cfg.Node.Subscribe(h.viewChanged), h.cfg.Node.OnDeclaredGone(h.declaredGone))
	h.viewChanged(h.cfg.Node.View())
	h.work.Go(h.waker.loop)
	h.work.Go(h.sweepLoop)
	if h.cfg.Retention > 0 {
		h.work.Go(h.deleteLoop)
	}
	return nil
}

// Stop lets go of all runs; they go on elsewhere or at the next start.
func (h *Host) Stop() {
	for _, stop := range h.stop {
		stop()
	}
	h.cancel()
	h.anew.Stop()
	h.timers.close()
	h.mu.Lock()
	h.closed = true
	pids := make([]*actor.PID, 0, len(h.active))
	for _, pid := range h.active {
		pids = append(pids, pid)
	}
	h.active = map[string]*actor.PID{}
	h.mu.Unlock()
	for _, pid := range pids {
		h.root.Stop(pid)
	}
	h.work.Wait()
}

// background runs f in a goroutine that Stop waits for. A stopped host does
// nothing more: callbacks of the view and of the roster may come that late.
func (h *Host) background(f func()) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if !h.closed {
		h.work.Go(f)
	}
}

// receive handles what other members ask of the host. Nothing here waits.
func (h *Host) receive(ctx actor.Context) {
	switch msg := ctx.Message().(type) {
	case *messages.StartRuns:
		reply := replyWith(ctx)
		h.background(func() { reply(&messages.StartRunsReply{Runs: h.startRuns(h.ctx, msg.Runs)}) })
	case *messages.WatchRun:
		reply := replyWith(ctx)
		h.background(func() { reply(h.watch(h.ctx, msg)) })
	case *messages.ShardsReleased:
		reply := replyWith(ctx)
		h.background(func() {
			if h.released(msg.Shards) {
				reply(&messages.ShardsTaken{})
			}
		})
	case *messages.StillBound:
		h.background(func() { h.stillBound(msg) })
	case *messages.PlacementStarted:
		h.placements.reset(msg.Pool)
		h.broadcast(placementReset{})
	}
}

// replyWith remembers the sender of the present message.
func replyWith(ctx actor.Context) func(proto.Message) {
	root, sender := ctx.ActorSystem().Root, ctx.Sender()
	return func(m proto.Message) {
		if sender != nil {
			root.Send(sender, m)
		}
	}
}

// Activate returns the activation of a run, which it starts if there is none:
// for the node's kind "run".
func (h *Host) Activate(runID string) (*actor.PID, error) {
	if pid := h.activation(runID, nil); pid != nil {
		return pid, nil
	}
	return nil, messages.Errorf(messages.CodeUnavailable, "the server is stopping")
}

// stopOnPanic: an activation that panics is thrown away, not restarted with
// half a state.
var StopOnPanic = actor.NewOneForOneStrategy(0, 0, func(any) actor.Directive { return actor.StopDirective })

// activation returns the run's actor. It spawns one that loads the run, or,
// given its definition, one that is about to be started. nil: the host stops.
func (h *Host) activation(runID string, fresh *Definition) *actor.PID {
	h.mu.RLock()
	pid := h.active[runID]
	h.mu.RUnlock()
	if pid != nil {
		return pid
	}
	return h.activate(&runActor{id: runID, fresh: fresh})
}

// activate spawns the actor, unless the run has one already.
func (h *Host) activate(a *runActor) *actor.PID {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.activateLocked(a)
}

func (h *Host) activateLocked(a *runActor) *actor.PID {
	a.host = h
	if pid := h.active[a.id]; pid != nil || h.closed {
		return pid
	}
	pid := h.root.Spawn(actor.PropsFromProducer(func() actor.Actor { return a },
		actor.WithGuardian(StopOnPanic), actor.WithDispatcher(h.dispatcher)))
	h.active[a.id] = pid
	return pid
}

// tell sends to the run's activation, starting one if need be; false: the host
// stops. The lock is held until the message is in the mailbox: an activation is
// forgotten before it ends, and so gets it, to handle it or to pass it on.
func (h *Host) tell(runID string, fresh *Definition, msg any, sender *actor.PID) bool {
	for {
		h.mu.RLock()
		pid := h.active[runID]
		switch {
		case pid == nil:
		case sender == nil:
			h.root.Send(pid, msg)
		default:
			h.root.RequestWithCustomSender(pid, msg, sender)
		}
		h.mu.RUnlock()
		if pid != nil {
			return true
		}
		if h.activation(runID, fresh) == nil {
			return false
		}
	}
}

// forget takes an activation off the map; a later message starts a new one.
func (h *Host) forget(runID string, pid *actor.PID) {
	h.mu.Lock()
	if h.active[runID] == pid {
		delete(h.active, runID)
		h.active = trimmed(h.active, &h.activeMost)
	}
	h.mu.Unlock()
}

// stopped is called when a run actor has stopped, for whatever reason.
func (h *Host) stopped(a *runActor) {
	h.forget(a.id, a.self)
	if !a.retired {
		h.again(a, messages.Errorf(messages.CodeInternal, "the activation stopped by itself"))
	}
}

// againAfter is the wait before a run whose activation failed is loaded anew,
// againBehind that after another activation went on with it, as happens when it
// moves. Both double up to againMost while the activations do nothing but fail.
const (
	againAfter  = 500 * time.Millisecond
	againBehind = 20 * time.Millisecond
	againMost   = 4 * time.Second
)

// again loads a run anew after its activation failed.
func (h *Host) again(failed *runActor, err error) {
	h.mu.RLock()
	closed := h.closed
	h.mu.RUnlock()
	if closed {
		return
	}
	wait, level := againAfter, slog.LevelWarn
	if messages.CodeOf(err) == messages.CodeJournalConflict {
		wait, level = againBehind, slog.LevelInfo
	}
	wait = min(wait<<min(failed.failures, 10), againMost)
	h.log.Log(h.ctx, level, "run activation dropped, loading it again", "run", failed.id, "in", wait, "error", err)
	next := &runActor{id: failed.id, failures: failed.failures + 1}
	time.AfterFunc(wait, func() {
		if h.owns(next.id) && h.ctx.Err() == nil {
			h.activate(next)
		}
	})
}

// load reads a run and its definition.
func (h *Host) load(runID string) *loaded {
	record, err := h.cfg.Store.Load(h.ctx, runID)
	if err != nil {
		return &loaded{err: err}
	}
	def, err := h.definitions.ByHash(h.ctx, record.Row.DefinitionHash)
	return &loaded{record: record, def: def, err: err}
}

// sendWorker sends to a worker actor; messages that want answers carry the
// run's own address.
func (h *Host) sendWorker(self *actor.PID, to *messages.WorkerRef, msg proto.Message) {
	address, id := to.Address, to.ActorId
	if address == "" {
		w, ok := h.roster.Worker(to.WorkerId)
		if !ok || w.Info.GetIncarnation() != to.Incarnation {
			return
		}
		address, id = w.Info.Address, w.Info.ActorId
	}
	switch m := msg.(type) {
	case *messages.Dispatch:
		m.ReplyAddress, m.ReplyActorId = self.Address, self.Id
	case *messages.Revoke:
		m.ReplyAddress, m.ReplyActorId = self.Address, self.Id
	case *messages.CancelAttempt:
		m.ReplyAddress, m.ReplyActorId = self.Address, self.Id
	case *messages.HandOff:
		m.ReplyAddress, m.ReplyActorId = self.Address, self.Id
	}
	h.root.Send(actor.NewPID(address, id), msg)
}

// broadcast sends to every activation.
func (h *Host) broadcast(msg any) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, pid := range h.active {
		h.root.Send(pid, msg)
	}
}

// ActiveRuns is the number of runs in memory.
func (h *Host) ActiveRuns() int {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return len(h.active)
}

func (h *Host) hooks() hostReports { return hostReports{h} }

// hostReports tells log and hooks.
type hostReports struct{ *Host }

func (h hostReports) loadFailed(runID string, err error) {
	switch code := messages.CodeOf(err); {
	case code == messages.CodeUnknownRun, code.Retryable():
	case h.setAside(runID):
		h.log.Error("run cannot be read and is set aside", "run", runID, "error", err)
	}
	if f := h.cfg.Hooks.LoadFailed; f != nil {
		f(runID, err)
	}
}

func (h hostReports) appendFailed(runID string, err error) {
	if f := h.cfg.Hooks.AppendFailed; f != nil {
		f(runID, err)
	}
}
