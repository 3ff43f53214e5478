package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/actors/local"
	"github.com/limpetrun/limpet/actors/pool"
	"github.com/limpetrun/limpet/actors/slots"
	"github.com/limpetrun/limpet/actors/tracing"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
)

const (
	// DefaultGrace is how long a worker that is told to stop lets attempts run.
	DefaultGrace = 30 * time.Second
	// admissionRetry is the pause between two questions to be admitted; those that
	// nobody answered have another one before it, of at most admissionRetryMost.
	admissionRetry     = 200 * time.Millisecond
	admissionRetryMost = 3 * time.Second
	// functionsLinger is how long a stopping worker waits for functions to
	// return whose contexts it has canceled.
	functionsLinger = time.Second
)

// Config says what a worker executes and where. Node, Info and Functions
// are required.
type Config struct {
	// Node is this process's membership, with role worker. The worker sets its
	// state; stopping it is up to the caller, after the worker.
	Node *cluster.Node
	// Info says what the worker offers. Id, incarnation, PID and start are
	// filled in from the node; an empty pool is the default one, slots below 1
	// are 1.
	Info *messages.WorkerInfo
	// Functions has one for each step of Info's workflows.
	Functions attempt.Functions
	// Locals has the local state of Info's workflows; nil for none.
	Locals attempt.Locals
	// Queries to the live state of runs of Info's workflows; nil for none.
	Queries attempt.Queries
	// LocalLimits of shared local state. The id is filled in.
	LocalLimits local.Config
	// Grace is how long Drain lets attempts run before it cancels them.
	// Defaults to 30 s; negative is none.
	Grace time.Duration
	// EndIfHeldFor is how long a function that does not return may hold its slot
	// after its attempt is over, until the worker drains and ends with SLOT_HELD. 0
	// is for ever.
	EndIfHeldFor time.Duration
	// KeptMax is how many attempts that do nothing but wait are kept, KeptBytesMax the
	// bytes that the local state of their runs declares: beyond them the longest waits
	// are suspended. 0 is 10,000, and no limit.
	KeptMax      int
	KeptBytesMax int64
	// Logger defaults to slog.Default().
	Logger *slog.Logger
	// Hooks may be nil.
	Hooks *Hooks
	// Own are told what Hooks are, before them, and without the care that is taken
	// of those: they must not block. May be nil.
	Own *Hooks
	// Spans makes those of steps; the zero value none.
	Spans tracing.Steps
	// OnStart, if not nil, is called before others see the worker, with the HARD
	// runs that are bound to it, by id. Its error ends the worker.
	OnStart func(ctx context.Context, bound []string) error
}

// Worker executes the attempts that runs send to its actor. Its methods may be
// called concurrently.
type Worker struct {
	cfg  Config
	node *cluster.Node
	root *actor.RootContext
	info *messages.WorkerInfo
	// pid of the worker's actor: the affinity of the runs bound to it.
	pid *actor.PID
	// started is when the worker began, by the monotonic clock.
	started time.Time

	shown    shownState
	outbox   *outbox
	reporter *reporter
	lease    leaseContext
	first    firstLease
	locals   *localShell
	queries  *queries
	logs     *logs
	news     news

	life       context.Context // of everything that serves the worker
	end        context.CancelFunc
	loops      sync.WaitGroup
	functions  sync.WaitGroup
	drainOnce  sync.Once
	endOnce    sync.Once
	err        error // valid once finished is closed
	finished   chan struct{}
	done       chan error
	dispatcher actor.Dispatcher
	looker     *looker
}

// Start starts the worker's actor and returns once placement has admitted
// it, a server has granted it a lease, and the cluster sees it ready. It waits for a server, and for the
// membership's verdict about an earlier process of the same worker id, until
// ctx ends.
//
// Errors: INVALID_ARGUMENT, INVALID_DEFINITION for a step without a function,
// WORKER_ID_TAKEN and other refusals of placement, UNAVAILABLE when ctx ended.
func Start(ctx context.Context, c Config) (*Worker, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	w := newWorker(c.withDefaults())
	if err := w.spawn(); err != nil {
		return nil, err
	}
	w.loops.Go(func() { w.reporter.loop(w.life) })
	if err := w.join(ctx); err != nil {
		w.abandon(err)
		<-w.finished
		return nil, w.err
	}
	return w, nil
}

// join waits until the worker is admitted, or has ended, and shows it to the
// cluster.
func (w *Worker) join(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(w.life, cancel)()
	if err := w.first.admit(ctx, w.cfg.Logger, w.reporter.register); err != nil {
		return err
	}
	if err := w.onStart(ctx); err != nil {
		return err
	}
	w.node.SetState(cluster.StateReady)
	w.reporter.admitted()
	context.AfterFunc(w.life, w.node.OnDeclaredGone(w.declaredGone))
	return nil
}

// notAdmitted is the error of a worker whose time to begin was over first.
func (w *Worker) notAdmitted(ctx context.Context) error {
	return messages.Errorf(messages.CodeUnavailable, "worker %q was not admitted: %w", w.info.WorkerId, context.Cause(ctx))
}

func (c Config) validate() error {
	if c.Node == nil || c.Info == nil {
		return messages.Errorf(messages.CodeInvalidArgument, "worker configuration: node and info are required")
	}
	if self := c.Node.Self(); self.Role != cluster.RoleWorker {
		return messages.Errorf(messages.CodeInvalidArgument, "worker configuration: the node's role is %q", self.Role)
	}
	var faults []error
	for _, wf := range c.Info.Workflows {
		for _, s := range wf.Steps {
			if c.Functions[wf.Name][s.Name] == nil {
				faults = append(faults, fmt.Errorf("step %q of workflow %q has no function", s.Name, wf.Name))
			}
		}
	}
	if len(faults) > 0 {
		return messages.Errorf(messages.CodeInvalidDefinition, "worker configuration: %w", errors.Join(faults...))
	}
	return nil
}

func (c Config) withDefaults() Config {
	self := c.Node.Self()
	info := proto.Clone(c.Info).(*messages.WorkerInfo)
	info.WorkerId, info.Incarnation, info.Address = self.WorkerID, self.Incarnation, self.Address
	info.ActorId = messages.WorkerActorID(self.WorkerID, self.Incarnation)
	info.StartedUs = time.Now().UnixMicro()
	info.Slots, info.SharesInputs = max(info.Slots, 1), true
	if info.Pool == "" {
		info.Pool = messages.DefaultPool
	}
	if info.Host == "" {
		info.Host, _ = os.Hostname()
	}
	if info.ProcessId == 0 {
		info.ProcessId = int32(os.Getpid())
	}
	c.Info = info
	switch {
	case c.Grace == 0:
		c.Grace = DefaultGrace
	case c.Grace < 0:
		c.Grace = 0
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	c.Logger = c.Logger.With("worker", info.WorkerId)
	c.Hooks = c.Hooks.guarded(c.Own, c.Logger)
	return c
}

func newWorker(c Config) *Worker {
	w := &Worker{
		started: time.Now(), cfg: c, node: c.Node, root: c.Node.System().Root, info: c.Info,
		first: firstLease{begun: make(chan struct{})}, finished: make(chan struct{}), done: make(chan error, 1), dispatcher: pool.NewElastic(), looker: newLooker(),
	}
	w.life, w.end = context.WithCancel(context.Background())
	w.shown.worker = w
	w.outbox = &outbox{worker: w, waiting: map[resultKey]proto.Message{}}
	w.reporter = newReporter(w)
	w.locals = newLocalShell(w)
	w.logs = newLogs(w)
	w.queries = &queries{worker: w, ofRun: map[string]queriesOfRun{}}
	return w
}

func (w *Worker) spawn() error {
	shell := &workerActor{worker: w, attempts: map[uint64]*actor.PID{}}
	shell.core = slots.New(slots.Config{
		WorkerID: w.info.WorkerId, Incarnation: w.info.Incarnation, Pool: w.info.Pool,
		Slots: int(w.info.Slots), Knows: w.knows, HandsOff: w.handsOff, Leased: true, EndIfHeldFor: w.cfg.EndIfHeldFor,
		KeptMax: w.cfg.KeptMax, KeptBytesMax: w.cfg.KeptBytesMax,
	})
	// Known before the actor runs, which may send to itself at once.
	w.pid = actor.NewPID(w.info.Address, w.info.ActorId)
	_, err := w.root.SpawnNamed(actor.PropsFromProducer(func() actor.Actor { return shell }, actor.WithDispatcher(w.dispatcher)), w.info.ActorId)
	if err != nil {
		return messages.Errorf(messages.CodeInternal, "worker actor %s: %w", w.info.ActorId, err)
	}
	context.AfterFunc(w.life, w.node.OnLease(w.leaseChanged))
	context.AfterFunc(w.life, w.node.Subscribe(func(*cluster.View) { w.reporter.signal() }))
	return nil
}

func (w *Worker) knows(workflow, step string) bool { return w.cfg.Functions[workflow][step] != nil }

// handsOff says whether runs of a workflow have local state that is handed off.
func (w *Worker) handsOff(workflow string) bool {
	for _, d := range w.info.Workflows {
		if d.Name == workflow {
			return slices.ContainsFunc(d.Locals, func(l *messages.LocalDefinition) bool { return l.Handoff })
		}
	}
	return false
}

// Load is what the worker has last reported of itself; nil before the first time.
// It is not to be changed.
func (w *Worker) Load() *messages.LoadReport {
	w.reporter.mu.Lock()
	defer w.reporter.mu.Unlock()
	return w.reporter.last
}

// running is how long the worker has run, in microseconds.
func (w *Worker) running() int64 { return time.Since(w.started).Microseconds() }

// Stop drains and returns when the worker has ended. When ctx ends before,
// everything that runs is canceled. It returns nil unless attempts were given
// up.
func (w *Worker) Stop(ctx context.Context) error {
	w.Drain()
	select {
	case <-w.finished:
	case <-ctx.Done():
		w.abandon(messages.Errorf(messages.CodeWorkerLost, "worker %q was stopped before its attempts had ended: %w", w.info.WorkerId, ctx.Err()))
		<-w.finished
	}
	return w.err
}

// Done delivers the worker's end, once, and is then closed: nil after a drain
// in which all attempts ended, WORKER_LOST after one in which not,
// WORKER_SUPERSEDED if another process took the id over, SLOT_HELD after
// EndIfHeldFor, a refusal of placement that came later.
func (w *Worker) Done() <-chan error { return w.done }

// abandon ends the worker without waiting for its attempts.
func (w *Worker) abandon(cause error) { w.root.Send(w.pid, supersede{cause}) }

// declaredGone: runs of a server that may go elsewhere have left, by its word.
func (w *Worker) declaredGone(by cluster.Member) {
	if by.Role == cluster.RoleWorker {
		return
	}
	w.root.Send(w.pid, givenUp{by.Address, messages.Errorf(messages.CodeWorkerLost, "worker %q had been declared gone by %s", w.info.WorkerId, by.Name)})
	w.reporter.registerAgain()
}

// finish is called when the core has stopped.
func (w *Worker) finish(err error) {
	w.endOnce.Do(func() {
		w.lease.end(messages.Errorf(messages.CodeUnavailable, "worker %q comes to its end", w.info.WorkerId)) // queries go by it alone
		go func() {
			w.awaitFunctions()
			if err == nil {
				w.logs.flush()
			}
			w.locals.stop()
			w.end()
			w.outbox.close()
			w.loops.Wait()
			_ = w.root.StopFuture(w.pid).Wait()
			w.err = err
			close(w.finished)
			w.done <- err
			close(w.done)
		}()
	})
}

// awaitFunctions gives functions whose context was canceled a moment to return:
// they may have something to tidy up.
func (w *Worker) awaitFunctions() {
	returned := make(chan struct{})
	go func() {
		w.functions.Wait()
		close(returned)
	}()
	select {
	case <-returned:
	case <-time.After(functionsLinger):
	}
}
