package journaltest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/messages"
)

// chainEntries is what a chain of three steps appends: start, bound and
// dispatched, two results with the next dispatch, the last result with the
// end. Three of them change the row.
const chainEntries = 5

// chainBytes is the size of an entry, about that of a result with a small
// payload.
const chainBytes = 200

// ChainAppend returns entry number n, from 1 to 5, of the history of a chain
// of three steps; the payload may be shared by all.
func ChainAppend(runID string, n uint64, payload []byte) journal.Append {
	a := journal.Append{RunID: runID, Number: n, Entry: payload}
	created := time.UnixMicro(1_750_000_000_000_000)
	row := journal.Row{
		RunID: runID, Shard: len(runID) % messages.Shards, Workflow: "index-and-ask", Pool: "default",
		DefinitionHash: "3f5a9c0d7be14c28a6e0f4417b2d9c55", Sticky: messages.Sticky_STICKY_SOFT, Trigger: "api",
		Status: messages.RunStatus_RUN_STATUS_RUNNING, Priority: 2, CreatedAt: created,
	}
	switch n {
	case 1:
		a.Row = &row
	case 2:
		row.BoundWorker, row.Epoch = "host-1/worker-1", 1
		a.Row = &row
	case chainEntries:
		row.Epoch, row.Status, row.FinishedAt = 1, messages.RunStatus_RUN_STATUS_SUCCEEDED, created.Add(time.Second)
		a.Row = &row
	}
	return a
}

// BenchmarkChain measures a store by chains of three steps, live of them at a
// time, through a Committer. It reports, beside the time of a run, runs/s,
// the processor time of a run, commits/s and appends a commit, and what the
// machine allows: syncs/s of a file in dir, measured in the same run, and the
// runs for each of them.
func BenchmarkChain(b *testing.B, store journal.Store, dir string, live int) {
	BenchmarkChainInFlight(b, store, dir, live, 1)
}

// BenchmarkChainInFlight is BenchmarkChain with several commits in flight.
func BenchmarkChainInFlight(b *testing.B, store journal.Store, dir string, live, inFlight int) {
	syncs := SyncsPerSecond(b, dir)
	var mu sync.Mutex
	commits := 0
	c := journal.NewCommitter(store, journal.CommitterConfig{InFlight: inFlight, Hooks: journal.CommitterHooks{
		Committed: func(s journal.CommitStats) {
			if s.Refused > 0 {
				b.Errorf("%d appends refused", s.Refused)
			}
			mu.Lock()
			commits++
			mu.Unlock()
		},
	}})
	payload := make([]byte, chainBytes)
	slots := make(chan struct{}, live)
	var running sync.WaitGroup
	var next func(id string, n uint64)
	next = func(id string, n uint64) {
		c.Append(ChainAppend(id, n, payload), func(err error) {
			switch {
			case err != nil:
				b.Error(err)
			case n < chainEntries:
				next(id, n+1)
				return
			}
			<-slots
			running.Done()
		})
	}
	cpu, start := processorTime(), time.Now()
	runs := 0
	for b.Loop() {
		slots <- struct{}{}
		running.Add(1)
		next(fmt.Sprintf("01k%010d%013x", runs, runs*0x9e3779b97f4a7), 1)
		runs++
	}
	running.Wait()
	took := time.Since(start)
	if err := c.Close(context.Background()); err != nil {
		b.Error(err)
	}
	perSecond := float64(runs) / took.Seconds()
	b.ReportMetric(perSecond, "runs/s")
	b.ReportMetric(float64((processorTime()-cpu).Microseconds())/float64(runs), "cpu-µs/run")
	b.ReportMetric(float64(commits)/took.Seconds(), "commits/s")
	b.ReportMetric(float64(runs*chainEntries)/float64(commits), "appends/commit")
	b.ReportMetric(syncs, "syncs/s")
	b.ReportMetric(perSecond/syncs, "runs/sync")
}

// SyncsPerSecond measures how often a second the machine brings one page of a
// file in dir, written over and over, to stable storage.
func SyncsPerSecond(tb testing.TB, dir string) float64 {
	tb.Helper()
	file, err := os.Create(filepath.Join(dir, "syncs"))
	if err != nil {
		tb.Fatal(err)
	}
	defer os.Remove(file.Name())
	defer file.Close()
	const pages, page = 256, 4096
	if _, err := file.Write(make([]byte, pages*page)); err != nil {
		tb.Fatal(err)
	}
	if err := file.Sync(); err != nil {
		tb.Fatal(err)
	}
	buf := make([]byte, page)
	start, n := time.Now(), 0
	for ; time.Since(start) < 300*time.Millisecond; n++ {
		if _, err := file.WriteAt(buf, int64(n%pages*page)); err != nil {
			tb.Fatal(err)
		}
		if err := file.Sync(); err != nil {
			tb.Fatal(err)
		}
	}
	return float64(n) / time.Since(start).Seconds()
}

func processorTime() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
