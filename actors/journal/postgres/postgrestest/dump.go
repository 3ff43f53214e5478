package postgrestest

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"path/filepath"

	"github.com/jackc/pgx/v5"

	"github.com/limpetrun/limpet/messages"
)

// Dump returns a database, given by its URL, as SQL that Load takes. It needs the
// program pg_dump, which comes with the server.
func (s *Server) Dump(ctx context.Context, url string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(s.programs, "pg_dump"), "--inserts", "--no-owner", "--no-privileges", "--dbname="+url)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return nil, messages.Errorf(messages.CodeInternal, "pg_dump: %w: %s", err, complaint.Bytes())
	}
	var sql []byte
	for line := range bytes.Lines(out) {
		// Commands of psql, comments, and settings that only some versions of
		// the server have are not needed.
		if text := bytes.TrimSpace(line); len(text) > 0 && !bytes.HasPrefix(text, []byte(`\`)) &&
			!bytes.HasPrefix(text, []byte("--")) && !bytes.HasPrefix(text, []byte("SET ")) {
			sql = append(sql, line...)
		}
	}
	return sql, nil
}

// Load makes a database of what Dump returned, and returns its URL.
func (s *Server) Load(ctx context.Context, sql []byte) (url string, err error) {
	if url, err = s.NewDatabase(ctx); err != nil {
		return "", err
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return "", messages.Errorf(messages.CodeUnavailable, "connect to PostgreSQL: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	if _, err := conn.PgConn().Exec(ctx, string(sql)).ReadAll(); err != nil {
		return "", messages.Errorf(messages.CodeInternal, "load a dump: %w", err)
	}
	return url, nil
}
