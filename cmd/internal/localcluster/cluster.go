package localcluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/limpetrun/limpet/actors/placement"
	"github.com/limpetrun/limpet/cluster/backoff"
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
	stopTimeout = 20 * time.Second
)

// Roles of the processes of a cluster.
const (
	RoleServer = "server"
	RoleWorker = "worker"
)

// Roles are what the processes of a cluster do; worker makes the worker's part.
// The program that starts the cluster passes them to procs.Main.
func Roles(worker func() procs.Child) procs.Roles {
	return procs.Roles{RoleServer: ServerChild, RoleWorker: worker}
}

// Config of a cluster on this machine.
type Config struct {
	// Dir for the journal, ledgers and logs; it must exist.
	Dir string
	// Store is StoreSQLite, StoreMemory or StorePostgres.
	Store string
	// PostgresURL is the database of StorePostgres, which must exist.
	PostgresURL string
	// Servers on that store: more than one only with StorePostgres. Default 1.
	Servers int
	// Placement holds the rules of placement on the servers.
	Placement placement.Config
	// Slots of each worker.
	Slots int
	// FlushEvery is how long a worker may hold lines of its ledger; 0 writes
	// each at once.
	FlushEvery time.Duration
	// Died is told of a process that ended without being told to, before it
	// is restarted; Restarted of its return, or why it does not.
	Died      func(name, how string)
	Restarted func(name string, err error)
}

// Cluster is server processes and worker processes. Its methods may be called
// concurrently.
type Cluster struct {
	config Config
	group  *procs.Group
	ctx    context.Context
	cancel context.CancelFunc
	// watching counts the goroutines that restart the dead.
	watching sync.WaitGroup

	mu sync.Mutex
	// addresses of the servers by their names; they stay over restarts.
	addresses map[string]addresses
	processes map[string]*procs.Process
	// expected are processes that end because they were told to.
	expected map[*procs.Process]bool
	// paused are processes that answer nothing.
	paused map[*procs.Process]bool
}

// Start starts the servers and the workers with the ids, and returns when all
// are up. Close it, also after an error of a method.
func Start(ctx context.Context, config Config, workers ...string) (*Cluster, error) {
	config.Servers = max(config.Servers, 1)
	if config.Servers > 1 && config.Store != StorePostgres {
		return nil, messages.Errorf(messages.CodeInvalidArgument, "%d servers cannot share the store %q: only %s", config.Servers, config.Store, StorePostgres)
	}
	c := &Cluster{
		config: config, group: procs.NewGroup(config.Dir), addresses: make(map[string]addresses),
		processes: make(map[string]*procs.Process), expected: make(map[*procs.Process]bool), paused: make(map[*procs.Process]bool),
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
	servers := c.ServerNames()
	// The first one alone: the others join it.
	if err := c.StartServer(servers[0]); err != nil {
		return err
	}
	if err := together(servers[1:], c.StartServer); err != nil {
		return err
	}
	return c.StartWorkers(workers...)
}

// together calls start with all names at once.
func together(names []string, start func(string) error) error {
	errs := make([]error, len(names))
	var starting sync.WaitGroup
	for i, name := range names {
		starting.Go(func() { errs[i] = start(name) })
	}
	starting.Wait()
	return errors.Join(errs...)
}

func (c *Cluster) ledgerDir() string { return filepath.Join(c.config.Dir, "ledger") }

// ServerNames are the names of the servers: "server" if there is one.
func (c *Cluster) ServerNames() []string {
	if c.config.Servers == 1 {
		return []string{"server"}
	}
	names := make([]string, c.config.Servers)
	for i := range names {
		names[i] = fmt.Sprintf("server-%d", i+1)
	}
	return names
}

// StartServer starts a server process and returns when it serves. One that was
// killed comes back at its addresses.
func (c *Cluster) StartServer(name string) error {
	at := addresses{API: "127.0.0.1:0", Gossip: "127.0.0.1:0", Actors: "127.0.0.1:0"}
	c.mu.Lock()
	if earlier, ok := c.addresses[name]; ok {
		at = earlier
	}
	c.mu.Unlock()
	var up addresses
	return c.startProcess(name, RoleServer, serverConfig{
		ID: name, Store: c.config.Store, Journal: filepath.Join(c.config.Dir, "journal.db"), PostgresURL: c.config.PostgresURL,
		Addresses: at, Join: c.seeds(name), Placement: c.config.Placement,
	}, &up, func() { c.addresses[name] = up })
}

// GossipAddresses of the servers that run.
func (c *Cluster) GossipAddresses() []string { return c.seeds("") }

// seeds are the gossip addresses of the servers that run, but for one of them.
func (c *Cluster) seeds(but string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var seeds []string
	for _, name := range c.ServerNames() {
		if p := c.processes[name]; name != but && p != nil && p.How() == "" && !c.paused[p] {
			seeds = append(seeds, c.addresses[name].Gossip)
		}
	}
	return seeds
}

// StartWorker starts a worker process and returns when it has been admitted.
func (c *Cluster) StartWorker(id string) error { return c.StartWorkerSlots(id, c.config.Slots) }

// StartWorkers starts worker processes at once and returns when all have been
// admitted.
func (c *Cluster) StartWorkers(ids ...string) error { return together(ids, c.StartWorker) }

// StartWorkerSlots starts a worker process with a number of slots of its own.
func (c *Cluster) StartWorkerSlots(id string, slots int) error {
	return c.startProcess(id, RoleWorker, workerConfig{
		ID: id, Join: c.seeds(id), Slots: slots, LedgerDir: c.ledgerDir(), FlushEvery: c.config.FlushEvery,
	}, &workerUp{}, func() {})
}

// startProcess starts a process; up is called under the lock when it answers.
func (c *Cluster) startProcess(name, role string, config, reply any, up func()) error {
	ctx, cancel := context.WithTimeoutCause(c.ctx, startTimeout,
		messages.Errorf(messages.CodeDeadline, "process %s is not up after %s", name, startTimeout))
	defer cancel()
	p, err := c.group.Start(ctx, name, role, config, reply)
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
	if backoff.Sleep(c.ctx, restartPause) != nil {
		return
	}
	err := c.restart(name)
	if c.config.Restarted != nil && c.ctx.Err() == nil {
		c.config.Restarted(name, err)
	}
}

func (c *Cluster) restart(name string) error {
	if c.isServer(name) {
		return c.StartServer(name)
	}
	return c.StartWorker(name)
}

func (c *Cluster) isServer(name string) bool { return slices.Contains(c.ServerNames(), name) }

// Process is the newest process of a server or worker.
func (c *Cluster) Process(name string) (*procs.Process, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, ok := c.processes[name]
	if !ok {
		return nil, fmt.Errorf("no process %q was started", name)
	}
	return p, nil
}

// Server is the process of the first server.
func (c *Cluster) Server() (*procs.Process, error) { return c.Process(c.ServerNames()[0]) }

// Kill ends the process of a server or worker by SIGKILL. It stays dead until
// it is started again.
func (c *Cluster) Kill(name string) error {
	p, err := c.Process(name)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.expected[p] = true
	delete(c.paused, p)
	c.mu.Unlock()
	p.Kill()
	return nil
}

// Pause freezes the process of a server or worker by SIGSTOP until
// Kill. It answers nothing meanwhile.
func (c *Cluster) Pause(name string) error {
	p, err := c.Process(name)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.paused[p] = true
	c.mu.Unlock()
	return p.Pause()
}

// Client makes a client of the servers' API that asks the first one first.
func (c *Cluster) Client() (*sdk.Client, error) { return c.clientFrom(0) }

// APIAddress of the first server, where its dashboard is, too.
func (c *Cluster) APIAddress() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.addresses[c.ServerNames()[0]].API
}

// Clients makes a client for each server, which asks that one first and the
// others when it does not answer.
func (c *Cluster) Clients() ([]*sdk.Client, error) {
	clients := make([]*sdk.Client, c.config.Servers)
	for i := range clients {
		var err error
		if clients[i], err = c.clientFrom(i); err != nil {
			return nil, err
		}
	}
	return clients, nil
}

func (c *Cluster) clientFrom(first int) (*sdk.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	names := c.ServerNames()
	var config sdk.ClientConfig
	for i := range names {
		config.Addresses = append(config.Addresses, c.addresses[names[(first+i)%len(names)]].API)
	}
	return sdk.NewClient(config)
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

// Stop ends the workers and then the servers in order, and kills what does not
// end in time.
func (c *Cluster) Stop() error {
	c.cancel()
	c.watching.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	servers, workers := c.live()
	err := errors.Join(stopAll(ctx, workers), stopAll(ctx, servers))
	c.Close()
	return err
}

func stopAll(ctx context.Context, processes []*procs.Process) error {
	errs := make([]error, len(processes))
	var stopping sync.WaitGroup
	for i, p := range processes {
		stopping.Go(func() { errs[i] = p.Stop(ctx) })
	}
	stopping.Wait()
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
	_, workers := c.live()
	return workers
}

func (c *Cluster) liveServers() []*procs.Process {
	servers, _ := c.live()
	return servers
}

// live are the processes that run and answer.
func (c *Cluster) live() (servers, workers []*procs.Process) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, p := range c.processes {
		switch {
		case p.How() != "" || c.paused[p]:
		case c.isServer(name):
			servers = append(servers, p)
		default:
			workers = append(workers, p)
		}
	}
	return servers, workers
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

// ActiveRuns is how many runs the servers that now run have in memory.
func (c *Cluster) ActiveRuns(ctx context.Context) (int, error) {
	all := 0
	for _, p := range c.liveServers() {
		var n int
		if err := p.Ask(ctx, orderActive, nil, &n); err != nil {
			return 0, err
		}
		all += n
	}
	return all, nil
}
