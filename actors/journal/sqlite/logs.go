package sqlite

import (
	"context"

	"zombiezen.com/go/sqlite"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/messages"
)

const (
	insertLogSQL = "INSERT OR IGNORE INTO logs (run, step, attempt, first, data) SELECT seq, ?2, ?3, ?4, ?5 FROM runs WHERE run_id = ?1"
	trimLogSQL   = "DELETE FROM logs WHERE place IN (SELECT place FROM (SELECT place, sum(length(data)) OVER (ORDER BY place DESC) AS above " +
		"FROM logs INDEXED BY logs_in_order WHERE run = (SELECT seq FROM runs WHERE run_id = ?1)) WHERE above > ?2)"
	readLogSQL = "SELECT place, data FROM logs INDEXED BY logs_in_order WHERE run = (SELECT seq FROM runs WHERE run_id = ?1) AND place > ?2 ORDER BY place"
)

// WriteLogs implements journal.LogStore.
func (s *Store) WriteLogs(ctx context.Context, batch []journal.LogWrite) error {
	units := 4
	err := s.write(ctx, "write logs", func(w *writer) error {
		for i := range batch {
			units += 2 + len(batch[i].Data)/4096
			if err := w.log(&batch[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		s.ckpt.grew(units)
	}
	return err
}

func (w *writer) log(l *journal.LogWrite) error {
	insert, err := w.conn.Prepare(insertLogSQL)
	if err != nil {
		return err
	}
	insert.BindText(1, l.RunID)
	insert.BindText(2, l.Step)
	insert.BindInt64(3, int64(l.Attempt))
	insert.BindInt64(4, l.First)
	insert.BindBytes(5, l.Data)
	if err := run(insert); err != nil || !l.Begins() {
		return err
	}
	trim, err := w.conn.Prepare(trimLogSQL)
	if err != nil {
		return err
	}
	trim.BindText(1, l.RunID)
	trim.BindInt64(2, messages.LogRunBytesMax)
	return run(trim)
}

// ReadLog implements journal.LogStore.
func (s *Store) ReadLog(ctx context.Context, runID string, after int64, bytesMax int) (out []journal.StoredLog, err error) {
	err = s.read(ctx, "read a log", func(conn *sqlite.Conn) error {
		bytes := 0
		return each(conn, readLogSQL, func(s *sqlite.Stmt) bool {
			if bytes += s.ColumnLen(1); len(out) > 0 && bytes > bytesMax {
				return false
			}
			l := journal.StoredLog{Place: s.ColumnInt64(0), Data: make([]byte, s.ColumnLen(1))}
			s.ColumnBytes(1, l.Data)
			out = append(out, l)
			return true
		}, runID, after)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
