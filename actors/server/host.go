package server

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/activation"
	"github.com/limpetrun/limpet/actors/clock"
	"github.com/limpetrun/limpet/actors/definitions"
	"github.com/limpetrun/limpet/actors/guard"
	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/pool"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/cluster/notify"
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
	Definitions *definitions.Cache
	// Clock of all that is stored; the host sets it by the store's while it
	// runs. Defaults to one that is the host's alone.
	Clock *clock.Clock
	// Retention after which finished runs are deleted; 0 keeps them for ever.
	Retention time.Duration
	// UnservedAfter is how long no worker may serve a workflow until events start
	// none of its runs; 0: for ever.
	UnservedAfter time.Duration
	// EventsKept is how long events are kept for calls that look back. Defaults to
	// DefaultEventsKept; negative keeps them for ever.
	EventsKept time.Duration
	// StreamBytesMax is how much the steps of a run may write to streams, in bytes.
	// Defaults to messages.StreamBytesMax; negative is no limit.
	StreamBytesMax int64
	// LineMax is how many runs may ask placement at one time: see activation.HostConfig.
	LineMax int
	Hooks   HostHooks
	// Logger defaults to slog.Default().
	Logger *slog.Logger
}

// HostHooks are told what happens; nil ones are not called. They must not
// block.
type HostHooks struct {
	// Recovered is called when the unfinished runs of newly owned shards have
	// been brought back.
	Recovered func(runs int, took time.Duration)
	// AppendFailed is called for an activation whose append was refused.
	AppendFailed func(runID string, err error)
	// NotOffered is called once a run has recorded that it waits for what nobody
	// offers.
	NotOffered func(runID string, what *messages.NotOffered)
	// Committed is called with each entry of a run that this server has made
	// durable, and the run as it is with it. Both are the run's: they are not to be
	// changed or kept.
	Committed func(state *run.State, entry *messages.Entry)
}

// Host is the part of a server that holds the activations of the runs whose
// shards the server owns. It is safe for concurrent use.
type Host struct {
	cfg         HostConfig
	root        *actor.RootContext
	committer   *journal.Committer
	roster      *Roster
	definitions *definitions.Cache
	engine      *Engine
	events      *events
	logs        *logs
	streams     *streams
	clock       *clock.Clock
	timers      *runTimers
	placements  *placementLinks
	log         *slog.Logger
	dispatcher  *pool.Pool

	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup
	pid    *actor.PID
	stop   []func()

	// loader runs what reads the journal for one run.
	loader *pool.Pool
	mu     sync.RWMutex
	core   *activation.Host
	closed bool
	// waits is what runs keep until the journal has stored what was before, in
	// bytes.
	waits atomic.Int64
	// absences are the times without any server; nil before the first note.
	absences  atomic.Pointer[[]run.Absence]
	unoffered atomic.Uint64
	guard     *guard.Guard
	parked    parkedCount
	// news is what happens here.
	news news
	// moved is set anew when shards went to another server.
	moved *notify.Value[struct{}]
}

// NewHost makes the host of a server; Start brings the runs back. The node's
// kind "run" is to activate by Activate.
func NewHost(cfg HostConfig) *Host {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.EventsKept == 0 {
		cfg.EventsKept = DefaultEventsKept
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.New(clock.Config{Store: cfg.Store, Logger: cfg.Logger})
	}
	h := &Host{cfg: cfg, clock: cfg.Clock, timers: newRunTimers(cfg.Clock), committer: cfg.Committer, roster: cfg.Roster, definitions: cfg.Definitions, log: cfg.Logger,
		dispatcher: pool.New(), moved: notify.NewValue(struct{}{}), loader: pool.NewLimited(loadsMax), guard: guard.New(cfg.Logger)}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.engine, h.events, h.logs, h.streams = &Engine{host: h}, newEvents(h), newLogs(h), newStreams(h)
	h.core = activation.NewHost(activation.HostConfig{Facts: facts{h}, Shards: messages.Shards, ShardOf: messages.Shard,
		Run: run.Config{EventFault: h.events.fault}, LineMax: cfg.LineMax})
	return h
}

// Engine is the way of the API to the runs of the cluster.
func (h *Host) Engine() *Engine { return h.engine }

// Start takes up the shards that the server owns, now and at each change of
// the view: their unfinished runs come back from the journal.
func (h *Host) Start() error {
	h.stop = append(h.stop, h.clock.OnMoved(h.clockMoved))
	h.work.Go(h.clock.Follow(h.ctx))
	h.notePresence()
	h.work.Go(h.presenceLoop)
	h.root = h.cfg.Node.System().Root
	h.placements = newPlacementLinks(h.cfg.Node)
	pid, err := h.root.SpawnNamed(actor.PropsFromFunc(h.receive), cluster.HostActor)
	if err != nil {
		return messages.Errorf(messages.CodeInternal, "start the host of runs: %w", err)
	}
	h.pid = pid
	h.stop = append(h.stop, h.roster.OnTold(func(c run.WorkerChanged) { h.handle(activation.News{Worker: c}) }),
		h.cfg.Node.Subscribe(h.viewChanged), h.cfg.Node.OnDeclaredGone(h.declaredGone),
		h.cfg.Node.Subscribe(h.noteServers()), h.roster.OnEvent(h.noteWorker))
	h.work.Go(h.servedLoop())
	h.work.Go(h.events.sweepLoop)
	if h.cfg.EventsKept > 0 {
		h.work.Go(h.events.deleteLoop)
	}
	h.handle(activation.Open{})
	h.viewChanged(h.cfg.Node.View())
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
	h.timers.close()
	h.mu.Lock()
	h.closed = true
	left := h.core.Close()
	h.mu.Unlock()
	for _, a := range left {
		h.root.Stop(a.Address.(*actor.PID))
	}
	h.work.Wait()
}

// background runs f in a goroutine that Stop waits for. A stopped host does
// nothing more: callbacks of the view and of the roster may come that late. A panic,
// of whatever another member sent, ends f alone.
func (h *Host) background(f func()) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if !h.closed {
		h.work.Go(func() {
			_ = h.guard.Do(func() error { f(); return nil })
		})
	}
}

// Panics counts those that were caught.
func (h *Host) Panics() uint64 { return h.guard.Panics() }

// receive handles what other members ask of the host. Nothing here waits.
func (h *Host) receive(ctx actor.Context) {
	switch msg := ctx.Message().(type) {
	case *messages.StartRuns:
		reply := replyWith(ctx)
		h.background(func() { reply(&messages.StartRunsReply{Runs: h.startRuns(h.ctx, msg.Runs)}) })
	case *messages.WatchRun:
		reply := replyWith(ctx)
		h.background(func() { reply(h.watch(h.ctx, msg)) })
	case *messages.WatchNews:
		reply := replyWith(ctx)
		h.background(func() { reply(h.news.await(h.ctx, msg)) })
	case *messages.WriteLogs:
		h.logs.write(msg, replyWith(ctx))
	case *messages.WriteStream:
		h.streams.write(msg, replyWith(ctx))
	case *messages.ReadStream:
		reply := replyWith(ctx)
		h.background(func() { reply(h.streams.await(h.ctx, msg)) })
	case *messages.FindRun:
		reply := replyWith(ctx)
		h.background(func() { reply(h.find(h.ctx, msg.RunId)) })
	case *messages.ShardsReleased:
		shards := make([]int, len(msg.Shards))
		for i, shard := range msg.Shards {
			shards[i] = int(shard)
		}
		h.handle(activation.ShardsReleased{Shards: shards, Asker: replyWith(ctx)})
	case *messages.StillBound:
		h.background(func() { h.stillBound(msg) })
	case *messages.PlacementStarted:
		h.placements.reset(msg.Pool)
		h.handle(activation.PlacementReset{})
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
	for h.ctx.Err() == nil {
		h.mu.RLock()
		a := h.core.Active(runID)
		h.mu.RUnlock()
		if a != nil {
			return a.Address.(*actor.PID), nil
		}
		h.handle(activation.Want{RunID: runID})
	}
	return nil, messages.Errorf(messages.CodeUnavailable, "the server is stopping")
}

// StopOnPanic throws an actor that panics away: it is not restarted with half a
// state.
var StopOnPanic = actor.NewOneForOneStrategy(0, 0, func(any) actor.Directive { return actor.StopDirective })

// handle gives an input to the core. Messages are in their mailboxes before the
// lock is left: an activation is forgotten before it ends, and so gets them, to
// handle them or to pass them on.
func (h *Host) handle(in activation.Input) {
	for _, action := range h.decide(in) {
		h.do(action)
	}
}

// decide gives an input to the core, and carries out what is done under the lock.
func (h *Host) decide(in activation.Input) (later []activation.Action) {
	h.mu.Lock()
	defer h.mu.Unlock()
	actions := h.core.Handle(in, h.clock.Now())
	later = actions[:0]
	for _, action := range actions {
		switch act := action.(type) {
		case activation.Spawn:
			h.spawn(act.Activation)
		case activation.Tell:
			h.tell(act.Activation, act.Message, act.Sender)
		default:
			later = append(later, action)
		}
	}
	return later
}

// spawn gives an activation its actor. Called with mu held.
func (h *Host) spawn(core *activation.Activation) {
	a := &runActor{host: h, core: core, id: core.RunID}
	core.Address = h.root.Spawn(actor.PropsFromProducer(func() actor.Actor { return a },
		actor.WithGuardian(StopOnPanic), actor.WithDispatcher(h.dispatcher)))
}

// tell sends to an activation. Called with mu held.
func (h *Host) tell(a *activation.Activation, message, sender any) {
	pid := a.Address.(*actor.PID)
	if sender == nil {
		h.root.Send(pid, message)
		return
	}
	h.root.RequestWithCustomSender(pid, message, sender.(*actor.PID))
}

// passOn gives a message to the activation of a run.
func (h *Host) passOn(runID string, act activation.PassOn) {
	if act.Message == nil {
		h.handle(activation.Want{RunID: runID})
		return
	}
	h.mu.RLock()
	a := h.core.Active(runID)
	if a != nil {
		h.tell(a, act.Message, act.Sender)
	}
	h.mu.RUnlock()
	if a == nil {
		h.handle(activation.Deliver{RunID: runID, Message: act.Message, Sender: act.Sender})
	}
}

// load reads a run and its definition.
func (h *Host) load(runID string) *activation.Loaded {
	l := activation.Loaded{}
	if err := h.guard.Do(func() error {
		record, err := h.cfg.Store.Load(h.ctx, runID)
		if err == nil {
			l = h.withDefinition(record)
		}
		return err
	}); err != nil {
		return &activation.Loaded{Err: err}
	}
	return &l
}

// withDefinition adds the definition to a run that was read.
func (h *Host) withDefinition(record journal.Record) activation.Loaded {
	l := activation.Loaded{Record: record}
	def, err := h.definitions.ByHash(h.ctx, record.Row.DefinitionHash)
	if l.Err = err; err == nil {
		l.Def = def.Def
	}
	return l
}

// ActiveRuns is the number of runs in memory.
func (h *Host) ActiveRuns() int {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.core.Len()
}
