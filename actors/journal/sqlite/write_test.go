package sqlite

import (
	"fmt"
	"path/filepath"
	"testing"

	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/messages"
)

func openHere(t *testing.T) *Store {
	t.Helper()
	store, err := Open(t.Context(), Config{Path: filepath.Join(t.TempDir(), "journal.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

func entry(run string, number uint64, size int) journal.Append {
	return journal.Append{
		RunID: run, Number: number, Entry: make([]byte, size),
		Row: &journal.Row{RunID: run, Epoch: number, Status: messages.RunStatus_RUN_STATUS_RUNNING},
	}
}

func wantEntries(t *testing.T, s *Store, run string, n int) {
	t.Helper()
	rec, err := s.Load(t.Context(), run)
	if n == 0 && messages.CodeOf(err) == messages.CodeUnknownRun {
		return
	}
	if err != nil || len(rec.Entries) != n || rec.Row.Epoch != uint64(n) {
		t.Errorf("run %s: %d entries with the row of entry %d, %v, want %d", run, len(rec.Entries), rec.Row.Epoch, err, n)
	}
}

// A transaction that fails in the middle leaves nothing: not in the file, and
// not in what the writer knows.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	s := openHere(t)
	limit := func(pages int) {
		t.Helper()
		if err := sqlitex.ExecuteTransient(s.w.conn, fmt.Sprintf("PRAGMA max_page_count = %d", pages), nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range s.Append(t.Context(), []journal.Append{entry("a", 1, 10)}) {
		if err != nil {
			t.Fatal(err)
		}
	}
	batch := []journal.Append{entry("a", 2, 10), entry("b", 1, 10), entry("b", 2, 1<<20), entry("a", 9, 10)}
	limit(60)
	for range 2 {
		for i, err := range s.Append(t.Context(), batch) {
			if messages.CodeOf(err) != messages.CodeJournalUnavailable {
				t.Errorf("element %d with a full disk: %v", i, err)
			}
		}
		wantEntries(t, s, "a", 1)
		wantEntries(t, s, "b", 0)
	}
	limit(1 << 30)
	for i, err := range s.Append(t.Context(), batch) {
		want := messages.Code("")
		if i == 3 {
			want = messages.CodeJournalConflict
		}
		if messages.CodeOf(err) != want {
			t.Errorf("element %d with room again: %v", i, err)
		}
	}
	wantEntries(t, s, "a", 2)
	wantEntries(t, s, "b", 2)
}

// The writer knows few runs at a time; the others are read again.
func TestMoreRunsThanTheWriterKnows(t *testing.T) {
	t.Parallel()
	s := openHere(t)
	s.w.liveMax = 2
	const runs, entries = 7, 6
	for n := uint64(1); n <= entries; n++ {
		var batch []journal.Append
		for r := range runs {
			id := fmt.Sprint("r", (r*int(n))%runs)
			batch = append(batch, entry(id, n, 10), entry(id, n, 10))
		}
		for i, err := range s.Append(t.Context(), batch) {
			want := messages.Code("")
			if i%2 == 1 {
				want = messages.CodeJournalConflict
			}
			if messages.CodeOf(err) != want {
				t.Fatalf("entry %d, element %d: %v", n, i, err)
			}
		}
		if known := len(s.w.young) + len(s.w.old); known > 4 {
			t.Fatalf("the writer knows %d runs, want 4 at most", known)
		}
	}
	for r := range runs {
		wantEntries(t, s, fmt.Sprint("r", r), entries)
	}
}
