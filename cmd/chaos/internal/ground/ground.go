package ground

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/limpetrun/limpet/cmd/chaos/internal/verdict"
)

// databaseID is the node of PostgreSQL.
const databaseID = "pg"

// Config of a ground.
type Config struct {
	// Dir for logs; it must exist.
	Dir string
	// Namespaces gives each node one; this process must have been started by
	// Enter. Otherwise all share loopback.
	Namespaces bool
	// Limpet is the limpet command.
	Limpet string
	// Worker makes the command of a worker process, which prints an object of
	// JSON in a line when it is up.
	Worker func(WorkerSite) *exec.Cmd
	// Servers and Workers are the ids of those that are there from the start.
	Servers, Workers []string
	// Secret of the cluster; passed on in the environment.
	Secret string
	// Database starts PostgreSQL at an address; wrap, unless it is nil, makes
	// commands that are executed there.
	Database func(ctx context.Context, host string, wrap func(name string, args ...string) *exec.Cmd) (Database, error)
	// Drain drains a worker by the API, Undrain ends that; they try until they
	// succeed or ctx ends. Called by faults only.
	Drain   func(ctx context.Context, worker string, deadline time.Duration) error
	Undrain func(ctx context.Context, worker string) error
	// Preset of the membership of servers.
	Preset string
	// Seed of what has to differ between runs on one machine.
	Seed uint64
	// Say is told what goes on. Nil is told nothing.
	Say func(format string, args ...any)
}

// WorkerSite is where a worker is, and what it is to join.
type WorkerSite struct {
	ID, Host, Bind, Gossip string
	Join                   []string
}

// Database is a PostgreSQL that faults are done to.
type Database interface {
	// URL that servers reach it by.
	URL() string
	// Stop ends it in order, Kill at once; both return when it is gone.
	Stop(ctx context.Context) error
	Kill() error
	// Start starts it again and returns when it answers.
	Start(ctx context.Context) error
	// Freeze stops all of its processes, Thaw lets them go on.
	Freeze() error
	Thaw() error
	// SetClock sets the wall clock that servers see there ahead of the true one.
	SetClock(ctx context.Context, ahead time.Duration) error
	// Close ends it for good.
	Close() error
}

// Ground is a running cluster. Its methods may be called concurrently.
type Ground struct {
	config   Config
	ctx      context.Context
	cancel   context.CancelFunc
	thread   *thread
	database Database
	// acting is held by the fault that acts on the database.
	acting   sync.Mutex
	watching sync.WaitGroup

	// lines guards the network and the drops in force by fault.
	lines   sync.Mutex
	network network
	drops   map[int][]drop

	mu     sync.Mutex
	nodes  map[string]*node
	faults []verdict.Fault
	exits  []Exit
}

// Start starts PostgreSQL, the servers and the workers, and returns when all are
// up. Close it. The error leaves nothing behind.
func Start(ctx context.Context, config Config) (*Ground, error) {
	g := &Ground{config: config, thread: newThread(), nodes: map[string]*node{}, drops: map[int][]drop{}}
	g.ctx, g.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if err := g.build(ctx); err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

func (g *Ground) build(ctx context.Context) (err error) {
	if g.config.Namespaces {
		g.network, err = newNamespaces(g.thread)
	} else {
		g.network = newLoopback(g.thread, int(g.config.Seed%10_000)+os.Getpid())
	}
	if err != nil {
		return err
	}
	if err := g.startDatabase(ctx); err != nil {
		return err
	}
	for _, id := range g.config.Servers {
		if _, err := g.add(id, true); err != nil {
			return err
		}
	}
	for _, id := range g.config.Workers {
		if _, err := g.add(id, false); err != nil {
			return err
		}
	}
	// Servers first, so that workers find one; servers join each other.
	if err := g.startAll(ctx, g.config.Servers); err != nil {
		return err
	}
	return g.startAll(ctx, g.config.Workers)
}

func (g *Ground) startDatabase(ctx context.Context) error {
	place, err := g.network.add(databaseID)
	if err != nil {
		return err
	}
	g.database, err = g.config.Database(ctx, place.host, g.network.wrap(databaseID))
	return err
}

func (g *Ground) startAll(ctx context.Context, ids []string) error {
	for _, id := range ids {
		if err := g.start(g.node(id)); err != nil {
			return err
		}
	}
	for _, id := range ids {
		if err := g.awaitUp(ctx, g.node(id), false); err != nil {
			return err
		}
	}
	return nil
}

// lastLine of a log.
func lastLine(log string) string {
	text, err := os.ReadFile(log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return lines[len(lines)-1]
}

// add makes a node, without a process yet. A node that is there already stays.
func (g *Ground) add(id string, server bool) (*node, error) {
	if n := g.node(id); n != nil {
		return n, nil
	}
	g.lines.Lock()
	place, err := g.network.add(id)
	g.lines.Unlock()
	if err != nil {
		return nil, err
	}
	n := &node{id: id, server: server, site: place, log: filepath.Join(g.config.Dir, id+".log")}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.nodes[id] = n
	return n, nil
}

func (g *Ground) node(id string) *node {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.nodes[id]
}

// command is what the node's process is started by. The secrets are in the
// environment only: of the cluster, and of the database.
func (g *Ground) command(n *node) *exec.Cmd {
	var cmd *exec.Cmd
	if n.server {
		cmd = exec.Command(g.config.Limpet, "server", "--json", "--id", n.id, "--preset", g.config.Preset,
			"--listen", n.site.api, "--bind", n.site.actors, "--gossip", n.site.gossip)
		if join := g.serversBut(n.id); len(join) > 0 {
			cmd.Args = append(cmd.Args, "--join", strings.Join(join, ","))
		}
	} else {
		cmd = g.config.Worker(WorkerSite{ID: n.worker(), Host: n.site.host, Bind: n.site.actors, Gossip: n.site.gossip, Join: g.serversBut(n.id)})
	}
	// Settings of whoever calls are not those of the nodes.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "LIMPET_") })
	cmd.Env = append(cmd.Env, "LIMPET_SECRET="+g.config.Secret)
	if n.server {
		cmd.Env = append(cmd.Env, "LIMPET_STORE="+cmp.Or(n.store, g.database.URL()))
	}
	return cmd
}

// serversBut is the gossip addresses of the first servers, without one.
func (g *Ground) serversBut(id string) []string {
	var join []string
	for _, s := range g.config.Servers {
		if s != id {
			join = append(join, g.node(s).site.gossip)
		}
	}
	return join
}

// APIs are the addresses of the first servers' API, host:port.
func (g *Ground) APIs() []string {
	apis := make([]string, 0, len(g.config.Servers))
	for _, id := range g.config.Servers {
		apis = append(apis, g.node(id).site.api)
	}
	return apis
}

// ids of all servers and workers but some, and but those that have left for
// good.
func (g *Ground) ids(but []string) []string {
	var ids []string
	for _, n := range g.all() {
		if !slices.Contains(but, n.id) && !n.hasLeft() {
			ids = append(ids, n.id)
		}
	}
	slices.Sort(ids)
	return ids
}

// Faults are those done so far, in the order of time.
func (g *Ground) Faults() []verdict.Fault {
	g.mu.Lock()
	defer g.mu.Unlock()
	faults := slices.Clone(g.faults)
	slices.SortStableFunc(faults, func(a, b verdict.Fault) int { return a.At.Compare(b.At) })
	return faults
}

// Exits are the processes that ended without being told to, or not in order.
func (g *Ground) Exits() []Exit {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.exits)
}

func (g *Ground) exited(e Exit) {
	g.mu.Lock()
	g.exits = append(g.exits, e)
	g.mu.Unlock()
	if e.Told {
		g.say("%s did not stop in order: %s: %s", e.Node, e.How, lastLine(e.Log))
		return
	}
	g.say("%s ended by itself: %s: %s", e.Node, e.How, lastLine(e.Log))
}

func (g *Ground) say(format string, args ...any) {
	if g.config.Say != nil {
		g.config.Say(format, args...)
	}
}

// Recall starts every worker that ever was and is away now: HARD runs wait for
// the one that they are bound to. No fault may be under way.
func (g *Ground) Recall(ctx context.Context) error {
	var recalled []*node
	for _, n := range g.all() {
		if n.server || n.double != "" || n.pid() != 0 {
			continue
		}
		joined := g.note(verdict.Fault{Kind: verdict.WorkerJoin, Target: n.id})
		if err := g.start(n); err != nil {
			return err
		}
		joined()
		recalled = append(recalled, n)
	}
	for _, n := range recalled {
		if err := g.awaitUp(ctx, n, true); err != nil {
			return err
		}
	}
	return nil
}

// Stop ends the workers, then the servers, in order; what does not is among the
// Exits. Close it all the same.
func (g *Ground) Stop(ctx context.Context) error {
	g.cancel()
	var errs []error
	for _, servers := range []bool{false, true} {
		var stopping sync.WaitGroup
		var mu sync.Mutex
		for _, n := range g.all() {
			if n.server != servers {
				continue
			}
			stopping.Go(func() {
				err := g.stop(ctx, n)
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			})
		}
		stopping.Wait()
	}
	return errors.Join(errs...)
}

func (g *Ground) all() []*node {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Collect(maps.Values(g.nodes))
}

// Close kills what is left and removes the network.
func (g *Ground) Close() {
	g.cancel()
	for _, n := range g.all() {
		_ = n.kill()
	}
	g.watching.Wait()
	if g.database != nil {
		if err := g.database.Close(); err != nil {
			g.say("%v", err)
		}
	}
	if g.network != nil {
		g.network.close()
	}
	g.thread.close()
}

// String describes the ground: "3 servers, 5 workers, each in a network
// namespace".
func (g *Ground) String() string {
	where := "on loopback, WITHOUT partitions"
	if g.network.cuts() {
		where = "each in a network namespace of its own"
	}
	return strconv.Itoa(len(g.config.Servers)) + " servers, " + strconv.Itoa(len(g.config.Workers)) + " workers, PostgreSQL, " + where
}
