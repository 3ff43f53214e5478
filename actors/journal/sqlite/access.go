package sqlite

import (
	"context"
	"math"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/limpetrun/limpet/actors/journal"
)

// PutToken implements journal.AccessStore.
func (s *Store) PutToken(ctx context.Context, t journal.Token) error {
	return s.write(ctx, "put a token", func(w *writer) error {
		stmt, err := w.conn.Prepare("INSERT INTO tokens (id, data) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET data = excluded.data")
		if err != nil {
			return err
		}
		stmt.BindText(1, t.ID)
		stmt.BindBytes(2, t.Data)
		return run(stmt)
	})
}

// Tokens implements journal.AccessStore.
func (s *Store) Tokens(ctx context.Context) (out []journal.Token, err error) {
	err = s.read(ctx, "read the tokens", func(conn *sqlite.Conn) error {
		return each(conn, "SELECT id, data FROM tokens ORDER BY id", func(s *sqlite.Stmt) bool {
			t := journal.Token{ID: s.ColumnText(0), Data: make([]byte, s.ColumnLen(1))}
			s.ColumnBytes(1, t.Data)
			out = append(out, t)
			return true
		})
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// DeleteToken implements journal.AccessStore.
func (s *Store) DeleteToken(ctx context.Context, id string) (there bool, err error) {
	err = s.write(ctx, "delete a token", func(w *writer) error {
		stmt, err := w.conn.Prepare("DELETE FROM tokens WHERE id = ?")
		if err != nil {
			return err
		}
		stmt.BindText(1, id)
		err = run(stmt)
		there = w.conn.Changes() > 0
		return err
	})
	return there, err
}

// WriteAudit implements journal.AccessStore.
func (s *Store) WriteAudit(ctx context.Context, c journal.AuditChunk) error {
	err := s.write(ctx, "write the audit log", func(w *writer) error {
		stmt, err := w.conn.Prepare("INSERT INTO audit (at, records, data) VALUES (?, ?, ?)")
		if err != nil {
			return err
		}
		stmt.BindInt64(1, journal.Micros(c.At))
		stmt.BindInt64(2, int64(c.Records))
		stmt.BindBytes(3, c.Data)
		return run(stmt)
	})
	if err == nil {
		s.ckpt.grew(2 + len(c.Data)/4096)
	}
	return err
}

// ReadAudit implements journal.AccessStore.
func (s *Store) ReadAudit(ctx context.Context, before int64, limit int) (out []journal.AuditChunk, err error) {
	if before == 0 {
		before = math.MaxInt64
	}
	err = s.read(ctx, "read the audit log", func(conn *sqlite.Conn) error {
		return each(conn, "SELECT seq, at, records, data FROM audit WHERE seq < ? ORDER BY seq DESC LIMIT ?", func(s *sqlite.Stmt) bool {
			c := journal.AuditChunk{Seq: s.ColumnInt64(0), At: journal.FromMicros(s.ColumnInt64(1)), Records: s.ColumnInt(2), Data: make([]byte, s.ColumnLen(3))}
			s.ColumnBytes(3, c.Data)
			out = append(out, c)
			return true
		}, before, int64(max(0, limit)))
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// TrimAudit implements journal.AccessStore.
func (s *Store) TrimAudit(ctx context.Context, older time.Time, recordsMax int64) (gone int, err error) {
	err = s.write(ctx, "trim the audit log", func(w *writer) error {
		stmt, err := w.conn.Prepare("DELETE FROM audit WHERE at < ?1 OR seq IN " +
			"(SELECT seq FROM (SELECT seq, sum(records) OVER (ORDER BY seq DESC) AS above FROM audit) WHERE above > ?2)")
		if err != nil {
			return err
		}
		stmt.BindInt64(1, journal.Micros(older))
		stmt.BindInt64(2, recordsMax)
		err = run(stmt)
		gone = w.conn.Changes()
		return err
	})
	return gone, err
}
