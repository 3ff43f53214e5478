package sqlite

import (
	"context"
	"sync"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/limpetrun/limpet/actors/journal"
)

// boundCounts counts the unfinished runs that are bound, by pool and worker.
// An index for it would be the dearest of all, so it is kept in memory: what
// the file held when it was opened, counted in the background, plus what the
// writer has changed since.
type boundCounts struct {
	mu     sync.Mutex
	counts map[boundKey]int
	// pending are changes of the transaction that is open; the writer's own.
	pending []boundChange

	cancel context.CancelFunc
	// counted is closed when the file has been counted, with err if it could
	// not be.
	counted chan struct{}
	err     error
}

type boundKey struct{ pool, worker string }

type boundChange struct {
	key boundKey
	by  int
}

// countBound begins to count. The snapshot that it counts is of the file as it
// is now.
func countBound(path string) (*boundCounts, error) {
	conn, err := sqlite.OpenConn(path, sqlite.OpenReadOnly)
	if err != nil {
		return nil, err
	}
	for _, sql := range []string{"BEGIN", "SELECT 1 FROM runs LIMIT 1"} {
		if err := sqlitex.ExecuteTransient(conn, sql, nil); err != nil {
			conn.Close()
			return nil, err
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	b := &boundCounts{counts: make(map[boundKey]int), cancel: cancel, counted: make(chan struct{})}
	conn.SetInterrupt(ctx.Done())
	go func() {
		defer close(b.counted)
		b.err = b.count(conn)
		if err := conn.Close(); b.err == nil {
			b.err = err
		}
	}()
	return b, nil
}

func (b *boundCounts) count(conn *sqlite.Conn) error {
	const sql = "SELECT pool, bound_worker, count(*) FROM runs INDEXED BY runs_live " +
		"WHERE phase < 2 AND bound_worker IS NOT NULL GROUP BY pool, bound_worker"
	return sqlitex.ExecuteTransient(conn, sql, &sqlitex.ExecOptions{ResultFunc: func(s *sqlite.Stmt) error {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.add(boundKey{s.ColumnText(0), s.ColumnText(1)}, s.ColumnInt(2))
		return nil
	}})
}

// add needs the lock.
func (b *boundCounts) add(key boundKey, n int) {
	if b.counts[key] += n; b.counts[key] == 0 {
		delete(b.counts, key)
	}
}

// moved notes that a run goes from one row to another, nil being none.
func (b *boundCounts) moved(from, to *journal.Row) {
	if from != nil && from.BoundWorker != "" {
		if from.BoundWorker == to.BoundWorker && from.Pool == to.Pool {
			return
		}
		b.pending = append(b.pending, boundChange{boundKey{from.Pool, from.BoundWorker}, -1})
	}
	if to.BoundWorker != "" {
		b.pending = append(b.pending, boundChange{boundKey{to.Pool, to.BoundWorker}, 1})
	}
}

// settle ends the transaction.
func (b *boundCounts) settle(committed bool) {
	if len(b.pending) == 0 {
		return
	}
	if committed {
		b.mu.Lock()
		for _, c := range b.pending {
			b.add(c.key, c.by)
		}
		b.mu.Unlock()
	}
	clear(b.pending)
	b.pending = b.pending[:0]
}

// of returns the counts of a pool.
func (b *boundCounts) of(ctx context.Context, pool string) (map[string]int, error) {
	select {
	case <-b.counted:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if b.err != nil {
		return nil, b.err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make(map[string]int)
	for key, n := range b.counts {
		if key.pool == pool {
			out[key.worker] = n
		}
	}
	return out, nil
}

func (b *boundCounts) stop() {
	b.cancel()
	<-b.counted
}
