package sqlite_test

import (
	"path/filepath"
	"strings"
	"testing"

	zombie "zombiezen.com/go/sqlite"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/journal/journaltest"
	"github.com/limpetrun/limpet/actors/journal/sqlite"
	"github.com/limpetrun/limpet/messages"
)

// TestListPlans: the statements of every listing go by the index that is there
// for it, by all its columns, and sort nothing.
func TestListPlans(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "journal.db")
	if err := open(t, sqlite.Config{Path: path}).Close(); err != nil {
		t.Fatal(err)
	}
	conn, err := zombie.OpenConn(path, zombie.OpenReadOnly)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const page = "workflow=? AND status=? AND child=? AND created_at>? AND (created_at,run_id)<(?,?))"
	const groups = "(workflow,status,child)>(?,?,?))"
	for driver, f := range map[string]journal.Filter{
		"runs USING INDEX runs_listed (":                                     {},
		"runs USING INDEX runs_parent (parent_run=? AND ":                    {ParentRun: "p"},
		"runs USING INDEX runs_bound (bound_worker=? AND ":                   {BoundWorker: "w"},
		"run_metadata USING COVERING INDEX run_metadata_listed (pair=? AND ": {Metadata: map[string]string{"k": "v"}},
	} {
		for i, sql := range sqlite.ListQueries(f) {
			var plan []string
			stmt, err := conn.Prepare("EXPLAIN QUERY PLAN " + sql)
			if err != nil {
				t.Fatal(err)
			}
			for {
				found, err := stmt.Step()
				if err != nil {
					t.Fatal(err)
				}
				if !found {
					break
				}
				plan = append(plan, stmt.ColumnText(3))
			}
			want := "SEARCH " + driver + []string{groups, page, page}[i]
			if i == 2 { // what is counted is a part of the statement
				want = "CO-ROUTINE (subquery-1)\n" + want + "\nSCAN (subquery-1)"
			}
			if got := strings.Join(plan, "\n"); got != want {
				t.Errorf("%s\n got %s\nwant %s", sql, got, want)
			}
		}
	}
}

// TestMetadataOfEarlierRuns: a journal that did not keep metadata beside its
// runs gets it from their entries when it is opened.
func TestMetadataOfEarlierRuns(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "journal.db")
	store := open(t, sqlite.Config{Path: path})
	entry, err := messages.Marshal(&messages.Entry{Events: []*messages.Event{{Kind: &messages.Event_RunStarted{RunStarted: &messages.RunStarted{
		Workflow: "w", Metadata: map[string]string{"tenant": "a"}}}}}})
	if err != nil {
		t.Fatal(err)
	}
	a := journaltest.ChainAppend("run", 1, entry)
	if errs := store.Append(t.Context(), []journal.Append{a, journaltest.ChainAppend("other", 1, []byte("\xff"))}); errs[0] != nil || errs[1] != nil {
		t.Fatal(errs)
	}
	listed := func() (ids string) {
		t.Helper()
		rows, _, err := store.List(t.Context(), journal.Filter{Metadata: map[string]string{"tenant": "a"}}, 10, "")
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rows {
			ids += r.RunID
		}
		return ids
	}
	if got := listed(); got != "" {
		t.Fatalf("listed %q before, want nothing", got)
	}
	for range 2 {
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
		execute(t, path, "INSERT INTO metadata_to_fill VALUES (1)")
		store = open(t, sqlite.Config{Path: path})
		if got := listed(); got != "run" {
			t.Fatalf("listed %q, want run", got)
		}
	}
}
