package journaltest

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/messages"
)

// testConcurrentAppends lets several activations of the same runs compete for
// every entry: exactly one gets each.
func testConcurrentAppends(t *testing.T, s journal.Store) {
	const writers, runs, entries = 4, 5, 30
	var won [runs][entries + 1]atomic.Int32
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			for n := uint64(1); n <= entries; {
				var batch []journal.Append
				for r := range runs {
					id := fmt.Sprint("r", (r+w)%runs)
					batch = append(batch, journal.Append{RunID: id, Number: n, Entry: fmt.Appendf(nil, "%s#%d by %d", id, n, w), Row: newRow(id, bound(fmt.Sprint("w", w)))})
				}
				for i, err := range s.Append(t.Context(), batch) {
					switch messages.CodeOf(err) {
					case "":
						won[(i+w)%runs][n].Add(1)
					case messages.CodeJournalConflict:
					default:
						t.Error(err)
						return
					}
				}
				n++
			}
		})
	}
	group.Wait()
	bounds := make(map[string]int)
	for r := range runs {
		id := fmt.Sprint("r", r)
		rec := must[journal.Record](t)(s.Load(t.Context(), id))
		wantEqual(t, "entries of "+id, len(rec.Entries), entries)
		for n := 1; n <= entries; n++ {
			if got := won[r][n].Load(); got != 1 {
				t.Errorf("%s#%d was acknowledged %d times", id, n, got)
			}
		}
		var number, writer int
		last := string(rec.Entries[entries-1])
		if _, err := fmt.Sscanf(last, id+"#%d by %d", &number, &writer); err != nil || fmt.Sprint("w", writer) != rec.Row.BoundWorker {
			t.Errorf("%s: the row is that of %s, the last entry %q", id, rec.Row.BoundWorker, last)
		}
		bounds[rec.Row.BoundWorker]++
	}
	wantEqual(t, "bound", must[map[string]int](t)(s.BoundCounts(t.Context(), "default")), bounds)
}

// testReaders reads runs while they grow: an entry and the row that came with
// it are seen together, in every kind of read.
func testReaders(t *testing.T, s journal.Store) {
	const runs, entries = 3, 60
	var group sync.WaitGroup
	done := make(chan struct{})
	check := func(what string, rec journal.Record) {
		if got, want := uint64(len(rec.Entries)), rec.Row.Epoch; got != want {
			t.Errorf("%s: %d entries with the row of entry %d", what, got, want)
		}
	}
	for r := range runs {
		create(t, s, newRow(fmt.Sprint("r", r), func(r *journal.Row) { r.Epoch = 1 }))
	}
	for r := range runs {
		id := fmt.Sprint("r", r)
		group.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				rec, err := s.Load(t.Context(), id)
				if err != nil {
					t.Error(err)
					return
				}
				check("load", rec)
				page, err := s.Entries(t.Context(), id, 0, entries)
				if err != nil {
					t.Error(err)
					return
				}
				check("entries", page)
				active, err := s.Active(t.Context(), nil, "", runs)
				if err != nil || len(active) != runs {
					t.Errorf("active: %d runs, %v", len(active), err)
					return
				}
				for _, rec := range active {
					check("active", rec)
				}
			}
		})
	}
	for n := uint64(2); n <= entries; n++ {
		for r := range runs {
			id := fmt.Sprint("r", r)
			put(t, s, id, n, newRow(id, func(r *journal.Row) { r.Epoch = n }))
			// What Append has acknowledged, the next read sees.
			if rec := must[journal.Record](t)(s.Load(t.Context(), id)); uint64(len(rec.Entries)) != n {
				t.Errorf("%d entries after the append of %d was acknowledged", len(rec.Entries), n)
			}
		}
	}
	close(done)
	group.Wait()
}

// testThroughCommitter runs chains as a server does.
func testThroughCommitter(t *testing.T, s journal.Store) {
	const runs = 300
	c := journal.NewCommitter(s, journal.CommitterConfig{MaxBatch: 64})
	var group sync.WaitGroup
	payload := []byte("payload")
	var next func(id string, n uint64)
	next = func(id string, n uint64) {
		c.Append(ChainAppend(id, n, payload), func(err error) {
			if err != nil {
				t.Error(err)
			}
			if err == nil && n < chainEntries {
				next(id, n+1)
				return
			}
			group.Done()
		})
	}
	for i := range runs {
		group.Add(1)
		next(fmt.Sprintf("r%03d", i), 1)
	}
	group.Wait()
	if err := c.Close(t.Context()); err != nil {
		t.Error(err)
	}
	rows, _ := pages(t, s, journal.Filter{Statuses: []messages.RunStatus{succeeded}}, 64)
	wantEqual(t, "runs", len(rows), runs)
	for _, row := range rows {
		rec := must[journal.Record](t)(s.Load(t.Context(), row.RunID))
		wantEqual(t, "entries", len(rec.Entries), chainEntries)
		wantEqual(t, "row", rec.Row, row)
	}
}

// testReopen closes a store and opens what it holds again.
func testReopen(t *testing.T, s journal.Store, reopen func(*testing.T, journal.Store) journal.Store) {
	ctx := t.Context()
	want := make(map[string]journal.Record)
	for i := range 20 {
		row := fullRow(fmt.Sprintf("r%02d", i))
		row.Dormant = i%2 == 0
		create(t, s, &row)
		put(t, s, row.RunID, 2, nil)
	}
	create(t, s, newRow("done", finished(0)))
	register(t, s, definition("h", "w", "d", 0), definition("h2", "w", "d2", time.Second))
	if err := s.ChooseVersion(ctx, "w", "h", epoch.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	workflows := must[[]journal.Workflow](t)(s.Workflows(ctx))
	rows, _ := pages(t, s, journal.Filter{}, 100)
	for _, row := range rows {
		want[row.RunID] = must[journal.Record](t)(s.Load(ctx, row.RunID))
	}
	bounds := must[map[string]int](t)(s.BoundCounts(ctx, "gpu"))
	for round := range 3 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		_, err := s.Load(ctx, "r00")
		wantCode(t, "load after close", err, messages.CodeJournalUnavailable)
		for _, err := range s.Append(ctx, []journal.Append{{RunID: "late", Number: 1, Entry: []byte("x"), Row: newRow("late")}}) {
			wantCode(t, "append after close", err, messages.CodeJournalUnavailable)
		}
		if err := s.Close(); err != nil {
			t.Errorf("close again: %v", err)
		}
		s = reopen(t, s)
		again, _ := pages(t, s, journal.Filter{}, 100)
		wantEqual(t, "rows after reopening", again, rows)
		for id, rec := range want {
			wantEqual(t, "run after reopening", must[journal.Record](t)(s.Load(ctx, id)), rec)
		}
		wantEqual(t, "bound after reopening", must[map[string]int](t)(s.BoundCounts(ctx, "gpu")), bounds)
		wantEqual(t, "workflows after reopening", must[[]journal.Workflow](t)(s.Workflows(ctx)), workflows)
		due, _, err := s.Due(ctx, nil, epoch.Add(time.Hour), 100)
		if err != nil || len(due) != 10 {
			t.Errorf("due after reopening: %v %v", due, err)
		}
		// A run goes on where it was, and one from the first batch cannot be
		// written twice.
		put(t, s, "r01", uint64(3+round), nil)
		want["r01"] = must[journal.Record](t)(s.Load(ctx, "r01"))
		errs := s.Append(ctx, []journal.Append{{RunID: "r02", Number: 2, Entry: []byte("x")}})
		wantCode(t, "stale append after reopening", errs[0], messages.CodeJournalConflict)
	}
}
