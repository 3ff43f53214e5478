package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/limpetrun/limpet/cmd/internal/procs"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/worker"
)

const (
	roleCrowd = "crowd"
	roleBusy  = "busy"
	// orderCrowd asks a crowd how many of its workers are up.
	orderCrowd = "crowd"
	// crowds is how many processes the workers of CrowdOfWorkers are spread over.
	crowds = 3
	// crowdTimeout is how long all of them may take to be up.
	crowdTimeout = 5 * time.Minute
	// crowdSettles is how long the workers rest before their cost is measured, for
	// crowdRests.
	crowdSettles = 5 * time.Second
	crowdRests   = 20 * time.Second
)

// Workers measures how long it takes until many workers that start at once are up,
// beside a busy loop on each processor, and what one costs that has nothing to do.
func Workers(ctx context.Context, config Config) (*WorkersFigures, error) {
	var figures *WorkersFigures
	err := on(ctx, config, flushEvery, nil, func(r *rig) error {
		c := r.config
		figures = &WorkersFigures{Workload: c.Workload, Store: c.Store, Servers: c.Servers, Workers: c.Workers, Processes: min(crowds, c.Workers), Cores: runtime.NumCPU()}
		group := procs.NewGroup(r.dir)
		defer group.Close()
		return (&crowd{rig: r, group: group, figures: figures}).measure(ctx)
	})
	return figures, err
}

// crowd is a measurement of many workers in progress.
type crowd struct {
	*rig
	group     *procs.Group
	processes []*procs.Process
	figures   *WorkersFigures
}

func (c *crowd) measure(ctx context.Context) error {
	busy, err := c.keepBusy(ctx)
	if err != nil {
		return err
	}
	if err := c.startCrowd(ctx); err != nil {
		return err
	}
	for _, p := range busy {
		p.Kill()
	}
	c.progress.show("all are up; resting")
	select {
	case <-time.After(crowdSettles):
	case <-ctx.Done():
		return ctx.Err()
	}
	return c.rest(ctx)
}

// keepBusy starts a loop for each processor.
func (c *crowd) keepBusy(ctx context.Context) (all []*procs.Process, err error) {
	for i := range runtime.NumCPU() {
		p, err := c.group.Start(ctx, fmt.Sprintf("busy-%d", i+1), roleBusy, nil, nil)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// startCrowd returns when all workers are up.
func (c *crowd) startCrowd(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, crowdTimeout,
		messages.Errorf(messages.CodeDeadline, "%d workers are not up after %s", c.config.Workers, crowdTimeout))
	defer cancel()
	begin, before := time.Now(), c.spent(ctx)
	n := c.figures.Processes
	for i := range n {
		from, to := i*c.config.Workers/n, (i+1)*c.config.Workers/n
		p, err := c.group.Start(ctx, fmt.Sprintf("crowd-%d", i+1), roleCrowd, crowdConfig{First: from, Count: to - from, Join: c.cluster.GossipAddresses()}, nil)
		if err != nil {
			return err
		}
		c.processes = append(c.processes, p)
	}
	f := c.figures
	err := poll(ctx, 100*time.Millisecond, func() (bool, error) {
		var sum crowdState
		for _, p := range c.processes {
			var s crowdState
			if err := p.Ask(ctx, orderCrowd, nil, &s); err != nil {
				return false, err
			}
			sum.Up, sum.Admissions = sum.Up+s.Up, sum.Admissions+s.Admissions
		}
		took := time.Since(begin).Seconds()
		c.progress.show("%.0f s: %d of %d workers are up, after %d admissions", took, sum.Up, f.Workers, sum.Admissions)
		if sum.Up*2 >= f.Workers && f.HalfUpS == 0 {
			f.HalfUpS = round(took, 2)
		}
		f.AllUpS, f.Admissions = round(took, 2), sum.Admissions
		return sum.Up == f.Workers, nil
	})
	after := c.spent(ctx)
	f.StartServersCPUS = round((after.servers - before.servers).Seconds(), 2)
	f.StartWorkersCPUS = round((after.workers - before.workers).Seconds(), 2)
	return err
}

// rest measures what the workers cost that do nothing.
func (c *crowd) rest(ctx context.Context) error {
	begin, before := time.Now(), c.spent(ctx)
	select {
	case <-time.After(crowdRests):
	case <-ctx.Done():
		return ctx.Err()
	}
	after, took := c.spent(ctx), time.Since(begin).Seconds()
	f, n := c.figures, float64(c.figures.Workers)
	perWorker := func(d time.Duration) float64 { return round(float64(d.Microseconds())/1000/took/n, 3) }
	f.IdleCPU, f.IdleServersCPU = perWorker(after.workers-before.workers), perWorker(after.servers-before.servers)
	var resident, heap int64
	for _, p := range c.processes {
		m, err := p.Memory(ctx)
		if err != nil {
			return err
		}
		resident, heap = resident+m.ResidentBytes, heap+m.HeapBytes
	}
	f.IdleMB, f.IdleHeapMB = round(megabytes(resident)/n, 2), round(megabytes(heap)/n, 2)
	f.ProcessesDied = int(c.died.Load())
	return nil
}

// spent is the CPU time of the servers and of the crowd by now.
type spent struct{ servers, workers time.Duration }

func (c *crowd) spent(ctx context.Context) (s spent) {
	for _, name := range c.cluster.ServerNames() {
		if p, err := c.cluster.Process(name); err == nil {
			if u, err := p.Usage(ctx); err == nil {
				s.servers += u.CPU
			}
		}
	}
	for _, p := range c.processes {
		if u, err := p.Usage(ctx); err == nil {
			s.workers += u.CPU
		}
	}
	return s
}

// WorkersFigures are the result of Workers.
type WorkersFigures struct {
	Workload  string `json:"workload"`
	Store     string `json:"store"`
	Servers   int    `json:"servers"`
	Workers   int    `json:"workers"`
	Processes int    `json:"processes"`
	Cores     int    `json:"cores"`

	// Seconds from the start of their processes until half of the workers, and all,
	// were up, beside a busy loop on each core.
	HalfUpS float64 `json:"half_up_s"`
	AllUpS  float64 `json:"all_up_s"`
	// Admissions by then: more than there are workers if some were admitted again.
	Admissions int `json:"admissions"`
	// Seconds of CPU time of all servers, and of all workers, until then.
	StartServersCPUS float64 `json:"start_servers_cpu_s"`
	StartWorkersCPUS float64 `json:"start_workers_cpu_s"`

	// Of a worker that has nothing to do: milliseconds of CPU time a second of its
	// own and of all servers together, and memory, resident and live in Go's heap.
	IdleCPU        float64 `json:"idle_cpu_ms_per_s"`
	IdleServersCPU float64 `json:"idle_servers_cpu_ms_per_s"`
	IdleMB         float64 `json:"idle_mb"`
	IdleHeapMB     float64 `json:"idle_heap_mb"`

	ProcessesDied int `json:"processes_died"`
}

// Table shows the figures to eyes.
func (f *WorkersFigures) Table() string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	row("workload", "%d workers in %d processes, started at once beside a busy loop on each of %d cores, %d servers on %s", f.Workers, f.Processes, f.Cores, f.Servers, f.Store)
	row("up", "half after %.1f s, all after %.1f s, with %d admissions", f.HalfUpS, f.AllUpS, f.Admissions)
	row("CPU time until then", "%.1f s of the servers, %.1f s of the workers", f.StartServersCPUS, f.StartWorkersCPUS)
	row("an idle worker", "%.2f ms/s of CPU time, %.2f ms/s at the servers, %.1f MB, of that %.1f MB live heap", f.IdleCPU, f.IdleServersCPU, f.IdleMB, f.IdleHeapMB)
	row("wrong", "processes died: %d", f.ProcessesDied)
	_ = w.Flush()
	return out.String()
}

// crowdConfig goes to a process of the crowd.
type crowdConfig struct {
	First, Count int
	Join         []string
}

// crowdState is its answer.
type crowdState struct{ Up, Admissions int }

// crowdChild is a process with many workers that do nothing.
type crowdChild struct {
	cancel         context.CancelFunc
	running        sync.WaitGroup
	up, admissions atomic.Int64
	ended          chan error
}

func newCrowdChild() procs.Child { return &crowdChild{ended: make(chan error, 1)} }

func (c *crowdChild) Start(ctx context.Context, config json.RawMessage) (any, error) {
	var said crowdConfig
	if err := json.Unmarshal(config, &said); err != nil {
		return nil, err
	}
	ctx, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
	w := sdk.NewWorkflow[Input](Noop1)
	sdk.AddStep(w, "only", func(sdk.Context, Input) (int, error) { return 0, nil })
	logger := slog.New(slog.DiscardHandler)
	for i := range said.Count {
		one, err := worker.New(worker.Config{ID: fmt.Sprintf("worker-%d", said.First+i+1), Join: said.Join, Slots: 1, Grace: worker.NoGrace, JoinTimeout: sdk.Never, Logger: logger,
			Hooks: &worker.Hooks{Admitted: func() { c.admissions.Add(1) }}}, w)
		if err != nil {
			return nil, err
		}
		c.running.Go(func() { c.serve(ctx, one) })
	}
	return nil, nil
}

// serve runs one worker.
func (c *crowdChild) serve(ctx context.Context, one *worker.Worker) {
	ran := make(chan error, 1)
	go func() { ran <- one.Run(ctx) }()
	select {
	case <-one.Ready():
		c.up.Add(1)
	case err := <-ran:
		ran <- err
	}
	if err := <-ran; err != nil {
		c.up.Add(-1)
		select {
		case c.ended <- fmt.Errorf("worker %s: %w", one.ID(), err):
		default:
		}
	}
}

func (c *crowdChild) Do(_ context.Context, order string, _ json.RawMessage) (any, error) {
	if order != orderCrowd {
		return nil, messages.Errorf(messages.CodeInvalidArgument, "a crowd knows no order %q", order)
	}
	return crowdState{Up: int(c.up.Load()), Admissions: int(c.admissions.Load())}, nil
}

func (c *crowdChild) Done() <-chan error { return c.ended }

func (c *crowdChild) Stop(ctx context.Context) error {
	c.cancel()
	stopped := make(chan struct{})
	go func() { c.running.Wait(); close(stopped) }()
	select {
	case <-stopped:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// busyChild is a process that keeps a processor busy.
type busyChild struct{ stop atomic.Bool }

func newBusyChild() procs.Child { return &busyChild{} }

func (b *busyChild) Start(context.Context, json.RawMessage) (any, error) {
	go func() {
		for !b.stop.Load() {
		}
	}()
	return nil, nil
}

func (b *busyChild) Do(_ context.Context, order string, _ json.RawMessage) (any, error) {
	return nil, messages.Errorf(messages.CodeInvalidArgument, "a busy process knows no order %q", order)
}

func (b *busyChild) Done() <-chan error { return nil }

func (b *busyChild) Stop(context.Context) error {
	b.stop.Store(true)
	return nil
}
