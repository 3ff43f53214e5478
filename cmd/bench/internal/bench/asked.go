package bench

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/limpetrun/limpet/messages"
)

const (
	// whereQuery is what runs of AskedRuns are asked: the worker that answers.
	whereQuery = "where"
	// askedAlone are asked one at a time, asked together by askers.
	askedAlone, askedTogether = 200, 20_000
	askers                    = 64
	// askSettles is how long nothing is appended before the runs are asked.
	askSettles = 2 * time.Second
)

// Asked measures how soon runs that wait on their workers answer a query.
func Asked(ctx context.Context, config Config) (*AskedFigures, error) {
	var figures *AskedFigures
	err := on(ctx, config, flushEvery, config.workerNames(), func(r *rig) error {
		c := r.config
		figures = &AskedFigures{Workload: c.Workload, Store: c.Store, Sticky: c.Sticky, Servers: c.Servers, Runs: c.Runs, Workers: c.Workers, Slots: c.Slots, Limits: r.limits}
		return r.asked(ctx, figures)
	})
	return figures, err
}

func (r *rig) asked(ctx context.Context, f *AskedFigures) error {
	before := r.cluster.Executions(ctx)
	runs, err := startAll(ctx, r, signaledWorkflow(r.config.Sticky, nil), make([]Input, r.config.Runs))
	if err != nil {
		return err
	}
	err = poll(ctx, 10*time.Millisecond, func() (bool, error) { return r.cluster.Executions(ctx)-before >= int64(len(runs)), nil })
	if err != nil {
		return err
	}
	begun, err := r.appendsSettle(ctx)
	if err != nil {
		return err
	}
	alone := make([]time.Duration, min(askedAlone, 10*len(runs)))
	for i := range alone {
		if alone[i], err = r.ask(ctx, runs, i); err != nil {
			return err
		}
	}
	together := make([]time.Duration, min(askedTogether, 100*len(runs)))
	began := time.Now()
	if err := r.askTogether(ctx, runs, together); err != nil {
		return err
	}
	f.AsksPerS = perSecond(len(together), time.Since(began))
	ended, err := r.cluster.Journaled(ctx)
	if err != nil {
		return err
	}
	f.Alone, f.Together, f.Appends, f.ProcessesDied = len(alone), len(together), ended.Appends-begun, int(r.died.Load())
	f.of(alone, together)
	if f.ProcessesDied != 0 {
		return messages.Errorf(messages.CodeInternal, "%d processes died", f.ProcessesDied)
	}
	return nil
}

// appendsSettle waits until nothing is appended for a while, and returns how much was.
func (r *rig) appendsSettle(ctx context.Context) (appends int64, err error) {
	last, since := int64(-1), time.Now()
	err = poll(ctx, askSettles/10, func() (bool, error) {
		journaled, err := r.cluster.Journaled(ctx)
		if journaled.Appends != last {
			last, since = journaled.Appends, time.Now()
		}
		return time.Since(since) >= askSettles, err
	})
	return last, err
}

// ask asks one of the runs, and returns how long that took.
func (r *rig) ask(ctx context.Context, runs []string, i int) (time.Duration, error) {
	var worker string
	begin := time.Now()
	err := r.clients[i%len(r.clients)].Run(runs[i%len(runs)]).Ask(ctx, whereQuery, i, &worker)
	return time.Since(begin), err
}

func (r *rig) askTogether(ctx context.Context, runs []string, took []time.Duration) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var asking sync.WaitGroup
	for range askers {
		asking.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(took) {
					return
				}
				var err error
				if took[i], err = r.ask(ctx, runs, i); err != nil {
					cancel(err)
				}
			}
		})
	}
	asking.Wait()
	return context.Cause(ctx)
}

// AskedFigures are the result of Asked.
type AskedFigures struct {
	Workload string `json:"workload"`
	Store    string `json:"store"`
	Sticky   string `json:"sticky"`
	Servers  int    `json:"servers"`
	Runs     int    `json:"runs"`
	Workers  int    `json:"workers"`
	Slots    int    `json:"slots"`

	// Queries that were asked one at a time, and together by 64 askers.
	Alone      int     `json:"alone"`
	AloneP50Ms float64 `json:"alone_p50_ms"`
	AloneP99Ms float64 `json:"alone_p99_ms"`
	Together   int     `json:"together"`
	AsksPerS   float64 `json:"asks_per_s"`
	P50Ms      float64 `json:"p50_ms"`
	P95Ms      float64 `json:"p95_ms"`
	P99Ms      float64 `json:"p99_ms"`
	// AsksRatio is AsksPerS against the questions and answers of two processes,
	// AloneRatio the time of one of these against AloneP50Ms.
	AsksRatio  float64 `json:"asks_ratio"`
	AloneRatio float64 `json:"alone_ratio"`
	// Appends are entries that were written meanwhile.
	Appends       int64 `json:"appends"`
	ProcessesDied int   `json:"processes_died"`

	*Limits
}

func (f *AskedFigures) of(alone, together []time.Duration) {
	slices.Sort(alone)
	slices.Sort(together)
	f.AloneP50Ms, f.AloneP99Ms = percentile(alone, 50), percentile(alone, 99)
	f.P50Ms, f.P95Ms, f.P99Ms = percentile(together, 50), percentile(together, 95), percentile(together, 99)
	if l := f.Limits; l != nil && l.ActorRequestsPerSLimit > 0 && f.AloneP50Ms > 0 {
		f.AsksRatio, f.AloneRatio = round(f.AsksPerS/l.ActorRequestsPerSLimit, 3), round(l.ActorRequestMsLimit/f.AloneP50Ms, 3)
	}
}

// Table shows the figures to eyes.
func (f *AskedFigures) Table() string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	row("workload", "%d %s runs are asked, on %s, %d servers, %d workers x %d slots", f.Runs, strings.ToUpper(f.Sticky), f.Store, f.Servers, f.Workers, f.Slots)
	row("rate", "%.0f answers /s   %.3f of the questions /s between two processes", f.AsksPerS, f.AsksRatio)
	row("answers", "p50 %.3f ms   p95 %.3f ms   p99 %.3f ms of %d, %d together", f.P50Ms, f.P95Ms, f.P99Ms, f.Together, askers)
	row("", "p50 %.3f ms   p99 %.3f ms of %d, one at a time; a question between two processes takes %.3f of that", f.AloneP50Ms, f.AloneP99Ms, f.Alone, f.AloneRatio)
	row("wrong", "entries written meanwhile: %d   processes died: %d", f.Appends, f.ProcessesDied)
	f.limits(row)
	_ = w.Flush()
	return out.String()
}
