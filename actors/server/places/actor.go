package places

import (
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/clock"
	"github.com/limpetrun/limpet/actors/definitions"
	"github.com/limpetrun/limpet/actors/guard"
	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/placement"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/actors/server"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
)

// Deps are what the placement actors of a server need. Node, Roster, Store
// and Definitions are required.
type Deps struct {
	Node   *cluster.Node
	Roster *server.Roster
	Store  journal.Store
	// Clock of what is stored. Defaults to the local one.
	Clock *clock.Clock
	// Config of the cores; the pool is filled in.
	Config placement.Config
	// Definitions gets the workflows of a worker before it is admitted.
	Definitions *definitions.Cache
	// Logger defaults to slog.Default().
	Logger *slog.Logger
	// Hooks may be zero.
	Hooks Hooks
}

// Hooks are told what happens; nil ones are not called. They must not
// block.
type Hooks struct {
	// Registered is called with each answer to a worker that registers.
	Registered func(worker *messages.WorkerInfo, reply *messages.RegisterReply)
}

const (
	// tickEvery is the pace of a core that waits for something.
	tickEvery = 100 * time.Millisecond
	// restartAfter is the pause before a placement actor that failed is
	// started again.
	restartAfter = 100 * time.Millisecond
)

// announceAfter are the times after its start at which a placement actor
// tells the servers of itself once more: the first message may be lost.
var announceAfter = []time.Duration{time.Second, 5 * time.Second}

// Messages of a placement actor to itself.
type (
	placementTicked    struct{}
	placementAnnounced struct{}
	placementProbed    struct {
		probe    placement.Probe
		by       *messages.WorkerInfo
		draining bool
		gone     bool
	}
	placementRecorded struct {
		worker  *messages.WorkerInfo
		notices []string // for the log of the worker
		err     error
	}
	placementListed struct {
		workerID string
		runs     []string
		err      error
	}
	// placementMoved says that another server owns the pool now.
	placementMoved struct{}
	// placementAskersGone says that a server has gone.
	placementAskersGone struct{ address string }
)

// Places are the placement actors of a server, by pool. It is safe for concurrent
// use.
type Places struct {
	deps  Deps
	guard *guard.Guard

	mu     sync.Mutex
	active map[string]*actor.PID
}

// New makes the placement actors of a server, each once it is asked for.
func New(deps Deps) *Places {
	if deps.Logger == nil {
		deps.Logger = slog.Default()
	}
	return &Places{deps: deps, guard: guard.New(deps.Logger), active: map[string]*actor.PID{}}
}

// Kind is the kind of virtual actor that places the runs of a pool; its identity
// is the pool's name.
func (p *Places) Kind() cluster.Kind {
	return cluster.Kind{Name: cluster.KindPlacement, Activate: p.Activate}
}

// Activate returns the placement of a pool, which it starts if there is none.
// INVALID_ARGUMENT for what is no name.
func (p *Places) Activate(pool string) (*actor.PID, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if pid := p.active[pool]; pid != nil {
		return pid, nil
	}
	if err := messages.CheckName("pool", pool); err != nil {
		return nil, err
	}
	props := actor.PropsFromProducer(func() actor.Actor {
		return newPlacementActor(p, pool)
	}, actor.WithGuardian(server.StopOnPanic))
	pid := p.deps.Node.System().Root.SpawnPrefix(props, "placement/"+pool+"/")
	p.active[pool] = pid
	return pid, nil
}

// stopped is called when an actor has ended: because the pool has another
// owner, or by a fault, after which a new one begins.
func (p *Places) stopped(pool string, pid *actor.PID, moved bool) {
	p.mu.Lock()
	if p.active[pool] == pid {
		delete(p.active, pool)
	}
	p.mu.Unlock()
	if moved {
		return
	}
	time.AfterFunc(restartAfter, func() {
		if p.owns(pool, p.deps.Node.View()) {
			_, _ = p.Activate(pool)
		}
	})
}

func (p *Places) owns(pool string, v *cluster.View) bool {
	m, ok := v.OwnerOf(cluster.KindPlacement, pool)
	return ok && m.Name == p.deps.Node.Self().Name
}

// placementActor is the shell of the core of one pool.
type placementActor struct {
	of   *Places
	deps Deps
	pool string
	core *placement.Core
	log  *slog.Logger
	self *actor.PID
	root *actor.RootContext

	servers map[string]bool // addresses in the last view; viewChanged's
	ticking *time.Timer     // nil while nothing is awaited
	stop    []func()
	moved   bool
	askers  map[string]*actor.PID    // who registers, by incarnation
	running map[string]time.Duration // how long those have run
	notices map[string][]string      // what workers are told once admitted, by id
}

func newPlacementActor(of *Places, pool string) *placementActor {
	config := of.deps.Config
	config.Pool, config.GrantsAfter = pool, uint64(of.deps.Clock.Now().UnixMicro())
	return &placementActor{
		of: of, deps: of.deps, pool: pool, core: placement.New(config), log: of.deps.Logger.With("pool", pool),
		askers: map[string]*actor.PID{}, running: map[string]time.Duration{}, notices: map[string][]string{},
	}
}

// Receive routes; nothing in it waits.
func (a *placementActor) Receive(ctx actor.Context) {
	now := time.Now()
	switch m := ctx.Message().(type) {
	case *actor.Started:
		a.start(ctx, now)
	case *actor.Stopping:
		a.halt()
	case *actor.Stopped:
		a.of.stopped(a.pool, a.self, a.moved)
	case *messages.Place:
		a.do(a.core.Ask(m, now))
	case *messages.WithdrawPlace:
		a.do(a.core.Withdraw(m, now))
	case *messages.RunUnbound:
		a.do(a.core.RunUnbound(m, now))
	case *messages.LoadReport:
		a.report(ctx, m, now)
	case *messages.Register:
		a.register(ctx, m, now)
	case *messages.LoadsOf:
		if ctx.Sender() != nil {
			ctx.Respond(&messages.LoadsReply{Loads: a.deps.Roster.Loads(a.pool)})
		}
	case *messages.BoundRunsOf:
		a.answerBound(ctx.Sender(), m)
	default:
		if !a.heardFromWithin(ctx, now, m) {
			return
		}
	}
	a.arm()
}

// heardFromWithin takes what this server says, of its own accord or as an answer
// to what the core asked for; false for other messages.
func (a *placementActor) heardFromWithin(ctx actor.Context, now time.Time, msg any) bool {
	switch m := msg.(type) {
	case run.WorkerChanged:
		a.workerChanged(m, now)
	case placementProbed:
		a.probed(m, now)
	case placementRecorded:
		a.notices[m.worker.GetWorkerId()] = m.notices
		a.do(a.core.Recorded(m.worker.GetWorkerId(), m.worker.GetIncarnation(), m.err, now))
	case placementListed:
		a.listed(m, now)
	case placementTicked:
		a.ticking = nil
		a.do(a.core.Tick(now))
	case placementAnnounced:
		a.announce(false)
	case askFigures:
		ctx.Respond(a.core.Figures(now))
	case placementAskersGone:
		a.do(a.core.AskersGone(m.address, now))
	case placementMoved:
		a.moved = true
		ctx.Stop(a.self)
	default:
		return false
	}
	return true
}

// start learns the workers that the roster knows and tells all servers that
// questions are to be asked again.
func (a *placementActor) start(ctx actor.Context, now time.Time) {
	a.self, a.root = ctx.Self(), ctx.ActorSystem().Root
	send := func(m any) { a.root.Send(a.self, m) }
	a.stop = append(a.stop,
		a.deps.Roster.OnChange(func(c run.WorkerChanged) {
			if c.Info == nil || messages.EffectivePool(c.Info.GetPool()) == a.pool {
				send(c)
			}
		}),
		a.deps.Node.Subscribe(a.viewChanged))
	for _, w := range a.deps.Roster.Workers() {
		ref := &messages.WorkerRef{WorkerId: w.WorkerID, Incarnation: w.Incarnation}
		a.workerChanged(run.WorkerChanged{Worker: ref, State: w.State, Info: w.Info}, now)
	}
	a.announce(true)
	for _, after := range announceAfter {
		t := time.AfterFunc(after, func() { send(placementAnnounced{}) })
		a.stop = append(a.stop, func() { t.Stop() })
	}
	a.log.Info("placement is up", "workers", len(a.core.Loads()))
}

// viewChanged tells the actor that the pool has another owner, or which servers
// have gone. Views come one after the other.
func (a *placementActor) viewChanged(v *cluster.View) {
	if !a.of.owns(a.pool, v) {
		a.root.Send(a.self, placementMoved{})
		return
	}
	there := map[string]bool{}
	for _, m := range v.Members {
		if m.Role == cluster.RoleServer {
			there[m.Address] = true
		}
	}
	for address := range a.servers {
		if !there[address] {
			a.root.Send(a.self, placementAskersGone{address})
		}
	}
	for address := range there {
		if a.servers != nil && !a.servers[address] {
			a.welcome(address)
		}
	}
	a.servers = there
}

// welcome has a server that is new in the view, or is there again, ask its
// questions again: they were forgotten when it had gone.
func (a *placementActor) welcome(address string) {
	tell := func() {
		a.root.Send(actor.NewPID(address, cluster.HostActor), &messages.PlacementStarted{Pool: a.pool})
	}
	tell()
	time.AfterFunc(announceAfter[0], tell)
}

// announce tells the servers that this placement knows no questions; messages
// to the own server are not lost.
func (a *placementActor) announce(own bool) {
	self := a.deps.Node.Self().Name
	for _, server := range a.deps.Node.View().Servers() {
		if own || server.Name != self {
			a.root.Send(actor.NewPID(server.Address, cluster.HostActor), &messages.PlacementStarted{Pool: a.pool})
		}
	}
}

func (a *placementActor) halt() {
	for _, stop := range a.stop {
		stop()
	}
	if a.ticking != nil {
		a.ticking.Stop()
	}
}

// arm sets the next tick while the core waits for something.
func (a *placementActor) arm() {
	if a.ticking != nil || a.root == nil || a.moved || !a.core.NeedsTick() {
		return
	}
	root, self := a.root, a.self
	a.ticking = time.AfterFunc(tickEvery, func() { root.Send(self, placementTicked{}) })
}

func (a *placementActor) workerChanged(c run.WorkerChanged, now time.Time) {
	switch c.State {
	case run.WorkerUp:
		a.do(a.core.WorkerUp(c.Info, now))
	case run.WorkerDraining:
		a.do(a.core.WorkerUp(c.Info, now))
		a.do(a.core.WorkerDraining(c.Worker.WorkerId, c.Worker.Incarnation, now))
	case run.WorkerGone:
		delete(a.askers, c.Worker.Incarnation)
		delete(a.running, c.Worker.Incarnation)
		delete(a.notices, c.Worker.WorkerId)
		a.do(a.core.WorkerGone(c.Worker.WorkerId, c.Worker.Incarnation, now))
	}
}

func (a *placementActor) report(ctx actor.Context, r *messages.LoadReport, now time.Time) {
	a.deps.Roster.NoteLoad(r)
	for _, action := range a.core.Report(r, now) {
		if _, ok := action.(placement.Introduce); ok && ctx.Sender() != nil {
			ctx.Send(ctx.Sender(), &messages.RegisterReply{Wait: true,
				Message: fmt.Sprintf("placement of pool %q does not know worker %s yet", a.pool, r.GetWorkerId())})
			continue
		}
		a.carryOut(action)
	}
}

func (a *placementActor) register(ctx actor.Context, m *messages.Register, now time.Time) {
	info := m.GetWorker()
	if ctx.Sender() == nil || info == nil {
		return
	}
	a.askers[info.GetIncarnation()] = ctx.Sender()
	a.running[info.GetIncarnation()] = time.Duration(m.GetRunningUs()) * time.Microsecond
	a.do(a.core.Register(info, a.rivals(info), now))
}

// rivals are the processes of the view that have the worker's id, itself among
// them.
func (a *placementActor) rivals(info *messages.WorkerInfo) []placement.Rival {
	var out []placement.Rival
	for _, m := range a.deps.Node.View().Members {
		if m.Role != cluster.RoleWorker || m.WorkerID != info.GetWorkerId() {
			continue
		}
		r := placement.Rival{WorkerID: m.WorkerID, Incarnation: m.Incarnation, Address: m.Address, ActorID: messages.WorkerActorID(m.WorkerID, m.Incarnation)}
		switch m.State {
		case cluster.StateReady:
			r.State = placement.RivalReady
		case cluster.StateDraining, cluster.StateLeaving:
			r.State = placement.RivalDraining
		}
		out = append(out, r)
	}
	return out
}

func (a *placementActor) probed(m placementProbed, now time.Time) {
	if m.by != nil {
		a.do(a.core.ProbeAnswered(m.probe, m.by, m.draining))
		return
	}
	a.do(a.core.ProbeFailed(m.probe, m.gone, now))
}

func (a *placementActor) listed(m placementListed, now time.Time) {
	if m.err != nil {
		a.log.Warn("the runs bound to a worker could not be read, trying again", "worker", m.workerID, "error", m.err)
		a.do(a.core.BoundRunsFailed(m.workerID, now))
		return
	}
	a.do(a.core.BoundRuns(m.workerID, m.runs, now))
}

func (a *placementActor) do(actions []placement.Action) {
	for _, action := range actions {
		a.carryOut(action)
	}
}

func (a *placementActor) carryOut(action placement.Action) {
	switch x := action.(type) {
	case placement.Answer:
		var m proto.Message = x.Waiting
		if x.Placed != nil {
			m = x.Placed
		}
		a.root.Send(actor.NewPID(x.Address, x.ActorID), m)
	case placement.Admit:
		a.answer(x.Worker.GetIncarnation(), &messages.RegisterReply{Admitted: true, Notices: a.notices[x.Worker.GetWorkerId()]}, x.Worker)
	case placement.Wait:
		a.answer(x.Incarnation, &messages.RegisterReply{Wait: true, Message: x.Message}, nil)
	case placement.Refuse:
		a.answer(x.Incarnation, &messages.RegisterReply{Message: x.Err.Error(), Refused: messages.ToFailure(x.Err)}, nil)
	case placement.Probe:
		a.probe(x)
	case placement.Record:
		a.record(x.Worker)
	case placement.Summon:
		a.summon(x)
	case placement.ListBound:
		a.list(x.WorkerID)
	}
}

// summon asks a worker of the roster to report here.
func (a *placementActor) summon(x placement.Summon) {
	if w, ok := a.deps.Roster.Worker(x.WorkerID); ok && w.Incarnation == x.Incarnation {
		a.root.RequestWithCustomSender(actor.NewPID(w.Info.GetAddress(), w.Info.GetActorId()), &messages.ReportLoad{}, a.self)
	}
}

func (a *placementActor) answer(incarnation string, reply *messages.RegisterReply, info *messages.WorkerInfo) {
	if to := a.askers[incarnation]; to != nil {
		delete(a.askers, incarnation)
		delete(a.running, incarnation)
		a.root.Send(to, reply)
	}
	switch {
	case reply.Admitted:
		a.log.Info("worker admitted", "worker", info.GetWorkerId(), "address", info.GetAddress(), "slots", info.GetSlots(), "workflows", len(info.GetWorkflows()))
	case reply.Refused != nil:
		a.log.Warn("worker refused", "code", reply.Refused.Code, "reason", reply.Message)
	}
	if f := a.deps.Hooks.Registered; f != nil {
		f(info, reply)
	}
}
