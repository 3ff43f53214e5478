package localcluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/limpetrun/limpet/cmd/internal/ledger"
	"github.com/limpetrun/limpet/cmd/internal/procs"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk"
)

const (
	// startTimeout is how long a process may take to be up.
	startTimeout = 30 * time.Second
	// restartPause is how long a process that died is left dead.
	restartPause = time.Second
	// stopTimeout is how long a process may take to end in order.
	stopTimeout = 5 * time.Second
)

// serverName is the id of the server process.
const serverName = "server"

// Config of a cluster on this machine.
type Config struct {
	// Dir for the journal, ledgers and logs; it must exist.
	Dir string
	// Store is StoreSQLite or StoreMemory.
	Store string
	// Slots of each worker.
	Slots int
	// ServerArgs and WorkerArgs are the arguments of the hidden commands that
	// serve ServerChild and WorkerChild.
	ServerArgs, WorkerArgs []string
	// FlushEvery is how long a worker may hold lines of its ledger; 0 writes
	// each at once.
	FlushEvery time.Duration
	// Died is told of a process that ended without being told to, before it
	// is restarted; Restarted of its return, or why it does not.
	Died      func(name, how string)
	Restarted func(name string, err error)
}

// Cluster is a server process and worker processes. Its methods may be called
// concurrently.
type Cluster struct {
	config Config
	group  *procs.Group
	ctx    context.Context
	cancel context.CancelFunc
	// watching counts the goroutines that restart the dead.
	watching sync.WaitGroup

	mu        sync.Mutex
	addresses addresses
	processes map[string]*procs.Process
	// expected are processes that end because they were told to.
	expected map[*procs.Process]bool
}

// Start starts the server and the workers with the ids, and returns when all
// are up. Close it, also after an error of a method.
func Start(ctx context.Context, config Config, workers ...string) (*Cluster, error) {
	c := &Cluster{
		config: config, group: procs.NewGroup(config.Dir),
		processes: make(map[string]*procs.Process), expected: make(map[*procs.Process]bool),
	}
	c.ctx, c.cancel = context.WithCancel(ctx)
	if err := c.start(workers); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (c *Cluster) start(workers []string) error {
	if err := os.Mkdir(c.ledgerDir(), 0o700); err != nil {
		return err
	}
	if err := c.startServer(); err != nil {
		return err
	}
	errs := make([]error, len(workers))
	var starting sync.WaitGroup
	for i, id := range workers {
		starting.Go(func() { errs[i] = c.StartWorker(id) })
	}
	starting.Wait()
	return errors.Join(errs...)
}

func (c *Cluster) ledgerDir() string { return filepath.Join(c.config.Dir, "ledger") }

func (c *Cluster) startServer() error {
	c.mu.Lock()
	at := c.addresses
	c.mu.Unlock()
	if at == (addresses{}) {
		at = addresses{API: "127.0.0.1:0", Gossip: "127.0.0.1:0", Actors: "127.0.0.1:0"}
	}
	var up addresses
	return c.startProcess(serverName, c.config.ServerArgs, serverConfig{
		ID: serverName, Store: c.config.Store, Journal: filepath.Join(c.config.Dir, "journal.db"), Addresses: at,
	}, &up, func() { c.addresses = up })
}

// StartWorker starts a worker process and returns when it has been admitted.
func (c *Cluster) StartWorker(id string) error {
	c.mu.Lock()
	join := c.addresses.Gossip
	c.mu.Unlock()
	return c.startProcess(id, c.config.WorkerArgs, workerConfig{
		ID: id, Join: []string{join}, Slots: c.config.Slots, LedgerDir: c.ledgerDir(), FlushEvery: c.config.FlushEvery,
	}, &workerUp{}, func() {})
}

// startProcess starts a process; up is called under the lock when it answers.
func (c *Cluster) startProcess(name string, args []string, config, reply any, up func()) error {
	ctx, cancel := context.WithTimeoutCause(c.ctx, startTimeout,
		messages.Errorf(messages.CodeDeadline, "process %s is not up after %s", name, startTimeout))
	defer cancel()
	p, err := c.group.Start(ctx, name, args, config, reply)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.processes[name] = p
	up()
	if c.ctx.Err() == nil {
		c.watching.Go(func() { c.watch(name, p) })
	}
	return nil
}

// watch restarts a process that ends without being told to.
func (c *Cluster) watch(name string, p *procs.Process) {
	select {
	case <-p.Gone():
	case <-c.ctx.Done():
		return
	}
	c.mu.Lock()
	told := c.expected[p]
	delete(c.expected, p)
	c.mu.Unlock()
	if told || c.ctx.Err() != nil {
		return
	}
	if c.config.Died != nil {
		c.config.Died(name, p.How())
	}
	select {
	case <-time.After(restartPause):
	case <-c.ctx.Done():
		return
	}
	err := c.restart(name)
	if c.config.Restarted != nil && c.ctx.Err() == nil {
		c.config.Restarted(name, err)
	}
}

func (c *Cluster) restart(name string) error {
	if name == serverName {
		return c.startServer()
	}
	return c.StartWorker(name)
}

// process returns the newest process of the name.
func (c *Cluster) process(name string) (*procs.Process, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, ok := c.processes[name]
	if !ok {
		return nil, fmt.Errorf("no process %q was started", name)
	}
	return p, nil
}

// Server is the server's process.
func (c *Cluster) Server() (*procs.Process, error) { return c.process(serverName) }

// Worker is the process of a worker.
func (c *Cluster) Worker(id string) (*procs.Process, error) { return c.process(id) }

// KillWorker ends a worker's process by SIGKILL. It stays dead until
// StartWorker.
func (c *Cluster) KillWorker(id string) error {
	p, err := c.process(id)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.expected[p] = true
	c.mu.Unlock()
	p.Kill()
	return nil
}

// Client makes a client of the server's API.
func (c *Cluster) Client() (*sdk.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return sdk.NewClient(sdk.ClientConfig{Address: c.addresses.API})
}

// Ledger returns what the steps of all worker processes, dead ones included,
// have recorded so far.
func (c *Cluster) Ledger(ctx context.Context) ([]ledger.Execution, error) {
	if c.config.FlushEvery > 0 {
		for _, p := range c.liveWorkers() {
			// A worker that dies now takes its last lines with it, as one
			// that died before.
			if err := p.Ask(ctx, orderFlush, nil, nil); err != nil && ctx.Err() != nil {
				return nil, err
			}
		}
	}
	return ledger.Read(filepath.Join(c.ledgerDir(), "*.ledger"))
}

// Stop ends the workers and then the server in order, and kills what does not
// end in time.
func (c *Cluster) Stop() error {
	c.cancel()
	c.watching.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	c.mu.Lock()
	server := c.processes[serverName]
	var stopping sync.WaitGroup
	var errs []error
	var mu sync.Mutex
	for name, p := range c.processes {
		if name == serverName || p.How() != "" {
			continue
		}
		stopping.Go(func() {
			err := p.Stop(ctx)
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		})
	}
	c.mu.Unlock()
	stopping.Wait()
	if server != nil && server.How() == "" {
		errs = append(errs, server.Stop(ctx))
	}
	c.Close()
	return errors.Join(errs...)
}

// Close kills what still runs and waits until it is gone. The files in Dir
// stay.
func (c *Cluster) Close() {
	c.cancel()
	c.group.Close()
	c.watching.Wait()
}

// Executions is how many calls of step functions the worker processes that now
// run have recorded.
func (c *Cluster) Executions(ctx context.Context) int64 {
	all := int64(0)
	for _, p := range c.liveWorkers() {
		var n int64
		if err := p.Ask(ctx, orderCount, nil, &n); err == nil {
			all += n
		}
	}
	return all
}

func (c *Cluster) liveWorkers() []*procs.Process {
	c.mu.Lock()
	defer c.mu.Unlock()
	var workers []*procs.Process
	for name, p := range c.processes {
		if name != serverName && p.How() == "" {
			workers = append(workers, p)
		}
	}
	return workers
}

// Live says whether the process with the id is one of the cluster and runs.
func (c *Cluster) Live(process int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.processes {
		if p.ID() == process {
			return p.How() == ""
		}
	}
	return false
}
