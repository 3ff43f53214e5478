package bench

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/limpetrun/limpet/cmd/internal/ledger"
	"github.com/limpetrun/limpet/messages"
)

const (
	// goSignal is what runs of SignaledRuns wait for.
	goSignal = "go"
	// signalsAlone are sent one at a time, each when the run before has gone on.
	signalsAlone = 100
	// signalers send at the same time.
	signalers = 64
)

// signals is a measurement of runs that wait for a message, in progress.
type signals struct {
	waiting
	figures *SignalsFigures
	runs    []string
	// sent is when the message of each run was sent, by the client's clock.
	sent []time.Time
}

// Signals measures what it takes to have many runs wait for a message, and how soon
// each goes on when it is sent one.
func Signals(ctx context.Context, config Config) (*SignalsFigures, error) {
	var figures *SignalsFigures
	err := on(ctx, config, flushEvery, config.workerNames(), func(r *rig) error {
		c := r.config
		s := &signals{waiting: waiting{rig: r, begin: time.Now(), figures: &WaitingFigures{}}, figures: &SignalsFigures{
			Workload: c.Workload, Store: c.Store, Sticky: c.Sticky, Servers: c.Servers, Runs: c.Runs, Workers: c.Workers, Slots: c.Slots, Limits: r.limits,
		}}
		figures = s.figures
		return s.run(ctx)
	})
	return figures, err
}

func (s *signals) run(ctx context.Context) error {
	if err := s.warmUp(ctx); err != nil {
		return err
	}
	begun, err := s.cluster.Journaled(ctx)
	if err != nil {
		return err
	}
	if s.figures.WaitMemory, err = s.measureWait(ctx, s.haveAllWait); err != nil {
		return err
	}
	if err := s.startProfiles(ctx); err != nil {
		return err
	}
	if err := s.signalAll(ctx); err != nil {
		return err
	}
	if err := s.endProfiles(ctx); err != nil {
		return err
	}
	ended, err := s.cluster.Journaled(ctx)
	if err != nil {
		return err
	}
	return s.evaluate(ctx, ended.Appends-begun.Appends)
}

// warmUp has some runs go all the way.
func (s *signals) warmUp(ctx context.Context) error {
	s.progress.show("warming up")
	runs, err := startAll(ctx, s.rig, signaledWorkflow(s.config.Sticky, nil), make([]Input, max(s.config.Warmup, 1)))
	if err != nil {
		return err
	}
	for _, id := range runs {
		if err := s.client().Run(id).Signal(ctx, goSignal, true); err != nil {
			return err
		}
	}
	if err := s.awaitAll(ctx, runs[len(runs)-1]); err != nil {
		return err
	}
	return s.untilPassive(ctx)
}

// haveAllWait starts all runs, and returns when each of them waits and none is in the
// servers' memory.
func (s *signals) haveAllWait(ctx context.Context) error {
	before, begin := s.cluster.Executions(ctx), time.Now()
	var err error
	if s.runs, err = startAll(ctx, s.rig, signaledWorkflow(s.config.Sticky, nil), make([]Input, s.config.Runs)); err != nil {
		return err
	}
	s.figures.StartsPerS = perSecond(len(s.runs), time.Since(begin))
	if err := s.moves(ctx, "steps begun", before+int64(len(s.runs)), s.executions); err != nil {
		return err
	}
	return s.untilPassive(ctx)
}

// signalAll sends each run its message: to some one after the other, and to the
// others together.
func (s *signals) signalAll(ctx context.Context) error {
	s.sent = make([]time.Time, len(s.runs))
	alone := min(signalsAlone, len(s.runs)/2)
	for i := range alone {
		if err := s.signal(ctx, i); err != nil {
			return err
		}
		if _, err := s.client().Run(s.runs[i]).Ended(ctx); err != nil {
			return err
		}
	}
	s.figures.Alone = alone
	begin := time.Now()
	if err := s.signalOthers(ctx, alone); err != nil {
		return err
	}
	s.figures.SignalsPerS = perSecond(len(s.runs)-alone, time.Since(begin))
	if err := s.awaitAll(ctx, s.runs[len(s.runs)-1]); err != nil {
		return err
	}
	s.figures.RunsPerS = perSecond(len(s.runs)-alone, time.Since(begin))
	return nil
}

func (s *signals) signal(ctx context.Context, i int) error {
	s.sent[i] = time.Now()
	return s.clients[i%len(s.clients)].Run(s.runs[i]).Signal(ctx, goSignal, true)
}

func (s *signals) signalOthers(ctx context.Context, from int) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var sending sync.WaitGroup
	for range signalers {
		sending.Go(func() {
			for ctx.Err() == nil {
				i := from + int(next.Add(1)) - 1
				if i >= len(s.runs) {
					return
				}
				if err := s.signal(ctx, i); err != nil {
					cancel(err)
				}
			}
		})
	}
	sending.Wait()
	return context.Cause(ctx)
}

// evaluate takes when the runs went on from the ledgers, which are of the same
// machine's clock.
func (s *signals) evaluate(ctx context.Context, appends int64) error {
	s.progress.show("reading what the steps recorded")
	executions, err := s.cluster.Ledger(ctx)
	if err != nil {
		return err
	}
	f := s.figures
	f.goOn(executions, s.runs, s.sent)
	f.EntriesPerRun = round(float64(appends)/float64(f.Runs), 2)
	f.ProcessesDied = int(s.died.Load())
	if f.RunsLost != 0 || f.ProcessesDied != 0 {
		return messages.Errorf(messages.CodeInternal, "%d runs did not go on, %d processes died", f.RunsLost, f.ProcessesDied)
	}
	return nil
}

// SignalsFigures are the result of Signals.
type SignalsFigures struct {
	Workload string `json:"workload"`
	Store    string `json:"store"`
	Sticky   string `json:"sticky"`
	Servers  int    `json:"servers"`
	Runs     int    `json:"runs"`
	Workers  int    `json:"workers"`
	Slots    int    `json:"slots"`

	StartsPerS float64 `json:"starts_per_s"`
	// WaitMemory: the workers keep the steps.
	WaitMemory

	// SignalsPerS are acknowledged messages, RunsPerS is until the last run ended.
	SignalsPerS float64 `json:"signals_per_s"`
	RunsPerS    float64 `json:"runs_per_s"`
	// From the call that sends the message until the step goes on: of the runs that
	// were sent one at a time, and of the others.
	Alone      int     `json:"alone"`
	AloneP50Ms float64 `json:"alone_p50_ms"`
	AloneP99Ms float64 `json:"alone_p99_ms"`
	P50Ms      float64 `json:"p50_ms"`
	P95Ms      float64 `json:"p95_ms"`
	P99Ms      float64 `json:"p99_ms"`

	// EntriesPerRun is what the servers appended, by run.
	EntriesPerRun float64 `json:"entries_per_run"`
	// Again are executions beyond the first of a run.
	Again         int `json:"again"`
	RunsLost      int `json:"runs_lost"`
	ProcessesDied int `json:"processes_died"`

	*Limits
}

// goOn sets the latencies, by when the last execution of each run's step ended.
func (f *SignalsFigures) goOn(executions []ledger.Execution, runs []string, sent []time.Time) {
	ended, times := map[string]time.Time{}, map[string]int{}
	for _, x := range executions {
		times[x.Run]++
		if !x.Failed && x.End.After(ended[x.Run]) {
			ended[x.Run] = x.End
		}
	}
	var alone, others []time.Duration
	for i, id := range runs {
		took := ended[id].Sub(sent[i])
		switch {
		case ended[id].IsZero():
			f.RunsLost++
		case i < f.Alone:
			alone = append(alone, took)
		default:
			others = append(others, took)
		}
		f.Again += max(times[id]-1, 0)
	}
	var of Figures
	of.latencies(alone)
	f.AloneP50Ms, f.AloneP99Ms = of.P50Ms, of.P99Ms
	of.latencies(others)
	f.P50Ms, f.P95Ms, f.P99Ms = of.P50Ms, of.P95Ms, of.P99Ms
}

// Table shows the figures to eyes.
func (f *SignalsFigures) Table() string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	row("workload", "%d %s runs wait for a message, on %s, %d servers, %d workers x %d slots", f.Runs, strings.ToUpper(f.Sticky), f.Store, f.Servers, f.Workers, f.Slots)
	row("rates", "%.0f starts /s   %.0f messages /s   %.0f runs /s that went on and ended   %.2f entries a run", f.StartsPerS, f.SignalsPerS, f.RunsPerS, f.EntriesPerRun)
	row("goes on", "p50 %.3f ms   p95 %.3f ms   p99 %.3f ms after it was sent, %d together", f.P50Ms, f.P95Ms, f.P99Ms, signalers)
	row("", "p50 %.3f ms   p99 %.3f ms of %d, one at a time", f.AloneP50Ms, f.AloneP99Ms, f.Alone)
	f.rows(row)
	row("wrong", "runs lost: %d   processes died: %d   executed again: %d", f.RunsLost, f.ProcessesDied, f.Again)
	f.limits(row)
	_ = w.Flush()
	return out.String()
}
