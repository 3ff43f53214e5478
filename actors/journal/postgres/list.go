package postgres

import (
	"context"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/limpetrun/limpet/actors/journal"
)

// within puts a page into a statement.
func within(statement, page string) string { return strings.Replace(statement, "%", page, 1) }

// List implements journal.Store.
func (s *Store) List(ctx context.Context, f journal.Filter, limit int, token string) (out []journal.Row, next string, err error) {
	cursor, err := journal.ParsePageToken(token)
	if err != nil {
		return nil, "", err
	}
	limit = max(limit, 0)
	sql, args := listSQL(f, cursor, limit+1)
	err = s.read(ctx, "list runs", func(ctx context.Context, conn *pgxpool.Conn) error {
		out = nil
		if !isText(f.Workflow) || !isText(f.BoundWorker) || !isText(f.ParentRun) {
			return nil // nothing is named like that
		}
		rows, err := conn.Query(ctx, sql, args...)
		if err != nil {
			return err
		}
		out, err = scanRows(rows)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	if len(out) > limit {
		if out = out[:limit]; limit > 0 {
			next = journal.NewPageToken(&out[limit-1])
		}
	}
	return out, next, nil
}

// listSQL is the query of a page of a listing.
func listSQL(f journal.Filter, cursor journal.PageCursor, limit int) (sql string, args []any) {
	var where []string
	add := func(condition string, values ...any) {
		for _, v := range values {
			args = append(args, v)
			condition = strings.Replace(condition, "?", "$"+strconv.Itoa(len(args)), 1)
		}
		where = append(where, condition)
	}
	if f.ParentRun != "" {
		add("r.parent_run = ?", f.ParentRun)
	}
	if f.Workflow != "" {
		add("r.workflow = ?", f.Workflow)
	}
	if len(f.Statuses) > 0 {
		statuses := make([]int32, len(f.Statuses))
		for i, status := range f.Statuses {
			statuses[i] = int32(status)
		}
		add("r.status = ANY(?::int4[])", statuses)
	}
	if !f.CreatedAfter.IsZero() {
		add("r.created_at > ?", journal.Micros(f.CreatedAfter))
	}
	if !f.CreatedBefore.IsZero() {
		add("r.created_at < ?", journal.Micros(f.CreatedBefore))
	}
	if cursor.Set {
		add("(r.created_at, r.run_id) < (?, ?)", journal.Micros(cursor.CreatedAt), storable(cursor.RunID))
	}
	if f.BoundWorker != "" {
		args = append(args, f.BoundWorker, limit)
		return boundListSQL(where, len(args)), args
	}
	sql = "SELECT " + rowColumns + " FROM limpet_runs r"
	if len(where) > 0 {
		sql += " WHERE " + strings.Join(where, " AND ")
	}
	args = append(args, limit)
	return sql + " ORDER BY r.created_at DESC, r.run_id DESC LIMIT $" + strconv.Itoa(len(args)), args
}

// boundListSQL is listSQL for the runs bound to the worker that is the last
// parameter but one: active ones, all of which are looked at, and parked ones.
// The sum keeps PostgreSQL from looking through all runs in the order of the
// listing instead.
func boundListSQL(where []string, params int) string {
	worker, limit := "$"+strconv.Itoa(params-1), "$"+strconv.Itoa(params)
	page := func(order string, conditions ...string) string {
		return "(SELECT r.run_id FROM limpet_runs r WHERE " + strings.Join(append(conditions, where...), " AND ") +
			" ORDER BY " + order + " DESC, r.run_id DESC LIMIT " + limit + ")"
	}
	return "SELECT " + rowColumns + " FROM (" +
		page("r.created_at + 0", "r.phase = 0", "r.bound_worker = "+worker) + " UNION ALL " +
		page("r.created_at", "r.parked_on = "+worker) +
		") p JOIN limpet_runs r USING (run_id) ORDER BY r.created_at DESC, r.run_id DESC LIMIT " + limit
}
