package sqlite

import (
	"context"
	"math"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/limpetrun/limpet/actors/journal"
)

// read calls fn with a connection on which everything is read from one
// snapshot.
func (s *Store) read(ctx context.Context, what string, fn func(*sqlite.Conn) error) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.calls.RUnlock()
	conn, err := s.readers.Take(ctx)
	if err != nil {
		return s.fail(what, err)
	}
	defer s.readers.Put(conn)
	if err := sqlitex.Execute(conn, "BEGIN", nil); err != nil {
		return s.fail(what, err)
	}
	err = fn(conn)
	// An interrupted connection can still do this; nothing is lost if not,
	// for the next BEGIN would say so.
	conn.SetInterrupt(nil)
	if end := sqlitex.Execute(conn, "ROLLBACK", nil); err == nil {
		err = end
	}
	return s.fail(what, err)
}

// each calls fn for every row of a query until it returns false.
func each(conn *sqlite.Conn, sql string, fn func(*sqlite.Stmt) (more bool), args ...any) error {
	stmt, err := conn.Prepare(sql)
	if err != nil {
		return err
	}
	for i, arg := range args {
		switch v := arg.(type) {
		case string:
			stmt.BindText(i+1, v)
		case int64:
			stmt.BindInt64(i+1, v)
		case []byte:
			stmt.BindBytes(i+1, v)
		}
	}
	for {
		found, err := stmt.Step()
		if err != nil {
			return err
		}
		if !found || !fn(stmt) {
			return stmt.Reset()
		}
	}
}

const selectRows = "SELECT seq, "

// findRun returns a run's seq and row; UNKNOWN_RUN if there is none.
func findRun(conn *sqlite.Conn, runID string) (seq int64, row journal.Row, err error) {
	found := false
	err = each(conn, selectRows+rowColumns+" FROM runs WHERE run_id = ?", func(s *sqlite.Stmt) bool {
		seq, row, found = s.ColumnInt64(0), readRow(s, 1), true
		return false
	}, runID)
	if err == nil && !found {
		err = journal.UnknownRun(runID)
	}
	return seq, row, err
}

// readEntries reads at most limit entries into a record, all if it is negative. (A
// "LIMIT ?" makes SQLite compile a statement anew whenever it is bound.)
func readEntries(conn *sqlite.Conn, seq int64, rec *journal.Record, after uint64, limit int) error {
	rec.After, rec.Entries = after, nil
	if limit == 0 {
		return nil
	}
	return each(conn, "SELECT number, data FROM entries WHERE run = ? AND number > ? ORDER BY number", func(s *sqlite.Stmt) bool {
		if len(rec.Entries) == 0 {
			rec.After = uint64(s.ColumnInt64(0)) - 1
		}
		rec.Entries = append(rec.Entries, columnBytes(s, 1))
		return len(rec.Entries) != limit
	}, seq, int64(min(after, journal.EntriesMax)))
}

func columnBytes(s *sqlite.Stmt, col int) []byte {
	data := make([]byte, s.ColumnLen(col))
	s.ColumnBytes(col, data)
	return data
}

// Load implements journal.Store.
func (s *Store) Load(ctx context.Context, runID string) (rec journal.Record, err error) {
	err = s.read(ctx, "load a run", func(conn *sqlite.Conn) error {
		seq, row, err := findRun(conn, runID)
		if err != nil {
			return err
		}
		rec.Row = row
		return readEntries(conn, seq, &rec, 0, -1)
	})
	if err != nil {
		return journal.Record{}, err
	}
	return rec, nil
}

// Entries implements journal.Store.
func (s *Store) Entries(ctx context.Context, runID string, after uint64, limit int) (rec journal.Record, err error) {
	err = s.read(ctx, "read entries", func(conn *sqlite.Conn) error {
		seq, row, err := findRun(conn, runID)
		if err != nil {
			return err
		}
		rec.Row = row
		return readEntries(conn, seq, &rec, after, max(limit, 0))
	})
	if err != nil {
		return journal.Record{}, err
	}
	return rec, nil
}

// Entry implements journal.Store.
func (s *Store) Entry(ctx context.Context, runID string, number uint64) (entry []byte, err error) {
	if number > journal.EntriesMax {
		number = 0 // No run has either.
	}
	err = s.read(ctx, "read an entry", func(conn *sqlite.Conn) error {
		entry = nil
		seq, _, err := findRun(conn, runID)
		if err != nil {
			return err
		}
		return each(conn, "SELECT data FROM entries WHERE run = ?1 AND number = ?2 UNION ALL SELECT data FROM entries_aside WHERE run = ?1 AND number = ?2",
			func(s *sqlite.Stmt) bool {
				entry = columnBytes(s, 0)
				return false
			}, seq, int64(number))
	})
	return entry, err
}

// Active implements journal.Store.
func (s *Store) Active(ctx context.Context, shards []int, after string, limit int) ([]journal.Record, error) {
	return s.records(ctx, "read active runs", selectRows+rowColumns+
		" FROM runs INDEXED BY runs_active WHERE phase = 0 AND run_id > ? ORDER BY run_id", shards, limit, after)
}

// records reads the runs of a query for rows that are of the shards, at most
// limit.
func (s *Store) records(ctx context.Context, what, sql string, shards []int, limit int, args ...any) (out []journal.Record, err error) {
	set := journal.NewShardSet(shards)
	err = s.read(ctx, what, func(conn *sqlite.Conn) error {
		var seqs []int64
		err := each(conn, sql, func(s *sqlite.Stmt) bool {
			if len(out) >= limit {
				return false
			}
			if row := readRow(s, 1); set.Has(row.Shard) {
				seqs = append(seqs, s.ColumnInt64(0))
				out = append(out, journal.Record{Row: row})
			}
			return len(out) < limit
		}, args...)
		if err != nil {
			return err
		}
		for i, seq := range seqs {
			if err := readEntries(conn, seq, &out[i], 0, -1); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Heads implements journal.Store.
func (s *Store) Heads(ctx context.Context, shards []int, after string, limit int) (out []journal.Head, err error) {
	const active = "SELECT seq, shard, run_id FROM runs INDEXED BY runs_active WHERE phase = 0 AND run_id > ? ORDER BY run_id"
	const newest = "SELECT max(number) FROM entries WHERE run = ?"
	set := journal.NewShardSet(shards)
	err = s.read(ctx, "read the heads of active runs", func(conn *sqlite.Conn) error {
		var seqs []int64
		err := each(conn, active, func(s *sqlite.Stmt) bool {
			if len(out) < limit && set.Has(s.ColumnInt(1)) {
				seqs = append(seqs, s.ColumnInt64(0))
				out = append(out, journal.Head{RunID: s.ColumnText(2)})
			}
			return len(out) < limit
		}, after)
		for i := 0; i < len(seqs) && err == nil; i++ {
			err = each(conn, newest, func(s *sqlite.Stmt) bool {
				out[i].Number = uint64(s.ColumnInt64(0))
				return false
			}, seqs[i])
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Due implements journal.Store.
func (s *Store) Due(ctx context.Context, shards []int, now time.Time, limit int) (due []string, next time.Time, err error) {
	const sql = "SELECT run_id, shard, wake_at FROM runs INDEXED BY runs_due " +
		"WHERE phase = 1 AND wake_at IS NOT NULL ORDER BY wake_at, run_id"
	set, nowMicros := journal.NewShardSet(shards), journal.Micros(now)
	err = s.read(ctx, "read due runs", func(conn *sqlite.Conn) error {
		return each(conn, sql, func(s *sqlite.Stmt) bool {
			if !set.Has(s.ColumnInt(1)) {
				return true
			}
			if at := s.ColumnInt64(2); len(due) >= limit || at > nowMicros {
				next = journal.FromMicros(at)
				return false
			}
			due = append(due, s.ColumnText(0))
			return true
		})
	})
	if err != nil {
		return nil, time.Time{}, err
	}
	return due, next, nil
}

// WokenByUp implements journal.Store.
func (s *Store) WokenByUp(ctx context.Context, shards []int, workerID, after string, limit int) ([]journal.Record, error) {
	return s.woken(ctx, selectRows+rowColumns+" FROM runs INDEXED BY runs_on_up "+
		"WHERE phase = 1 AND wake_on_up = ? AND run_id > ? ORDER BY run_id", shards, workerID, after, limit)
}

// WokenByGone implements journal.Store.
func (s *Store) WokenByGone(ctx context.Context, shards []int, workerID, after string, limit int) ([]journal.Record, error) {
	return s.woken(ctx, selectRows+rowColumns+" FROM runs INDEXED BY runs_on_gone "+
		"WHERE phase = 1 AND wake_on_gone = ? AND run_id > ? ORDER BY run_id", shards, workerID, after, limit)
}

func (s *Store) woken(ctx context.Context, sql string, shards []int, workerID, after string, limit int) ([]journal.Record, error) {
	if workerID == "" {
		return nil, nil
	}
	return s.records(ctx, "read waiting runs", sql, shards, limit, workerID, after)
}

// WatchedWorkers implements journal.Store.
func (s *Store) WatchedWorkers(ctx context.Context, shards []int) (out []string, err error) {
	set := journal.NewShardSet(shards)
	err = s.read(ctx, "read watched workers", func(conn *sqlite.Conn) error {
		// Step from worker to worker instead of reading all their runs.
		const first = "SELECT wake_on_gone FROM runs INDEXED BY runs_on_gone " +
			"WHERE phase = 1 AND wake_on_gone > ? ORDER BY wake_on_gone LIMIT 1"
		const ofShard = "SELECT shard FROM runs INDEXED BY runs_on_gone WHERE phase = 1 AND wake_on_gone = ?"
		for worker := ""; ; {
			next := ""
			if err := each(conn, first, func(s *sqlite.Stmt) bool { next = s.ColumnText(0); return false }, worker); err != nil {
				return err
			}
			if next == "" {
				return nil
			}
			worker = next
			if err := each(conn, ofShard, func(s *sqlite.Stmt) bool {
				if !set.Has(s.ColumnInt(0)) {
					return true
				}
				out = append(out, worker)
				return false
			}, worker); err != nil {
				return err
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// InLine implements journal.Store.
func (s *Store) InLine(ctx context.Context, shards []int, line int64, after journal.Place, limit int) ([]journal.Record, error) {
	since := journal.Micros(after.Since)
	return s.records(ctx, "read runs in a line", selectRows+rowColumns+" FROM runs INDEXED BY runs_in_line "+
		"WHERE phase = 1 AND line = ? AND line_since >= ? AND (line_since > ? OR run_id > ?) ORDER BY line_since, run_id",
		shards, limit, line, since, since, after.RunID)
}

// Lines implements journal.Store.
func (s *Store) Lines(ctx context.Context, shards []int) (out []int64, err error) {
	set := journal.NewShardSet(shards)
	err = s.read(ctx, "read lines", func(conn *sqlite.Conn) error {
		// Step from line to line instead of reading all their runs.
		const first = "SELECT line FROM runs INDEXED BY runs_in_line WHERE phase = 1 AND line > ? ORDER BY line LIMIT 1"
		const ofShard = "SELECT shard FROM runs INDEXED BY runs_in_line WHERE phase = 1 AND line = ?"
		for line, more := int64(math.MinInt64), true; more; {
			more = false
			if err := each(conn, first, func(s *sqlite.Stmt) bool { line, more = s.ColumnInt64(0), true; return false }, line); err != nil || !more {
				return err
			}
			if err := each(conn, ofShard, func(s *sqlite.Stmt) bool {
				if !set.Has(s.ColumnInt(0)) {
					return true
				}
				out = append(out, line)
				return false
			}, line); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// CountInLine implements journal.Store.
func (s *Store) CountInLine(ctx context.Context, shards []int, line int64, limit int) (int, error) {
	return s.count(ctx, "count runs in a line", "SELECT shard FROM runs INDEXED BY runs_in_line WHERE phase = 1 AND line = ?", shards, limit, line)
}

// CountWokenByUp implements journal.Store.
func (s *Store) CountWokenByUp(ctx context.Context, shards []int, limit int) (int, error) {
	return s.count(ctx, "count runs that wait for their worker", "SELECT shard FROM runs INDEXED BY runs_on_up WHERE phase = 1 AND wake_on_up IS NOT NULL", shards, limit)
}

// count counts rows of shards; the query returns the shard of each.
func (s *Store) count(ctx context.Context, what, sql string, shards []int, limit int, args ...any) (n int, err error) {
	set := journal.NewShardSet(shards)
	err = s.read(ctx, what, func(conn *sqlite.Conn) error {
		n = 0
		return each(conn, sql, func(s *sqlite.Stmt) bool {
			if n < limit && set.Has(s.ColumnInt(0)) {
				n++
			}
			return n < limit
		}, args...)
	})
	return n, err
}

// BoundCounts implements journal.Store.
func (s *Store) BoundCounts(ctx context.Context, pool string) (map[string]int, error) {
	const sql = "SELECT bound_worker, count(*) FROM runs INDEXED BY runs_bound " +
		"WHERE bound_worker IS NOT NULL AND pool = ? GROUP BY bound_worker"
	counts := make(map[string]int)
	err := s.read(ctx, "count bound runs", func(conn *sqlite.Conn) error {
		return each(conn, sql, func(s *sqlite.Stmt) bool {
			counts[s.ColumnText(0)] = s.ColumnInt(1)
			return true
		}, pool)
	})
	if err != nil {
		return nil, err
	}
	return counts, nil
}

// NotePresence implements journal.Store.
func (s *Store) NotePresence(ctx context.Context, at time.Time, gap time.Duration) (list []journal.Presence, err error) {
	err = s.write(ctx, "note that a server is there", func(w *writer) error {
		list = nil
		us, none := journal.Micros(at), func(*sqlite.Stmt) bool { return true }
		for _, sql := range []string{
			"UPDATE presences SET to_at = max(to_at, ?1) WHERE from_at = (SELECT max(from_at) FROM presences) AND ?1 - to_at <= ?2",
			"INSERT INTO presences (from_at, to_at) SELECT ?1, ?1 WHERE NOT EXISTS (SELECT 1 FROM presences WHERE ?1 - to_at <= ?2)",
		} {
			if err := each(w.conn, sql, none, us, gap.Microseconds()); err != nil {
				return err
			}
		}
		if err := each(w.conn, "DELETE FROM presences WHERE from_at NOT IN (SELECT from_at FROM presences ORDER BY from_at DESC LIMIT ?1)", none, int64(journal.PresencesKept)); err != nil {
			return err
		}
		return each(w.conn, "SELECT from_at, to_at FROM presences ORDER BY from_at", func(stmt *sqlite.Stmt) bool {
			list = append(list, journal.Presence{From: time.UnixMicro(stmt.ColumnInt64(0)).UTC(), To: time.UnixMicro(stmt.ColumnInt64(1)).UTC()})
			return true
		})
	})
	return list, err
}
