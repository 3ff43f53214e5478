package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/messages"
)

const (
	// The lock is for a deletion of the run, which this has to wait for, or that for it.
	insertLogSQL = "INSERT INTO limpet_logs (run_id, step, attempt, first, data) " +
		"SELECT run_id, $2, $3, $4, $5 FROM limpet_runs WHERE run_id = $1 FOR KEY SHARE ON CONFLICT DO NOTHING"
	trimLogSQL = "DELETE FROM limpet_logs WHERE run_id = $1 AND place IN (SELECT place FROM (SELECT place, sum(length(data)) OVER (ORDER BY place DESC) AS above " +
		"FROM limpet_logs WHERE run_id = $1) AS l WHERE above > $2)"
	readLogSQL = "SELECT place, data FROM limpet_logs WHERE run_id = $1 AND place > $2 ORDER BY place LIMIT $3"

	// logPage is how many chunks are read at once.
	logPage = 256
)

// WriteLogs implements journal.LogStore.
func (s *Store) WriteLogs(ctx context.Context, batch []journal.LogWrite) error {
	return s.write(ctx, "write logs", func(ctx context.Context, conn *pgxpool.Conn) error {
		var queries pgx.Batch
		for i := range batch {
			w := &batch[i]
			if !isText(w.RunID) || !isText(w.Step) {
				continue // of no run that is here
			}
			queries.Queue(insertLogSQL, w.RunID, w.Step, w.Attempt, w.First, w.Data)
			if w.Begins() {
				queries.Queue(trimLogSQL, w.RunID, messages.LogRunBytesMax)
			}
		}
		return conn.SendBatch(ctx, &queries).Close()
	})
}

// ReadLog implements journal.LogStore.
func (s *Store) ReadLog(ctx context.Context, runID string, after int64, bytesMax int) (out []journal.StoredLog, err error) {
	if !isText(runID) {
		return nil, nil
	}
	err = s.read(ctx, "read a log", func(ctx context.Context, conn *pgxpool.Conn) error {
		out = nil
		rows, err := conn.Query(ctx, readLogSQL, runID, after, logPage)
		if err != nil {
			return err
		}
		defer rows.Close()
		for bytes := 0; rows.Next(); {
			var l journal.StoredLog
			if err := rows.Scan(&l.Place, &l.Data); err != nil {
				return err
			}
			if bytes += len(l.Data); len(out) > 0 && bytes > bytesMax {
				return nil
			}
			out = append(out, l)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
