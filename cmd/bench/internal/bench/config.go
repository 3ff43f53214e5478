package bench

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/limpetrun/limpet/cmd/internal/localcluster"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk"
)

// Workloads: steps that do nothing but record their execution.
const (
	// Noop1 is one step.
	Noop1 = "noop1"
	// Chain3 is three steps, each the parent of the next.
	Chain3 = "chain3"
	// Fan is two roots and a step that both are parents of.
	Fan = "fan"
	// StepCalls is one step that makes callsPerRun calls.
	StepCalls = "calls"
	// SignaledRuns wait for a message each, and go on: see signals.
	SignaledRuns = "signals"
	// AskedRuns wait for a message, and are asked where they are: see asked.
	AskedRuns = "ask"
	// StreamedRuns write a stream each, which is read meanwhile: see streamed.
	StreamedRuns = "stream"
	// SuspendedRuns are suspended until one moment: see suspended.
	SuspendedRuns = "suspended"
	// WaitingRuns is HARD runs that all wait for their workers: see waiting.
	WaitingRuns = "waiting"
	// QueuedRuns wait to be placed while there is no worker: see queued.
	QueuedRuns = "queued"
	// CrowdOfWorkers starts many workers at once and no run: see crowd.
	CrowdOfWorkers = "workers"
)

var workloads = []string{Noop1, Chain3, Fan, StepCalls, SignaledRuns, AskedRuns, StreamedRuns, SuspendedRuns, WaitingRuns, QueuedRuns, KeyedRuns, HandoffRuns, CrowdOfWorkers}

// Faults that a recovery is measured of.
const (
	// WorkerKill is SIGKILL to a worker with SOFT runs, WorkerStop SIGSTOP.
	WorkerKill = "worker-kill"
	WorkerStop = "worker-stop"
	// ServerKill is SIGKILL to a server under load.
	ServerKill = "server-kill"
	// HardRestart is SIGKILL to a worker with HARD runs, and its return.
	HardRestart = "hard-restart"
)

var failovers = []string{WorkerKill, WorkerStop, ServerKill, HardRestart}

// steps of a run of the workload.
func steps(workload string) int {
	switch workload {
	case Noop1, StepCalls, SignaledRuns, AskedRuns, StreamedRuns, SuspendedRuns, QueuedRuns:
		return 1
	case WaitingRuns:
		return 2
	}
	return 3
}

var stickies = map[string]sdk.Sticky{"none": sdk.None, "soft": sdk.Soft, "hard": sdk.Hard}

var stores = []string{localcluster.StoreSQLite, localcluster.StorePostgres, localcluster.StoreMemory}

// Limits of the flags.
const (
	runsMax    = 10_000_000
	workersMax = 64
	// crowdMax is how many workers of CrowdOfWorkers one machine has ports for.
	crowdMax   = 2000
	serversMax = 16
	warmupMax  = 10_000
	trialsMax  = 1000
	// failoverRunsMax keeps a trial within what one machine can hold in motion.
	failoverRunsMax = 20_000
)

// waitingPerWorker is how many runs of WaitingRuns are bound to each worker
// unless Workers says how many there are.
const waitingPerWorker = 50_000

// Config of a measurement. Zero counts take the defaults that Defaults names.
type Config struct {
	// Workload is one of those named above; Sticky none, soft
	// or hard; Store sqlite, postgres or memory.
	Workload, Sticky, Store string
	// Failover is the fault to measure the recovery of instead of the workload;
	// empty for none.
	Failover string
	// Trials of a Failover. Default 5.
	Trials int
	// Runs to measure, or those of each trial. Default 20,000; of a Failover
	// 1,000 for servers and 200 for workers; 1,000,000 of WaitingRuns, 100,000
	// of QueuedRuns and of SuspendedRuns, 4,000 of KeyedRuns, 1,000 of AskedRuns, 100 of StreamedRuns and 200 of HandoffRuns; CrowdOfWorkers has none.
	Runs int
	// Servers on one database. Default 1.
	Servers int
	// Workers, and Slots of each. Default 2 with 100; of a Failover and of
	// WaitingRuns as many slots as there are runs for a worker; 4 workers of
	// KeyedRuns, with 10, and of HandoffRuns, with one for each run; 300 of
	// CrowdOfWorkers.
	Workers, Slots int
	// Sequential starts a run when the one before has ended.
	Sequential bool
	// Warmup is how many runs come before the ones that are measured.
	Warmup int
	// Limits measures those of the machine too.
	Limits bool
	// PostgresURL is a PostgreSQL for the store postgres, on which a database
	// is made and dropped again; empty starts a private one.
	PostgresURL string
	// Dir is where the journal and the ledgers go, in a directory of their
	// own; empty is the system's for temporary files.
	Dir string
	// Keep leaves that directory.
	Keep bool
	// Files to write CPU profiles of the measured time to; empty for none. Of
	// several servers and workers it is the first one.
	ServerProfile, WorkerProfile, ClientProfile string
	// Files to write to what server and worker had allocated by the end.
	ServerAllocations, WorkerAllocations string
	// ServerHeap is a file for what lives in the server's heap while the runs
	// of WaitingRuns wait.
	ServerHeap string
	// Progress gets lines about where the measurement stands; nil for none.
	// Terminal says that one line may replace the other.
	Progress io.Writer
	Terminal bool

	// heldLoadBound is that of placement.Config.
	heldLoadBound float64
}

// withDefaults fills in the counts that are zero.
func (c Config) withDefaults() Config {
	set := func(n *int, value int) {
		if *n == 0 {
			*n = value
		}
	}
	set(&c.Servers, 1)
	set(&c.Trials, 5)
	switch {
	case c.Failover == ServerKill:
		set(&c.Runs, 1000)
	case c.Failover != "":
		set(&c.Runs, 200)
	case c.Workload == WaitingRuns:
		set(&c.Runs, 1_000_000)
		set(&c.Workers, ceil(c.Runs, waitingPerWorker))
	case c.Workload == QueuedRuns || c.Workload == SuspendedRuns:
		set(&c.Runs, 100_000)
	case c.Workload == CrowdOfWorkers:
		set(&c.Workers, 300)
	case c.Workload == KeyedRuns:
		set(&c.Runs, 4000)
		set(&c.Workers, 4)
		set(&c.Slots, 10)
	case c.Workload == AskedRuns:
		set(&c.Runs, 1000)
	case c.Workload == StreamedRuns:
		set(&c.Runs, 100)
	case c.Workload == HandoffRuns:
		set(&c.Runs, 200)
		set(&c.Workers, 4)
		set(&c.Slots, c.Runs)
	}
	set(&c.Runs, 20_000)
	set(&c.Workers, 2)
	switch {
	case c.Failover != "":
		set(&c.Slots, c.Runs)
	case c.Workload == WaitingRuns:
		set(&c.Slots, ceil(c.Runs, max(c.Workers, 1)))
	}
	set(&c.Slots, 100)
	return c
}

func ceil(n, by int) int { return (n + by - 1) / by }

// Validate reports every fault: INVALID_ARGUMENT. It is a list: one check for each
// field.
//
//gocyclo:ignore
func (c Config) Validate() error {
	c = c.withDefaults()
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	one := func(flag, value string, of []string) {
		if !slices.Contains(of, value) {
			fault("--%s %q is not %s", flag, value, strings.Join(of, ", "))
		}
	}
	one("workload", c.Workload, workloads)
	one("sticky", c.Sticky, slices.Sorted(maps.Keys(stickies)))
	one("store", c.Store, stores)
	between := func(flag string, n, least, most int) {
		if n < least || n > most {
			fault("--%s is %d, must be %d to %d", flag, n, least, most)
		}
	}
	between("runs", c.Runs, 1, runsMax)
	between("servers", c.Servers, 1, serversMax)
	most := workersMax
	if c.Workload == CrowdOfWorkers {
		most = crowdMax
	}
	between("workers", c.Workers, 1, most)
	between("slots", c.Slots, 1, messages.SlotsMax)
	between("warmup", c.Warmup, 0, warmupMax)
	between("trials", c.Trials, 1, trialsMax)
	if c.Servers > 1 && c.Store != localcluster.StorePostgres {
		fault("--servers %d with --store %s: a journal in a file or in memory belongs to one server, several share --store postgres", c.Servers, c.Store)
	}
	if c.Failover != "" {
		one("failover", c.Failover, failovers)
		c.failoverFaults(fault)
	}
	if c.Workload == WaitingRuns {
		c.waitingFaults(fault)
	}
	if slices.Contains([]string{CrowdOfWorkers, SignaledRuns, AskedRuns, StreamedRuns, SuspendedRuns}, c.Workload) && c.Failover != "" {
		fault("--failover %s and --workload %s are two measurements: take one of them", c.Failover, c.Workload)
	}
	if c.Workload == KeyedRuns || c.Workload == HandoffRuns {
		c.localFaults(fault)
	}
	if c.Workload == AskedRuns && stickies[c.Sticky] == sdk.None {
		fault("--workload %s with --sticky %s: only sticky runs are asked", c.Workload, c.Sticky)
	}
	if c.Workload == StreamedRuns && c.Slots*c.Workers < c.Runs {
		fault("--workload %s with %d x %d slots for %d runs: all write at the same time", c.Workload, c.Workers, c.Slots, c.Runs)
	}
	if slices.Contains([]string{SignaledRuns, AskedRuns, StreamedRuns, SuspendedRuns}, c.Workload) && c.Sequential {
		fault("--workload %s with --sequential: its runs wait together", c.Workload)
	}
	if c.Dir != "" {
		if info, err := os.Stat(c.Dir); err != nil {
			fault("--dir: %w", err)
		} else if !info.IsDir() {
			fault("--dir %s is not a directory", c.Dir)
		}
	}
	if len(faults) > 0 {
		return messages.Errorf(messages.CodeInvalidArgument, "%w", errors.Join(faults...))
	}
	return nil
}

func (c Config) failoverFaults(fault func(string, ...any)) {
	if c.Workload == WaitingRuns {
		fault("--failover %s and --workload %s are two measurements: take one of them", c.Failover, c.Workload)
	}
	if c.Sequential {
		fault("--failover %s with --sequential: its runs are under way together", c.Failover)
	}
	if c.Runs > failoverRunsMax {
		fault("--runs is %d, must be at most %d in a trial of --failover", c.Runs, failoverRunsMax)
	}
	if c.Slots*c.Workers < c.Runs {
		fault("--failover with %d x %d slots for %d runs: each must have one, or recovery would mean to wait for a slot", c.Workers, c.Slots, c.Runs)
	}
	if c.Workers < 2 && (c.Failover == WorkerKill || c.Failover == WorkerStop) {
		fault("--failover %s needs a second worker to go on with: --workers is %d", c.Failover, c.Workers)
	}
	if c.Failover == ServerKill && c.Store == localcluster.StoreMemory {
		fault("--failover %s with --store %s: its journal dies with the server", c.Failover, c.Store)
	}
}

func (c Config) localFaults(fault func(string, ...any)) {
	if c.Failover != "" {
		fault("--failover %s and --workload %s are two measurements: take one of them", c.Failover, c.Workload)
	}
	if c.Sequential {
		fault("--workload %s with --sequential: its runs are under way together", c.Workload)
	}
	if c.Sticky != "soft" {
		fault("--workload %s with --sticky %s: its runs are SOFT", c.Workload, c.Sticky)
	}
	if c.Workers < 2 {
		fault("--workload %s needs a second worker: --workers is %d", c.Workload, c.Workers)
	}
	if c.Workload == HandoffRuns && c.Slots*(c.Workers-c.Workers/2) < c.Runs {
		fault("--workload %s with %d slots for %d runs: half of the %d workers must have one for each, or to move would mean to wait for a slot", c.Workload, c.Slots, c.Runs, c.Workers)
	}
}

func (c Config) waitingFaults(fault func(string, ...any)) {
	if c.Sequential {
		fault("--workload %s with --sequential: its runs wait together", c.Workload)
	}
	if c.Slots*c.Workers < c.Runs {
		fault("--workload %s with %d x %d slots for %d runs: each run is bound by a step that holds a slot", c.Workload, c.Workers, c.Slots, c.Runs)
	}
}
