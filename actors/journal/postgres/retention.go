package postgres

import (
	"context"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/limpetrun/limpet/actors/journal"
)

// Finished runs are deleted in the order in which they finished, but not below a
// run that goes on or is kept: that one may ask for its children again. They are
// marked as kept, so that nobody looks at them until the run above is deleted,
// which gives them back.

const (
	// deleteChunk is how many runs one transaction of DeleteFinished looks at:
	// appends wait for it.
	deleteChunk = 100
	// releaseChunk is how many kept runs it gives back.
	releaseChunk = 1000
	// deleteWait is how long a deletion waits for appends that are under way,
	// and at most keeps others waiting for itself to begin.
	deleteWait = 500 * time.Millisecond
)

// deleteSQL deletes the runs that finished first: $1 is the time, $2 how many, $3
// how many kept ones are given back. A run whose children are not all given back
// stays for the next time.
var deleteSQL = `
WITH RECURSIVE past AS MATERIALIZED (
	SELECT run_id, parent_run FROM limpet_runs WHERE phase = 2 AND finished_at IS NOT NULL AND finished_at < $1
	ORDER BY finished_at LIMIT $2 FOR UPDATE SKIP LOCKED
), above(run_id, next, asked, n) AS (
	SELECT run_id, parent_run, false, 0 FROM past WHERE parent_run IS NOT NULL
	UNION ALL
	SELECT a.run_id, p.parent_run, p.phase <> 2 OR p.finished_at IS NULL OR p.finished_at >= $1, n + 1
	FROM above a JOIN limpet_runs p ON p.run_id = a.next WHERE NOT a.asked AND n < ` + strconv.Itoa(journal.AncestorsMax) + `
), asked AS MATERIALIZED (
	SELECT DISTINCT run_id FROM above WHERE asked
), kept AS (
	UPDATE limpet_runs r SET phase = 3 FROM asked a WHERE r.run_id = a.run_id
), over AS MATERIALIZED (
	SELECT run_id FROM past WHERE run_id NOT IN (SELECT run_id FROM asked)
), back AS MATERIALIZED (
	SELECT k.run_id, k.parent_run FROM over o JOIN limpet_runs k ON k.parent_run = o.run_id AND k.phase = 3 LIMIT $3
), released AS (
	UPDATE limpet_runs r SET phase = 2 FROM back b WHERE r.run_id = b.run_id
), doomed AS MATERIALIZED (
	SELECT run_id FROM over WHERE (SELECT count(*) FROM back) < $3 OR run_id NOT IN (SELECT parent_run FROM back)
		AND NOT EXISTS (SELECT 1 FROM limpet_runs k WHERE k.parent_run = over.run_id AND k.phase = 3)
), entries AS (
	DELETE FROM limpet_entries e USING doomed d WHERE e.run_id = d.run_id
), aside AS (
	DELETE FROM limpet_entries_aside e USING doomed d WHERE e.run_id = d.run_id
), metadata AS (
	DELETE FROM limpet_run_metadata m USING doomed d WHERE m.run_id = d.run_id
), logs AS (
	DELETE FROM limpet_logs l USING doomed d WHERE l.run_id = d.run_id
), waits AS (
	DELETE FROM limpet_event_waits w USING doomed d WHERE w.run_id = d.run_id
), streams AS (
	UPDATE limpet_streams s SET run_id = NULL FROM doomed d WHERE s.run_id = d.run_id
), runs AS (
	DELETE FROM limpet_runs r USING doomed d WHERE r.run_id = d.run_id
)
SELECT (SELECT count(*) FROM past), (SELECT count(*) FROM back), (SELECT count(*) FROM doomed)`

// DeleteFinished implements journal.Store. When appends are under way that do
// not end, it gives up after a moment, so that others need not wait.
func (s *Store) DeleteFinished(ctx context.Context, before time.Time, limit int) (int, error) {
	deleted := 0
	for deleted < limit {
		want := min(limit-deleted, deleteChunk)
		found, back, n, err := s.deleteSome(ctx, journal.Micros(before), want)
		if err != nil {
			return deleted, err
		}
		deleted += n
		if found < want && back == 0 {
			break
		}
	}
	if limit <= 0 {
		return 0, s.write(ctx, "delete finished runs", func(context.Context, *pgxpool.Conn) error { return nil })
	}
	return deleted, s.deleteLeft(ctx)
}

// deleteSome says how many runs it found, how many kept ones it gave back, and how
// many it has deleted.
func (s *Store) deleteSome(ctx context.Context, before int64, limit int) (found, back, deleted int, err error) {
	err = s.write(ctx, "delete finished runs", func(ctx context.Context, conn *pgxpool.Conn) error {
		var queries pgx.Batch
		queries.Queue("SELECT set_config('lock_timeout', '" + strconv.FormatInt(deleteWait.Milliseconds(), 10) + "', true)")
		queries.Queue("SELECT pg_advisory_xact_lock(" + strconv.Itoa(deleteLock) + ")")
		queries.Queue(deleteSQL, before, limit, releaseChunk).QueryRow(func(row pgx.Row) error { return row.Scan(&found, &back, &deleted) })
		return conn.SendBatch(ctx, &queries).Close()
	})
	return found, back, deleted, err
}
