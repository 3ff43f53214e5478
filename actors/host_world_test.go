package actors

import (
	"context"
	"encoding/json"
	"log/slog"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/cluster/clustertest"
	"github.com/limpetrun/limpet/cluster/clustertest/bubble"
	"github.com/limpetrun/limpet/messages"
)

// hostWorld is a whole cluster in memory on fake time: servers with hosts,
// rosters and placement over one store, and workers.
type hostWorld struct {
	t       *testing.T
	network clustertest.Network
	store   *hookedStore
	first   *testServer
	stops   []func()
	// committer configures those of the servers that are started from now on.
	committer journal.CommitterConfig
	// functions of the steps that workers serve.
	functions attempt.Functions
	locals    attempt.Locals
}

// testServer is a server without an API.
type testServer struct {
	node      *cluster.Node
	network   *clustertest.Host
	committer *journal.Committer
	roster    *Roster
	host      *Host
	recovered chan int
	stopOnce  sync.Once
}

// hookedStore calls what a test sets before it asks the store.
type hookedStore struct {
	journal.Store
	mu   sync.Mutex
	hook func(method, arg string) error
}

// before sets the hook, nil for none. An error of it is the call's.
func (s *hookedStore) before(f func(method, arg string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hook = f
}

func (s *hookedStore) call(method, arg string) error {
	s.mu.Lock()
	f := s.hook
	s.mu.Unlock()
	if f == nil {
		return nil
	}
	return f(method, arg)
}

func (s *hookedStore) Append(ctx context.Context, batch []journal.Append) []error {
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

func (s *hookedStore) Load(ctx context.Context, runID string) (journal.Record, error) {
	if err := s.call("Load", runID); err != nil {
		return journal.Record{}, err
	}
	return s.Store.Load(ctx, runID)
}

func (s *hookedStore) Definition(ctx context.Context, hash string) (journal.Definition, error) {
	if err := s.call("Definition", hash); err != nil {
		return journal.Definition{}, err
	}
	return s.Store.Definition(ctx, hash)
}

func (s *hookedStore) Active(ctx context.Context, shards []int, after string, limit int) ([]journal.Record, error) {
	if err := s.call("Active", after); err != nil {
		return nil, err
	}
	return s.Store.Active(ctx, shards, after, limit)
}

func (s *hookedStore) SignOfLife(ctx context.Context, server string, data []byte) ([]journal.Sign, error) {
	if err := s.call("SignOfLife", server); err != nil {
		return nil, err
	}
	return s.Store.SignOfLife(ctx, server, data)
}

func (s *hookedStore) Now(ctx context.Context) (time.Time, error) {
	if err := s.call("Now", ""); err != nil {
		return time.Time{}, err
	}
	return s.Store.Now(ctx)
}

func (s *hookedStore) Due(ctx context.Context, shards []int, now time.Time, limit int) ([]string, time.Time, error) {
	if err := s.call("Due", ""); err != nil {
		return nil, time.Time{}, err
	}
	due, next, err := s.Store.Due(ctx, shards, now, limit)
	_ = s.call("DueRead", "")
	return due, next, err
}

func (s *hookedStore) WatchedWorkers(ctx context.Context, shards []int) ([]string, error) {
	if err := s.call("WatchedWorkers", ""); err != nil {
		return nil, err
	}
	return s.Store.WatchedWorkers(ctx, shards)
}

func (s *hookedStore) WokenByUp(ctx context.Context, shards []int, workerID, after string, limit int) ([]journal.Record, error) {
	if err := s.call("WokenByUp", workerID); err != nil {
		return nil, err
	}
	records, err := s.Store.WokenByUp(ctx, shards, workerID, after, limit)
	_ = s.call("WokenByUpRead", workerID)
	return records, err
}

var errJournalDown = messages.Errorf(messages.CodeJournalUnavailable, "down on purpose")

func hostBubble(t *testing.T, f func(w *hostWorld)) {
	bubble.Test(t, func(t *testing.T) {
		w := &hostWorld{t: t, store: &hookedStore{Store: journal.NewMemory()}, functions: attempt.Functions{}}
		defer func() {
			w.network.Heal()
			w.store.before(nil)
			for i := len(w.stops) - 1; i >= 0; i-- {
				w.stops[i]()
			}
			// Goroutines of dispatchers and timers of the library end by themselves.
			time.Sleep(time.Minute)
		}()
		f(w)
	})
}

// server starts a server; it has recovered when server returns.
func (w *hostWorld) server(id string) *testServer {
	w.t.Helper()
	s := w.startServer(id, w.network.Host(id), HostConfig{})
	select {
	case <-s.recovered:
	case <-time.After(10 * time.Second):
		w.t.Fatalf("server %s did not recover", id)
	}
	return s
}

func (w *hostWorld) startServer(id string, on *clustertest.Host, c HostConfig) *testServer {
	w.t.Helper()
	s := &testServer{network: on, recovered: make(chan int, 100)}
	var placement cluster.Kind
	config := cluster.Config{
		Role: cluster.RoleServer, ID: id, Logger: slog.New(slog.DiscardHandler), Signs: SignsOf(w.store),
		Kinds: []cluster.Kind{
			{Name: cluster.KindRun, Activate: func(id string) (*actor.PID, error) { return s.host.Activate(id) }},
			{Name: cluster.KindPlacement, Activate: func(pool string) (*actor.PID, error) { return placement.Activate(pool) }},
		},
		Prepare: func(node *cluster.Node) error {
			s.node = node
			placement = w.prepare(s, c)
			return s.host.Start()
		},
	}
	if w.first != nil {
		config.Join = []string{w.first.node.Self().GossipAddress}
	}
	if _, err := cluster.Start(w.t.Context(), on.Configure(config)); err != nil {
		w.t.Fatal(err)
	}
	if w.first == nil {
		w.first = s
	}
	w.stops = append(w.stops, s.stop)
	return s
}

// later calls f after a while; wait returns when it has.
func (w *hostWorld) later(d time.Duration, f func()) (wait func()) {
	done := make(chan struct{})
	time.AfterFunc(d, func() {
		defer close(done)
		f()
	})
	return func() { <-done }
}

// prepare makes the parts of the server and returns the kind that places runs.
func (w *hostWorld) prepare(s *testServer, c HostConfig) cluster.Kind {
	log := slog.New(slog.DiscardHandler)
	s.committer = journal.NewCommitter(w.store, w.committer)
	s.roster = NewRoster(RosterConfig{Node: s.node, Logger: log})
	definitions := NewDefinitions(w.store)
	c.Node, c.Store, c.Committer, c.Roster, c.Definitions, c.Logger = s.node, w.store, s.committer, s.roster, definitions, log
	c.Hooks.Recovered = func(runs int, _ time.Duration) { s.recovered <- runs }
	s.host = NewHost(c)
	return NewPlacementKind(PlacementDeps{Node: s.node, Roster: s.roster, Store: w.store, Logger: log,
		OnDefinitions: func([]*messages.WorkflowDefinition) { definitions.Forget() }})
}

// stop takes the server down in the order of a real one.
func (s *testServer) stop() {
	s.stopOnce.Do(func() {
		s.host.Stop()
		_ = s.committer.Close(context.Background())
		s.roster.Stop()
		_ = s.node.Stop(context.Background())
	})
}

// hostWorker is a worker that can be killed.
type hostWorker struct {
	*Worker
	node    *cluster.Node
	network *clustertest.Host
}

// worker starts a worker that serves the definitions.
func (w *hostWorld) worker(id string, defs ...*messages.WorkflowDefinition) *hostWorker {
	w.t.Helper()
	return w.workerOn(id, w.network.Host(id), defs...)
}

func (w *hostWorld) workerOn(id string, on *clustertest.Host, defs ...*messages.WorkflowDefinition) *hostWorker {
	w.t.Helper()
	return w.workerWith(id, on, 4, defs...)
}

func (w *hostWorld) workerWith(id string, on *clustertest.Host, slots int32, defs ...*messages.WorkflowDefinition) *hostWorker {
	w.t.Helper()
	log := slog.New(slog.DiscardHandler)
	node, err := cluster.Start(w.t.Context(), on.Configure(cluster.Config{Role: cluster.RoleWorker, ID: id, Pool: "default",
		State: cluster.StateJoining, Logger: log, Join: []string{w.first.node.Self().GossipAddress}}))
	if err != nil {
		w.t.Fatal(err)
	}
	w.stops = append(w.stops, node.Kill)
	worker, err := StartWorker(w.t.Context(), WorkerConfig{Node: node, Logger: log, Grace: -1, Functions: w.functions, Locals: w.locals,
		Info: &messages.WorkerInfo{Slots: slots, Workflows: defs}})
	if err != nil {
		w.t.Fatal(err)
	}
	p := &hostWorker{worker, node, on}
	w.stops = append(w.stops, p.kill)
	return p
}

// kill ends the process without a word to anyone.
func (p *hostWorker) kill() {
	p.node.Kill()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = p.Stop(ctx)
}

// workflow defines a workflow of one step.
func (w *hostWorld) workflow(name string, sticky messages.Sticky, f attempt.Function) *messages.WorkflowDefinition {
	w.functions[name] = map[string]attempt.Function{"work": f}
	return &messages.WorkflowDefinition{Name: name, Sticky: sticky,
		Steps: []*messages.StepDefinition{{Name: "work", ScheduleTimeoutMs: messages.TimeoutNeverMs, Retries: 3, BackoffMs: 10_000}}}
}

// record makes a definition known without a worker.
func (w *hostWorld) record(def *messages.WorkflowDefinition) {
	w.t.Helper()
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(def)
	if err != nil {
		w.t.Fatal(err)
	}
	err = w.store.PutDefinition(w.t.Context(), journal.Definition{Hash: messages.HashDefinition(def), Name: def.Name, Data: data, RegisteredAt: time.Now()})
	if err != nil {
		w.t.Fatal(err)
	}
}

func startOf(id string, def *messages.WorkflowDefinition) *messages.StartRun {
	return &messages.StartRun{RunId: id, Start: &messages.RunStarted{Workflow: def.Name, DefinitionHash: messages.HashDefinition(def),
		Input: []byte("null"), Sticky: def.Sticky, Pool: "default", Trigger: "test"}}
}

func (w *hostWorld) start(s *testServer, id string, def *messages.WorkflowDefinition) {
	w.t.Helper()
	replies, err := s.host.Engine().StartRuns(w.t.Context(), []*messages.StartRun{startOf(id, def)})
	if err == nil {
		err = messages.FromFailure(replies[0].Error)
	}
	if err != nil {
		w.t.Fatalf("start %s: %v", id, err)
	}
}

// ends waits for the end of a run and checks its status.
func (w *hostWorld) ends(s *testServer, id string, within time.Duration, want messages.RunStatus) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), within)
	defer cancel()
	var reply *messages.WatchRunReply
	for begin := time.Now(); ; {
		var err error
		reply, err = s.host.Engine().WatchRun(ctx, &messages.WatchRun{RunId: id, After: math.MaxInt64, WaitMs: (within - time.Since(begin)).Milliseconds(),
			UntilEnded: true, WithoutEntries: true})
		if err != nil {
			w.t.Fatalf("run %s: %v", id, err)
		}
		// Who watches a run that moves is sent away, to ask again.
		if reply.Ended || time.Since(begin) >= within {
			break
		}
	}
	if !reply.Ended || reply.Status != want {
		w.t.Fatalf("run %s is %v after %v, want %v: %s", id, reply.Status, within, want, w.history(id))
	}
}

// history is for messages of failed tests.
func (w *hostWorld) history(id string) string {
	record, err := w.store.Store.Load(context.Background(), id)
	if err != nil {
		return err.Error()
	}
	out := ""
	for _, e := range record.Entries {
		entry := new(messages.Entry)
		_ = proto.Unmarshal(e, entry)
		text, _ := json.Marshal(entry)
		out += "\n" + string(text)
	}
	return out
}

// dormant waits until the run is out of memory and its row says so.
func (w *hostWorld) dormant(s *testServer, id string) journal.Row {
	w.t.Helper()
	for range 2000 {
		synctest.Wait()
		record, err := w.store.Store.Load(w.t.Context(), id)
		if err != nil {
			w.t.Fatal(err)
		}
		if record.Row.Dormant && s.host.ActiveRuns() == 0 {
			return record.Row
		}
		time.Sleep(10 * time.Millisecond)
	}
	w.t.Fatalf("run %s does not become dormant: %s", id, w.history(id))
	return journal.Row{}
}

func succeed(context.Context, *attempt.Attempt) ([]byte, error) { return []byte(`"done"`), nil }
