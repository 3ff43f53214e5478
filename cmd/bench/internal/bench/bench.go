package bench

import (
	"context"
	"time"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/sdk"
)

const (
	// flushEvery is how long workers gather lines of their ledgers.
	flushEvery = 20 * time.Millisecond
	// rssEvery is how often the servers' memory is looked at.
	rssEvery = 250 * time.Millisecond
	// entriesSample is how many runs EntriesPerRun is taken from.
	entriesSample = 50
)

// bench is a measurement of throughput and latencies in progress.
type bench struct {
	*rig
	figures  *Figures
	workflow *sdk.Workflow[Input]
	// measured are the ids of the runs that count, in the order of their start.
	measured []string
	// peak is the most memory that a server had, in bytes.
	peak int64
}

// Throughput measures runs a second and latencies of a workload.
func Throughput(ctx context.Context, config Config) (*Figures, error) {
	var figures *Figures
	err := on(ctx, config, flushEvery, config.workerNames(), func(r *rig) error {
		c := r.config
		b := &bench{rig: r, workflow: workflow(c.Workload, c.Sticky, nil), figures: &Figures{
			Workload: c.Workload, Store: c.Store, Sticky: c.Sticky, Servers: c.Servers,
			Runs: c.Runs, Workers: c.Workers, Slots: c.Slots, Sequential: c.Sequential, Limits: r.limits,
		}}
		figures = b.figures
		return b.run(ctx)
	})
	return figures, err
}

func (b *bench) run(ctx context.Context) error {
	if err := b.warmUp(ctx); err != nil {
		return err
	}
	if err := b.measure(ctx); err != nil {
		return err
	}
	return b.evaluate(ctx)
}

func (b *bench) warmUp(ctx context.Context) error {
	if b.config.Warmup == 0 {
		return nil
	}
	b.progress.show("warming up")
	runs, err := startAll(ctx, b.rig, b.workflow, make([]Input, b.config.Warmup))
	if err != nil {
		return err
	}
	return b.awaitAll(ctx, runs[len(runs)-1])
}

// measure runs what counts, between two readings of the usage of the processes.
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
		b.watchServers(watching)
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
		b.figures.used(before, after)
	}
	b.figures.ServerRSSMB = megabytes(max(b.peak, after.server.ResidentBytes))
	return b.endProfiles(ctx)
}

// bulk starts all runs and waits until none is unfinished.
func (b *bench) bulk(ctx context.Context) error {
	inputs := make([]Input, b.config.Runs)
	for i := range inputs {
		inputs[i].Number = i
	}
	begin := time.Now()
	var err error
	if b.measured, err = startAll(ctx, b.rig, b.workflow, inputs); err != nil {
		return err
	}
	b.figures.StartsPerS = perSecond(len(b.measured), time.Since(begin))
	if err := b.awaitAll(ctx, b.measured[len(b.measured)-1]); err != nil {
		return err
	}
	return b.storedTimes(ctx, begin)
}

// storedTimes takes latencies and the end from what is stored with the runs.
func (b *bench) storedTimes(ctx context.Context, begin time.Time) error {
	measured := set(b.measured)
	var (
		latencies []time.Duration
		end       time.Time
	)
	err := b.list(ctx, b.workflow.Name(), begin, func(r *api.Run) {
		if !measured[r.GetRunId()] {
			return
		}
		if r.GetStatus() != sdk.Succeeded {
			b.figures.RunsFailed++
		}
		created, finished := r.GetCreatedAt().AsTime(), r.GetFinishedAt().AsTime()
		latencies = append(latencies, finished.Sub(created))
		if finished.After(end) {
			end = finished
		}
	})
	if err != nil {
		return err
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
	if f.Workload == StepCalls {
		f.CallsPerS = round(f.RunsPerS*callsPerRun, 1)
		if f.Sequential {
			f.CallMs = round(f.P50Ms/callsPerRun, 3)
		}
	}
}

// sequential starts a run when the one before has ended, on one server after
// the other.
func (b *bench) sequential(ctx context.Context) error {
	latencies := make([]time.Duration, 0, b.config.Runs)
	begin := time.Now()
	for i := range b.config.Runs {
		one := time.Now()
		run, err := b.workflow.Start(ctx, b.clients[i%len(b.clients)], Input{Number: i})
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

// evaluate reads the ledgers and some histories, after the measured time.
func (b *bench) evaluate(ctx context.Context) error {
	b.progress.show("reading what the steps recorded")
	executions, err := b.cluster.Ledger(ctx)
	if err != nil {
		return err
	}
	f := b.figures
	f.executions(executions, set(b.measured))
	f.ProcessesDied = int(b.died.Load())
	entries, sampled := 0.0, 0
	for i := 0; i < len(b.measured) && sampled < entriesSample; i += max(len(b.measured)/entriesSample, 1) {
		last := uint64(0)
		for entry, err := range b.client().Run(b.measured[i]).Watch(ctx, 0) {
			if err != nil {
				return err
			}
			last = entry.GetEntry()
		}
		entries += float64(last)
		sampled++
	}
	f.EntriesPerRun = round(entries/float64(max(sampled, 1)), 2)
	if f.Limits == nil {
		return nil
	}
	if err := b.databaseLimits(ctx, f.EntriesPerCommit, f.BytesPerEntry); err != nil {
		return err
	}
	f.compare(f)
	return nil
}

// databaseLimits measures what PostgreSQL does with the batches of this run.
func (b *rig) databaseLimits(ctx context.Context, perCommit, bytesPerEntry float64) error {
	if b.database == nil || b.limits == nil {
		return nil
	}
	b.progress.show("measuring the limits of PostgreSQL")
	return b.database.limits(ctx, b.limits, max(int(perCommit+0.5), 1), max(int(bytesPerEntry+0.5), 1))
}

// watchServers reads the servers' memory, and tells how far the runs are.
func (b *bench) watchServers(ctx context.Context) {
	ticker := time.NewTicker(rssEvery)
	defer ticker.Stop()
	begin := time.Now()
	for tick := 1; ; tick++ {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		// Not ctx: an order that is given up keeps the next from its answer.
		b.peak = max(b.peak, b.largestServer(context.WithoutCancel(ctx)))
		if tick%4 == 0 {
			done := b.cluster.Executions(context.WithoutCancel(ctx))
			b.progress.show("%.0f s: %d of %d steps executed", time.Since(begin).Seconds(),
				max(done-int64(b.config.Warmup*steps(b.config.Workload)), 0), b.config.Runs*steps(b.config.Workload))
		}
	}
}

// largestServer is the memory of the server that has most now, in bytes.
func (r *rig) largestServer(ctx context.Context) int64 {
	most := int64(0)
	for _, name := range r.cluster.ServerNames() {
		p, err := r.cluster.Process(name)
		if err != nil || p.How() != "" {
			continue
		}
		if u, err := p.Usage(ctx); err == nil {
			most = max(most, u.ResidentBytes)
		}
	}
	return most
}
