package postgres

import (
	"context"
	"math"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/messages"
)

// PutToken implements journal.AccessStore.
func (s *Store) PutToken(ctx context.Context, t journal.Token) error {
	if !isText(t.ID) {
		return messages.Errorf(messages.CodeInvalidArgument, "token %q: its id is not a text without zero bytes", t.ID)
	}
	return s.write(ctx, "put a token", func(ctx context.Context, conn *pgxpool.Conn) error {
		_, err := conn.Exec(ctx, "INSERT INTO limpet_tokens (id, data) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET data = excluded.data", t.ID, t.Data)
		return err
	})
}

// Tokens implements journal.AccessStore.
func (s *Store) Tokens(ctx context.Context) ([]journal.Token, error) {
	return collect(ctx, s, "read the tokens", func(row pgx.CollectableRow) (t journal.Token, err error) {
		err = row.Scan(&t.ID, &t.Data)
		return t, err
	}, "SELECT id, data FROM limpet_tokens ORDER BY id")
}

// DeleteToken implements journal.AccessStore.
func (s *Store) DeleteToken(ctx context.Context, id string) (there bool, err error) {
	if !isText(id) {
		return false, nil
	}
	err = s.write(ctx, "delete a token", func(ctx context.Context, conn *pgxpool.Conn) error {
		done, err := conn.Exec(ctx, "DELETE FROM limpet_tokens WHERE id = $1", id)
		there = done.RowsAffected() > 0
		return err
	})
	return there, err
}

// WriteAudit implements journal.AccessStore.
func (s *Store) WriteAudit(ctx context.Context, c journal.AuditChunk) error {
	return s.write(ctx, "write the audit log", func(ctx context.Context, conn *pgxpool.Conn) error {
		_, err := conn.Exec(ctx, "INSERT INTO limpet_audit (at, records, data) VALUES ($1, $2, $3)", journal.Micros(c.At), c.Records, c.Data)
		return err
	})
}

// ReadAudit implements journal.AccessStore.
func (s *Store) ReadAudit(ctx context.Context, before int64, limit int) ([]journal.AuditChunk, error) {
	if before == 0 {
		before = math.MaxInt64
	}
	return collect(ctx, s, "read the audit log", func(row pgx.CollectableRow) (c journal.AuditChunk, err error) {
		var at int64
		err = row.Scan(&c.Seq, &at, &c.Records, &c.Data)
		c.At = journal.FromMicros(at)
		return c, err
	}, "SELECT seq, at, records, data FROM limpet_audit WHERE seq < $1 ORDER BY seq DESC LIMIT $2", before, max(0, limit))
}

// TrimAudit implements journal.AccessStore.
func (s *Store) TrimAudit(ctx context.Context, older time.Time, recordsMax int64) (gone int, err error) {
	const sql = "DELETE FROM limpet_audit WHERE at < $1 OR seq IN " +
		"(SELECT seq FROM (SELECT seq, sum(records) OVER (ORDER BY seq DESC) AS above FROM limpet_audit) AS a WHERE above > $2)"
	err = s.write(ctx, "trim the audit log", func(ctx context.Context, conn *pgxpool.Conn) error {
		done, err := conn.Exec(ctx, sql, journal.Micros(older), recordsMax)
		gone = int(done.RowsAffected())
		return err
	})
	return gone, err
}
