package bench

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/limpetrun/limpet/actors/placement"
	"github.com/limpetrun/limpet/cmd/internal/localcluster"
	"github.com/limpetrun/limpet/cmd/internal/procs"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/sdk"
)

const (
	// pageSize of listings.
	pageSize = 1000
	// startPart is how many runs of several servers' are started by one call.
	startPart = 2500
)

// Result is what a measurement found: it encodes as JSON, and as a table.
type Result interface{ Table() string }

// Run measures what the configuration asks for. All that it started is gone
// when it returns.
func Run(ctx context.Context, config Config) (Result, error) {
	switch {
	case config.Failover != "":
		return Failover(ctx, config)
	case config.Workload == WaitingRuns:
		return Waiting(ctx, config)
	case config.Workload == QueuedRuns:
		return Queued(ctx, config)
	case config.Workload == CrowdOfWorkers:
		return Workers(ctx, config)
	case config.Workload == SignaledRuns:
		return Signals(ctx, config)
	case config.Workload == AskedRuns:
		return Asked(ctx, config)
	case config.Workload == StreamedRuns:
		return Streamed(ctx, config)
	case config.Workload == SuspendedRuns:
		return Suspended(ctx, config)
	case config.Workload == KeyedRuns:
		return Keyed(ctx, config)
	case config.Workload == HandoffRuns:
		return Handoff(ctx, config)
	}
	return Throughput(ctx, config)
}

// rig is what every measurement stands on: a cluster of processes, a client for
// each server, and the limits of the machine.
type rig struct {
	config   Config
	dir      string
	progress *progress
	cluster  *localcluster.Cluster
	clients  []*sdk.Client
	// database is nil unless the store is PostgreSQL.
	database *database
	limits   *Limits
	died     atomic.Int64
	// nonce begins the idempotency keys, which count up.
	nonce string
	keys  int
}

// on measures with a rig that is gone when it returns. flushEvery is how long
// workers gather lines of their ledgers; workers names those to start.
func on(ctx context.Context, config Config, flushEvery time.Duration, workers []string, measure func(*rig) error) (err error) {
	if err := config.Validate(); err != nil {
		return err
	}
	config = config.withDefaults()
	r := &rig{config: config, progress: newProgress(config.Progress, config.Terminal), nonce: strings.ToLower(rand.Text()[:10])}
	defer r.progress.end()
	if config.Dir != "" {
		// PostgreSQL's own programs work in other directories.
		if config.Dir, err = filepath.Abs(config.Dir); err != nil {
			return err
		}
	}
	if r.dir, err = os.MkdirTemp(config.Dir, "limpet-bench-"); err != nil {
		return err
	}
	if !config.Keep {
		defer func() { _ = os.RemoveAll(r.dir) }()
	}
	if config.Limits {
		r.progress.show("measuring the limits of this machine")
		if r.limits, err = measureLimits(ctx, r.dir); err != nil {
			return fmt.Errorf("measure the limits of this machine: %w", err)
		}
	}
	if config.Store == localcluster.StorePostgres {
		r.progress.show("starting PostgreSQL")
		if r.database, err = openDatabase(ctx, config.PostgresURL, config.Dir); err != nil {
			return err
		}
		defer func() {
			if cerr := r.database.close(); err == nil {
				err = cerr
			}
		}()
	}
	if err := r.start(ctx, flushEvery, workers); err != nil {
		return err
	}
	defer r.cluster.Close()
	if err := measure(r); err != nil {
		return err
	}
	return r.cluster.Stop()
}

// workerNames are the ids of the workers.
func (c Config) workerNames() []string {
	names := make([]string, max(c.withDefaults().Workers, 0))
	for i := range names {
		names[i] = fmt.Sprintf("worker-%d", i+1)
	}
	return names
}

func (r *rig) start(ctx context.Context, flushEvery time.Duration, workers []string) error {
	r.progress.show("starting processes")
	config := localcluster.Config{
		Dir: r.dir, Store: r.config.Store, Servers: r.config.Servers, Slots: r.config.Slots, FlushEvery: flushEvery,
		Placement: placement.Config{HeldLoadBound: r.config.heldLoadBound},
		Died: func(name, how string) {
			r.died.Add(1)
			r.progress.line("%s died (%s), it will be restarted", name, how)
		},
		Restarted: func(name string, err error) {
			if err != nil {
				r.progress.line("%s could not be restarted: %v", name, err)
				return
			}
			r.progress.line("%s is up again", name)
		},
	}
	if r.database != nil {
		config.PostgresURL = r.database.url
	}
	var err error
	if r.cluster, err = localcluster.Start(ctx, config, workers...); err != nil {
		return err
	}
	if r.clients, err = r.cluster.Clients(); err != nil {
		r.cluster.Close()
		return err
	}
	return r.awaitServers(ctx)
}

// client asks the first server first.
func (r *rig) client() *sdk.Client { return r.clients[0] }

// poll asks until it is done, or ctx ends: its cause is the error.
func poll(ctx context.Context, every time.Duration, ask func() (done bool, err error)) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		if done, err := ask(); done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
	}
}

// upTimeout is how long members may take to agree on who is there.
const upTimeout = 30 * time.Second

// awaitServers returns when every server counts all of them.
func (r *rig) awaitServers(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, upTimeout,
		messages.Errorf(messages.CodeDeadline, "the %d servers do not all own shards after %s", r.config.Servers, upTimeout))
	defer cancel()
	return poll(ctx, 20*time.Millisecond, func() (bool, error) {
		for _, c := range r.clients {
			members, err := c.ListMembers(ctx)
			if err != nil {
				return false, err
			}
			own := 0
			for _, m := range members {
				if m.GetShards() > 0 {
					own++
				}
			}
			if own != r.config.Servers {
				return false, nil
			}
		}
		return true, nil
	})
}

// startAll starts runs, one for each input, spread over the servers, and
// returns their ids in the order of the inputs. They carry idempotency keys: a
// server that dies over a call ends nothing.
func startAll[In any](ctx context.Context, r *rig, w *sdk.Workflow[In], inputs []In) ([]string, error) {
	first := r.keys
	r.keys += len(inputs)
	ids := make([]string, len(inputs))
	start := func(client *sdk.Client, from, to int) error {
		runs, err := w.StartMany(ctx, client, inputs[from:to], &sdk.StartManyOptions{
			IdempotencyKey: func(i int) string { return fmt.Sprintf("%s-%d", r.nonce, first+from+i) },
		})
		for i, run := range runs {
			ids[from+i] = run.ID()
		}
		return err
	}
	if len(r.clients) == 1 {
		return ids, start(r.client(), 0, len(inputs))
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var starting sync.WaitGroup
	for _, client := range r.clients {
		starting.Go(func() {
			for ctx.Err() == nil {
				to := int(next.Add(startPart))
				from := to - startPart
				if from >= len(inputs) {
					return
				}
				if err := start(client, from, min(to, len(inputs))); err != nil {
					cancel(err)
				}
			}
		})
	}
	starting.Wait()
	return ids, context.Cause(ctx)
}

// awaitAll waits until no run is unfinished, first for the one with the id.
func (r *rig) awaitAll(ctx context.Context, id string) error {
	for id != "" {
		if _, err := r.client().Run(id).Ended(ctx); err != nil {
			return err
		}
		left, err := r.client().ListRuns(ctx, &api.ListRunsRequest{Statuses: []messages.RunStatus{sdk.Running}, PageSize: 1})
		if err != nil {
			return err
		}
		id = ""
		if len(left.GetRuns()) > 0 {
			id = left.GetRuns()[0].GetRunId()
		}
	}
	return nil
}

// list calls each with all runs of a workflow created after a time.
func (r *rig) list(ctx context.Context, workflow string, after time.Time, each func(*api.Run)) error {
	token := ""
	for {
		page, err := r.client().ListRuns(ctx, &api.ListRunsRequest{
			Workflow: workflow, CreatedAfter: timestamppb.New(after.Add(-time.Second)), PageSize: pageSize, PageToken: token,
		})
		if err != nil {
			return err
		}
		for _, run := range page.GetRuns() {
			each(run)
		}
		if token = page.GetNextPageToken(); token == "" {
			return nil
		}
	}
}

// usage of all processes at one moment.
type usage struct {
	server, workers, client procs.Usage
	postgres                time.Duration
	journaled               localcluster.Journaled
}

func (r *rig) usage(ctx context.Context) (u usage, err error) {
	if u.client, err = procs.OwnUsage(); err != nil {
		return u, err
	}
	of := func(names []string, into *procs.Usage) error {
		for _, name := range names {
			p, err := r.cluster.Process(name)
			if err != nil {
				return err
			}
			one, err := p.Usage(ctx)
			if err != nil {
				return err
			}
			into.CPU += one.CPU
			into.ResidentBytes = max(into.ResidentBytes, one.ResidentBytes)
		}
		return nil
	}
	if err = of(r.cluster.ServerNames(), &u.server); err != nil {
		return u, err
	}
	if err = of(r.config.workerNames(), &u.workers); err != nil {
		return u, err
	}
	if u.journaled, err = r.cluster.Journaled(ctx); err != nil || r.database == nil {
		return u, err
	}
	u.postgres, err = r.database.cpu()
	return u, err
}

// set has measured runs.
func set(ids []string) map[string]bool {
	all := make(map[string]bool, len(ids))
	for _, id := range ids {
		all[id] = true
	}
	return all
}

// orderRelease opens the gates of a worker process up to a trial.
const orderRelease = "release"

// workerChild is a worker process whose steps can be held.
type workerChild struct {
	procs.Child
	gate *gate
}

// Roles are what the processes of the bench do.
func Roles() procs.Roles {
	roles := localcluster.Roles(newWorkerChild)
	roles[rolePeer] = newPeerChild
	roles[roleCrowd], roles[roleBusy] = newCrowdChild, newBusyChild
	return roles
}

func newWorkerChild() procs.Child {
	g := newGate()
	return &workerChild{localcluster.WorkerChild(workflowsWith(g)), g}
}

func (w *workerChild) Do(ctx context.Context, order string, body json.RawMessage) (any, error) {
	if order != orderRelease {
		return w.Child.Do(ctx, order, body)
	}
	var trial int
	if err := json.Unmarshal(body, &trial); err != nil {
		return nil, err
	}
	w.gate.release(trial)
	return nil, nil
}

// gate holds the steps of a trial until it is released.
type gate struct {
	mu      sync.Mutex
	upTo    int
	changed chan struct{}
}

func newGate() *gate { return &gate{changed: make(chan struct{})} }

func (g *gate) release(trial int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.upTo = max(g.upTo, trial)
	close(g.changed)
	g.changed = make(chan struct{})
}

// wait returns when the trial is released, or with ctx's error.
func (g *gate) wait(ctx context.Context, trial int) error {
	for {
		g.mu.Lock()
		upTo, changed := g.upTo, g.changed
		g.mu.Unlock()
		if upTo >= trial {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
