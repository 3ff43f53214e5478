package bench

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/limpetrun/limpet/cmd/internal/localcluster"
	"github.com/limpetrun/limpet/cmd/internal/procs"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/sdk"
)

const (
	// flushEvery is how long workers gather lines of their ledgers.
	flushEvery = 20 * time.Millisecond
	// rssEvery is how often the server's memory is looked at.
	rssEvery = 250 * time.Millisecond
	// pageSize of listings.
	pageSize = 1000
	// entriesSample is how many runs EntriesPerRun is taken from.
	entriesSample = 50
)

// bench is a measurement in progress.
type bench struct {
	config   Config
	figures  *Figures
	cluster  *localcluster.Cluster
	client   *sdk.Client
	workflow *sdk.Workflow[Input]
	progress *progress
	died     atomic.Int64
	// measured are the ids of the runs that count, in the order of their start.
	measured []string
	// peak is the server's memory, in bytes.
	peak int64
}

// Run measures. All that it started is gone when it returns.
func Run(ctx context.Context, config Config) (*Figures, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(config.Dir, "limpet-bench-")
	if err != nil {
		return nil, err
	}
	if !config.Keep {
		defer func() { _ = os.RemoveAll(dir) }()
	}
	b := &bench{
		config: config, workflow: workflow(config.Workload, config.Sticky, nil), progress: newProgress(config.Progress, config.Terminal),
		figures: &Figures{
			Workload: config.Workload, Store: config.Store, Sticky: config.Sticky,
			Runs: config.Runs, Workers: config.Workers, Slots: config.Slots, Sequential: config.Sequential,
		},
	}
	defer b.progress.end()
	if config.Limits {
		b.progress.show("measuring the limits of this machine")
		if b.figures.Limits, err = measureLimits(ctx, dir, config.PeerArgs); err != nil {
			return nil, fmt.Errorf("measure the limits of this machine: %w", err)
		}
	}
	if err := b.start(ctx, dir); err != nil {
		return nil, err
	}
	defer b.cluster.Close()
	if err := b.warmUp(ctx); err != nil {
		return nil, err
	}
	if err := b.measure(ctx); err != nil {
		return nil, err
	}
	if err := b.evaluate(ctx); err != nil {
		return nil, err
	}
	return b.figures, b.cluster.Stop()
}

func (b *bench) start(ctx context.Context, dir string) error {
	b.progress.show("starting processes")
	var workers []string
	for i := range b.config.Workers {
		workers = append(workers, fmt.Sprintf("worker-%d", i+1))
	}
	var err error
	b.cluster, err = localcluster.Start(ctx, localcluster.Config{
		Dir: dir, Store: b.config.Store, Slots: b.config.Slots, FlushEvery: flushEvery,
		ServerArgs: b.config.ServerArgs, WorkerArgs: b.config.WorkerArgs,
		Died: func(name, how string) {
			b.died.Add(1)
			b.progress.line("%s died (%s), it will be restarted", name, how)
		},
		Restarted: func(name string, err error) {
			if err != nil {
				b.progress.line("%s could not be restarted: %v", name, err)
				return
			}
			b.progress.line("%s is up again", name)
		},
	}, workers...)
	if err != nil {
		return err
	}
	b.client, err = b.cluster.Client()
	return err
}

func (b *bench) warmUp(ctx context.Context) error {
	if b.config.Warmup == 0 {
		return nil
	}
	b.progress.show("warming up")
	runs, err := b.workflow.StartMany(ctx, b.client, make([]Input, b.config.Warmup))
	if err != nil {
		return err
	}
	return b.awaitAll(ctx, runs[len(runs)-1].ID())
}

// measure runs what counts, between two looks at the usage of the processes.
func (b *bench) measure(ctx context.Context) error {
	if err := b.startProfiles(ctx); err != nil {
		return err
	}
	before, err := b.usage(ctx)
	if err != nil {
		return err
	}
	watching, stop := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		b.watchServer(watching)
	}()
	if b.config.Sequential {
		err = b.sequential(ctx)
	} else {
		err = b.bulk(ctx)
	}
	stop()
	<-watched
	if err != nil {
		return err
	}
	after, err := b.usage(ctx)
	if err != nil {
		return err
	}
	if b.died.Load() == 0 {
		b.figures.cpu(before, after)
	}
	b.figures.ServerRSSMB = round(float64(max(b.peak, after.server.ResidentBytes))/(1<<20), 1)
	return b.endProfiles(ctx)
}

// bulk starts all runs and waits until none is unfinished.
func (b *bench) bulk(ctx context.Context) error {
	inputs := make([]Input, b.config.Runs)
	for i := range inputs {
		inputs[i].Number = i
	}
	begin := time.Now()
	runs, err := b.workflow.StartMany(ctx, b.client, inputs)
	if err != nil {
		return err
	}
	b.figures.StartsPerS = perSecond(len(runs), time.Since(begin))
	b.measured = make([]string, len(runs))
	for i, r := range runs {
		b.measured[i] = r.ID()
	}
	if err := b.awaitAll(ctx, b.measured[len(b.measured)-1]); err != nil {
		return err
	}
	return b.storedTimes(ctx, begin)
}

// awaitAll waits until no run is unfinished, first for the one with the id.
func (b *bench) awaitAll(ctx context.Context, id string) error {
	for id != "" {
		if _, err := b.client.Run(id).Ended(ctx); err != nil {
			return err
		}
		left, err := b.client.ListRuns(ctx, &api.ListRunsRequest{Statuses: []messages.RunStatus{sdk.Running}, PageSize: 1})
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

// storedTimes takes latencies and the end from what is stored with the runs.
func (b *bench) storedTimes(ctx context.Context, begin time.Time) error {
	measured := b.measuredSet()
	var (
		latencies []time.Duration
		end       time.Time
		token     string
	)
	for {
		page, err := b.client.ListRuns(ctx, &api.ListRunsRequest{
			Workflow: b.workflow.Name(), CreatedAfter: timestamppb.New(begin.Add(-time.Second)), PageSize: pageSize, PageToken: token,
		})
		if err != nil {
			return err
		}
		for _, r := range page.GetRuns() {
			if !measured[r.GetRunId()] {
				continue
			}
			if r.GetStatus() != sdk.Succeeded {
				b.figures.RunsFailed++
			}
			created, finished := r.GetCreatedAt().AsTime(), r.GetFinishedAt().AsTime()
			latencies = append(latencies, finished.Sub(created))
			if finished.After(end) {
				end = finished
			}
		}
		if token = page.GetNextPageToken(); token == "" {
			break
		}
	}
	if len(latencies) != len(measured) {
		return messages.Errorf(messages.CodeInternal, "%d runs were started, but %d are listed", len(measured), len(latencies))
	}
	b.rates(end.Sub(begin), latencies)
	return nil
}

func (b *bench) rates(took time.Duration, latencies []time.Duration) {
	f := b.figures
	f.Seconds = round(took.Seconds(), 3)
	f.RunsPerS = round(float64(f.Runs)/took.Seconds(), 1)
	f.StepsPerS = round(float64(f.Runs*steps(f.Workload))/took.Seconds(), 1)
	f.latencies(latencies)
}

// sequential starts a run when the one before has ended.
func (b *bench) sequential(ctx context.Context) error {
	latencies := make([]time.Duration, 0, b.config.Runs)
	begin := time.Now()
	for i := range b.config.Runs {
		one := time.Now()
		run, err := b.workflow.Start(ctx, b.client, Input{Number: i})
		if err != nil {
			return err
		}
		if err := run.Wait(ctx); err != nil {
			b.figures.RunsFailed++
			b.progress.line("%v", err)
		}
		latencies = append(latencies, time.Since(one))
		b.measured = append(b.measured, run.ID())
	}
	b.rates(time.Since(begin), latencies)
	b.figures.StartsPerS = b.figures.RunsPerS
	return nil
}

func (b *bench) measuredSet() map[string]bool {
	set := make(map[string]bool, len(b.measured))
	for _, id := range b.measured {
		set[id] = true
	}
	return set
}

// evaluate reads the ledgers and some histories, after the measured time.
func (b *bench) evaluate(ctx context.Context) error {
	b.progress.show("reading what the steps recorded")
	executions, err := b.cluster.Ledger(ctx)
	if err != nil {
		return err
	}
	f := b.figures
	f.executions(executions, b.measuredSet())
	f.ProcessesDied = int(b.died.Load())
	entries, sampled := 0.0, 0
	for i := 0; i < len(b.measured) && sampled < entriesSample; i += max(len(b.measured)/entriesSample, 1) {
		last := uint64(0)
		for entry, err := range b.client.Run(b.measured[i]).Watch(ctx, 0) {
			if err != nil {
				return err
			}
			last = entry.GetEntry()
		}
		entries += float64(last)
		sampled++
	}
	f.EntriesPerRun = round(entries/float64(max(sampled, 1)), 2)
	if f.Limits != nil {
		f.compare(f)
	}
	return nil
}

// watchServer looks at the server's memory, and tells how far the runs are.
func (b *bench) watchServer(ctx context.Context) {
	ticker := time.NewTicker(rssEvery)
	defer ticker.Stop()
	begin := time.Now()
	for tick := 1; ; tick++ {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		// Not ctx: an order that is given up kills the process.
		if server, err := b.cluster.Server(); err == nil {
			if u, err := server.Usage(context.WithoutCancel(ctx)); err == nil {
				b.peak = max(b.peak, u.ResidentBytes)
			}
		}
		if tick%4 == 0 {
			done := b.cluster.Executions(context.WithoutCancel(ctx))
			b.progress.show("%.0f s: %d of %d steps executed", time.Since(begin).Seconds(),
				max(done-int64(b.config.Warmup*steps(b.config.Workload)), 0), b.config.Runs*steps(b.config.Workload))
		}
	}
}

func (b *bench) usage(ctx context.Context) (usage, error) {
	var u usage
	var err error
	if u.client, err = procs.OwnUsage(); err != nil {
		return u, err
	}
	server, err := b.cluster.Server()
	if err != nil {
		return u, err
	}
	if u.server, err = server.Usage(ctx); err != nil {
		return u, err
	}
	for i := range b.config.Workers {
		worker, err := b.cluster.Worker(fmt.Sprintf("worker-%d", i+1))
		if err != nil {
			return u, err
		}
		one, err := worker.Usage(ctx)
		if err != nil {
			return u, err
		}
		u.workers.CPU += one.CPU
		u.workers.ResidentBytes += one.ResidentBytes
	}
	return u, nil
}
