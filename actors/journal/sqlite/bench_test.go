package sqlite_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/journal/journaltest"
	"github.com/limpetrun/limpet/actors/journal/sqlite"
)

func open(tb testing.TB, cfg sqlite.Config) *sqlite.Store {
	tb.Helper()
	if cfg.Path == "" {
		cfg.Path = filepath.Join(tb.TempDir(), "journal.db")
	}
	store, err := sqlite.Open(tb.Context(), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := store.Close(); err != nil {
			tb.Error(err)
		}
	})
	return store
}

// BenchmarkChain3 runs 200 chains of three steps at a time.
func BenchmarkChain3(b *testing.B) {
	var stalls, took []time.Duration
	pages := 0
	store := open(b, sqlite.Config{Hooks: sqlite.Hooks{
		Checkpointed: func(n int, all, stalled time.Duration) {
			pages += n
			took, stalls = append(took, all), append(stalls, stalled)
		},
		CheckpointFailed: func(err error) { b.Error(err) },
	}})
	journaltest.BenchmarkChain(b, store, b.TempDir(), 200)
	if len(stalls) > 0 {
		b.ReportMetric(float64(slices.Max(stalls).Microseconds())/1000, "max-stall-ms")
		b.ReportMetric(float64(slices.Max(took).Microseconds())/1000, "max-ckpt-ms")
		b.ReportMetric(float64(pages)/float64(len(stalls)), "pages/ckpt")
	}
}

// BenchmarkSingle commits one append at a time, as a lone run does.
func BenchmarkSingle(b *testing.B) {
	store := open(b, sqlite.Config{})
	syncs := journaltest.SyncsPerSecond(b, b.TempDir())
	payload := make([]byte, 200)
	var took []time.Duration
	run, runs, n := "run", 0, uint64(0)
	for b.Loop() {
		if n++; n > 5 {
			runs++
			run, n = fmt.Sprintf("run-%012d", runs), 1
		}
		start := time.Now()
		if errs := store.Append(b.Context(), []journal.Append{journaltest.ChainAppend(run, n, payload)}); errs[0] != nil {
			b.Fatal(errs[0])
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
	b.ReportMetric(1e6/syncs, "sync-µs")
}

// BenchmarkPages reads pages of runs by all filters.
func BenchmarkPages(b *testing.B) { journaltest.BenchmarkPages(b, open(b, sqlite.Config{})) }
