package postgres_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/procfs"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/journal/journaltest"
	"github.com/limpetrun/limpet/actors/journal/postgres"
)

// BenchmarkChain3 runs 200 chains of three steps at a time, with 1, 4 and 8
// commits in flight.
func BenchmarkChain3(b *testing.B) {
	for _, commits := range []int{1, 2, 4, 8} {
		b.Run(fmt.Sprintf("commits=%d", commits), func(b *testing.B) {
			url := database(b, server)
			store := open(b, postgres.Config{URL: url, Commits: commits})
			before := serverTime(b)
			journaltest.BenchmarkChainInFlight(b, store, b.TempDir(), 200, commits)
			b.ReportMetric(float64((serverTime(b)-before).Microseconds())/float64(b.N), "pg-cpu-µs/run")
			if err := store.Close(); err != nil {
				b.Error(err)
			}
			// Of the two updates of a run, the binding should touch no index.
			var updates, hot float64
			if err := connect(b, url).QueryRow(b.Context(), "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'limpet_runs'").Scan(&updates, &hot); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(100*hot/updates, "%hot-updates")
		})
	}
}

// BenchmarkPages reads pages of runs by all filters.
func BenchmarkPages(b *testing.B) {
	journaltest.BenchmarkPages(b, open(b, postgres.Config{URL: database(b, server)}))
}

// BenchmarkSingle commits one append at a time, as a lone run does, and beside
// it the plainest insert that PostgreSQL can commit.
func BenchmarkSingle(b *testing.B) {
	store := open(b, postgres.Config{URL: database(b, server)})
	syncs := journaltest.SyncsPerSecond(b, b.TempDir())
	payload := make([]byte, 200)
	run, runs, n := "run", 0, uint64(0)
	measure(b, "", func() error {
		if n++; n > 5 {
			runs++
			run, n = fmt.Sprintf("run-%012d", runs), 1
		}
		return store.Append(b.Context(), []journal.Append{journaltest.ChainAppend(run, n, payload)})[0]
	})
	b.ReportMetric(1e6/syncs, "sync-µs")
}

// BenchmarkRawSingle is the limit of BenchmarkSingle: one row a commit.
func BenchmarkRawSingle(b *testing.B) {
	conn := rawTable(b, database(b, server))
	payload := make([]byte, 200)
	n := 0
	measure(b, "", func() error {
		n++
		_, err := conn.Exec(b.Context(), "INSERT INTO raw (run_id, number, data) VALUES ($1, $2, $3)", "run", n, payload)
		return err
	})
}

// measure calls do over and over and reports how long it took.
func measure(b *testing.B, prefix string, do func() error) {
	var took []time.Duration
	cpu := serverTime(b)
	for b.Loop() {
		start := time.Now()
		if err := do(); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), prefix+"p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), prefix+"p99-µs")
	b.ReportMetric(float64((serverTime(b)-cpu).Microseconds())/float64(len(took)), "pg-cpu-µs/op")
}

// BenchmarkRawRows is the limit of BenchmarkChain3: rows as large as entries,
// with a key, 100 a commit, 4 commits at a time.
func BenchmarkRawRows(b *testing.B) {
	const rows, writers = 100, 4
	url := database(b, server)
	rawTable(b, url)
	payload := make([]byte, 200)
	jobs := make(chan int)
	var working sync.WaitGroup
	for range writers {
		conn := connect(b, url)
		working.Go(func() {
			for job := range jobs {
				ids, numbers, data := make([]string, rows), make([]int32, rows), make([][]byte, rows)
				for i := range rows {
					ids[i], numbers[i], data[i] = fmt.Sprintf("01k%010d%013x", job*rows+i, i), 1, payload
				}
				if _, err := conn.Exec(b.Context(), "INSERT INTO raw SELECT * FROM unnest($1::text[], $2::int4[], $3::bytea[])", ids, numbers, data); err != nil {
					b.Error(err)
				}
			}
		})
	}
	cpu, start, n := serverTime(b), time.Now(), 0
	for b.Loop() {
		jobs <- n
		n++
	}
	close(jobs)
	working.Wait()
	b.ReportMetric(float64(n*rows)/time.Since(start).Seconds(), "rows/s")
	b.ReportMetric(float64((serverTime(b)-cpu).Nanoseconds())/1000/float64(n*rows), "pg-cpu-µs/row")
}

func connect(tb testing.TB, url string) *pgx.Conn {
	tb.Helper()
	conn, err := pgx.Connect(tb.Context(), url)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := conn.Close(context.Background()); err != nil {
			tb.Error(err)
		}
	})
	return conn
}

func rawTable(tb testing.TB, url string) *pgx.Conn {
	tb.Helper()
	conn := connect(tb, url)
	if _, err := conn.Exec(tb.Context(), `CREATE TABLE raw (run_id text COLLATE "C", number int4, data bytea, PRIMARY KEY (run_id, number))`); err != nil {
		tb.Fatal(err)
	}
	return conn
}

// serverTime is the processor time that the processes of the server have used,
// 0 where /proc does not tell. Those that ended do not count.
func serverTime(tb testing.TB) (all time.Duration) {
	tb.Helper()
	processes, err := procfs.AllProcs()
	if err != nil {
		return 0
	}
	for _, p := range processes {
		stat, err := p.Stat()
		if err != nil || stat.PPID != server.PID() {
			continue // it has ended, or is another's
		}
		// In hundredths of a second, the unit of all Linux systems.
		all += time.Duration(stat.UTime+stat.STime) * 10 * time.Millisecond
	}
	return all
}
