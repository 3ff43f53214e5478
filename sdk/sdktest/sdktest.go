// Package sdktest runs a whole engine inside a test: a server with its journal
// in memory, worker processes that are goroutines of the test, and a client.
// Workers can be killed and restarted, to see what a workflow makes of it.
//
//	func TestIndex(t *testing.T) {
//		e := sdktest.Start(t, sdktest.Config{Workers: sdktest.Workers("gpu-1", "gpu-2")}, index)
//		run, err := index.Start(t.Context(), e.Client(), Corpus{…})
//		…
//		e.KillWorker("gpu-1")
//		answer, err := ask.Result(t.Context(), run)
//	}
//
// Engine.Advance moves its clock on: 48 hours later is some milliseconds later.
//
// Context is for the test of a step function alone, without an engine.
//
// # Inside
//
// Data flow: Config → node.Start on free ports of loopback → workers join →
// client.
//
// Invariants: Close leaves nothing running but step functions that ignore their
// context, and idle goroutines that end by themselves within 5 s; a method that
// ends a worker returns when the worker is gone, while what the cluster makes of
// it takes its time.
//
// Imports sdk, sdk/codec, sdk/worker, actors/node, cluster, cluster/backoff, actors/attempt,
// actors/journal, messages.
package sdktest

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/node"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/codec"
	"github.com/limpetrun/limpet/sdk/worker"
)

const (
	// closeTimeout is how long Close waits for the server to stop.
	closeTimeout = 10 * time.Second
	// upInterval is how often a starting worker is looked for.
	upInterval = 5 * time.Millisecond
)

// Config of an engine. The zero value is a server with one worker, "worker-1".
type Config struct {
	// Workers of the engine. Their Join, Secret and Preset are filled in; their
	// Slots default to 4 and their Grace to 2 s. Defaults to one worker.
	Workers []worker.Config
	// NoWorkers starts none, for a test that starts them itself.
	NoWorkers bool
	// Store of the journal, which Close leaves open. Defaults to one in memory.
	Store journal.Store
	// Preset of the membership's timing: how soon a killed worker is missed.
	// Defaults to cluster.LocalConfig, 1.2 to 1.8 s.
	Preset cluster.Preset
	// UnservedAfter is how long no worker may serve a workflow until events start
	// none of its runs. Defaults to 1 s, for a test does not wait for the 24 h of a
	// server; negative: for ever.
	UnservedAfter time.Duration
	// Codec of the client, and of workers that have none of their own; nil for none.
	Codec codec.Codec
	// Logger of server and workers. Defaults to none.
	Logger *slog.Logger
}

// Workers are workers with the given ids and nothing else to say of them.
func Workers(ids ...string) []worker.Config {
	var out []worker.Config
	for _, id := range ids {
		out = append(out, worker.Config{ID: id})
	}
	return out
}

// TB is what Start uses of a *testing.T.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
	Cleanup(func())
	Context() context.Context
}

// Start runs an engine until the test ends. All its workers serve all the
// workflows, and are up when it returns.
func Start(t TB, config Config, workflows ...sdk.AnyWorkflow) *Engine {
	t.Helper()
	e, err := New(t.Context(), config, workflows...)
	if err != nil {
		t.Fatalf("start an engine: %v", err)
		return nil
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("stop the engine: %v", err)
		}
	})
	return e
}

// Engine is a server, its workers and a client.
type Engine struct {
	config    Config
	workflows []sdk.AnyWorkflow
	client    *sdk.Client
	ownStore  bool
	// clock is the store as the server sees it, and its clock.
	clock     *movedStore
	advancing sync.Mutex

	mu      sync.Mutex
	server  *node.Server
	workers map[string]*member
}

// member is a worker that runs, or ran last under its id.
type member struct {
	config    worker.Config
	workflows []sdk.AnyWorkflow
	worker    *worker.Worker
	stop      context.CancelFunc
	ended     chan struct{}
	err       error // valid once ended is closed
}

// New runs an engine until Close, for use outside of tests: examples, say. It
// returns once all workers are up, or with every error.
func New(ctx context.Context, config Config, workflows ...sdk.AnyWorkflow) (*Engine, error) {
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	e := &Engine{config: config, workflows: workflows, workers: make(map[string]*member)}
	if config.Store == nil {
		e.config.Store, e.ownStore = journal.NewMemory(), true
	}
	e.clock = &movedStore{Store: e.config.Store}
	if err := e.start(ctx); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

func (e *Engine) start(ctx context.Context) error {
	if err := e.startServer(ctx, node.Config{APIListen: "127.0.0.1:0"}); err != nil {
		return err
	}
	var err error
	if e.client, err = sdk.NewClient(sdk.ClientConfig{Address: e.server.APIAddress(), Codec: e.config.Codec}); err != nil {
		return err
	}
	workers := e.config.Workers
	if len(workers) == 0 && !e.config.NoWorkers {
		workers = Workers("worker-1")
	}
	var starting sync.WaitGroup
	errs := make([]error, len(workers))
	for i, w := range workers {
		starting.Go(func() { errs[i] = e.StartWorker(ctx, w) })
	}
	starting.Wait()
	return errors.Join(errs...)
}

// unservedAfter is the default of Config.UnservedAfter.
const unservedAfter = time.Second

func (e *Engine) startServer(ctx context.Context, c node.Config) error {
	c.ID, c.Store, c.Preset, c.Logger = "server", e.clock, e.config.Preset, e.config.Logger
	c.Local = e.clock.local
	c.UnservedAfter = cmp.Or(e.config.UnservedAfter, unservedAfter)
	server, err := node.Start(ctx, c)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.server = server
	return nil
}

// Client returns a client of the engine.
func (e *Engine) Client() *sdk.Client { return e.client }

// Address returns that of the API, host:port.
func (e *Engine) Address() string { return e.running().APIAddress() }

// JoinAddress is what further members, such as workers of the test's own, join.
func (e *Engine) JoinAddress() string { return e.running().GossipAddress() }

func (e *Engine) running() *node.Server {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.server
}

// RestartServer stops the server in good order and starts it again under the
// same addresses, with the same journal.
func (e *Engine) RestartServer(ctx context.Context) error {
	old := e.running()
	self := old.Node().Self()
	c := node.Config{APIListen: old.APIAddress(), Bind: self.Address, Gossip: self.GossipAddress}
	if err := old.Stop(ctx); err != nil {
		return err
	}
	return e.startServer(ctx, c)
}

// Close stops the workers, then the server. It returns the errors of those that
// did not stop in good order.
func (e *Engine) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	var errs []error
	for _, m := range e.members() {
		m.stop()
	}
	for _, m := range e.members() {
		<-m.ended
		if m.err != nil && !errors.Is(m.err, sdk.ErrWorkerLost) {
			errs = append(errs, m.err)
		}
	}
	if server := e.running(); server != nil {
		errs = append(errs, server.Stop(ctx))
	}
	if e.ownStore {
		errs = append(errs, e.config.Store.Close())
	}
	return errors.Join(errs...)
}

func (e *Engine) members() []*member {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []*member
	for _, m := range e.workers {
		out = append(out, m)
	}
	return out
}

// StartWorker starts a worker, as those of Config, and returns when it is up;
// the error of its end if it ends before that. It serves the given workflows,
// or those of the engine if none is given.
func (e *Engine) StartWorker(ctx context.Context, config worker.Config, workflows ...sdk.AnyWorkflow) error {
	if len(workflows) == 0 {
		workflows = e.workflows
	}
	if config.Slots == 0 {
		config.Slots = 4
	}
	if config.Grace == 0 {
		config.Grace = 2 * time.Second
	}
	config.Join, config.Preset = []string{e.JoinAddress()}, e.config.Preset
	if config.Logger == nil {
		config.Logger = e.config.Logger
	}
	if config.Codec == nil {
		config.Codec = e.config.Codec
	}
	w, err := worker.New(config, workflows...)
	if err != nil {
		return err
	}
	living, stop := context.WithCancel(context.Background())
	m := &member{config: config, workflows: workflows, worker: w, stop: stop, ended: make(chan struct{})}
	go func() {
		m.err = w.Run(living)
		close(m.ended)
	}()
	if err := e.untilUp(ctx, m); err != nil {
		stop()
		<-m.ended
		if m.err != nil {
			return m.err
		}
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.workers[w.ID()] = m
	return nil
}

// untilUp returns when the server counts on the worker: that follows its
// admission by a round of gossip and the first report of its load.
func (e *Engine) untilUp(ctx context.Context, m *member) error {
	for {
		workers, err := e.client.ListWorkers(ctx)
		if err != nil {
			return err
		}
		for _, w := range workers {
			if w.GetIncarnation() == m.worker.Incarnation() && w.GetState() == api.WorkerUp && w.GetReported() {
				return nil
			}
		}
		select {
		case <-m.ended:
			return messages.Errorf(messages.CodeUnavailable, "worker %q ended before it was up", m.worker.ID())
		case <-time.After(upInterval):
		}
	}
}

// KillWorker ends a worker as SIGKILL would, as far as the cluster can see, and
// returns when it is gone; its members notice after the time of the Preset.
// Contexts of its running steps end. INVALID_ARGUMENT if
// there is no worker with the id.
func (e *Engine) KillWorker(id string) error {
	return e.endWorker(id, (*member).kill)
}

// StopWorker ends a worker as SIGTERM would and returns when it has drained and
// left.
func (e *Engine) StopWorker(id string) error {
	return e.endWorker(id, (*member).drain)
}

func (m *member) kill()  { m.worker.Kill() }
func (m *member) drain() { m.stop() }

func (e *Engine) endWorker(id string, end func(*member)) error {
	m, err := e.member(id)
	if err != nil {
		return err
	}
	end(m)
	<-m.ended
	return nil
}

// RestartWorker starts a worker that was killed or stopped again, with its id
// and configuration: a new process of the same worker. It returns when the
// worker is up.
func (e *Engine) RestartWorker(ctx context.Context, id string) error {
	m, err := e.member(id)
	if err != nil {
		return err
	}
	return e.StartWorker(ctx, m.config, m.workflows...)
}

func (e *Engine) member(id string) (*member, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if m := e.workers[id]; m != nil {
		return m, nil
	}
	return nil, messages.Errorf(messages.CodeInvalidArgument, "the engine has no worker %q", id)
}
