package bench

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/cmd/internal/ledger"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/sdk"
)

const (
	// trialTimeout is when a run of a trial that has not gone on counts as lost.
	trialTimeout = 60 * time.Second
	// ledgerEvery is the pause between two polls of the ledgers.
	ledgerEvery = 50 * time.Millisecond
	// downtime of the worker of a HardRestart: its loss is noticed by then.
	downtime = 4 * time.Second
	// A step of a paced run takes between these.
	pacedLeast, pacedMost = 500, 1000
)

// failover is a measurement of recoveries in progress.
type failover struct {
	*rig
	figures *FailoverFigures
	number  int
	// begin of the trial, and ids of its runs.
	begin time.Time
	runs  map[string]bool
	last  string
}

// Failover measures how long runs stand still after a fault.
func Failover(ctx context.Context, config Config) (*FailoverFigures, error) {
	var figures *FailoverFigures
	// Each line of a ledger at once: a killed worker takes none with it.
	err := on(ctx, config, 0, config.workerNames(), func(r *rig) error {
		c := r.config
		f := &failover{rig: r, figures: &FailoverFigures{
			Failover: c.Failover, Store: c.Store, Servers: c.Servers, Workers: c.Workers, Slots: c.Slots, Runs: c.Runs, Limits: r.limits,
		}}
		figures = f.figures
		for f.number = 1; f.number <= c.Trials; f.number++ {
			f.progress.show("trial %d of %d: %s", f.number, c.Trials, c.Failover)
			trial, err := f.trial(ctx)
			if err != nil {
				return fmt.Errorf("trial %d: %w", f.number, err)
			}
			figures.add(trial)
			f.progress.line("trial %d of %d: %s", f.number, c.Trials, trial)
		}
		figures.ProcessesDied = int(r.died.Load())
		return r.databaseLimits(ctx, 1, limitPayload)
	})
	return figures, err
}

func (f *failover) trial(ctx context.Context) (Trial, error) {
	// The deadline is far beyond trialTimeout, which ends what is waited for.
	ctx, cancel := context.WithTimeoutCause(ctx, 4*trialTimeout, messages.Errorf(messages.CodeDeadline, "the trial is not over after %s", 4*trialTimeout))
	defer cancel()
	if f.config.Failover == ServerKill {
		return f.serverTrial(ctx)
	}
	return f.workerTrial(ctx)
}

// startRuns starts the runs of a trial and returns when the workers have begun
// so many steps of them.
func (f *failover) startRuns(ctx context.Context, w *sdk.Workflow[Input], begun int) error {
	before := f.cluster.Executions(ctx)
	inputs := make([]Input, f.config.Runs)
	for i := range inputs {
		inputs[i] = Input{Number: i, Trial: f.number, SleepMs: pacedLeast + rand.IntN(pacedMost-pacedLeast)}
	}
	f.begin = time.Now()
	ids, err := startAll(ctx, f.rig, w, inputs)
	if err != nil {
		return err
	}
	f.runs, f.last = set(ids), ids[len(ids)-1]
	ctx, cancel := context.WithTimeoutCause(ctx, trialTimeout,
		messages.Errorf(messages.CodeDeadline, "the %d runs have not begun %d steps after %s", len(ids), begun, trialTimeout))
	defer cancel()
	return poll(ctx, 10*time.Millisecond, func() (bool, error) {
		return f.cluster.Executions(ctx)-before >= int64(begun), nil
	})
}

// executions are those of the trial's runs, by run and step, in the order of
// their beginning.
func (f *failover) executions(ctx context.Context) (map[stepKey][]ledger.Execution, error) {
	all, err := f.cluster.Ledger(ctx)
	if err != nil {
		return nil, err
	}
	steps := map[stepKey][]ledger.Execution{}
	for _, x := range all {
		if f.runs[x.Run] {
			key := stepKey{x.Run, x.Step}
			steps[key] = append(steps[key], x)
		}
	}
	return steps, nil
}

type stepKey struct{ run, step string }

// workerTrial strikes the worker that holds most of the runs, whose steps are
// all under way.
func (f *failover) workerTrial(ctx context.Context) (Trial, error) {
	sticky := "soft"
	if f.config.Failover == HardRestart {
		sticky = "hard"
	}
	if err := f.startRuns(ctx, heldWorkflow(sticky, nil, nil), f.config.Runs); err != nil {
		return Trial{}, err
	}
	steps, err := f.executions(ctx)
	if err != nil {
		return Trial{}, err
	}
	victim, process := busiest(steps)
	struck := time.Now()
	from, err := f.strikeWorker(ctx, victim)
	if err != nil {
		return Trial{}, err
	}
	lost := lostSteps(steps, process, struck)
	trial := Trial{StepsLost: len(lost)}
	err = f.until(ctx, func(now map[stepKey][]ledger.Execution) bool {
		steps = now
		trial.restarted(lost, steps, from)
		return trial.StepsLeft == 0
	})
	if err != nil {
		return trial, err
	}
	if err := f.restoreWorker(ctx, victim); err != nil {
		return trial, err
	}
	return trial, f.conclude(ctx, &trial, lost)
}

// strikeWorker returns the moment that recovery counts from.
func (f *failover) strikeWorker(ctx context.Context, victim string) (time.Time, error) {
	struck := time.Now()
	switch f.config.Failover {
	case WorkerStop:
		return struck, f.cluster.Pause(victim)
	case WorkerKill:
		return struck, f.cluster.Kill(victim)
	}
	if err := f.cluster.Kill(victim); err != nil {
		return struck, err
	}
	if err := backoff.Sleep(ctx, downtime); err != nil {
		return struck, err
	}
	launched := time.Now()
	return launched, f.cluster.StartWorker(victim)
}

// restoreWorker lets the steps end that the fault has not touched, and brings
// the worker back.
func (f *failover) restoreWorker(ctx context.Context, victim string) error {
	for _, name := range f.config.workerNames() {
		p, err := f.cluster.Process(name)
		if err != nil {
			return err
		}
		if name == victim && f.config.Failover != HardRestart {
			continue
		}
		if err := p.Ask(ctx, orderRelease, f.number, nil); err != nil {
			return err
		}
	}
	if f.config.Failover == HardRestart {
		return nil
	}
	if err := f.cluster.Kill(victim); err != nil {
		return err
	}
	return f.cluster.StartWorker(victim)
}

// until polls the ledgers until they show what is waited for, or the trial
// has lasted too long.
func (f *failover) until(ctx context.Context, shown func(map[stepKey][]ledger.Execution) bool) error {
	end := time.Now().Add(trialTimeout)
	return poll(ctx, ledgerEvery, func() (bool, error) {
		steps, err := f.executions(ctx)
		return err == nil && shown(steps) || time.Now().After(end), err
	})
}

// serverTrial strikes one server after the other while all runs are in motion.
func (f *failover) serverTrial(ctx context.Context) (Trial, error) {
	if err := f.startRuns(ctx, pacedWorkflow(nil), 2*f.config.Runs); err != nil {
		return Trial{}, err
	}
	names := f.cluster.ServerNames()
	victim := names[f.number%len(names)]
	struck := time.Now()
	if err := f.cluster.Kill(victim); err != nil {
		return Trial{}, err
	}
	if len(names) == 1 {
		if err := f.cluster.StartServer(victim); err != nil {
			return Trial{}, err
		}
	}
	var steps map[stepKey][]ledger.Execution
	err := f.until(ctx, func(now map[stepKey][]ledger.Execution) bool {
		steps = now
		return len(now) == len(f.runs)*pacedSteps
	})
	if err != nil {
		return Trial{}, err
	}
	trial := Trial{}
	trial.stoodStill(steps, struck)
	if len(names) > 1 {
		if err := f.cluster.StartServer(victim); err != nil {
			return trial, err
		}
		if err := f.awaitServers(ctx); err != nil {
			return trial, err
		}
	}
	return trial, f.conclude(ctx, &trial, nil)
}

// conclude waits for the end of the runs and counts what should not be: steps
// that ran again although their worker lived, and runs that did not end well.
func (f *failover) conclude(ctx context.Context, trial *Trial, lost map[stepKey]bool) error {
	waiting, cancel := context.WithTimeout(ctx, trialTimeout)
	defer cancel()
	if err := f.awaitAll(waiting, f.last); err != nil && waiting.Err() == nil {
		return err
	}
	trial.RunsLost = len(f.runs)
	err := f.list(ctx, "", f.begin, func(r *api.Run) {
		if f.runs[r.GetRunId()] && r.GetStatus() == sdk.Succeeded {
			trial.RunsLost--
		}
	})
	if err != nil {
		return err
	}
	steps, err := f.executions(ctx)
	if err != nil {
		return err
	}
	trial.StepsRunTwice = runTwice(steps, lost)
	return nil
}

// busiest is the worker that most steps are under way on, and its process.
func busiest(steps map[stepKey][]ledger.Execution) (worker string, process int) {
	count, processes := map[string]int{}, map[string]int{}
	for _, executions := range steps {
		x := executions[len(executions)-1]
		count[x.Worker]++
		processes[x.Worker] = x.Process
	}
	for name, n := range count {
		if c := cmp.Compare(n, count[worker]); c > 0 || c == 0 && name < worker {
			worker = name
		}
	}
	return worker, processes[worker]
}

// lostSteps were under way on a process when it was struck.
func lostSteps(steps map[stepKey][]ledger.Execution, process int, struck time.Time) map[stepKey]bool {
	lost := map[stepKey]bool{}
	for key, executions := range steps {
		if x := executions[len(executions)-1]; x.Process == process && (x.End.IsZero() || x.End.After(struck)) {
			lost[key] = true
		}
	}
	return lost
}

// runTwice counts the steps that were executed more often than their worker
// was lost.
func runTwice(steps map[stepKey][]ledger.Execution, lost map[stepKey]bool) int {
	twice := 0
	for key, executions := range steps {
		most := 1
		if lost[key] {
			most = 2
		}
		if len(executions) > most {
			twice++
		}
	}
	return twice
}

// restarted sets when the lost steps began again, from a moment on.
func (t *Trial) restarted(lost map[stepKey]bool, steps map[stepKey][]ledger.Execution, from time.Time) {
	var waits []time.Duration
	for key := range lost {
		if executions := steps[key]; len(executions) > 1 {
			waits = append(waits, max(executions[1].Begin.Sub(from), 0))
		}
	}
	t.StepsLeft = len(lost) - len(waits)
	t.waits(waits)
}

// stoodStill sets how long runs had nothing under way: from the fault, or the
// end of a step after it, to the beginning of the next step.
func (t *Trial) stoodStill(steps map[stepKey][]ledger.Execution, struck time.Time) {
	runs := map[string][]ledger.Execution{}
	for key, executions := range steps {
		runs[key.run] = append(runs[key.run], executions[0])
	}
	var waits []time.Duration
	for _, executions := range runs {
		slices.SortFunc(executions, func(a, b ledger.Execution) int { return a.Begin.Compare(b.Begin) })
		longest := time.Duration(-1)
		for i := 1; i < len(executions); i++ {
			from := executions[i-1].End
			if from.Before(struck) {
				from = struck
			}
			if begin := executions[i].Begin; begin.After(struck) {
				longest = max(longest, begin.Sub(from))
			}
		}
		if longest >= 0 {
			waits = append(waits, longest)
		}
		t.StepsLeft += pacedSteps - len(executions)
	}
	t.RunsInMotion = len(waits)
	t.waits(waits)
}

func (t *Trial) waits(all []time.Duration) {
	slices.Sort(all)
	t.RecoveryS, t.FirstS, t.MedianS = trialTimeout.Seconds(), 0, 0
	if len(all) == 0 {
		return
	}
	if t.StepsLeft == 0 {
		t.RecoveryS = round(all[len(all)-1].Seconds(), 3)
	}
	t.FirstS, t.MedianS = round(all[0].Seconds(), 3), round(all[len(all)/2].Seconds(), 3)
}

// FailoverFigures are the result of Failover.
type FailoverFigures struct {
	Failover string `json:"failover"`
	Store    string `json:"store"`
	Servers  int    `json:"servers"`
	Workers  int    `json:"workers"`
	Slots    int    `json:"slots"`
	// Runs of each trial.
	Runs   int `json:"runs"`
	Trials int `json:"trials"`
	// RecoveryS is the median of the trials' RecoveryS, RecoverySMax the most.
	RecoveryS    float64 `json:"recovery_s"`
	RecoverySMax float64 `json:"recovery_s_max"`
	// StepsRunTwice are steps that ran again although their worker lived;
	// RunsLost acknowledged runs that did not end well.
	StepsRunTwice int `json:"steps_run_twice"`
	RunsLost      int `json:"runs_lost"`
	// ProcessesDied without being told to.
	ProcessesDied int     `json:"processes_died"`
	EachTrial     []Trial `json:"each_trial"`

	*Limits
}

// Trial is one fault and what came of it.
type Trial struct {
	// RecoveryS is when the last run that the fault had stopped went on: after
	// a fault of a worker, when the last of its lost steps began elsewhere (or,
	// of HardRestart, on the worker, from the launch of its process); after that of a
	// server, the longest that any run stood still between two steps. 60 if one
	// did not go on.
	RecoveryS float64 `json:"recovery_s"`
	// FirstS and MedianS are the same of the first run, and of the one in the
	// middle.
	FirstS  float64 `json:"first_s"`
	MedianS float64 `json:"median_s"`
	// StepsLost were under way on the worker. RunsInMotion had steps left when
	// the server was struck.
	StepsLost    int `json:"steps_lost"`
	RunsInMotion int `json:"runs_in_motion"`
	// StepsLeft had not begun by the end of the trial.
	StepsLeft     int `json:"steps_left"`
	StepsRunTwice int `json:"steps_run_twice"`
	RunsLost      int `json:"runs_lost"`
}

func (t Trial) String() string {
	what := fmt.Sprintf("%d lost steps", t.StepsLost)
	if t.RunsInMotion > 0 {
		what = fmt.Sprintf("%d runs", t.RunsInMotion)
	}
	return fmt.Sprintf("%s went on, the first after %.3f s, the last after %.3f s; steps run twice: %d, runs lost: %d",
		what, t.FirstS, t.RecoveryS, t.StepsRunTwice, t.RunsLost)
}

func (f *FailoverFigures) add(t Trial) {
	f.EachTrial = append(f.EachTrial, t)
	f.Trials = len(f.EachTrial)
	f.StepsRunTwice += t.StepsRunTwice
	f.RunsLost += t.RunsLost
	all := make([]float64, f.Trials)
	for i, one := range f.EachTrial {
		all[i] = one.RecoveryS
	}
	slices.Sort(all)
	f.RecoveryS, f.RecoverySMax = all[(len(all)-1)/2], all[len(all)-1]
}
