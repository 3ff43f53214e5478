package postgres

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/messages"
)

// within puts a page into a statement.
func within(statement, page string) string { return strings.Replace(statement, "%", page, 1) }

// source is where a listing finds its runs: an index that has, after what
// drives it, the group and then the order of the listing.
type source struct {
	// table as r, and the condition on the driver, which is the parameter %.
	table, driven string
	// child is the expression in the index.
	child string
	// driver is the last parameter; nil if there is none.
	driver any
	// active says that runs in progress are not in the index of the driver.
	active bool
}

// sourceOf returns the source of a listing.
func sourceOf(f *journal.Filter) source {
	const child = "((r.parent_run IS NOT NULL)::int)"
	switch f.Driver() {
	case journal.DrivenByParent:
		return source{table: "limpet_runs r", driven: "r.parent_run = % AND ", child: child, driver: f.ParentRun}
	case journal.DrivenByWorker:
		return source{table: "limpet_runs r", driven: "r.parked_on = % AND ", child: child, driver: f.BoundWorker, active: true}
	case journal.DrivenByMetadata:
		pair := journal.Pairs(f.Metadata)[0]
		return source{table: "limpet_run_metadata r", driven: "r.pair = % AND ", child: "r.child", driver: pair[:]}
	}
	return source{table: "limpet_runs r", child: child}
}

func (s *source) args(more ...any) []any {
	if s.driver == nil {
		return more
	}
	return append(more, s.driver)
}

// groupsSQL steps from group to group. $1 is the only workflow, or NULL.
func (s *source) groupsSQL() string {
	key := "r.workflow, r.status, " + s.child
	first := "SELECT " + key + " FROM " + s.table + " WHERE " + within(s.driven, "$2") + "(" + key + ") > "
	order := " ORDER BY " + key + " LIMIT 1"
	return "WITH RECURSIVE g(workflow, status, child) AS (" +
		"(" + first + "(coalesce($1::text, ''), -1, 0)" + order + ") UNION ALL " +
		"SELECT n.* FROM g CROSS JOIN LATERAL (" + first + "(g.workflow, g.status, g.child)" + order + ") n" +
		" WHERE $1::text IS NULL OR g.workflow = $1) " +
		"SELECT workflow, status, child FROM g"
}

// branchesMax bounds the groups of one statement: there are as many statements
// as there are numbers of groups.
const branchesMax = 32

// A page lies between $1 and ($2, $3); $4 is how many rows are looked at, and $5
// are the pairs of metadata that a run must have: they are looked for only if there
// are any. A page of runs is r; one of metadata is p, and its runs are to be found.
const (
	pageBounds = "r.created_at > $1 AND (r.created_at, r.run_id) < ($2, $3)"
	pageOfRuns = pageOf + "(%) r ORDER BY r.created_at DESC, r.run_id DESC"
	pageOfKeys = pageOf + "(%) p JOIN limpet_runs r USING (run_id) ORDER BY p.created_at DESC, p.run_id DESC"
	pageOf     = "SELECT CASE WHEN cardinality($5::bytea[]) = 0 THEN 0 ELSE " +
		"(SELECT count(*) FROM limpet_run_metadata m WHERE m.run_id = r.run_id AND m.pair = ANY($5::bytea[])) END::int, " +
		rowColumns + " FROM "
)

// pageSQL reads a page of some groups, which are $6, $7 and $8: each in the
// order of its index, merged, as far as the limit goes.
func (s *source) pageSQL(groups int) string {
	page, of := pageOfRuns, "r.*"
	if s.table != "limpet_runs r" {
		page, of = pageOfKeys, "r.created_at, r.run_id"
	}
	var branches []string
	for i := 1; i <= groups; i++ {
		at := "[" + strconv.Itoa(i) + "]"
		branches = append(branches, "(SELECT "+of+" FROM "+s.table+" WHERE "+within(s.driven, "$9")+
			"r.workflow = ($6::text[])"+at+" AND r.status = ($7::int4[])"+at+" AND "+s.child+" = ($8::int4[])"+at+
			" AND "+pageBounds+" ORDER BY r.created_at DESC, r.run_id DESC)")
	}
	return within(page, "SELECT * FROM ("+strings.Join(branches, " UNION ALL ")+") u ORDER BY u.created_at DESC, u.run_id DESC LIMIT $4")
}

// countSQL counts groups, which are $4, $5 and $6, each up to $7.
func (s *source) countSQL() string {
	return "SELECT g.workflow, g.status, (SELECT count(*)::int FROM (SELECT 1 FROM " + s.table + " WHERE " + within(s.driven, "$8") +
		"r.workflow = g.workflow AND r.status = g.status AND " + s.child + " = g.child AND " + pageBounds + " LIMIT $7) c)" +
		" FROM unnest($4::text[], $5::int4[], $6::int4[]) g(workflow, status, child)"
}

// activeCountSQL counts the runs in progress of a worker: see activePageSQL.
const activeCountSQL = "SELECT r.workflow, r.status, count(*)::int FROM limpet_runs r WHERE r.phase = 0 AND r.bound_worker = $7 AND " + pageBounds +
	" AND ($4::text IS NULL OR r.workflow = $4) AND ($5::int4[] IS NULL OR r.status = ANY($5)) AND (NOT $6::bool OR r.parent_run IS NULL)" +
	" GROUP BY r.workflow, r.status"

// activePageSQL reads a page of the runs in progress of a worker, all of which
// are looked at. $6 is the only workflow or NULL, $7 the statuses or NULL, $8
// says that only roots are wanted.
var activePageSQL = within(pageOfRuns, "SELECT * FROM limpet_runs r WHERE r.phase = 0 AND r.bound_worker = $9 AND "+pageBounds+
	" AND ($6::text IS NULL OR r.workflow = $6) AND ($7::int4[] IS NULL OR r.status = ANY($7)) AND (NOT $8::bool OR r.parent_run IS NULL)"+
	" ORDER BY r.created_at DESC, r.run_id DESC LIMIT $4")

// listed is a row of a page, and whether the whole filter selects it.
type listed struct {
	row  journal.Row
	fits bool
}

func newestFirst(a, b listed) int {
	return -cmp.Or(a.row.CreatedAt.Compare(b.row.CreatedAt), cmp.Compare(a.row.RunID, b.row.RunID))
}

// List implements journal.Store.
func (s *Store) List(ctx context.Context, f journal.Filter, limit int, token string) (out []journal.Row, next string, err error) {
	cursor, err := journal.ParsePageToken(token)
	if err != nil {
		return nil, "", err
	}
	limit = max(limit, 0)
	look := limit
	if f.Scans() {
		look = max(limit, journal.ListScanMax)
	}
	var found []listed
	err = s.read(ctx, "list runs", func(ctx context.Context, conn *pgxpool.Conn) error {
		found = nil
		if !isText(f.Workflow) || !isText(f.BoundWorker) || !isText(f.ParentRun) || limit == 0 {
			return nil // nothing is named like that
		}
		found, err = find(ctx, conn, &f, cursor, look+1)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	for i := range found {
		if i == look || len(out) == limit {
			return out, journal.NewPageToken(&found[i-1].row), nil
		}
		if found[i].fits {
			out = append(out, found[i].row)
		}
	}
	return out, "", nil
}

// find returns the first rows of a listing, at most limit.
func find(ctx context.Context, conn *pgxpool.Conn, f *journal.Filter, cursor journal.PageCursor, limit int) ([]listed, error) {
	from := sourceOf(f)
	groups, err := from.wanted(ctx, conn, f)
	if err != nil {
		return nil, err
	}
	after, before := f.Between(cursor)
	pairs := [][]byte{}
	for _, pair := range journal.Pairs(f.Metadata) {
		pairs = append(pairs, pair[:])
	}
	args := []any{after, before.CreatedAt, storable(before.RunID), limit, pairs}
	var queries pgx.Batch
	pages := 0
	for part := range slices.Chunk(groups, branchesMax) {
		workflows, statuses, children := make([]string, len(part)), make([]int32, len(part)), make([]int32, len(part))
		for i, g := range part {
			workflows[i], statuses[i], children[i] = g.Workflow, int32(g.Status), g.Child
		}
		queries.Queue(from.pageSQL(len(part)), from.args(append(slices.Clone(args), workflows, statuses, children)...)...)
		pages++
	}
	if from.active {
		workflow, statuses := anyOf(f)
		queries.Queue(activePageSQL, from.args(append(slices.Clone(args), workflow, statuses, f.Roots)...)...)
		pages++
	}
	if pages == 0 {
		return nil, nil
	}
	results := conn.SendBatch(ctx, &queries)
	defer results.Close() // its error is that of the queries
	var found []listed
	for range pages {
		page, err := query(results, func(rows pgx.Rows) ([]listed, error) { return scanListed(rows, f) })
		if err != nil {
			return nil, err
		}
		found = append(found, page...)
	}
	slices.SortFunc(found, newestFirst)
	return found[:min(len(found), limit)], results.Close()
}

// CountRuns implements journal.Store.
func (s *Store) CountRuns(ctx context.Context, f journal.Filter, limit int) (counts []journal.GroupCount, err error) {
	switch {
	case limit <= 0 || !isText(f.Workflow) || !isText(f.BoundWorker) || !isText(f.ParentRun):
		return nil, nil
	case f.Scans():
		return journal.CountPage(ctx, s, f, limit)
	}
	err = s.read(ctx, "count runs", func(ctx context.Context, conn *pgxpool.Conn) (err error) {
		counts, err = count(ctx, conn, &f, limit)
		return err
	})
	return journal.CountsOf(counts, limit), err
}

// count counts the groups of a listing.
func count(ctx context.Context, conn *pgxpool.Conn, f *journal.Filter, limit int) ([]journal.GroupCount, error) {
	from := sourceOf(f)
	groups, err := from.wanted(ctx, conn, f)
	if err != nil {
		return nil, err
	}
	after, before := f.Between(journal.PageCursor{})
	bounds := []any{after, before.CreatedAt, storable(before.RunID)}
	workflows, statuses, children := make([]string, len(groups)), make([]int32, len(groups)), make([]int32, len(groups))
	for i, g := range groups {
		workflows[i], statuses[i], children[i] = g.Workflow, int32(g.Status), g.Child
	}
	counts, err := counted(ctx, conn, from.countSQL(), from.args(append(slices.Clone(bounds), workflows, statuses, children, limit+1)...))
	if err != nil || !from.active {
		return counts, err
	}
	workflow, wanted := anyOf(f)
	active, err := counted(ctx, conn, activeCountSQL, from.args(append(bounds, workflow, wanted, f.Roots)...))
	return append(counts, active...), err
}

func counted(ctx context.Context, conn *pgxpool.Conn, sql string, args []any) (out []journal.GroupCount, err error) {
	rows, err := conn.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	var g journal.GroupCount
	var status int32
	_, err = pgx.ForEachRow(rows, []any{&g.Workflow, &status, &g.Rows}, func() error {
		g.Status = messages.RunStatus(status)
		out = append(out, g)
		return nil
	})
	return out, err
}

// anyOf are the workflow and the statuses of a filter as parameters, NULL for any.
func anyOf(f *journal.Filter) (workflow *string, statuses []int32) {
	if f.Workflow != "" {
		workflow = &f.Workflow
	}
	for _, status := range f.Statuses {
		statuses = append(statuses, int32(status))
	}
	return workflow, statuses
}

// wanted returns the groups that there are of those that the filter wants.
func (s *source) wanted(ctx context.Context, conn *pgxpool.Conn, f *journal.Filter) (out []journal.Group, err error) {
	workflow, _ := anyOf(f)
	rows, err := conn.Query(ctx, s.groupsSQL(), s.args(workflow)...)
	if err != nil {
		return nil, err
	}
	var g journal.Group
	var status int32
	_, err = pgx.ForEachRow(rows, []any{&g.Workflow, &status, &g.Child}, func() error {
		if g.Status = messages.RunStatus(status); f.Wants(g) {
			out = append(out, g)
		}
		return nil
	})
	return out, err
}

func scanListed(rows pgx.Rows, f *journal.Filter) (out []listed, err error) {
	defer rows.Close()
	for rows.Next() {
		var l listed
		var pairs int32
		if l.row, err = scanRow(rows, &pairs); err != nil {
			return nil, fmt.Errorf("a row of a listing: %w", err)
		}
		l.fits = int(pairs) == len(f.Metadata) && f.Matches(&l.row)
		out = append(out, l)
	}
	return out, rows.Err()
}
