package postgres

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/messages"
)

// Load implements journal.Store.
func (s *Store) Load(ctx context.Context, runID string) (journal.Record, error) {
	return s.record(ctx, "load a run", runID, 0, math.MaxInt32)
}

// Entries implements journal.Store.
func (s *Store) Entries(ctx context.Context, runID string, after uint64, limit int) (journal.Record, error) {
	return s.record(ctx, "read entries", runID, after, limit)
}

// Entry implements journal.Store.
func (s *Store) Entry(ctx context.Context, runID string, number uint64) (entry []byte, err error) {
	const sql = "SELECT (SELECT data FROM limpet_entries WHERE run_id = $1 AND number = $2 UNION ALL " +
		"SELECT data FROM limpet_entries_aside WHERE run_id = $1 AND number = $2) FROM limpet_runs WHERE run_id = $1"
	if number > journal.EntriesMax {
		number = 0 // No run has either.
	}
	err = s.read(ctx, "read an entry", func(ctx context.Context, conn *pgxpool.Conn) error {
		if !isText(runID) {
			return journal.UnknownRun(runID)
		}
		err := conn.QueryRow(ctx, sql, runID, int32(number)).Scan(&entry)
		if errors.Is(err, pgx.ErrNoRows) {
			return journal.UnknownRun(runID)
		}
		return err
	})
	return entry, err
}

// record reads a row and some of its entries.
func (s *Store) record(ctx context.Context, what, runID string, after uint64, limit int) (rec journal.Record, err error) {
	err = s.read(ctx, what, func(ctx context.Context, conn *pgxpool.Conn) error {
		rec = journal.Record{}
		if !isText(runID) {
			return journal.UnknownRun(runID)
		}
		var queries pgx.Batch
		queries.Queue("SELECT "+rowColumns+" FROM limpet_runs r WHERE r.run_id = $1", runID)
		queries.Queue("SELECT number, data FROM limpet_entries WHERE run_id = $1 AND number > $2 ORDER BY number LIMIT $3",
			runID, int64(min(after, journal.EntriesMax)), max(limit, 0))
		results := conn.SendBatch(ctx, &queries)
		defer results.Close() // its error is that of the queries
		rows, err := query(results, scanRows)
		if err != nil {
			return err
		}
		found, err := query(results, scanEntries)
		if err != nil {
			return err
		}
		rec.Entries, rec.After = found.Entries, after
		if len(found.Entries) > 0 {
			rec.After = found.After
		}
		if len(rows) == 0 {
			return journal.UnknownRun(runID)
		}
		rec.Row = rows[0]
		return results.Close()
	})
	if err != nil {
		return journal.Record{}, err
	}
	return rec, nil
}

// scanEntries reads entries with their numbers.
func scanEntries(rows pgx.Rows) (rec journal.Record, err error) {
	var number int32
	var entry []byte
	_, err = pgx.ForEachRow(rows, []any{&number, &entry}, func() error {
		if len(rec.Entries) == 0 {
			rec.After = uint64(number) - 1
		}
		rec.Entries = append(rec.Entries, entry)
		return nil
	})
	return rec, err
}

// query reads the next result of a batch.
func query[T any](results pgx.BatchResults, scan func(pgx.Rows) (T, error)) (out T, err error) {
	rows, err := results.Query()
	if err != nil {
		return out, err
	}
	return scan(rows)
}

// inShards are the shards as an array, in which an index looks.
func inShards(shards []int) []int16 {
	set := journal.NewShardSet(shards)
	out := []int16{}
	for shard := range messages.Shards {
		if set.Has(shard) {
			out = append(out, int16(shard))
		}
	}
	return out
}

// shardBits are the shards as bits, in which get_bit looks: for queries that do
// not go by the shard but leave some out.
func shardBits(shards []int) []byte {
	set := journal.NewShardSet(shards)
	bits := make([]byte, messages.Shards/8)
	for shard := range messages.Shards {
		if set.Has(shard) {
			bits[shard/8] |= 1 << (shard % 8)
		}
	}
	return bits
}

const (
	inShardBits = "get_bit($1::bytea, shard::int8) = 1"
	// Pages of runs. $1 are the shards, $2 is the id before, $3 the limit. That of
	// the active ones is chosen by id alone: of many runs it sorts some.
	activePage = "SELECT run_id FROM limpet_runs WHERE phase = 0 AND shard = ANY($1::int2[]) AND run_id > $2 ORDER BY run_id LIMIT $3"
	activeRows = "SELECT a.* FROM (" + activePage + ") p JOIN limpet_runs a USING (run_id)"
	onUpRows   = "SELECT * FROM limpet_runs WHERE phase = 1 AND wake_on_up = $4 AND run_id > $2 AND " + inShardBits + " ORDER BY run_id LIMIT $3"
	onGoneRows = "SELECT * FROM limpet_runs WHERE phase = 1 AND wake_on_gone = $4 AND run_id > $2 AND " + inShardBits + " ORDER BY run_id LIMIT $3"

	// A page of a line: $4 is the line, $5 and $2 are the place before.
	inLineRows = "SELECT * FROM limpet_runs WHERE phase = 1 AND line = $4 AND (line_since, run_id) > ($5::int8, $2) AND " + inShardBits +
		" ORDER BY line_since, run_id LIMIT $3"

	// The runs of a page with their entries, a row for each entry: so both are of one
	// moment, and the page is looked for once.
	recordsOf = "SELECT e.number, e.data, " + rowColumns + " FROM (%) r LEFT JOIN limpet_entries e USING (run_id) ORDER BY r.run_id, e.number"
	headsOf   = "SELECT p.run_id, (SELECT e.number FROM limpet_entries e WHERE e.run_id = p.run_id ORDER BY e.number DESC LIMIT 1) FROM (%) p ORDER BY p.run_id"

	dueSQL = "SELECT run_id, wake_at FROM limpet_runs WHERE phase = 1 AND wake_at IS NOT NULL AND " + inShardBits +
		" ORDER BY wake_at, run_id LIMIT $2"

	// watchedSQL steps from worker to worker instead of reading all their runs.
	goneSQL    = "SELECT wake_on_gone FROM limpet_runs WHERE phase = 1 AND wake_on_gone IS NOT NULL"
	watchedSQL = "WITH RECURSIVE watched(worker) AS ((" + goneSQL + " ORDER BY wake_on_gone LIMIT 1) UNION ALL " +
		"SELECT (" + goneSQL + " AND wake_on_gone > worker ORDER BY wake_on_gone LIMIT 1) FROM watched WHERE worker IS NOT NULL) " +
		"SELECT worker FROM watched WHERE worker IS NOT NULL AND EXISTS (" + goneSQL + " AND wake_on_gone = worker AND " + inShardBits + ") ORDER BY worker"

	// linesSQL steps from line to line.
	lineSQL  = "SELECT line FROM limpet_runs WHERE phase = 1 AND line IS NOT NULL"
	linesSQL = "WITH RECURSIVE lines(line) AS ((" + lineSQL + " ORDER BY line LIMIT 1) UNION ALL " +
		"SELECT (" + lineSQL + " AND line > lines.line ORDER BY line LIMIT 1) FROM lines WHERE line IS NOT NULL) " +
		"SELECT line FROM lines l WHERE line IS NOT NULL AND EXISTS (" + lineSQL + " AND line = l.line AND " + inShardBits + ") ORDER BY line"

	// $2 is the limit, $3 the line.
	countLineSQL = "SELECT count(*) FROM (SELECT 1 FROM limpet_runs WHERE phase = 1 AND line = $3 AND " + inShardBits + " LIMIT $2) counted"
	countOnUpSQL = "SELECT count(*) FROM (SELECT 1 FROM limpet_runs WHERE phase = 1 AND wake_on_up IS NOT NULL AND " + inShardBits + " LIMIT $2) counted"

	// Active runs are few enough to look at all of them; the others that are
	// bound are parked.
	boundSQL = "SELECT worker, count(*) FROM (" +
		"SELECT bound_worker FROM limpet_runs WHERE phase = 0 AND bound_worker IS NOT NULL AND coalesce(pool, '') = $1 UNION ALL " +
		"SELECT parked_on FROM limpet_runs WHERE parked_on IS NOT NULL AND coalesce(pool, '') = $1) bound(worker) GROUP BY worker"
)

// Active implements journal.Store.
func (s *Store) Active(ctx context.Context, shards []int, after string, limit int) ([]journal.Record, error) {
	return s.records(ctx, "read active runs", activeRows, inShards(shards), after, limit)
}

// WokenByUp implements journal.Store.
func (s *Store) WokenByUp(ctx context.Context, shards []int, workerID, after string, limit int) ([]journal.Record, error) {
	return s.woken(ctx, onUpRows, shards, workerID, after, limit)
}

// WokenByGone implements journal.Store.
func (s *Store) WokenByGone(ctx context.Context, shards []int, workerID, after string, limit int) ([]journal.Record, error) {
	return s.woken(ctx, onGoneRows, shards, workerID, after, limit)
}

func (s *Store) woken(ctx context.Context, page string, shards []int, workerID, after string, limit int) ([]journal.Record, error) {
	if workerID == "" || !isText(workerID) {
		return nil, nil
	}
	return s.records(ctx, "read waiting runs", page, shardBits(shards), after, limit, workerID)
}

// records reads the runs of a page.
func (s *Store) records(ctx context.Context, what, page string, shards any, after string, limit int, more ...any) (out []journal.Record, err error) {
	args := append([]any{shards, storable(after), max(limit, 0)}, more...)
	err = s.read(ctx, what, func(ctx context.Context, conn *pgxpool.Conn) error {
		out = nil
		rows, err := conn.Query(ctx, within(recordsOf, page), args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var number *int32
			var entry []byte
			row, err := scanRow(rows, &number, &entry)
			if err != nil {
				return err
			}
			if len(out) == 0 || out[len(out)-1].Row.RunID != row.RunID {
				out = append(out, journal.Record{Row: row})
			}
			if number != nil {
				last := &out[len(out)-1]
				if len(last.Entries) == 0 {
					last.After = uint64(*number) - 1
				}
				last.Entries = append(last.Entries, entry)
			}
		}
		return rows.Err()
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Heads implements journal.Store.
func (s *Store) Heads(ctx context.Context, shards []int, after string, limit int) (out []journal.Head, err error) {
	err = s.read(ctx, "read heads of active runs", func(ctx context.Context, conn *pgxpool.Conn) error {
		out = nil
		rows, err := conn.Query(ctx, within(headsOf, activePage), inShards(shards), storable(after), max(limit, 0))
		if err != nil {
			return err
		}
		var id string
		var number int32
		_, err = pgx.ForEachRow(rows, []any{&id, &number}, func() error {
			out = append(out, journal.Head{RunID: id, Number: uint64(number)})
			return nil
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Due implements journal.Store.
func (s *Store) Due(ctx context.Context, shards []int, now time.Time, limit int) (due []string, next time.Time, err error) {
	limit = max(limit, 0)
	nowMicros := journal.Micros(now)
	err = s.read(ctx, "read due runs", func(ctx context.Context, conn *pgxpool.Conn) error {
		due, next = nil, time.Time{}
		rows, err := conn.Query(ctx, dueSQL, shardBits(shards), limit+1)
		if err != nil {
			return err
		}
		var id string
		var at int64
		_, err = pgx.ForEachRow(rows, []any{&id, &at}, func() error {
			switch {
			case !next.IsZero():
			case len(due) >= limit || at > nowMicros:
				next = journal.FromMicros(at)
			default:
				due = append(due, id)
			}
			return nil
		})
		return err
	})
	if err != nil {
		return nil, time.Time{}, err
	}
	return due, next, nil
}

// WatchedWorkers implements journal.Store.
func (s *Store) WatchedWorkers(ctx context.Context, shards []int) (out []string, err error) {
	err = s.read(ctx, "read watched workers", func(ctx context.Context, conn *pgxpool.Conn) error {
		rows, err := conn.Query(ctx, watchedSQL, shardBits(shards))
		if err != nil {
			return err
		}
		out, err = scanAll[string](rows)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// InLine implements journal.Store.
func (s *Store) InLine(ctx context.Context, shards []int, line int64, after journal.Place, limit int) ([]journal.Record, error) {
	records, err := s.records(ctx, "read runs in a line", inLineRows, shardBits(shards), after.RunID, limit, line, journal.Micros(after.Since))
	slices.SortFunc(records, func(a, b journal.Record) int {
		return cmp.Or(a.Row.LineSince.Compare(b.Row.LineSince), cmp.Compare(a.Row.RunID, b.Row.RunID))
	})
	return records, err
}

// Lines implements journal.Store.
func (s *Store) Lines(ctx context.Context, shards []int) (out []int64, err error) {
	err = s.read(ctx, "read lines", func(ctx context.Context, conn *pgxpool.Conn) error {
		rows, err := conn.Query(ctx, linesSQL, shardBits(shards))
		if err != nil {
			return err
		}
		out, err = scanAll[int64](rows)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// CountInLine implements journal.Store.
func (s *Store) CountInLine(ctx context.Context, shards []int, line int64, limit int) (int, error) {
	return s.count(ctx, "count runs in a line", countLineSQL, shards, limit, line)
}

// CountWokenByUp implements journal.Store.
func (s *Store) CountWokenByUp(ctx context.Context, shards []int, limit int) (int, error) {
	return s.count(ctx, "count runs that wait for their worker", countOnUpSQL, shards, limit)
}

func (s *Store) count(ctx context.Context, what, sql string, shards []int, limit int, args ...any) (n int, err error) {
	err = s.read(ctx, what, func(ctx context.Context, conn *pgxpool.Conn) error {
		return conn.QueryRow(ctx, sql, append([]any{shardBits(shards), max(0, limit)}, args...)...).Scan(&n)
	})
	return n, err
}

// BoundCounts implements journal.Store.
func (s *Store) BoundCounts(ctx context.Context, pool string) (map[string]int, error) {
	var counts map[string]int
	err := s.read(ctx, "count bound runs", func(ctx context.Context, conn *pgxpool.Conn) error {
		counts = make(map[string]int)
		rows, err := conn.Query(ctx, boundSQL, storable(pool))
		if err != nil {
			return err
		}
		var worker string
		var n int
		_, err = pgx.ForEachRow(rows, []any{&worker, &n}, func() error {
			counts[worker] = n
			return nil
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	return counts, nil
}
