package postgres

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/messages"
)

// PutDefinition implements journal.Store.
func (s *Store) PutDefinition(ctx context.Context, d journal.Definition) error {
	if !isText(d.Hash) || !isText(d.Name) {
		return messages.Errorf(messages.CodeInvalidArgument, "definition %q of workflow %q: it is not a text without zero bytes", d.Hash, d.Name)
	}
	const sql = "INSERT INTO limpet_definitions (hash, name, registered_at, data) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING"
	data := d.Data
	if data == nil {
		data = []byte{}
	}
	return s.write(ctx, "put a definition", func(ctx context.Context, conn *pgxpool.Conn) error {
		_, err := conn.Exec(ctx, sql, d.Hash, d.Name, journal.Micros(d.RegisteredAt), data)
		return err
	})
}

// Definition implements journal.Store.
func (s *Store) Definition(ctx context.Context, hash string) (journal.Definition, error) {
	found, err := s.definitions(ctx, "read a definition",
		"SELECT hash, name, registered_at, data FROM limpet_definitions WHERE hash = $1", storable(hash))
	switch {
	case err != nil:
		return journal.Definition{}, err
	case len(found) == 0 || !isText(hash):
		return journal.Definition{}, journal.UnknownDefinition(hash)
	}
	return found[0], nil
}

// Versions implements journal.Store.
func (s *Store) Versions(ctx context.Context, name string, limit int) ([]journal.Definition, error) {
	if !isText(name) {
		return nil, nil
	}
	return s.definitions(ctx, "read the versions of a workflow",
		"SELECT hash, name, registered_at, NULL::bytea FROM limpet_definitions WHERE name = $1 ORDER BY registered_at DESC, hash DESC LIMIT $2",
		name, max(0, limit))
}

func (s *Store) definitions(ctx context.Context, what, sql string, args ...any) ([]journal.Definition, error) {
	return collect(ctx, s, what, func(row pgx.CollectableRow) (d journal.Definition, err error) {
		var at int64
		err = row.Scan(&d.Hash, &d.Name, &at, &d.Data)
		d.RegisteredAt = journal.FromMicros(at)
		return d, err
	}, sql, args...)
}

// Workflows implements journal.Store.
func (s *Store) Workflows(ctx context.Context) ([]journal.Workflow, error) {
	const sql = "SELECT d.hash, d.name, d.registered_at, d.data, CASE WHEN w.chosen_at > n.registered_at THEN w.chosen_at ELSE 0 END, coalesce(w.retired_at, 0), coalesce(w.unserved_since, 0) " +
		"FROM (SELECT DISTINCT ON (name) name, hash, registered_at FROM limpet_definitions ORDER BY name, registered_at DESC, hash DESC) n " +
		"LEFT JOIN limpet_workflows w ON w.name = n.name " +
		"JOIN limpet_definitions d ON d.hash = CASE WHEN w.chosen_at > n.registered_at THEN w.chosen ELSE n.hash END ORDER BY d.name"
	return collect(ctx, s, "read the current definitions", func(row pgx.CollectableRow) (w journal.Workflow, err error) {
		var at, chosen, retired, unserved int64
		err = row.Scan(&w.Hash, &w.Name, &at, &w.Data, &chosen, &retired, &unserved)
		w.RegisteredAt, w.ChosenAt = journal.FromMicros(at), journal.FromMicros(chosen)
		w.RetiredAt, w.UnservedSince = journal.FromMicros(retired), journal.FromMicros(unserved)
		return w, err
	}, sql)
}

// ChooseVersion implements journal.Store.
func (s *Store) ChooseVersion(ctx context.Context, name, hash string, at time.Time) error {
	if !isText(name) || !isText(hash) {
		return nil
	}
	const sql = "WITH newest AS (SELECT max(registered_at) AS at FROM limpet_definitions WHERE name = $1) " +
		"INSERT INTO limpet_workflows AS old (name, chosen, chosen_at) " +
		"SELECT d.name, d.hash, greatest($3::int8, newest.at + 1) FROM limpet_definitions d, newest WHERE d.hash = $2 AND d.name = $1 " +
		"ON CONFLICT (name) DO UPDATE SET chosen = excluded.chosen, chosen_at = excluded.chosen_at " +
		"WHERE old.chosen <> excluded.chosen OR old.chosen_at <= (SELECT at FROM newest)"
	return s.write(ctx, "choose a version", func(ctx context.Context, conn *pgxpool.Conn) error {
		_, err := conn.Exec(ctx, sql, name, hash, journal.Micros(at))
		return err
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
	names = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !isText(name) })
	sql := "INSERT INTO limpet_workflows AS old (name, " + column + ") " +
		"SELECT name, $2 FROM (SELECT DISTINCT name FROM limpet_definitions WHERE name = ANY($1) ORDER BY name) known " +
		"ON CONFLICT (name) DO UPDATE SET " + column + " = excluded." + column +
		" WHERE (old." + column + " = 0) <> (excluded." + column + " = 0)"
	return s.write(ctx, what, func(ctx context.Context, conn *pgxpool.Conn) error {
		_, err := conn.Exec(ctx, sql, names, journal.Micros(at))
		return err
	})
}

// collect reads all rows of a query.
func collect[T any](ctx context.Context, s *Store, what string, row pgx.RowToFunc[T], sql string, args ...any) (out []T, err error) {
	err = s.read(ctx, what, func(ctx context.Context, conn *pgxpool.Conn) error {
		rows, err := conn.Query(ctx, sql, args...)
		if err == nil {
			out, err = pgx.CollectRows(rows, row)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
