package actorstest

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/server"
	"github.com/limpetrun/limpet/actors/server/places"
	"github.com/limpetrun/limpet/actors/worker"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/cluster/clustertest"
	"github.com/limpetrun/limpet/cluster/clustertest/bubble"
	"github.com/limpetrun/limpet/messages"
)

// World is a whole cluster in memory on fake time: servers with hosts,
// rosters and placement over one store, and workers.
type World struct {
	T       *testing.T
	Network clustertest.Network
	Store   *HookedStore
	First   *Server
	Stops   []func()
	// Committer configures those of the servers that are started from now on.
	Committer journal.CommitterConfig
	// Functions of the steps that workers serve.
	Functions attempt.Functions
	Locals    attempt.Locals
}

// Server is a server without an API.
type Server struct {
	Node      *cluster.Node
	Network   *clustertest.Host
	committer *journal.Committer
	Roster    *server.Roster
	Host      *server.Host
	Recovered chan int
	stopOnce  sync.Once
}

// HookedStore calls what a test sets before it asks the store.
type HookedStore struct {
	journal.Store
	mu   sync.Mutex
	hook func(method, arg string) error
}

// Before sets the hook, nil for none. An error of it is the call's.
func (s *HookedStore) Before(f func(method, arg string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hook = f
}

func (s *HookedStore) call(method, arg string) error {
	s.mu.Lock()
	f := s.hook
	s.mu.Unlock()
	if f == nil {
		return nil
	}
	return f(method, arg)
}

func (s *HookedStore) Append(ctx context.Context, batch []journal.Append) []error {
	for i := range batch {
		if err := s.call("Append", batch[i].RunID); err != nil {
			errs := make([]error, len(batch))
			for i := range errs {
				errs[i] = err
			}
			return errs
		}
	}
	errs := s.Store.Append(ctx, batch)
	for i := range batch {
		_ = s.call("Appended", batch[i].RunID)
	}
	return errs
}

func (s *HookedStore) Load(ctx context.Context, runID string) (journal.Record, error) {
	if err := s.call("Load", runID); err != nil {
		return journal.Record{}, err
	}
	return s.Store.Load(ctx, runID)
}

func (s *HookedStore) Definition(ctx context.Context, hash string) (journal.Definition, error) {
	if err := s.call("Definition", hash); err != nil {
		return journal.Definition{}, err
	}
	return s.Store.Definition(ctx, hash)
}

func (s *HookedStore) Active(ctx context.Context, shards []int, after string, limit int) ([]journal.Record, error) {
	if err := s.call("Active", after); err != nil {
		return nil, err
	}
	return s.Store.Active(ctx, shards, after, limit)
}

func (s *HookedStore) Heartbeat(ctx context.Context, server string, data []byte) ([]messages.StoredHeartbeat, error) {
	if err := s.call("Heartbeat", server); err != nil {
		return nil, err
	}
	return s.Store.Heartbeat(ctx, server, data)
}

func (s *HookedStore) Now(ctx context.Context) (time.Time, error) {
	if err := s.call("Now", ""); err != nil {
		return time.Time{}, err
	}
	return s.Store.Now(ctx)
}

func (s *HookedStore) Due(ctx context.Context, shards []int, now time.Time, limit int) ([]string, time.Time, error) {
	if err := s.call("Due", ""); err != nil {
		return nil, time.Time{}, err
	}
	due, next, err := s.Store.Due(ctx, shards, now, limit)
	_ = s.call("DueRead", "")
	return due, next, err
}

func (s *HookedStore) WatchedWorkers(ctx context.Context, shards []int) ([]string, error) {
	if err := s.call("WatchedWorkers", ""); err != nil {
		return nil, err
	}
	return s.Store.WatchedWorkers(ctx, shards)
}

func (s *HookedStore) WokenByUp(ctx context.Context, shards []int, workerID, after string, limit int) ([]journal.Record, error) {
	if err := s.call("WokenByUp", workerID); err != nil {
		return nil, err
	}
	records, err := s.Store.WokenByUp(ctx, shards, workerID, after, limit)
	_ = s.call("WokenByUpRead", workerID)
	return records, err
}

var ErrJournalDown = messages.Errorf(messages.CodeJournalUnavailable, "down on purpose")

func Bubble(t *testing.T, f func(w *World)) {
	bubble.Test(t, func(t *testing.T) {
		w := &World{T: t, Store: &HookedStore{Store: journal.NewMemory()}, Functions: attempt.Functions{}}
		defer func() {
			w.Network.Heal()
			w.Store.Before(nil)
			for i := len(w.Stops) - 1; i >= 0; i-- {
				w.Stops[i]()
			}
			// Goroutines of dispatchers and timers of the library end by themselves.
			time.Sleep(time.Minute)
		}()
		f(w)
	})
}

// Server starts a server; it has recovered when server returns.
func (w *World) Server(id string) *Server {
	w.T.Helper()
	s := w.StartServer(id, w.Network.Host(id), server.HostConfig{})
	select {
	case <-s.Recovered:
	case <-time.After(10 * time.Second):
		w.T.Fatalf("server %s did not recover", id)
	}
	return s
}

func (w *World) StartServer(id string, on *clustertest.Host, c server.HostConfig) *Server {
	w.T.Helper()
	s := &Server{Network: on, Recovered: make(chan int, 100)}
	var placement cluster.Kind
	config := cluster.Config{
		Role: cluster.RoleServer, ID: id, Logger: slog.New(slog.DiscardHandler), Heartbeats: w.Store,
		Kinds: []cluster.Kind{
			{Name: cluster.KindRun, Activate: func(id string) (*actor.PID, error) { return s.Host.Activate(id) }},
			{Name: cluster.KindPlacement, Activate: func(pool string) (*actor.PID, error) { return placement.Activate(pool) }},
		},
		Prepare: func(node *cluster.Node) error {
			s.Node = node
			placement = w.prepare(s, c)
			return s.Host.Start()
		},
	}
	if w.First != nil {
		config.Join = []string{w.First.Node.Self().GossipAddress}
	}
	if _, err := cluster.Start(w.T.Context(), on.Configure(config)); err != nil {
		w.T.Fatal(err)
	}
	if w.First == nil {
		w.First = s
	}
	w.Stops = append(w.Stops, s.Stop)
	return s
}

// Later calls f after a while; wait returns when it has.
func (w *World) Later(d time.Duration, f func()) (wait func()) {
	done := make(chan struct{})
	time.AfterFunc(d, func() {
		defer close(done)
		f()
	})
	return func() { <-done }
}

// prepare makes the parts of the server and returns the kind that places runs.
func (w *World) prepare(s *Server, c server.HostConfig) cluster.Kind {
	log := slog.New(slog.DiscardHandler)
	s.committer = journal.NewCommitter(w.Store, w.Committer)
	s.Roster = server.NewRoster(server.RosterConfig{Node: s.Node})
	definitions := server.NewDefinitions(w.Store)
	c.Node, c.Store, c.Committer, c.Roster, c.Definitions, c.Logger = s.Node, w.Store, s.committer, s.Roster, definitions, log
	c.Hooks.Recovered = func(runs int, _ time.Duration) { s.Recovered <- runs }
	s.Host = server.NewHost(c)
	return places.NewKind(places.Deps{Node: s.Node, Roster: s.Roster, Store: w.Store, Logger: log,
		OnDefinitions: func([]*messages.WorkflowDefinition) { definitions.Forget() }})
}

// Stop takes the server down in the order of a real one.
func (s *Server) Stop() {
	s.stopOnce.Do(func() {
		s.Host.Stop()
		_ = s.committer.Close(context.Background())
		s.Roster.Stop()
		_ = s.Node.Stop(context.Background())
	})
}

// Worker is a worker that can be killed.
type Worker struct {
	*worker.Worker
	Node    *cluster.Node
	Network *clustertest.Host
}

// Worker starts a worker that serves the definitions.
func (w *World) Worker(id string, defs ...*messages.WorkflowDefinition) *Worker {
	w.T.Helper()
	return w.WorkerOn(id, w.Network.Host(id), defs...)
}

func (w *World) WorkerOn(id string, on *clustertest.Host, defs ...*messages.WorkflowDefinition) *Worker {
	w.T.Helper()
	return w.WorkerWith(id, on, 4, defs...)
}

func (w *World) WorkerWith(id string, on *clustertest.Host, slots int32, defs ...*messages.WorkflowDefinition) *Worker {
	w.T.Helper()
	log := slog.New(slog.DiscardHandler)
	node, err := cluster.Start(w.T.Context(), on.Configure(cluster.Config{Role: cluster.RoleWorker, ID: id, Pool: "default",
		State: cluster.StateJoining, Logger: log, Join: []string{w.First.Node.Self().GossipAddress}}))
	if err != nil {
		w.T.Fatal(err)
	}
	w.Stops = append(w.Stops, node.Kill)
	worker, err := worker.Start(w.T.Context(), worker.Config{Node: node, Logger: log, Grace: -1, Functions: w.Functions, Locals: w.Locals,
		Info: &messages.WorkerInfo{Slots: slots, Workflows: defs}})
	if err != nil {
		w.T.Fatal(err)
	}
	p := &Worker{worker, node, on}
	w.Stops = append(w.Stops, p.Kill)
	return p
}

// Ref names the worker's process and its actor.
func (p *Worker) Ref() *messages.WorkerRef {
	self := p.Node.Self()
	return &messages.WorkerRef{WorkerId: self.WorkerID, Incarnation: self.Incarnation, Address: self.Address,
		ActorId: messages.WorkerActorID(self.WorkerID, self.Incarnation)}
}

// PID of the worker's actor.
func (p *Worker) PID() *actor.PID {
	ref := p.Ref()
	return actor.NewPID(ref.Address, ref.ActorId)
}

// Kill ends the process without a word to anyone.
func (p *Worker) Kill() {
	p.Node.Kill()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = p.Stop(ctx)
}

// Retire takes the server down like a real one that is stopped.
func (s *Server) Retire(ctx context.Context) {
	s.Host.Leave(ctx)
	s.Stop()
}

// Kill ends the server without a word: its host forgets what it was about to
// write.
func (s *Server) Kill() {
	s.Network.Crash()
	s.stopOnce.Do(func() {
		s.Node.Kill()
		s.Host.Stop()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = s.committer.Close(ctx)
		s.Roster.Stop()
	})
}

// Settled waits until the servers see each other and have recovered.
func (w *World) Settled(servers ...*Server) {
	w.T.Helper()
	for _, s := range servers {
		if _, err := s.Node.Await(w.T.Context(), func(v *cluster.View) bool { return len(v.Servers()) == len(servers) }); err != nil {
			w.T.Fatal(err)
		}
	}
	time.Sleep(time.Second)
}
