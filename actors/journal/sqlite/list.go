package sqlite

import (
	"cmp"
	"context"
	"slices"

	"zombiezen.com/go/sqlite"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/messages"
)

// source is where a listing finds its runs: an index that has, after what
// drives it, the group and then the order of the listing.
type source struct {
	// groups steps to the next group, from a group on: for ">" SQLite would look at
	// all runs of the one before. page reads one group, count counts it.
	groups, page, count string
	// driver is the first parameter of both; nil if there is none.
	driver any
}

// sourceOf returns the source of a listing.
func sourceOf(f *journal.Filter) source {
	switch f.Driver() {
	case journal.DrivenByParent:
		return newSource("runs INDEXED BY runs_parent", "seq", "parent_run = ? AND ", f.ParentRun)
	case journal.DrivenByWorker:
		return newSource("runs INDEXED BY runs_bound", "seq", "bound_worker = ? AND ", f.BoundWorker)
	case journal.DrivenByMetadata:
		pair := journal.Pairs(f.Metadata)[0]
		return newSource("run_metadata INDEXED BY run_metadata_listed", "run", "pair = ? AND ", pair[:])
	}
	return newSource("runs INDEXED BY runs_listed", "seq", "", nil)
}

func newSource(from, seq, driven string, driver any) source {
	const wanted = "workflow = ? AND status = ? AND child = ? AND created_at > ? AND (created_at, run_id) < (?, ?) "
	return source{
		groups: "SELECT workflow, status, child FROM " + from + " WHERE " + driven +
			"(workflow, status, child) >= (?, ?, ?) ORDER BY workflow, status, child LIMIT 1",
		page: "SELECT created_at, run_id, " + seq + " FROM " + from + " WHERE " + driven +
			wanted + "ORDER BY created_at DESC, run_id DESC",
		count:  "SELECT count(*) FROM (SELECT 1 FROM " + from + " WHERE " + driven + wanted + "LIMIT ?)",
		driver: driver,
	}
}

func (s *source) args(more ...any) []any {
	if s.driver == nil {
		return more
	}
	return append([]any{s.driver}, more...)
}

// wanted returns the groups that there are of those that the filter wants.
func (s *source) wanted(conn *sqlite.Conn, f *journal.Filter) (out []journal.Group, err error) {
	// Nothing is stored that comes before it; of one workflow nothing else is
	// looked at.
	at := journal.Group{Workflow: f.Workflow, Status: -1}
	for ; ; at.Child++ {
		found := false
		err := each(conn, s.groups, func(stmt *sqlite.Stmt) bool {
			at = journal.Group{Workflow: stmt.ColumnText(0), Status: messages.RunStatus(stmt.ColumnInt(1)), Child: int32(stmt.ColumnInt(2))}
			found = true
			return false
		}, s.args(at.Workflow, int64(at.Status), int64(at.Child))...)
		if err != nil || !found || f.Workflow != "" && at.Workflow != f.Workflow {
			return out, err
		}
		if f.Wants(at) {
			out = append(out, at)
		}
	}
}

// listed is a row of a listing that is still to be read.
type listed struct {
	journal.Position
	seq int64
}

func newestFirst(a, b listed) int {
	return -cmp.Or(cmp.Compare(a.CreatedAt, b.CreatedAt), cmp.Compare(a.RunID, b.RunID))
}

// find returns the first rows of a listing, at most limit, merged from the
// groups: of each it reads no more than what may be among the first.
func (s *source) find(conn *sqlite.Conn, f *journal.Filter, cursor journal.PageCursor, limit int) ([]listed, error) {
	groups, err := s.wanted(conn, f)
	if err != nil {
		return nil, err
	}
	after, before := f.Between(cursor)
	var first []listed
	for _, g := range groups {
		var found []listed
		err := each(conn, s.page, func(stmt *sqlite.Stmt) bool {
			next := listed{journal.Position{CreatedAt: stmt.ColumnInt64(0), RunID: stmt.ColumnText(1)}, stmt.ColumnInt64(2)}
			if len(first) == limit && newestFirst(next, first[limit-1]) > 0 {
				return false
			}
			found = append(found, next)
			return len(found) < limit
		}, s.args(g.Workflow, int64(g.Status), int64(g.Child), after, before.CreatedAt, before.RunID)...)
		if err != nil {
			return nil, err
		}
		first = append(first, found...)
		slices.SortFunc(first, newestFirst)
		first = first[:min(len(first), limit)]
	}
	return first, nil
}

// List implements journal.Store.
func (s *Store) List(ctx context.Context, f journal.Filter, limit int, token string) (rows []journal.Row, next string, err error) {
	cursor, err := journal.ParsePageToken(token)
	if err != nil || limit <= 0 {
		return nil, "", err
	}
	look := limit
	if f.Scans() {
		look = max(limit, journal.ListScanMax)
	}
	from := sourceOf(&f)
	err = s.read(ctx, "list runs", func(conn *sqlite.Conn) error {
		found, err := from.find(conn, &f, cursor, look+1)
		if err != nil {
			return err
		}
		var last journal.Row
		for i, l := range found {
			if i == look || len(rows) == limit {
				next = journal.NewPageToken(&last)
				return nil
			}
			fits := false
			if last, fits, err = readListed(conn, l.seq, &f); err != nil {
				return err
			}
			if fits {
				rows = append(rows, last)
			}
		}
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	return rows, next, nil
}

// CountRuns implements journal.Store.
func (s *Store) CountRuns(ctx context.Context, f journal.Filter, limit int) ([]journal.GroupCount, error) {
	switch {
	case limit <= 0:
		return nil, nil
	case f.Scans():
		return journal.CountPage(ctx, s, f, limit)
	}
	from := sourceOf(&f)
	after, before := f.Between(journal.PageCursor{})
	var counts []journal.GroupCount
	err := s.read(ctx, "count runs", func(conn *sqlite.Conn) error {
		groups, err := from.wanted(conn, &f)
		if err != nil {
			return err
		}
		for _, g := range groups {
			err := each(conn, from.count, func(stmt *sqlite.Stmt) bool {
				counts = append(counts, journal.GroupCount{Workflow: g.Workflow, Status: g.Status, Rows: stmt.ColumnInt(0)})
				return false
			}, from.args(g.Workflow, int64(g.Status), int64(g.Child), after, before.CreatedAt, before.RunID, int64(limit)+1)...)
			if err != nil {
				return err
			}
		}
		return nil
	})
	return journal.CountsOf(counts, limit), err
}

// readListed reads a row, and whether the whole filter selects it.
func readListed(conn *sqlite.Conn, seq int64, f *journal.Filter) (row journal.Row, fits bool, err error) {
	err = each(conn, "SELECT "+rowColumns+" FROM runs WHERE seq = ?", func(stmt *sqlite.Stmt) bool {
		row, fits = readRow(stmt, 0), true
		return false
	}, seq)
	if fits = fits && f.Matches(&row); !fits || err != nil {
		return row, false, err
	}
	for _, pair := range journal.Pairs(f.Metadata) {
		has := false
		err := each(conn, "SELECT 1 FROM run_metadata WHERE run = ? AND pair = ?", func(*sqlite.Stmt) bool {
			has = true
			return false
		}, seq, pair[:])
		if err != nil || !has {
			return row, false, err
		}
	}
	return row, true, nil
}
