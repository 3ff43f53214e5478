package bench

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/limpetrun/limpet/cmd/internal/ledger"
	"github.com/limpetrun/limpet/cmd/internal/procs"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk"
)

const (
	// suspendedLead and suspendedEach are how long the runs have, together and each,
	// to be suspended before the moment that they wait for. A run whose wait is over
	// within 5 s does not leave memory.
	suspendedLead = 10 * time.Second
	suspendedEach = 5 * time.Millisecond
	// suspendedPart is how many are started at once.
	suspendedPart = 10_000
	// goOnLead and goOnEach are how long they may take to go on, together and each.
	goOnLead = time.Minute
	goOnEach = 10 * time.Millisecond
	// probesBefore are small runs that are started one after the other while all rest.
	probesBefore = 100
)

// suspended is a measurement of runs whose steps are suspended until one moment, in
// progress.
type suspended struct {
	waiting
	figures *SuspendedFigures
	runs    []string
	moment  time.Time
}

// Suspended measures what it takes to have many runs suspended, how soon they go on
// when one moment has come that all of them wait for, and how long a small run takes
// that is started meanwhile.
func Suspended(ctx context.Context, config Config) (*SuspendedFigures, error) {
	var figures *SuspendedFigures
	err := on(ctx, config, flushEvery, config.workerNames(), func(r *rig) error {
		c := r.config
		figures = &SuspendedFigures{Workload: c.Workload, Store: c.Store, Sticky: c.Sticky, Servers: c.Servers, Runs: c.Runs, Workers: c.Workers, Slots: c.Slots, Limits: r.limits}
		s := &suspended{waiting: waiting{rig: r, begin: time.Now(), figures: &WaitingFigures{}}, figures: figures}
		return s.run(ctx)
	})
	return figures, err
}

func (s *suspended) run(ctx context.Context) error {
	f := s.figures
	if err := s.warmUp(ctx); err != nil {
		return err
	}
	begun, err := s.cluster.Journaled(ctx)
	if err != nil {
		return err
	}
	if f.WaitMemory, err = s.measureWait(ctx, s.haveAllSuspended); err != nil {
		return err
	}
	if left := time.Until(s.moment); left < 0 {
		return messages.Errorf(messages.CodeDeadline, "the moment that %d runs wait for came %s before all of them were suspended and measured: this machine is too slow for so many", f.Runs, -left)
	}
	busy, err := s.storm(ctx)
	if err != nil {
		return err
	}
	f.busy(busy)
	ended, err := s.cluster.Journaled(ctx)
	if err != nil {
		return err
	}
	f.EntriesPerRun = round(float64(ended.Appends-begun.Appends)/float64(f.Runs), 2)
	return s.evaluate(ctx)
}

// warmUp has some runs go all the way, and measures what a small one takes.
func (s *suspended) warmUp(ctx context.Context) error {
	s.progress.show("warming up")
	inputs := make([]Input, max(s.config.Warmup, 1))
	for i := range inputs {
		inputs[i].UntilMs = time.Now().UnixMilli()
	}
	runs, err := startAll(ctx, s.rig, suspendedWorkflow(s.config.Sticky, nil), inputs)
	if err != nil {
		return err
	}
	if err := s.awaitAll(ctx, runs[len(runs)-1]); err != nil {
		return err
	}
	calm, err := s.probe(ctx, func(i int) bool { return i < probesBefore })
	if err != nil {
		return err
	}
	s.figures.calm(calm)
	return s.untilPassive(ctx)
}

// haveAllSuspended starts all runs, and returns when the steps of all are suspended and
// none is in the servers' memory. They are started in parts, each when the one before is
// suspended: what is measured is what is left of them, not what as many steps take that
// are under way at once.
func (s *suspended) haveAllSuspended(ctx context.Context) error {
	before, err := s.suspendedSteps(ctx)
	if err != nil {
		return err
	}
	begin := time.Now()
	s.moment = begin.Add(suspendedLead + time.Duration(s.config.Runs)*suspendedEach).Truncate(time.Millisecond)
	for len(s.runs) < s.config.Runs {
		inputs := make([]Input, min(suspendedPart, s.config.Runs-len(s.runs)))
		for i := range inputs {
			inputs[i].UntilMs = s.moment.UnixMilli()
		}
		part, err := startAll(ctx, s.rig, suspendedWorkflow(s.config.Sticky, nil), inputs)
		if err != nil {
			return err
		}
		s.runs = append(s.runs, part...)
		if err := s.moves(ctx, "steps suspended", before+int64(len(s.runs)), s.suspendedSteps); err != nil {
			return err
		}
	}
	err = s.untilPassive(ctx)
	s.figures.SuspendS = round(time.Since(begin).Seconds(), 3)
	return err
}

// suspendedSteps is how many steps the workers have suspended since they began.
func (s *suspended) suspendedSteps(ctx context.Context) (n int64, err error) {
	workers, err := s.client().ListWorkers(ctx)
	for _, w := range workers {
		n += w.GetSuspended()
	}
	return n, err
}

// probe starts runs of one step, each when the one before has ended, and says how long
// each took.
func (s *suspended) probe(ctx context.Context, goesOn func(i int) bool) (took []time.Duration, err error) {
	w := workflow(Noop1, "none", nil)
	for i := 0; goesOn(i); i++ {
		begin := time.Now()
		run, err := w.Start(ctx, s.clients[i%len(s.clients)], Input{Number: i})
		if err == nil {
			err = run.Wait(ctx)
		}
		if err != nil {
			return nil, err
		}
		took = append(took, time.Since(begin))
	}
	return took, nil
}

// storm waits for the moment, and until the last run has gone on and ended. It says how
// long each of the runs took that were started meanwhile.
func (s *suspended) storm(ctx context.Context) (probes []time.Duration, err error) {
	s.progress.show("%.0f s: all runs are suspended, for %.0f s more", time.Since(s.begin).Seconds(), time.Until(s.moment).Seconds())
	select {
	case <-time.After(time.Until(s.moment)):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := s.startProfiles(ctx); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- s.awaitAllOf(ctx) }()
	probes, err = s.probe(ctx, func(int) bool { return len(ended) == 0 })
	if err := <-ended; err != nil {
		return nil, err
	}
	if err != nil {
		return nil, err
	}
	return probes, s.endProfiles(ctx)
}

// awaitAllOf waits until no run of the workload is unfinished.
func (s *suspended) awaitAllOf(ctx context.Context) error {
	most := goOnLead + time.Duration(s.config.Runs)*goOnEach
	ctx, cancel := context.WithTimeoutCause(ctx, most, messages.Errorf(messages.CodeDeadline, "not all of %d runs have gone on and ended after %s", s.config.Runs, most))
	defer cancel()
	name := suspendedWorkflow(s.config.Sticky, nil).Name()
	return poll(ctx, 50*time.Millisecond, func() (bool, error) {
		left, err := s.unfinished(ctx, name)
		return left == 0, err
	})
}

// evaluate takes when the runs went on from the ledgers, which are of the same
// machine's clock.
func (s *suspended) evaluate(ctx context.Context) error {
	s.progress.show("reading what the steps recorded")
	executions, err := s.cluster.Ledger(ctx)
	if err != nil {
		return err
	}
	f := s.figures
	f.goOn(executions, s.runs, s.moment)
	if f.ProcessesDied = int(s.died.Load()); f.RunsLost != 0 || f.Early != 0 || f.ProcessesDied != 0 {
		return messages.Errorf(messages.CodeInternal, "%d runs did not go on, %d went on too early, %d processes died", f.RunsLost, f.Early, f.ProcessesDied)
	}
	return nil
}

// WaitMemory is what it takes to have runs wait: the memory of all servers together,
// and of all workers, each after a collection.
type WaitMemory struct {
	// BytesPerRun is the memory of all servers above idle while all runs wait, by
	// run; WorkerBytesPerRun that of the workers.
	BytesPerRun       int64   `json:"bytes_per_run"`
	WorkerBytesPerRun int64   `json:"worker_bytes_per_run"`
	IdleMB            float64 `json:"idle_mb"`
	WaitingMB         float64 `json:"waiting_mb"`
	HeapIdleMB        float64 `json:"heap_idle_mb"`
	HeapWaitingMB     float64 `json:"heap_waiting_mb"`
	WorkerIdleMB      float64 `json:"worker_idle_mb"`
	WorkerWaitingMB   float64 `json:"worker_waiting_mb"`
	WorkerHeapIdleMB  float64 `json:"worker_heap_idle_mb"`
	WorkerHeapMB      float64 `json:"worker_heap_waiting_mb"`
}

// measureWait measures the memory before and after all runs wait.
func (w *waiting) measureWait(ctx context.Context, haveAllWait func(context.Context) error) (f WaitMemory, err error) {
	idle, err := w.memory(ctx, w.cluster.ServerNames())
	if err != nil {
		return f, err
	}
	idleWorkers, err := w.memory(ctx, w.config.workerNames())
	if err != nil {
		return f, err
	}
	if err := haveAllWait(ctx); err != nil {
		return f, err
	}
	now, err := w.settled(ctx, idle)
	if err != nil {
		return f, err
	}
	if err := w.profileServer(ctx); err != nil {
		return f, err
	}
	workers, err := w.memory(ctx, w.config.workerNames())
	f.waits(int64(w.config.Runs), idle, now, idleWorkers, workers)
	return f, err
}

func (f *WaitMemory) waits(runs int64, idle, now, idleWorkers, workers procs.Memory) {
	f.IdleMB, f.WaitingMB = megabytes(idle.ResidentBytes), megabytes(now.ResidentBytes)
	f.HeapIdleMB, f.HeapWaitingMB = megabytes(idle.HeapBytes), megabytes(now.HeapBytes)
	f.WorkerIdleMB, f.WorkerWaitingMB = megabytes(idleWorkers.ResidentBytes), megabytes(workers.ResidentBytes)
	f.WorkerHeapIdleMB, f.WorkerHeapMB = megabytes(idleWorkers.HeapBytes), megabytes(workers.HeapBytes)
	f.BytesPerRun = (now.ResidentBytes - idle.ResidentBytes) / runs
	f.WorkerBytesPerRun = (workers.ResidentBytes - idleWorkers.ResidentBytes) / runs
}

// rows show it to eyes.
func (f *WaitMemory) rows(row func(name, format string, args ...any)) {
	row("memory", "%d bytes a waiting run at the servers (%.1f MB to %.1f MB; Go's heap %.1f MB to %.1f MB)",
		f.BytesPerRun, f.IdleMB, f.WaitingMB, f.HeapIdleMB, f.HeapWaitingMB)
	row("", "%d bytes at the workers (%.1f MB to %.1f MB; Go's heap %.1f MB to %.1f MB)",
		f.WorkerBytesPerRun, f.WorkerIdleMB, f.WorkerWaitingMB, f.WorkerHeapIdleMB, f.WorkerHeapMB)
}

// SuspendedFigures are the result of Suspended.
type SuspendedFigures struct {
	Workload string `json:"workload"`
	Store    string `json:"store"`
	Sticky   string `json:"sticky"`
	Servers  int    `json:"servers"`
	Runs     int    `json:"runs"`
	Workers  int    `json:"workers"`
	Slots    int    `json:"slots"`

	// SuspendS is from the first start until all runs are suspended, with nothing in
	// the servers' memory.
	SuspendS float64 `json:"suspend_s"`
	WaitMemory

	// From the moment that all runs wait for until half of them had gone on, 99 of 100,
	// and all.
	HalfOnS float64 `json:"half_on_s"`
	P99OnS  float64 `json:"p99_on_s"`
	AllOnS  float64 `json:"all_on_s"`
	// A run of one step that is started and awaited: while nothing else goes on, and
	// while the suspended runs go on.
	Probes         int     `json:"probes"`
	ProbeCalmP50Ms float64 `json:"probe_calm_p50_ms"`
	ProbeCalmP99Ms float64 `json:"probe_calm_p99_ms"`
	ProbeP50Ms     float64 `json:"probe_p50_ms"`
	ProbeP99Ms     float64 `json:"probe_p99_ms"`
	ProbeMostMs    float64 `json:"probe_most_ms"`

	// EntriesPerRun is what the servers appended, by run.
	EntriesPerRun float64 `json:"entries_per_run"`
	// Again are executions beyond the two of a run; Early went on before the moment.
	Again         int `json:"again"`
	Early         int `json:"early"`
	RunsLost      int `json:"runs_lost"`
	ProcessesDied int `json:"processes_died"`

	*Limits
}

func (f *SuspendedFigures) calm(took []time.Duration) {
	slices.Sort(took)
	f.ProbeCalmP50Ms, f.ProbeCalmP99Ms = percentile(took, 50), percentile(took, 99)
}

func (f *SuspendedFigures) busy(took []time.Duration) {
	slices.Sort(took)
	f.Probes = len(took)
	f.ProbeP50Ms, f.ProbeP99Ms, f.ProbeMostMs = percentile(took, 50), percentile(took, 99), percentile(took, 100)
}

// goOn sets when runs went on: when the execution began whose call of a sleep returned.
func (f *SuspendedFigures) goOn(executions []ledger.Execution, runs []string, moment time.Time) {
	on, times := map[string]time.Time{}, map[string]int{}
	for _, x := range executions {
		times[x.Run]++
		if !x.Failed {
			on[x.Run] = x.Begin
		}
	}
	var took []time.Duration
	for _, id := range runs {
		switch after := on[id].Sub(moment); {
		case on[id].IsZero():
			f.RunsLost++
		case after < 0:
			f.Early++
		default:
			took = append(took, after)
		}
		f.Again += max(times[id]-2, 0)
	}
	slices.Sort(took)
	seconds := func(p float64) float64 { return round(percentile(took, p)/1000, 3) }
	f.HalfOnS, f.P99OnS, f.AllOnS = seconds(50), seconds(99), seconds(100)
}

// Table shows the figures to eyes.
func (f *SuspendedFigures) Table() string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	row("workload", "%d %s runs are suspended until one moment, on %s, %d servers, %d workers x %d slots", f.Runs, strings.ToUpper(f.Sticky), f.Store, f.Servers, f.Workers, f.Slots)
	row("to wait", "%.1f s in all, %d started at a time   %.2f entries a run", f.SuspendS, suspendedPart, f.EntriesPerRun)
	f.rows(row)
	row("go on", "half after %.1f s, 99 %% after %.1f s, all after %.1f s", f.HalfOnS, f.P99OnS, f.AllOnS)
	row("a small run", "p50 %.1f ms   p99 %.1f ms   at most %.1f ms meanwhile, of %d; before p50 %.1f ms   p99 %.1f ms",
		f.ProbeP50Ms, f.ProbeP99Ms, f.ProbeMostMs, f.Probes, f.ProbeCalmP50Ms, f.ProbeCalmP99Ms)
	row("wrong", "runs lost: %d   too early: %d   processes died: %d   executed again: %d", f.RunsLost, f.Early, f.ProcessesDied, f.Again)
	f.limits(row)
	_ = w.Flush()
	return out.String()
}

// suspendedWorkflow sleeps until a moment, suspended at once.
func suspendedWorkflow(sticky string, l *ledger.Writer) *sdk.Workflow[Input] {
	config := patient(sticky)
	config.KeepFor = sdk.NotAtAll
	w := sdk.NewWorkflow[Input](workflowName(SuspendedRuns, sticky), config)
	sdk.AddStep(w, "waits", recorded(l, func(ctx sdk.Context, in Input) error {
		return sdk.SleepUntil(ctx, time.UnixMilli(in.UntilMs))
	}))
	return w
}
