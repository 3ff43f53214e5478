package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/limpetrun/limpet/cmd/internal/procs"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/sdk"
)

// waitingStall is how long a phase of Waiting may show no progress.
const waitingStall = time.Minute

// waiting is a measurement of runs that wait for their workers, in progress.
type waiting struct {
	*rig
	figures *WaitingFigures
	begin   time.Time
}

// Waiting measures what it takes to have many HARD runs wait for their workers,
// and to wake them all.
//
// One worker after the other comes up, binds its share of the runs by their
// first step, begins all their second steps and is killed. Then they all come
// back at once.
func Waiting(ctx context.Context, config Config) (*WaitingFigures, error) {
	var figures *WaitingFigures
	err := on(ctx, config, flushEvery, nil, func(r *rig) error {
		c := r.config
		w := &waiting{rig: r, begin: time.Now(), figures: &WaitingFigures{
			Workload: c.Workload, Store: c.Store, Servers: c.Servers, Runs: c.Runs, Workers: c.Workers, Slots: c.Slots, Limits: r.limits,
		}}
		figures = w.figures
		return w.run(ctx)
	})
	return figures, err
}

func (w *waiting) run(ctx context.Context) error {
	f := w.figures
	if err := w.warmUp(ctx); err != nil {
		return err
	}
	idle, err := w.memory(ctx, w.cluster.ServerNames())
	if err != nil {
		return err
	}
	f.ServerIdleMB, f.HeapIdleMB = megabytes(idle.ResidentBytes), megabytes(idle.HeapBytes)
	if err := w.bindAll(ctx); err != nil {
		return err
	}
	if err := w.measureWaiting(ctx, idle); err != nil {
		return err
	}
	if err := w.wakeAll(ctx); err != nil {
		return err
	}
	f.ProcessesDied = int(w.died.Load())
	j, err := w.cluster.Journaled(ctx)
	if err != nil {
		return err
	}
	f.EntriesPerRun = round(float64(j.Appends)/float64(f.Runs), 2)
	return w.databaseLimits(ctx, float64(j.Appends)/float64(j.Commits), float64(j.Bytes)/float64(j.Appends))
}

// warmUp has all that a server makes once be made: a worker comes, runs, goes.
func (w *waiting) warmUp(ctx context.Context) error {
	w.progress.show("warming up")
	const name = "warm-up"
	if err := w.cluster.StartWorkerSlots(name, 100); err != nil {
		return err
	}
	runs, err := startAll(ctx, w.rig, workflow(Chain3, "hard", nil), make([]Input, max(w.config.Warmup, 1)))
	if err != nil {
		return err
	}
	if err := w.awaitAll(ctx, runs[len(runs)-1]); err != nil {
		return err
	}
	if err := w.untilPassive(ctx); err != nil {
		return err
	}
	return w.lose(ctx, name)
}

// lose kills a worker and returns when every server knows: a run that is bound
// before then may be bound to the dead.
func (w *waiting) lose(ctx context.Context, name string) error {
	if err := w.cluster.Kill(name); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, upTimeout, messages.Errorf(messages.CodeDeadline, "the loss of %s is not known after %s", name, upTimeout))
	defer cancel()
	return poll(ctx, 20*time.Millisecond, func() (bool, error) {
		for _, client := range w.clients {
			workers, err := client.ListWorkers(ctx)
			if err != nil {
				return false, err
			}
			for _, one := range workers {
				if one.GetWorkerId() == name && one.GetState() != api.WorkerGone {
					return false, nil
				}
			}
		}
		return true, nil
	})
}

// memory of processes together, after a collection.
func (w *waiting) memory(ctx context.Context, names []string) (procs.Memory, error) {
	var all procs.Memory
	for _, name := range names {
		p, err := w.cluster.Process(name)
		if err != nil {
			return all, err
		}
		one, err := p.Memory(ctx)
		if err != nil {
			return all, err
		}
		all.ResidentBytes += one.ResidentBytes
		all.HeapBytes += one.HeapBytes
		all.Goroutines += one.Goroutines
	}
	return all, nil
}

// settleMost is how long the servers' goroutines may take to end after the last
// run has left memory; they are kept for a while for the next.
const settleMost = 20 * time.Second

// settled is the memory of the servers once their goroutines are back to about
// as many as there were, or after settleMost.
func (w *waiting) settled(ctx context.Context, idle procs.Memory) (now procs.Memory, err error) {
	end := time.Now().Add(settleMost)
	err = poll(ctx, time.Second, func() (bool, error) {
		now, err = w.memory(ctx, w.cluster.ServerNames())
		return now.Goroutines < idle.Goroutines+100 || time.Now().After(end), err
	})
	return now, err
}

// moves polls until a count has risen to its target, or fallen to one of 0; it
// may not stand still for long.
func (w *waiting) moves(ctx context.Context, what string, target int64, count func(context.Context) (int64, error)) error {
	every := 10 * time.Second
	if w.config.Terminal {
		every = time.Second
	}
	last, since, shown := int64(-1), time.Now(), time.Now()
	return poll(ctx, 20*time.Millisecond, func() (bool, error) {
		n, err := count(ctx)
		switch {
		case err != nil || n == target || n > target && target > 0:
			return err == nil, err
		case n != last:
			last, since = n, time.Now()
		case time.Since(since) > waitingStall:
			return false, messages.Errorf(messages.CodeDeadline, "%s: %d, to be %d, and no progress for %s", what, n, target, waitingStall)
		}
		w.figures.peak(w.largestServer(ctx))
		if time.Since(shown) > every {
			shown = time.Now()
			w.progress.show("%.0f s: %s: %d, to be %d", time.Since(w.begin).Seconds(), what, n, target)
		}
		return false, nil
	})
}

// untilPassive returns when no server has a run in memory.
func (w *waiting) untilPassive(ctx context.Context) error {
	return w.moves(ctx, "runs in memory", 0, func(ctx context.Context) (int64, error) {
		n, err := w.cluster.ActiveRuns(ctx)
		return int64(n), err
	})
}

// share is how many runs the worker with the index binds.
func (c Config) share(i int) int {
	each := ceil(c.Runs, c.Workers)
	return max(min(each, c.Runs-i*each), 0)
}

// bindAll starts all runs and leaves them without their workers.
func (w *waiting) bindAll(ctx context.Context) error {
	begin := time.Now()
	starting := time.Duration(0)
	done := 0
	for i, name := range w.config.workerNames() {
		n := w.config.share(i)
		if n == 0 {
			break
		}
		if err := w.cluster.StartWorker(name); err != nil {
			return err
		}
		one := time.Now()
		if _, err := startAll(ctx, w.rig, waitingWorkflow(nil), make([]Input, n)); err != nil {
			return err
		}
		starting += time.Since(one)
		done += n
		w.progress.show("%.0f s: %d of %d runs started", time.Since(w.begin).Seconds(), done, w.config.Runs)
		// A first and a second step of each.
		if err := w.moves(ctx, "steps begun on "+name, int64(2*n), w.executions); err != nil {
			return err
		}
		if err := w.lose(ctx, name); err != nil {
			return err
		}
	}
	w.figures.StartsPerS = perSecond(done, starting)
	if err := w.untilPassive(ctx); err != nil {
		return err
	}
	w.figures.BindS = round(time.Since(begin).Seconds(), 3)
	return nil
}

func (w *waiting) executions(ctx context.Context) (int64, error) {
	return w.cluster.Executions(ctx), nil
}

// measureWaiting reads the memory of the servers, at rest, and every run.
func (w *waiting) measureWaiting(ctx context.Context, idle procs.Memory) error {
	f := w.figures
	w.progress.show("%.0f s: all runs wait; measuring memory", time.Since(w.begin).Seconds())
	now, err := w.settled(ctx, idle)
	if err != nil {
		return err
	}
	f.ServerWaitingMB, f.HeapWaitingMB = megabytes(now.ResidentBytes), megabytes(now.HeapBytes)
	f.AboveIdleMB, f.BytesPerRun = megabytes(now.ResidentBytes-idle.ResidentBytes), (now.ResidentBytes-idle.ResidentBytes)/int64(f.Runs)
	f.HeapAboveIdleMB = megabytes(now.HeapBytes - idle.HeapBytes)
	f.GoroutinesAboveIdle = now.Goroutines - idle.Goroutines
	w.progress.show("%.0f s: the servers have %.0f MB, %.0f MB above idle; %.0f MB of that are live heap",
		time.Since(w.begin).Seconds(), f.ServerWaitingMB, f.AboveIdleMB, f.HeapAboveIdleMB)
	if w.config.ServerHeap != "" {
		p, err := w.cluster.Server()
		if err == nil {
			err = p.LiveHeapProfile(ctx, w.config.ServerHeap)
		}
		if err != nil {
			return err
		}
	}
	if f.JournalMB, err = w.journalMB(ctx); err != nil {
		return err
	}
	err = w.list(ctx, waitingWorkflow(nil).Name(), w.begin, func(r *api.Run) {
		if r.GetDormant() && r.GetStatus() == sdk.Running && r.GetWorkerId() != "" {
			f.RunsWaiting++
		}
		if f.RunsWaiting%100_000 == 0 {
			w.progress.show("%.0f s: %d runs are listed as waiting", time.Since(w.begin).Seconds(), f.RunsWaiting)
		}
	})
	if err == nil && f.RunsWaiting != f.Runs {
		err = messages.Errorf(messages.CodeInternal, "%d runs were started, but %d wait for their worker", f.Runs, f.RunsWaiting)
	}
	return err
}

// journalMB is what the store takes on disk.
func (w *waiting) journalMB(ctx context.Context) (float64, error) {
	if w.database != nil {
		n, err := w.database.size(ctx)
		return megabytes(n), err
	}
	files, err := filepath.Glob(filepath.Join(w.dir, "journal.db*"))
	if err != nil {
		return 0, err
	}
	all := int64(0)
	for _, name := range files {
		info, err := os.Stat(name)
		switch {
		case err == nil:
			all += info.Size()
		case !os.IsNotExist(err):
			return 0, err
		}
	}
	return megabytes(all), nil
}

// wakeAll brings the workers back and waits for the end of all runs.
func (w *waiting) wakeAll(ctx context.Context) error {
	f := w.figures
	if err := w.startProfiles(ctx); err != nil {
		return err
	}
	f.ServerPeakBindMB, f.ServerPeakMB = f.ServerPeakMB, 0
	begin := time.Now()
	up := make(chan error, 1)
	go func() { up <- w.startWorkers() }()
	if err := w.moves(ctx, "runs woken and executed", int64(f.Runs), w.executions); err != nil {
		return err
	}
	f.WokenS = round(time.Since(begin).Seconds(), 3)
	if err := <-up; err != nil {
		return err
	}
	err := w.moves(ctx, "unfinished runs, one for all,", 0, func(ctx context.Context) (int64, error) { return w.unfinished(ctx, "") })
	if err != nil {
		return err
	}
	f.WakeS = round(time.Since(begin).Seconds(), 3)
	f.StepsPerS = perSecond(f.Runs, time.Since(begin))
	if err := w.endProfiles(ctx); err != nil {
		return err
	}
	f.StepsRunTwice = int(w.cluster.Executions(ctx)) - f.Runs
	f.RunsLost = f.Runs
	return w.list(ctx, waitingWorkflow(nil).Name(), w.begin, func(r *api.Run) {
		if r.GetStatus() == sdk.Succeeded {
			f.RunsLost--
		}
		if f.RunsLost%100_000 == 0 {
			w.progress.show("%.0f s: looking for lost runs, %d to look at", time.Since(w.begin).Seconds(), f.RunsLost)
		}
	})
}

// unfinished is 1 if there is an unfinished run, of a workflow if one is named, else 0.
func (w *waiting) unfinished(ctx context.Context, workflow string) (int64, error) {
	left, err := w.client().ListRuns(ctx, &api.ListRunsRequest{Workflow: workflow, Statuses: []messages.RunStatus{sdk.Running}, PageSize: 1})
	return int64(len(left.GetRuns())), err
}

// startWorkers brings all workers back at once.
func (w *waiting) startWorkers() error {
	var names []string
	for i, name := range w.config.workerNames() {
		if w.config.share(i) > 0 {
			names = append(names, name)
		}
	}
	return w.cluster.StartWorkers(names...)
}

// WaitingFigures are the result of Waiting.
type WaitingFigures struct {
	Workload string `json:"workload"`
	Store    string `json:"store"`
	Servers  int    `json:"servers"`
	Runs     int    `json:"runs"`
	Workers  int    `json:"workers"`
	Slots    int    `json:"slots"`

	// StartsPerS counts the calls to start runs alone; BindS is from the first
	// of them until all runs wait, with nothing in memory.
	StartsPerS float64 `json:"starts_per_s"`
	BindS      float64 `json:"bind_s"`
	// RunsWaiting are listed as dormant and bound.
	RunsWaiting int `json:"runs_waiting"`

	// Memory of all servers together, each after a collection: resident, and
	// live in Go's heap; idle before the first of these runs, and while all of
	// them wait.
	ServerIdleMB        float64 `json:"server_idle_mb"`
	ServerWaitingMB     float64 `json:"server_waiting_mb"`
	AboveIdleMB         float64 `json:"above_idle_mb"`
	BytesPerRun         int64   `json:"bytes_per_run"`
	HeapIdleMB          float64 `json:"heap_idle_mb"`
	HeapWaitingMB       float64 `json:"heap_waiting_mb"`
	HeapAboveIdleMB     float64 `json:"heap_above_idle_mb"`
	GoroutinesAboveIdle int     `json:"goroutines_above_idle"`
	// The most that one server had, uncollected: while the runs were bound, and
	// while they were woken.
	ServerPeakBindMB float64 `json:"server_peak_bind_mb"`
	ServerPeakMB     float64 `json:"server_peak_wake_mb"`
	// JournalMB is the store on disk while the runs wait.
	JournalMB float64 `json:"journal_mb"`

	// From the start of the workers' processes: WokenS until the last run had
	// begun its step, WakeS until all had ended; StepsPerS is by WakeS.
	WokenS    float64 `json:"woken_s"`
	WakeS     float64 `json:"wake_s"`
	StepsPerS float64 `json:"steps_per_s"`
	// StepsRunTwice were executed twice by the workers that came back; RunsLost
	// did not succeed.
	StepsRunTwice int     `json:"steps_run_twice"`
	RunsLost      int     `json:"runs_lost"`
	ProcessesDied int     `json:"processes_died"`
	EntriesPerRun float64 `json:"entries_per_run"`

	*Limits
}

func (f *WaitingFigures) peak(bytes int64) { f.ServerPeakMB = max(f.ServerPeakMB, megabytes(bytes)) }

// Table shows the figures to eyes.
func (f *WaitingFigures) Table() string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	row("workload", "%d HARD runs wait for %d workers, on %s, %d servers", f.Runs, f.Workers, f.Store, f.Servers)
	row("to wait", "%.1f s in all   %.0f starts /s", f.BindS, f.StartsPerS)
	row("memory", "%d bytes a run, %.1f MB above idle (%.1f MB to %.1f MB), of Go's heap %.1f MB, %d goroutines",
		f.BytesPerRun, f.AboveIdleMB, f.ServerIdleMB, f.ServerWaitingMB, f.HeapAboveIdleMB, f.GoroutinesAboveIdle)
	row("at most", "%.1f MB while they were bound, %.1f MB while they were woken", f.ServerPeakBindMB, f.ServerPeakMB)
	row("journal", "%.1f MB   %.2f entries a run", f.JournalMB, f.EntriesPerRun)
	row("to wake", "all begun after %.1f s, ended after %.1f s: %.0f steps /s", f.WokenS, f.WakeS, f.StepsPerS)
	row("wrong", "steps run twice: %d   runs lost: %d   processes died: %d", f.StepsRunTwice, f.RunsLost, f.ProcessesDied)
	f.limits(row)
	_ = w.Flush()
	return out.String()
}
