// Package worker is a process that executes steps: it joins the cluster as a
// member, registers its workflows, and calls the step functions of the attempts
// that runs send to it.
//
// # Inside
//
// Data flow: Config, by hand or from ConfigFromEnv, and workflows → New → Run:
// cluster.Node joins → the worker actor is admitted by placement → attempts →
// results, kept until their runs have them → drain when the context ends →
// leave.
//
// Invariants: nothing is started before everything has been validated; Run
// leaves nothing running when it returns, but step functions that ignore the
// end of their context.
//
// Imports sdk, sdk/codec, actors/worker, actors/attempt, actors/metrics, actors/tracing,
// actors/gateway, cluster, messages.
package worker

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"os"
	"os/signal"
	"reflect"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/actors/tracing"
	engine "github.com/limpetrun/limpet/actors/worker"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/internal/coded"
)

// stopSlack is what a worker may take beyond its grace to deliver its results
// and leave, before it is given up.
const stopSlack = 10 * time.Second

// Worker serves workflows. Make it with New; each is run once.
//
// One that has nothing to do costs about 1 ms of CPU time a second, and 0.4 ms a
// second at each server; and some 4 MB of memory where a hundred of them share a
// process. A process may have many, each with an ID of its own. What one costs does
// not grow with the number of workers in the cluster.
type Worker struct {
	config Config
	// incarnation is a ULID: those of one id sort by the time of their start.
	incarnation string
	info        *messages.WorkerInfo
	functions   attempt.Functions
	locals      attempt.Locals
	queries     attempt.Queries

	metricsAt atomic.Pointer[string]

	ran      atomic.Bool
	ready    chan struct{}
	killOnce sync.Once
	killed   chan struct{}
}

// New checks the configuration and all workflows, and reports everything that
// is wrong at once: INVALID_ARGUMENT, INVALID_DEFINITION. It starts nothing.
func New(config Config, workflows ...sdk.AnyWorkflow) (*Worker, error) {
	config = config.withDefaults()
	served, err := config.register(workflows)
	if err := errors.Join(config.validate(workflows), err); err != nil {
		return nil, err
	}
	config.warnOfOldNames()
	return &Worker{
		config: config, incarnation: messages.NewRunID(),
		info: &messages.WorkerInfo{
			Pool: config.Pool, Slots: int32(config.Slots), StickyRunsMax: int32(config.StickyRunsMax),
			KeptMax: int32(cmp.Or(config.KeptMax, messages.DefaultKeptMax)),
			Labels:  maps.Clone(config.Labels), Workflows: served.definitions, SdkVersion: version(),
		},
		functions: served.functions,
		locals:    served.locals,
		queries:   served.queries,
		ready:     make(chan struct{}),
		killed:    make(chan struct{}),
	}, nil
}

// ID returns the worker's id.
func (w *Worker) ID() string { return w.config.ID }

// Incarnation tells this process of the worker from its earlier ones.
func (w *Worker) Incarnation() string { return w.incarnation }

// MetricsAddress is the host:port at which the metrics are served; empty without
// Config.MetricsListen, and before Run.
func (w *Worker) MetricsAddress() string {
	if at := w.metricsAt.Load(); at != nil {
		return *at
	}
	return ""
}

// Ready is closed when the worker has been admitted and steps may come.
func (w *Worker) Ready() <-chan struct{} { return w.ready }

// Run joins the cluster and serves until ctx ends. Then it drains: it takes on
// nothing new, lets running attempts end within the grace, delivers their
// results, leaves, and returns nil; WORKER_LOST if attempts had to be given up.
// It also returns nil if ctx was canceled before the worker was admitted.
//
// Other errors: JOIN_FAILED, ADDRESS_IN_USE, SECRET_REQUIRED, STORE_MISMATCH when
// it meets servers of another store than the one that it belongs to, WORKER_ID_TAKEN
// when another live process has the id, WORKER_SUPERSEDED when one took it over
// while this process was out of reach, SLOT_HELD after Config.EndIfHeldFor.
func (w *Worker) Run(ctx context.Context) error {
	if w.ran.Swap(true) {
		return messages.Errorf(messages.CodeInvalidArgument, "worker %q was run before: make a new one", w.config.ID)
	}
	starting, cancel := w.orKilled(ctx)
	defer cancel()
	counts, err := w.measure(starting)
	if err != nil {
		return w.beforeReady(ctx, err)
	}
	defer counts.stop()
	node, err := cluster.Start(starting, w.clusterConfig())
	if err != nil {
		return w.beforeReady(ctx, err)
	}
	defer func() {
		leaving, cancel := context.WithTimeout(context.Background(), stopSlack)
		defer cancel()
		_ = node.Stop(leaving)
	}()
	serving, err := engine.Start(starting, engine.Config{
		Node: node, Info: w.info, Functions: w.functions, Locals: w.locals, Queries: w.queries, LocalLimits: w.config.localLimits(),
		Grace: w.grace(), EndIfHeldFor: w.config.EndIfHeldFor, KeptMax: w.config.KeptMax, KeptBytesMax: w.config.KeptBytesMax,
		Logger: w.config.Logger, Hooks: w.config.Hooks, OnStart: w.config.OnStart,
		Own: counts.hooks(), Spans: tracing.Steps{Tracer: counts.tracer},
	})
	if err != nil {
		return w.beforeReady(ctx, err)
	}
	counts.serving.Store(serving)
	self := node.Self()
	w.config.Logger.Info("worker is ready", "worker", w.config.ID, "address", self.Address, "gossip", self.GossipAddress, "slots", w.config.Slots)
	close(w.ready)
	select {
	case err := <-serving.Done():
		return err
	case err := <-node.Foreign():
		gone, cancel := context.WithCancel(context.Background())
		cancel()
		_ = serving.Stop(gone)
		return err
	case <-w.killed:
		node.Kill()
		stopped, cancel := context.WithCancel(context.Background())
		cancel()
		_ = serving.Stop(stopped)
		return errKilled(w.config.ID)
	case <-ctx.Done():
	}
	stopping, cancel := context.WithTimeout(context.Background(), max(w.grace(), 0)+stopSlack)
	defer cancel()
	return serving.Stop(stopping)
}

// RunUntilSignal is Run until ctx ends or the process is told to stop by
// SIGTERM or SIGINT. A second signal ends the process at once.
func (w *Worker) RunUntilSignal(ctx context.Context) error {
	ctx, stop := untilSignal(ctx, syscall.SIGTERM, os.Interrupt)
	defer stop()
	return w.Run(ctx)
}

// untilSignal is ctx until one of the signals comes. From then on they do what
// they do to a process that handles none; signal.NotifyContext would lose one
// that comes between the first and the end of its handling.
func untilSignal(ctx context.Context, of ...os.Signal) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	received := make(chan os.Signal, 2)
	signal.Notify(received, of...)
	go func() {
		first := false
		select {
		case <-received:
			first = true
		case <-ctx.Done():
		}
		signal.Stop(received)
		if !first {
			// What ended the caller's context may have been this very signal.
			select {
			case <-received:
			default:
			}
		}
		select {
		case again := <-received:
			if self, err := os.FindProcess(os.Getpid()); err == nil {
				_ = self.Signal(again)
			}
		default:
		}
		cancel()
	}()
	return ctx, cancel
}

// Kill ends the worker as a crash of its process would, as far as others can
// see: nobody is told, nothing is delivered. Contexts of running steps end. It
// is for tests.
func (w *Worker) Kill() { w.killOnce.Do(func() { close(w.killed) }) }

// orKilled is ctx until the worker is killed.
func (w *Worker) orKilled(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-w.killed:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

func errKilled(id string) error {
	return messages.Errorf(messages.CodeWorkerLost, "worker %q was killed", id)
}

// beforeReady is the result of Run for a worker that was not admitted.
func (w *Worker) beforeReady(ctx context.Context, err error) error {
	select {
	case <-w.killed:
		return errKilled(w.config.ID)
	default:
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return nil
	}
	return err
}

func (w *Worker) clusterConfig() cluster.Config {
	c := cluster.Config{
		Role: cluster.RoleWorker, ID: w.config.ID, Incarnation: w.incarnation, Pool: w.config.Pool,
		BindAddress: w.config.BindAddress, GossipAddress: w.config.GossipAddress, AdvertiseHost: w.config.AdvertiseHost,
		Join: w.config.Join, JoinTimeout: w.config.JoinTimeout, Secret: w.config.Secret, Identity: w.config.Identity,
		Preset: w.config.Preset, Logger: w.config.Logger,
	}
	if w.config.Cluster != nil {
		w.config.Cluster(&c)
	}
	return c
}

// grace as the worker actor counts it.
func (w *Worker) grace() time.Duration {
	if w.config.Grace == 0 {
		return engine.DefaultGrace
	}
	return w.config.Grace
}

// functions are steps whose Context.Logger derives from the worker's, behind its codec.
func (c Config) functions(functions map[string]attempt.Function) map[string]attempt.Function {
	wrapped := make(map[string]attempt.Function, len(functions))
	for name, f := range functions {
		wrapped[name] = func(ctx context.Context, a *attempt.Attempt) ([]byte, error) {
			return f(sdk.WithLogger(ctx, c.Logger), a)
		}
		if c.Codec != nil {
			wrapped[name] = coded.Function(c.Codec, wrapped[name])
		}
	}
	return wrapped
}

// queries are the same for queries.
func (c Config) queries(queries map[string]attempt.Query) map[string]attempt.Query {
	wrapped := make(map[string]attempt.Query, len(queries))
	for name, f := range queries {
		wrapped[name] = func(ctx context.Context, q *attempt.Question) ([]byte, error) {
			return f(sdk.WithLogger(ctx, c.Logger), q)
		}
		if c.Codec != nil {
			wrapped[name] = coded.Query(c.Codec, wrapped[name])
		}
	}
	return wrapped
}

// version of this module in the program; empty if it was built without modules.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	module := strings.TrimSuffix(reflect.TypeFor[Worker]().PkgPath(), "/sdk/worker")
	if info.Main.Path == module {
		return info.Main.Version
	}
	for _, dep := range info.Deps {
		if dep.Path == module {
			return dep.Version
		}
	}
	return ""
}
