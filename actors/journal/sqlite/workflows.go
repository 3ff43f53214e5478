package sqlite

import (
	"context"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/limpetrun/limpet/actors/journal"
)

// PutDefinition implements journal.Store.
func (s *Store) PutDefinition(ctx context.Context, d journal.Definition) error {
	return s.write(ctx, "put a definition", func(w *writer) error {
		stmt, err := w.conn.Prepare("INSERT INTO definitions (hash, name, registered_at, data) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING")
		if err != nil {
			return err
		}
		stmt.BindText(1, d.Hash)
		stmt.BindText(2, d.Name)
		stmt.BindInt64(3, journal.Micros(d.RegisteredAt))
		stmt.BindBytes(4, d.Data)
		return run(stmt)
	})
}

// Definition implements journal.Store.
func (s *Store) Definition(ctx context.Context, hash string) (d journal.Definition, err error) {
	found := false
	err = s.read(ctx, "read a definition", func(conn *sqlite.Conn) (err error) {
		d, found, err = readDefinition(conn, hash)
		return err
	})
	if err != nil {
		return journal.Definition{}, err
	}
	if !found {
		return journal.Definition{}, journal.UnknownDefinition(hash)
	}
	return d, nil
}

func readDefinition(conn *sqlite.Conn, hash string) (d journal.Definition, found bool, err error) {
	err = each(conn, "SELECT hash, name, registered_at, data FROM definitions WHERE hash = ?", func(s *sqlite.Stmt) bool {
		d = versionOf(s)
		d.Data = make([]byte, s.ColumnLen(3))
		s.ColumnBytes(3, d.Data)
		found = true
		return false
	}, hash)
	return d, found, err
}

// versionOf is the version in a row of hash, name and registered_at.
func versionOf(s *sqlite.Stmt) journal.Definition {
	return journal.Definition{Hash: s.ColumnText(0), Name: s.ColumnText(1), RegisteredAt: journal.FromMicros(s.ColumnInt64(2))}
}

// Versions implements journal.Store.
func (s *Store) Versions(ctx context.Context, name string, limit int) (out []journal.Definition, err error) {
	const sql = "SELECT hash, name, registered_at FROM definitions INDEXED BY definitions_by_name WHERE name = ? " +
		"ORDER BY registered_at DESC, hash DESC LIMIT ?"
	err = s.read(ctx, "read the versions of a workflow", func(conn *sqlite.Conn) error {
		return each(conn, sql, func(s *sqlite.Stmt) bool {
			out = append(out, versionOf(s))
			return true
		}, name, int64(max(0, limit)))
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Workflows implements journal.Store.
func (s *Store) Workflows(ctx context.Context) (out []journal.Workflow, err error) {
	err = s.read(ctx, "read the current definitions", func(conn *sqlite.Conn) error {
		out, err = currentVersions(conn)
		for i := range out {
			if err == nil {
				out[i].Definition, _, err = readDefinition(conn, out[i].Hash)
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// currentVersions returns what Workflows does, without what the versions hold.
func currentVersions(conn *sqlite.Conn) (out []journal.Workflow, err error) {
	const newest = "SELECT hash, name, registered_at FROM definitions INDEXED BY definitions_by_name ORDER BY name, registered_at, hash"
	err = each(conn, newest, func(s *sqlite.Stmt) bool {
		d := versionOf(s)
		if n := len(out); n > 0 && out[n-1].Name == d.Name {
			out = out[:n-1]
		}
		out = append(out, journal.Workflow{Definition: d})
		return true
	})
	if err != nil {
		return nil, err
	}
	of := make(map[string]*journal.Workflow, len(out))
	for i := range out {
		of[out[i].Name] = &out[i]
	}
	err = each(conn, "SELECT name, chosen, chosen_at, retired_at, unserved_since FROM workflows", func(s *sqlite.Stmt) bool {
		w := of[s.ColumnText(0)]
		if w == nil {
			return true
		}
		if at := journal.FromMicros(s.ColumnInt64(2)); at.After(w.RegisteredAt) {
			w.Hash, w.ChosenAt = s.ColumnText(1), at
		}
		w.RetiredAt, w.UnservedSince = journal.FromMicros(s.ColumnInt64(3)), journal.FromMicros(s.ColumnInt64(4))
		return true
	})
	return out, err
}

// ChooseVersion implements journal.Store.
func (s *Store) ChooseVersion(ctx context.Context, name, hash string, at time.Time) error {
	const sql = "INSERT INTO workflows (name, chosen, chosen_at) " +
		"SELECT name, hash, max(?3, 1 + (SELECT max(registered_at) FROM definitions WHERE name = ?1)) FROM definitions WHERE hash = ?2 AND name = ?1 " +
		"ON CONFLICT (name) DO UPDATE SET chosen = excluded.chosen, chosen_at = excluded.chosen_at " +
		"WHERE chosen <> excluded.chosen OR chosen_at <= (SELECT max(registered_at) FROM definitions WHERE name = ?1)"
	return s.write(ctx, "choose a version", func(w *writer) error {
		stmt, err := w.conn.Prepare(sql)
		if err != nil {
			return err
		}
		stmt.BindText(1, name)
		stmt.BindText(2, hash)
		stmt.BindInt64(3, journal.Micros(at))
		return run(stmt)
	})
}

// RetireWorkflow implements journal.Store.
func (s *Store) RetireWorkflow(ctx context.Context, name string, at time.Time) error {
	return s.noteSince(ctx, "retire a workflow", "retired_at", []string{name}, at)
}

// NoteUnserved implements journal.Store.
func (s *Store) NoteUnserved(ctx context.Context, names []string, since time.Time) error {
	return s.noteSince(ctx, "note what no worker serves", "unserved_since", names, since)
}

// noteSince notes of names since when something is so, in a column; one that is
// noted stays, until the zero time takes it away.
func (s *Store) noteSince(ctx context.Context, what, column string, names []string, at time.Time) error {
	sql := "INSERT INTO workflows (name, " + column + ") SELECT ?1, ?2 WHERE EXISTS (SELECT 1 FROM definitions WHERE name = ?1) " +
		"ON CONFLICT (name) DO UPDATE SET " + column + " = excluded." + column + " WHERE (" + column + " = 0) <> (excluded." + column + " = 0)"
	return s.write(ctx, what, func(w *writer) error {
		stmt, err := w.conn.Prepare(sql)
		for _, name := range names {
			if err != nil {
				return err
			}
			stmt.BindText(1, name)
			stmt.BindInt64(2, journal.Micros(at))
			err = run(stmt)
		}
		return err
	})
}
