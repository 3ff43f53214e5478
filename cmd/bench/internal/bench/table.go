package bench

import (
	"fmt"
	"strings"
	"text/tabwriter"
)

// Table shows the figures to eyes.
func (f *Figures) Table() string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	how := "in bulk"
	if f.Sequential {
		how = "one at a time"
	}
	row("workload", "%s %s on %s, %d runs %s, %d servers, %d workers x %d slots", f.Workload, f.Sticky, f.Store, f.Runs, how, f.Servers, f.Workers, f.Slots)
	row("runs", "%.1f /s   steps %.1f /s   in %.3f s", f.RunsPerS, f.StepsPerS, f.Seconds)
	row("latency", "p50 %.3f ms   p95 %.3f ms   p99 %.3f ms", f.P50Ms, f.P95Ms, f.P99Ms)
	if f.CallsPerS > 0 {
		each := ""
		if f.CallMs > 0 {
			each = fmt.Sprintf("   %.3f ms each", f.CallMs)
		}
		row("calls", "%.1f /s%s", f.CallsPerS, each)
	}
	row("same worker", "%.2f %% of the runs   steps run twice: %d   missing: %d   runs failed: %d   processes died: %d",
		f.SameWorkerRatio*100, f.StepsRunTwice, f.StepsMissing, f.RunsFailed, f.ProcessesDied)
	row("server", "%.1f MB   %.2f entries a run", f.ServerRSSMB, f.EntriesPerRun)
	row("CPU", "%.4f ms a run: servers %.4f, workers %.4f, client %.4f, PostgreSQL %.4f",
		f.CPUMsPerRun, f.ServerCPUMsPerRun, f.WorkerCPUMsPerRun, f.ClientCPUMsPerRun, f.PostgresCPUMsPerRun)
	row("commits", "%.3f a run   %.1f entries each, of %.0f bytes   in %.3f ms", f.CommitsPerRun, f.EntriesPerCommit, f.BytesPerEntry, f.CommitMs)
	f.limits(row)
	if l := f.Limits; l != nil {
		floor := ""
		if f.Sequential {
			floor = fmt.Sprintf("   floor of one run %.3f ms, %.1f %% of the median", l.FloorMs, l.FloorRatio*100)
		}
		row("of them used", "store %.1f %%   messages %.1f %%%s", max(l.SQLiteRatio, l.InsertRatio)*100, l.SendsRatio*100, floor)
		if l.CallsRatio > 0 {
			row("", "calls are recorded at %.1f %% of the pace of the store alone", l.CallsRatio*100)
		}
	}
	_ = w.Flush()
	return out.String()
}

// limits adds rows about the machine, if it was measured.
func (l *Limits) limits(row func(name, format string, args ...any)) {
	if l == nil {
		return
	}
	row("limits", "%.0f fsyncs/s   %.0f entries/s into SQLite   messages between processes: %.0f /s one way, %.0f answers/s, %.3f ms an answer",
		l.FsyncPerSLimit, l.SQLiteAppendsPerSLimit, l.ActorSendsPerSLimit, l.ActorRequestsPerSLimit, l.ActorRequestMsLimit)
	if l.InsertPerSLimit > 0 {
		row("", "PostgreSQL: %.0f entries/s in batches of %d   %.0f commits/s of one", l.InsertPerSLimit, l.InsertBatch, l.PostgresCommitsPerSLimit)
	}
}

// Table shows the figures to eyes.
func (f *FailoverFigures) Table() string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	row("failover", "%s on %s, %d runs, %d servers, %d workers, %d trials", f.Failover, f.Store, f.Runs, f.Servers, f.Workers, f.Trials)
	row("recovery", "%.3f s (median), %.3f s (most)", f.RecoveryS, f.RecoverySMax)
	row("wrong", "steps run twice: %d   runs lost: %d   processes died: %d", f.StepsRunTwice, f.RunsLost, f.ProcessesDied)
	f.limits(row)
	_ = w.Flush()
	return out.String()
}
