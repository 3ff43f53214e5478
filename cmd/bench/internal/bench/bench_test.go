package bench

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/limpetrun/limpet/actors/activation"
	"github.com/limpetrun/limpet/actors/journal/postgres/postgrestest"
	"github.com/limpetrun/limpet/cmd/internal/procs"
	"github.com/limpetrun/limpet/messages"
)

// TestMain makes the test's executable a process of the bench where it is
// started as one.
func TestMain(m *testing.M) {
	procs.Main(Roles())
	os.Exit(m.Run())
}

// small is a configuration for few runs, in a directory of the test.
func small(t *testing.T, c Config) Config {
	t.Helper()
	if c.Workload == "" {
		c.Workload = Chain3
	}
	if c.Sticky == "" {
		c.Sticky = "soft"
	}
	c.Workers, c.Dir = 2, t.TempDir()
	// A PostgreSQL of root's runs as another user, who has to get in.
	for _, dir := range []string{c.Dir, filepath.Dir(c.Dir)} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if left, err := os.ReadDir(c.Dir); err != nil || len(left) > 0 {
			t.Errorf("%d files are left, %v", len(left), err)
		}
	})
	return c
}

// inJSON reads a result as others will.
func inJSON(t *testing.T, r Result) map[string]any {
	t.Helper()
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(data, &fields); err != nil {
		t.Fatal(err)
	}
	return fields
}

// TestThroughput measures each workload with few runs.
func TestThroughput(t *testing.T) {
	for _, c := range []Config{
		{Workload: Chain3, Sticky: "soft", Store: "sqlite", Limits: true},
		{Workload: Chain3, Sticky: "soft", Store: "postgres", Servers: 2, Limits: true},
		{Workload: Fan, Sticky: "hard", Store: "memory", Warmup: 5},
		{Workload: StepCalls, Sticky: "soft", Store: "sqlite", Limits: true, Sequential: true},
		{Workload: Noop1, Sticky: "none", Store: "memory", Sequential: true},
	} {
		t.Run(c.Workload+" "+c.Store, func(t *testing.T) {
			c = small(t, c)
			c.Runs, c.Slots = 30, 4
			if c.Servers > 1 {
				// A relative path means the same to PostgreSQL.
				t.Chdir(c.Dir)
				c.Dir = "."
			}
			f, err := Throughput(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			if f.RunsPerS <= 0 || f.P50Ms <= 0 || f.P99Ms < f.P50Ms || f.StepsMissing != 0 || f.StepsRunTwice != 0 || f.RunsFailed != 0 || f.EntriesPerRun < 1 {
				t.Errorf("%+v", f)
			}
			if f.CommitsPerRun <= 0 || f.EntriesPerCommit < 1 || f.BytesPerEntry < 1 || f.ServerCPUMsPerRun <= 0 {
				t.Errorf("%+v", f)
			}
			if c.Sticky != "none" && f.SameWorkerRatio != 1 {
				t.Errorf("same worker ratio %v", f.SameWorkerRatio)
			}
			if c.Limits && (f.FsyncPerSLimit <= 0 || f.ActorSendsPerSLimit <= 0 || f.SQLiteRatio+f.InsertRatio <= 0) {
				t.Errorf("%+v", f.Limits)
			}
			if c.Store == "postgres" && (f.InsertPerSLimit <= f.PostgresCommitsPerSLimit/2 || f.PostgresCommitsPerSLimit <= 0 || f.InsertBatch < 1 || f.PostgresCPUMsPerRun <= 0) {
				t.Errorf("%+v", f.Limits)
			}
			if calls := c.Workload == StepCalls; (f.CallsPerS > 0) != calls || (f.CallMs > 0) != calls || calls && (f.CallsRatio <= 0 || f.EntriesPerRun < callsPerRun) {
				t.Errorf("%+v", f)
			}
			if !strings.Contains(f.Table(), c.Workload+" "+c.Sticky) {
				t.Error(f.Table())
			}
			fields := inJSON(t, f)
			for _, name := range []string{"workload", "store", "servers", "runs_per_s", "p99_ms", "postgres_cpu_ms_per_run"} {
				if _, ok := fields[name]; !ok {
					t.Errorf("no field %s in %v", name, fields)
				}
			}
		})
	}
}

// TestFailover strikes a cluster with each fault.
func TestFailover(t *testing.T) {
	for _, c := range []Config{
		{Failover: WorkerKill, Store: "sqlite"},
		{Failover: WorkerStop, Store: "sqlite"},
		{Failover: HardRestart, Store: "memory"},
		{Failover: ServerKill, Store: "sqlite"},
		{Failover: ServerKill, Store: "postgres", Servers: 3},
	} {
		t.Run(c.Failover+" "+c.Store, func(t *testing.T) {
			c = small(t, c)
			c.Runs, c.Trials = 20, 2
			f, err := Failover(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			if f.Trials != 2 || f.RecoverySMax < f.RecoveryS || f.RecoveryS <= 0 || f.RecoverySMax >= trialTimeout.Seconds() {
				t.Errorf("%+v", f)
			}
			if f.StepsRunTwice != 0 || f.RunsLost != 0 || f.ProcessesDied != 0 {
				t.Errorf("%+v", f)
			}
			for _, trial := range f.EachTrial {
				if trial.StepsLost+trial.RunsInMotion == 0 || trial.StepsLeft != 0 || trial.FirstS > trial.MedianS || trial.MedianS > trial.RecoveryS {
					t.Errorf("%+v", trial)
				}
			}
			if !strings.Contains(f.Table(), c.Failover) {
				t.Error(f.Table())
			}
			fields := inJSON(t, f)
			for _, name := range []string{"recovery_s", "recovery_s_max", "steps_run_twice", "runs_lost"} {
				if _, ok := fields[name]; !ok {
					t.Errorf("no field %s in %v", name, fields)
				}
			}
		})
	}
}

// TestWaiting has a few runs wait for their workers.
func TestWaiting(t *testing.T) {
	for _, c := range []Config{{Store: "sqlite"}, {Store: "postgres", Servers: 2}} {
		t.Run(c.Store, func(t *testing.T) {
			c = small(t, c)
			c.Workload, c.Runs, c.Warmup = WaitingRuns, 31, 5
			f, err := Waiting(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			if f.RunsWaiting != 31 || f.RunsLost != 0 || f.StepsRunTwice != 0 || f.ProcessesDied != 0 {
				t.Errorf("%+v", f)
			}
			if f.ServerIdleMB <= 0 || f.ServerWaitingMB <= 0 || f.HeapWaitingMB <= 0 || f.JournalMB <= 0 || f.WakeS < f.WokenS || f.WokenS <= 0 || f.EntriesPerRun < 2 {
				t.Errorf("%+v", f)
			}
			if !strings.Contains(f.Table(), "31 HARD runs") {
				t.Error(f.Table())
			}
		})
	}
}

// TestSignals has a few runs wait for a message.
func TestSignals(t *testing.T) {
	c := small(t, Config{Workload: SignaledRuns, Store: "sqlite"})
	c.Runs, c.Warmup = 31, 5
	f, err := Signals(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if f.RunsLost != 0 || f.Again != 0 || f.ProcessesDied != 0 || f.Alone != 15 || f.EntriesPerRun < 3 {
		t.Errorf("%+v", f)
	}
	if f.SignalsPerS <= 0 || f.RunsPerS <= 0 || f.P50Ms <= 0 || f.P99Ms < f.P50Ms || f.AloneP50Ms <= 0 || f.WaitingMB <= 0 {
		t.Errorf("%+v", f)
	}
	if !strings.Contains(f.Table(), "31 SOFT runs") {
		t.Error(f.Table())
	}
}

// TestAsked has a few runs answer queries, which leave nothing behind.
func TestAsked(t *testing.T) {
	c := small(t, Config{Workload: AskedRuns, Store: "sqlite"})
	c.Runs = 7
	f, err := Asked(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if f.Appends != 0 || f.ProcessesDied != 0 || f.Alone != 70 || f.Together != 700 {
		t.Errorf("%+v", f)
	}
	if f.AsksPerS <= 0 || f.P50Ms <= 0 || f.P99Ms < f.P50Ms || f.AloneP50Ms <= 0 || f.AloneP99Ms < f.AloneP50Ms {
		t.Errorf("%+v", f)
	}
	if !strings.Contains(f.Table(), "7 SOFT runs are asked") {
		t.Error(f.Table())
	}
}

// TestStreamed has a few runs write streams, which are read whole.
func TestStreamed(t *testing.T) {
	c := small(t, Config{Workload: StreamedRuns, Store: "sqlite"})
	c.Runs = 5
	f, err := Streamed(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if f.PiecesWrong != 0 || f.ProcessesDied != 0 || f.Flushed != 5*(streamPieces/flushedEvery-1) {
		t.Errorf("%+v", f)
	}
	if f.PiecesPerS <= 0 || f.P50Ms <= 0 || f.P99Ms < f.P50Ms || f.DurableP50Ms <= 0 || f.FlushedP50Ms <= 0 || f.ReadRatio <= 0 {
		t.Errorf("%+v", f)
	}
	if !strings.Contains(f.Table(), "5 SOFT runs write 1000 pieces") {
		t.Error(f.Table())
	}
}

// TestSuspended has a few runs suspended until one moment. It takes the time that they
// have to get there.
func TestSuspended(t *testing.T) {
	c := small(t, Config{Workload: SuspendedRuns, Store: "sqlite"})
	c.Runs, c.Warmup = 31, 5
	f, err := Suspended(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if f.RunsLost != 0 || f.Early != 0 || f.Again != 0 || f.ProcessesDied != 0 || f.EntriesPerRun < 5 {
		t.Errorf("%+v", f)
	}
	if f.SuspendS <= 0 || f.HalfOnS <= 0 || f.AllOnS < f.P99OnS || f.Probes == 0 || f.ProbeMostMs < f.ProbeP50Ms || f.ProbeCalmP50Ms <= 0 || f.WaitingMB <= 0 || f.WorkerWaitingMB <= 0 {
		t.Errorf("%+v", f)
	}
	if !strings.Contains(f.Table(), "31 SOFT runs") {
		t.Error(f.Table())
	}
}

// TestQueued: runs that wait to be placed are not in memory, but for some.
func TestQueued(t *testing.T) {
	for _, c := range []Config{{Store: "sqlite"}, {Store: "postgres"}} {
		t.Run(c.Store, func(t *testing.T) {
			c = small(t, c)
			c.Workload, c.Runs, c.Warmup = QueuedRuns, activation.LineMax+500, 5
			f, err := Queued(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			if f.InMemory == 0 || f.InMemory > activation.LineMax || f.StepsRunTwice != 0 || f.ProcessesDied != 0 {
				t.Errorf("%+v", f)
			}
			if f.IdleMB <= 0 || f.QueuedMB <= 0 || f.HeapQueuedMB <= 0 || f.AfterMB <= 0 || f.RestMB <= 0 {
				t.Errorf("%+v", f)
			}
			if !strings.Contains(f.Table(), "runs in memory") {
				t.Error(f.Table())
			}
		})
	}
}

// TestDatabaseOfOthers uses a PostgreSQL that is there already, and leaves it as
// it was.
func TestDatabaseOfOthers(t *testing.T) {
	server, err := postgrestest.Start(t.Context(), postgrestest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	names := func() (all []string) {
		t.Helper()
		conn, err := pgx.Connect(t.Context(), server.URL())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close(t.Context()) }()
		rows, err := conn.Query(t.Context(), "SELECT datname FROM pg_database ORDER BY 1")
		if err == nil {
			all, err = pgx.CollectRows(rows, pgx.RowTo[string])
		}
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	before := names()
	c := small(t, Config{Workload: Noop1, Store: "postgres", PostgresURL: server.URL(), Runs: 3})
	if f, err := Throughput(t.Context(), c); err != nil || f.StepsMissing != 0 {
		t.Errorf("%+v, %v", f, err)
	}
	if after := names(); !slices.Equal(before, after) {
		t.Errorf("databases before %q, after %q", before, after)
	}
	c.PostgresURL = "mysql://somewhere"
	if _, err := Throughput(t.Context(), c); messages.CodeOf(err) != messages.CodeInvalidArgument || strings.Contains(err.Error(), "somewhere") {
		t.Errorf("error %v", err)
	}
}

// TestWorkers: many workers come up at once, and what an idle one costs is measured.
func TestWorkers(t *testing.T) {
	c := small(t, Config{Store: "memory"})
	c.Workload, c.Workers = CrowdOfWorkers, 12
	f, err := Workers(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if f.AllUpS <= 0 || f.HalfUpS > f.AllUpS || f.Admissions < 12 || f.IdleMB <= 0 || f.IdleHeapMB <= 0 || f.ProcessesDied != 0 {
		t.Errorf("%+v", f)
	}
	if !strings.Contains(f.Table(), "12 workers in 3 processes") {
		t.Error(f.Table())
	}
}
