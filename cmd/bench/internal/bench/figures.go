package bench

import (
	"math"
	"slices"
	"time"

	"github.com/limpetrun/limpet/cmd/internal/ledger"
	"github.com/limpetrun/limpet/cmd/internal/localcluster"
)

// Figures are the result of a measurement.
type Figures struct {
	Workload   string `json:"workload"`
	Store      string `json:"store"`
	Sticky     string `json:"sticky"`
	Servers    int    `json:"servers"`
	Runs       int    `json:"runs"`
	Workers    int    `json:"workers"`
	Slots      int    `json:"slots"`
	Sequential bool   `json:"sequential"`

	// Seconds from the first call to start a run to the end of the last run.
	Seconds   float64 `json:"seconds"`
	RunsPerS  float64 `json:"runs_per_s"`
	StepsPerS float64 `json:"steps_per_s"`
	// CallsPerS is of StepCalls, and CallMs what a call takes when one run is made at a
	// time: the median of the runs by their calls. 0 for others.
	CallsPerS     float64 `json:"calls_per_s"`
	CallMs        float64 `json:"call_ms"`
	StartsPerS    float64 `json:"starts_per_s"`
	P50Ms         float64 `json:"p50_ms"`
	P95Ms         float64 `json:"p95_ms"`
	P99Ms         float64 `json:"p99_ms"`
	RunsFailed    int     `json:"runs_failed"`
	ProcessesDied int     `json:"processes_died"`

	// SameWorkerRatio is the part of the runs whose steps all executed on one
	// worker; StepsRunTwice the steps that were executed more than once.
	SameWorkerRatio float64 `json:"same_worker_ratio"`
	StepsRunTwice   int     `json:"steps_run_twice"`
	// StepsMissing were not executed, by the ledger.
	StepsMissing int `json:"steps_missing"`

	// ServerRSSMB is the most memory that a server had while measuring.
	ServerRSSMB float64 `json:"server_rss_mb"`
	// CPU time of all processes and of each kind; 0 if a process died on the
	// way, for what it had used is not known then.
	CPUMsPerRun       float64 `json:"cpu_ms_per_run"`
	ServerCPUMsPerRun float64 `json:"server_cpu_ms_per_run"`
	WorkerCPUMsPerRun float64 `json:"worker_cpu_ms_per_run"`
	ClientCPUMsPerRun float64 `json:"client_cpu_ms_per_run"`
	// PostgresCPUMsPerRun is 0 for another store, and for a PostgreSQL that the
	// bench did not start.
	PostgresCPUMsPerRun float64 `json:"postgres_cpu_ms_per_run"`
	// EntriesPerRun is the mean length of the histories of some runs.
	EntriesPerRun float64 `json:"entries_per_run"`
	// CommitsPerRun, EntriesPerCommit and BytesPerEntry are what the servers
	// asked of the store; CommitMs is how long a commit took on the average. 0
	// if a process died on the way.
	CommitsPerRun    float64 `json:"commits_per_run"`
	EntriesPerCommit float64 `json:"entries_per_commit"`
	BytesPerEntry    float64 `json:"bytes_per_entry"`
	CommitMs         float64 `json:"commit_ms"`

	*Limits
}

// Limits of the machine, measured in the same call, and how near the
// measurement came to them.
type Limits struct {
	// FsyncPerSLimit is a loop of one file: append 4 KiB, fdatasync.
	FsyncPerSLimit float64 `json:"fsync_per_s_limit"`
	// SQLiteAppendsPerSLimit is the store alone: batches of 64 entries.
	SQLiteAppendsPerSLimit float64 `json:"sqlite_appends_per_s_limit"`
	// InsertPerSLimit is rows a second that PostgreSQL takes from 4 connections
	// in multi-row inserts of the batch and entry sizes of this run; InsertBatch
	// is that batch. PostgresCommitsPerSLimit is commits of one such row from
	// one connection. 0 for other stores.
	InsertPerSLimit          float64 `json:"insert_per_s_limit"`
	InsertBatch              int     `json:"insert_batch"`
	PostgresCommitsPerSLimit float64 `json:"postgres_commits_per_s_limit"`
	// ActorSendsPerSLimit is messages one way between two processes,
	// ActorRequestsPerSLimit questions and answers with 64 askers, and
	// ActorRequestMsLimit the median of one asker.
	ActorSendsPerSLimit    float64 `json:"actor_sends_per_s_limit"`
	ActorRequestsPerSLimit float64 `json:"actor_requests_per_s_limit"`
	ActorRequestMsLimit    float64 `json:"actor_request_ms_limit"`

	// SQLiteRatio is the entries written per second against the store's limit
	// (0 for other stores), InsertRatio against that of PostgreSQL;
	// SendsRatio three messages a step (dispatch, result, acknowledgement)
	// against that of messages one way.
	SQLiteRatio float64 `json:"sqlite_ratio"`
	InsertRatio float64 `json:"insert_ratio"`
	SendsRatio  float64 `json:"sends_ratio"`
	// CallsRatio is the calls recorded per second against the entries that the store
	// alone takes: SQLite's, or PostgreSQL's limit.
	CallsRatio float64 `json:"calls_ratio"`
	// FloorMs is what one run at a time can hardly be faster than: a request
	// and an answer for each step, and for each entry an fsync, or a commit of
	// PostgreSQL, if the store syncs. FloorRatio is it against the median of
	// runs one at a time, 0 for runs in bulk.
	FloorMs    float64 `json:"floor_ms"`
	FloorRatio float64 `json:"floor_ratio"`
}

// compare sets the ratios.
func (l *Limits) compare(f *Figures) {
	each := float64(steps(f.Workload))
	l.SendsRatio = round(f.StepsPerS*3/l.ActorSendsPerSLimit, 3)
	l.FloorMs = each * l.ActorRequestMsLimit
	switch f.Store {
	case localcluster.StoreSQLite:
		l.CallsRatio = round(f.CallsPerS/l.SQLiteAppendsPerSLimit, 3)
		l.SQLiteRatio = round(f.RunsPerS*f.EntriesPerRun/l.SQLiteAppendsPerSLimit, 3)
		l.FloorMs += f.EntriesPerRun * 1000 / l.FsyncPerSLimit
	case localcluster.StorePostgres:
		l.CallsRatio = round(f.CallsPerS/l.InsertPerSLimit, 3)
		l.InsertRatio = round(f.RunsPerS*f.EntriesPerRun/l.InsertPerSLimit, 3)
		l.FloorMs += f.EntriesPerRun * 1000 / l.PostgresCommitsPerSLimit
	}
	l.FloorMs = round(l.FloorMs, 3)
	if f.Sequential {
		l.FloorRatio = round(l.FloorMs/f.P50Ms, 3)
	}
}

// latencies sets the percentiles.
func (f *Figures) latencies(all []time.Duration) {
	slices.Sort(all)
	f.P50Ms, f.P95Ms, f.P99Ms = percentile(all, 50), percentile(all, 95), percentile(all, 99)
}

// percentile of sorted durations in milliseconds: the least that p % of them
// do not exceed.
func percentile(sorted []time.Duration, p float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	i := max(int(math.Ceil(p/100*float64(len(sorted))))-1, 0)
	return round(float64(sorted[i])/float64(time.Millisecond), 3)
}

// executions sets what the ledgers say of the measured runs.
func (f *Figures) executions(all []ledger.Execution, measured map[string]bool) {
	type ofRun struct {
		worker string
		moved  bool
		steps  map[string]int
	}
	runs := make(map[string]*ofRun, len(measured))
	for _, x := range all {
		if !measured[x.Run] {
			continue
		}
		r := runs[x.Run]
		if r == nil {
			r = &ofRun{worker: x.Worker, steps: make(map[string]int, steps(f.Workload))}
			runs[x.Run] = r
		}
		r.moved = r.moved || r.worker != x.Worker
		r.steps[x.Step]++
	}
	stayed := 0
	f.StepsMissing = len(measured) * steps(f.Workload)
	for _, r := range runs {
		if !r.moved {
			stayed++
		}
		f.StepsMissing -= len(r.steps)
		for _, n := range r.steps {
			if n > 1 {
				f.StepsRunTwice++
			}
		}
	}
	f.SameWorkerRatio = round(float64(stayed)/float64(max(len(runs), 1)), 4)
}

// used sets CPU time and commits from one moment to another.
func (f *Figures) used(before, after usage) {
	perRun := func(d time.Duration) float64 {
		return round(float64(d)/float64(time.Millisecond)/float64(f.Runs), 4)
	}
	server, workers, client := after.server.CPU-before.server.CPU, after.workers.CPU-before.workers.CPU, after.client.CPU-before.client.CPU
	postgres := after.postgres - before.postgres
	f.ServerCPUMsPerRun, f.WorkerCPUMsPerRun, f.ClientCPUMsPerRun = perRun(server), perRun(workers), perRun(client)
	f.PostgresCPUMsPerRun = perRun(postgres)
	f.CPUMsPerRun = perRun(server + workers + client + postgres)
	j := after.journaled.Since(before.journaled)
	f.CommitsPerRun = round(float64(j.Commits)/float64(f.Runs), 3)
	f.EntriesPerCommit = round(float64(j.Appends)/float64(j.Commits), 1)
	f.BytesPerEntry = round(float64(j.Bytes)/float64(j.Appends), 1)
	f.CommitMs = round(float64(j.Took)/float64(time.Millisecond)/float64(j.Commits), 3)
}

// megabytes of a number of bytes, to a tenth.
func megabytes(n int64) float64 { return round(float64(n)/(1<<20), 1) }

// round to a number of decimal places.
func round(x float64, places int) float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return 0
	}
	scale := math.Pow10(places)
	return math.Round(x*scale) / scale
}
