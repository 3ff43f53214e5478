package postgres_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/limpetrun/limpet/actors/journal/postgres"
	"github.com/limpetrun/limpet/messages"
)

// TestPlans: every statement uses the index that is there for it, also when it
// was planned while the tables were empty, and nothing that a plan does grows
// with runs that do not concern it.
func TestPlans(t *testing.T) {
	t.Parallel()
	url := database(t, server)
	open(t, postgres.Config{URL: url})
	conn := connect(t, url)
	sql := func(statement string) {
		t.Helper()
		_, err := conn.PgConn().Exec(t.Context(), statement).ReadAll()
		must(t, err)
	}
	for name, value := range postgres.Settings {
		sql("SET " + name + " = " + value)
	}
	queries := postgres.Queries()
	names := slices.Sorted(maps.Keys(queries))
	for i, name := range names {
		sql(fmt.Sprintf("PREPARE q%d AS %s", i, queries[name].SQL))
	}
	check := func(when string) {
		t.Helper()
		for i, name := range names {
			q := queries[name]
			results, err := conn.PgConn().Exec(t.Context(), fmt.Sprintf("EXPLAIN EXECUTE q%d%s", i, args(q.Args))).ReadAll()
			must(t, err)
			var plan strings.Builder
			for _, row := range results[0].Rows {
				fmt.Fprintf(&plan, "%s\n", row[0])
			}
			if !strings.Contains(plan.String(), "using "+q.Index+" ") && !strings.Contains(plan.String(), "on "+q.Index+" ") || strings.Contains(plan.String(), "Seq Scan") {
				t.Errorf("%s, %s, want the index %s:\n%s", name, when, q.Index, &plan)
			}
			if q.Ordered && strings.Contains(plan.String(), "Sort Key") && !strings.Contains(plan.String(), "Merge Append") || q.Ordered && strings.Contains(plan.String(), "->  Sort") {
				t.Errorf("%s, %s, sorts:\n%s", name, when, &plan)
			}
		}
	}
	check("empty")
	sql(`INSERT INTO limpet_runs (run_id, shard, phase, status, sticky, priority, epoch, created_at, finished_at, wake_at, wake_on_up, wake_on_gone, line, line_since, bound_worker, pool, workflow, parent_run)
		SELECT 'r' || i, i % 1024, p, 1, 1, 1, 1, i, CASE p WHEN 2 THEN i END, CASE p WHEN 1 THEN i END, CASE p WHEN 1 THEN 'w' || i % 9 END,
			CASE p WHEN 1 THEN 'w' || i % 9 END, CASE p WHEN 1 THEN i % 7 END, i, CASE WHEN p < 2 THEN 'b' || i % 50 END, 'default', 'w' || i % 7, CASE WHEN i % 2 = 0 THEN 'p' || i % 100 END
		FROM (SELECT i, CASE i % 10 WHEN 0 THEN 0 WHEN 1 THEN 1 ELSE 2 END AS p FROM generate_series(1, 20000) i) x`)
	sql("INSERT INTO limpet_run_metadata SELECT run_id, decode('0' || shard % 7, 'hex'), workflow, status, (parent_run IS NOT NULL)::int, created_at FROM limpet_runs")
	sql("INSERT INTO limpet_entries SELECT 'r' || i, n, 'entry' FROM generate_series(1, 20000) i, generate_series(1, 3) n")
	sql("INSERT INTO limpet_events SELECT i, 'e' || i, 'k' || i % 1000, i, '{}' FROM generate_series(1, 20000) i")
	sql("INSERT INTO limpet_event_waits SELECT 'r' || i, 'w', 'k' || i % 1000, '', 0, i FROM generate_series(1, 20000) i")
	sql("INSERT INTO limpet_streams (run_id, name) SELECT CASE WHEN i % 10 < 9 THEN 'r' || i / 2 END, 's' || i % 2 FROM generate_series(1, 20000) i")
	sql("INSERT INTO limpet_stream_sections SELECT id, n, 'step', n, 2, 2 FROM limpet_streams, generate_series(1, 2) n")
	sql("INSERT INTO limpet_stream_pieces SELECT stream_id, section, n, n, 1, 'p' FROM limpet_stream_sections, generate_series(1, 2) n")
	check("filled")
	sql("ANALYZE")
	check("analyzed")
}

func args(of []string) string {
	if len(of) == 0 {
		return ""
	}
	return "(" + strings.Join(of, ", ") + ")"
}

// TestCodes: what may pass can be tried again; the message says why.
func TestCodes(t *testing.T) {
	t.Parallel()
	for state, c := range map[string]struct {
		want messages.Code
		says string
	}{
		"08006": {messages.CodeJournalUnavailable, "connection"},
		"25006": {messages.CodeJournalUnavailable, "standby"},
		"53100": {messages.CodeJournalUnavailable, "disk of the database is full"},
		"53200": {messages.CodeJournalUnavailable, ""},
		"53300": {messages.CodeJournalUnavailable, "no connection left"},
		"40001": {messages.CodeJournalUnavailable, ""},
		"40P01": {messages.CodeJournalUnavailable, ""},
		"55P03": {messages.CodeJournalUnavailable, "lock"},
		"57014": {messages.CodeJournalUnavailable, "took too long"},
		"57P01": {messages.CodeJournalUnavailable, "shutting down"},
		"57P02": {messages.CodeJournalUnavailable, "crashed"},
		"57P03": {messages.CodeJournalUnavailable, "starting"},
		"58030": {messages.CodeJournalUnavailable, ""},
		"23505": {messages.CodeJournalUnavailable, ""},
		"42501": {messages.CodeJournalUnavailable, ""},
		"42P01": {messages.CodeJournalUnavailable, ""},
		"23502": {messages.CodeInternal, ""},
		"22021": {messages.CodeInvalidArgument, ""},
		"22P05": {messages.CodeInvalidArgument, ""},
		"54000": {messages.CodeLimitExceeded, ""},
		"XX001": {messages.CodeJournalCorrupt, ""},
		"XX002": {messages.CodeJournalCorrupt, ""},
	} {
		err := postgres.CodeOf("db.example:5432/limpet", &pgconn.PgError{Code: state, Severity: "ERROR", Message: "connection words"})
		if messages.CodeOf(err) != c.want || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "db.example:5432/limpet") {
			t.Errorf("%s: %v, want %s that says %q and names the database", state, err, c.want, c.says)
		}
	}
}
