package bench

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/limpetrun/limpet/messages"
)

// queuedRest is how long the servers rest after the last run has ended, before
// their memory is looked at as it is.
const queuedRest = 20 * time.Second

// Queued measures what it takes to have many runs wait to be placed, and what is
// left of that when all have ended: they are started while there is no worker.
func Queued(ctx context.Context, config Config) (*QueuedFigures, error) {
	var figures *QueuedFigures
	err := on(ctx, config, flushEvery, nil, func(r *rig) error {
		c := r.config
		figures = &QueuedFigures{Workload: c.Workload, Store: c.Store, Sticky: c.Sticky, Servers: c.Servers, Runs: c.Runs, Workers: c.Workers, Slots: c.Slots}
		w := &waiting{rig: r, begin: time.Now(), figures: &WaitingFigures{}}
		return w.queue(ctx, figures)
	})
	return figures, err
}

// profileServer writes the heap profile that is asked for, if any.
func (w *waiting) profileServer(ctx context.Context) error {
	if w.config.ServerHeap == "" {
		return nil
	}
	p, err := w.cluster.Server()
	if err != nil {
		return err
	}
	return p.LiveHeapProfile(ctx, w.config.ServerHeap)
}

func (w *waiting) queue(ctx context.Context, f *QueuedFigures) error {
	if err := w.warmUp(ctx); err != nil {
		return err
	}
	idle, err := w.memory(ctx, w.cluster.ServerNames())
	if err != nil {
		return err
	}
	begin := time.Now()
	w.progress.show("starting %d runs", f.Runs)
	runs, err := startAll(ctx, w.rig, workflow(Noop1, w.config.Sticky, nil), make([]Input, f.Runs))
	if err != nil {
		return err
	}
	f.StartsPerS = perSecond(f.Runs, time.Since(begin))
	f.StartPeakMB = megabytes(w.largestServer(ctx))
	queued, err := w.settled(ctx, idle)
	if err != nil {
		return err
	}
	if err := w.profileServer(ctx); err != nil {
		return err
	}
	inMemory, err := w.cluster.ActiveRuns(ctx)
	if err != nil {
		return err
	}
	if err := w.execute(ctx, f, runs[len(runs)-1]); err != nil {
		return err
	}
	w.progress.show("all have ended; resting")
	select {
	case <-time.After(queuedRest):
	case <-ctx.Done():
		return ctx.Err()
	}
	f.RestMB = megabytes(w.largestServer(ctx))
	after, err := w.memory(ctx, w.cluster.ServerNames())
	if err != nil {
		return err
	}
	f.InMemory = inMemory
	f.IdleMB, f.QueuedMB, f.AfterMB = megabytes(idle.ResidentBytes), megabytes(queued.ResidentBytes), megabytes(after.ResidentBytes)
	f.HeapIdleMB, f.HeapQueuedMB, f.HeapAfterMB = megabytes(idle.HeapBytes), megabytes(queued.HeapBytes), megabytes(after.HeapBytes)
	f.BytesPerRun = (queued.ResidentBytes - idle.ResidentBytes) / int64(f.Runs)
	f.StepsRunTwice, f.ProcessesDied = int(w.cluster.Executions(ctx))-f.Runs, int(w.died.Load())
	if f.StepsRunTwice != 0 || f.ProcessesDied != 0 {
		return messages.Errorf(messages.CodeInternal, "%d steps ran twice, %d processes died", f.StepsRunTwice, f.ProcessesDied)
	}
	return nil
}

// execute starts the workers, and returns when all runs have ended and left memory.
func (w *waiting) execute(ctx context.Context, f *QueuedFigures, last string) error {
	begin := time.Now()
	if err := w.startWorkers(); err != nil {
		return err
	}
	if err := w.moves(ctx, "runs executed", int64(f.Runs), w.executions); err != nil {
		return err
	}
	if err := w.awaitAll(ctx, last); err != nil {
		return err
	}
	f.RunsPerS = perSecond(f.Runs, time.Since(begin))
	if err := w.untilPassive(ctx); err != nil {
		return err
	}
	f.DrainPeakMB = w.figures.ServerPeakMB
	return nil
}

// QueuedFigures are the result of Queued.
type QueuedFigures struct {
	Workload string `json:"workload"`
	Store    string `json:"store"`
	Sticky   string `json:"sticky"`
	Servers  int    `json:"servers"`
	Runs     int    `json:"runs"`
	Workers  int    `json:"workers"`
	Slots    int    `json:"slots"`

	StartsPerS float64 `json:"starts_per_s"`
	// RunsPerS from the start of the workers' processes to the last end.
	RunsPerS float64 `json:"runs_per_s"`
	// InMemory are the runs that the servers had in memory while all waited.
	InMemory int `json:"in_memory"`
	// BytesPerRun is the memory of all servers above idle while all wait, by run.
	BytesPerRun int64 `json:"bytes_per_run"`
	// Memory of all servers together, each after a collection: resident and live in
	// Go's heap; before the first run, while all wait, and when all have ended.
	IdleMB       float64 `json:"idle_mb"`
	QueuedMB     float64 `json:"queued_mb"`
	AfterMB      float64 `json:"after_mb"`
	HeapIdleMB   float64 `json:"heap_idle_mb"`
	HeapQueuedMB float64 `json:"heap_queued_mb"`
	HeapAfterMB  float64 `json:"heap_after_mb"`
	// Of the largest server, uncollected: when all were started, at most while they
	// were executed, and after a rest.
	StartPeakMB float64 `json:"start_peak_mb"`
	DrainPeakMB float64 `json:"drain_peak_mb"`
	RestMB      float64 `json:"rest_mb"`

	StepsRunTwice int `json:"steps_run_twice"`
	ProcessesDied int `json:"processes_died"`
}

// Table shows the figures to eyes.
func (f *QueuedFigures) Table() string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	row("workload", "%d runs, %s, queued on %s, %d servers", f.Runs, strings.ToUpper(f.Sticky), f.Store, f.Servers)
	row("rates", "%.0f starts /s   %.0f runs /s by %d x %d slots", f.StartsPerS, f.RunsPerS, f.Workers, f.Slots)
	row("queued", "%d bytes a run (%.1f MB to %.1f MB; Go's heap %.1f MB to %.1f MB), %d runs in memory",
		f.BytesPerRun, f.IdleMB, f.QueuedMB, f.HeapIdleMB, f.HeapQueuedMB, f.InMemory)
	row("at most", "%.1f MB when all were started, %.1f MB while they were executed", f.StartPeakMB, f.DrainPeakMB)
	row("afterwards", "%.1f MB at rest, %.1f MB after a collection, of that %.1f MB live heap", f.RestMB, f.AfterMB, f.HeapAfterMB)
	row("wrong", "steps run twice: %d   processes died: %d", f.StepsRunTwice, f.ProcessesDied)
	_ = w.Flush()
	return out.String()
}
