package journaltest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/messages"
)

// model is the contract in its plainest form: maps and scans.
type model struct {
	store journal.Store
	rows  map[string]journal.Row
	// metadata of the runs, which never changes.
	metadata map[string]map[string]string
	entries  map[string][]string
	// cut counts the entries that were cut; aside are those of them that were kept.
	cut   map[string]int
	aside map[string][]uint64
}

// testModel makes random changes to the store and to a model of it and
// compares all that can be asked.
func testModel(t *testing.T, s journal.Store) {
	m := &model{store: s}
	rapid.Check(t, func(t *rapid.T) {
		m.drain(t)
		t.Repeat(map[string]func(*rapid.T){
			"append": m.append,
			"delete": m.delete,
			"":       func(*rapid.T) {},
			"check":  func(t *rapid.T) { m.check(t, rapid.IntRange(0, len(checks)-1).Draw(t, "which")) },
		})
		for which := range checks {
			m.check(t, which)
		}
	})
}

// drain ends and deletes what an earlier round left, so that one store does
// for all rounds.
func (m *model) drain(t *rapid.T) {
	var batch []journal.Append
	for id, row := range m.rows {
		row.Status, row.FinishedAt = canceled, epoch
		batch = append(batch, journal.Append{RunID: id, Number: uint64(len(m.entries[id]) + 1), Entry: []byte("end"), Row: &row, Metadata: m.metadata[id]})
	}
	for _, err := range m.store.Append(t.Context(), batch) {
		if err != nil {
			t.Fatalf("end a run: %v", err)
		}
	}
	if n, err := m.store.DeleteFinished(t.Context(), epoch.Add(1), 1000); err == nil && n > 0 {
		t.Fatalf("deleted %d runs that finished at, not before, the time", n)
	}
	if n, err := m.store.DeleteFinished(t.Context(), epoch.Add(time.Hour), 1000); err != nil || n != len(batch) {
		t.Fatalf("deleted %d of %d: %v", n, len(batch), err)
	}
	m.rows, m.entries, m.metadata = make(map[string]journal.Row), make(map[string][]string), make(map[string]map[string]string)
	m.cut, m.aside = make(map[string]int), make(map[string][]uint64)
}

var (
	drawRun      = rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f", "g", "h"})
	drawMetadata = rapid.MapOfN(rapid.SampledFrom([]string{"tenant", "kind"}), rapid.SampledFrom([]string{"", "a", "b", "a\x00"}), -1, 2)
	drawWorker   = rapid.SampledFrom([]string{"", "w1", "w2", "w3"})
	drawTime     = rapid.Custom(func(t *rapid.T) time.Time {
		if rapid.IntRange(0, 4).Draw(t, "zero") == 0 {
			return time.Time{}
		}
		return epoch.Add(time.Duration(rapid.IntRange(-3, 3).Draw(t, "at")) * time.Microsecond)
	})
	drawRow = rapid.Custom(func(t *rapid.T) journal.Row {
		return journal.Row{
			Shard:       rapid.IntRange(0, 3).Draw(t, "shard"),
			Workflow:    rapid.SampledFrom([]string{"x", "y"}).Draw(t, "workflow"),
			Pool:        rapid.SampledFrom([]string{"default", "gpu"}).Draw(t, "pool"),
			Status:      rapid.SampledFrom([]messages.RunStatus{running, running, running, succeeded, failed, canceled, setAside}).Draw(t, "status"),
			ParentRun:   rapid.SampledFrom([]string{"", "p1", "p2"}).Draw(t, "parent"),
			BoundWorker: drawWorker.Draw(t, "bound"),
			LastWorker:  drawWorker.Draw(t, "last"),
			Epoch:       uint64(rapid.IntRange(0, 3).Draw(t, "epoch")),
			Dormant:     rapid.Bool().Draw(t, "dormant"),
			WakeAt:      drawTime.Draw(t, "wake at"),
			WakeOnUp:    drawWorker.Draw(t, "on up"),
			WakeOnGone:  drawWorker.Draw(t, "on gone"),
			Line:        rapid.SampledFrom([]int64{0, 0, -3, 5}).Draw(t, "line"),
			LineSince:   epoch.Add(time.Duration(rapid.IntRange(0, 2).Draw(t, "line since")) * time.Microsecond),
			CreatedAt:   epoch.Add(time.Duration(rapid.IntRange(0, 2).Draw(t, "created")) * time.Microsecond),
			FinishedAt:  drawTime.Draw(t, "finished"),
		}
	})
)

func (m *model) append(t *rapid.T) {
	var batch []journal.Append
	var want []bool
	for i := range rapid.IntRange(1, 5).Draw(t, "batch") {
		id := drawRun.Draw(t, "run")
		has := uint64(len(m.entries[id]))
		number := has + 1
		if rapid.IntRange(0, 4).Draw(t, "stale") == 0 {
			number = uint64(rapid.IntRange(1, 6).Draw(t, "number"))
		}
		a := journal.Append{RunID: id, Number: number, Entry: fmt.Appendf(nil, "%s#%d.%d", id, number, i)}
		row := drawRow.Draw(t, "row")
		row.RunID = id
		if number == 1 || rapid.Bool().Draw(t, "with row") {
			given := row
			a.Row, a.Metadata = &given, m.metadata[id]
			if number == 1 && has == 0 {
				a.Metadata = drawMetadata.Draw(t, "metadata")
			}
		}
		drawCut(t, &a)
		batch, want = append(batch, a), append(want, number == has+1)
		if number == has+1 {
			m.apply(a)
		}
	}
	for i, err := range m.store.Append(t.Context(), batch) {
		if want[i] != (err == nil) || err != nil && messages.CodeOf(err) != messages.CodeJournalConflict {
			t.Fatalf("append %s#%d: %v, want success %v", batch[i].RunID, batch[i].Number, err, want[i])
		}
	}
}

// drawCut lets some appends cut what comes before them.
func drawCut(t *rapid.T, a *journal.Append) {
	if a.Number <= 2 || rapid.IntRange(0, 3).Draw(t, "cuts") != 0 {
		return
	}
	a.Cut = uint64(rapid.IntRange(1, int(a.Number)-2).Draw(t, "cut"))
	for n := range a.Cut {
		if rapid.Bool().Draw(t, "keeps") {
			a.Kept = append(a.Kept, n+1)
		}
	}
}

func (m *model) apply(a journal.Append) {
	m.entries[a.RunID] = append(m.entries[a.RunID], string(a.Entry))
	if a.Cut > 0 {
		m.aside[a.RunID] = slices.DeleteFunc(slices.Clone(a.Kept), func(n uint64) bool {
			return n <= uint64(m.cut[a.RunID]) && !slices.Contains(m.aside[a.RunID], n)
		})
		m.cut[a.RunID] = max(m.cut[a.RunID], int(a.Cut))
	}
	if a.Row == nil {
		return
	}
	if a.Number == 1 {
		m.metadata[a.RunID] = a.Metadata
	}
	row, old := *a.Row, m.rows[a.RunID]
	if a.Number > 1 {
		row.Keep(&old)
	}
	if journal.Finished(row.Status) {
		row.BoundWorker, row.Dormant = "", false
	} else {
		row.LastWorker = ""
	}
	m.rows[a.RunID] = row
}

func (m *model) delete(t *rapid.T) {
	before, limit := epoch.Add(time.Duration(rapid.IntRange(-3, 4).Draw(t, "before"))*time.Microsecond), rapid.IntRange(0, 4).Draw(t, "limit")
	doomed := m.where(func(r *journal.Row) bool {
		return journal.Finished(r.Status) && !r.FinishedAt.IsZero() && r.FinishedAt.Before(before)
	})
	n, err := m.store.DeleteFinished(t.Context(), before, limit)
	if want := min(len(doomed), limit); err != nil || n != want {
		t.Fatalf("deleted %d, want %d: %v", n, want, err)
	}
	// Of runs that finished at the same time any may go first.
	slices.SortFunc(doomed, func(a, b journal.Row) int { return a.FinishedAt.Compare(b.FinishedAt) })
	gone := 0
	for i, row := range doomed {
		_, err := m.store.Load(t.Context(), row.RunID)
		if err == nil {
			if n > 0 && row.FinishedAt.Before(doomed[n-1].FinishedAt) {
				t.Fatalf("run %s is still there, though it finished before others that were deleted", row.RunID)
			}
			continue
		}
		if gone++; messages.CodeOf(err) != messages.CodeUnknownRun || n == 0 || row.FinishedAt.After(doomed[n-1].FinishedAt) {
			t.Fatalf("run %s, number %d to be deleted: %v", row.RunID, i, err)
		}
		delete(m.rows, row.RunID)
		delete(m.entries, row.RunID)
		delete(m.metadata, row.RunID)
		delete(m.cut, row.RunID)
		delete(m.aside, row.RunID)
	}
	if gone != n {
		t.Fatalf("%d runs are gone, %d were reported", gone, n)
	}
}

// where returns the rows that a condition holds for, by run id.
func (m *model) where(holds func(*journal.Row) bool) (out []journal.Row) {
	for _, id := range slices.Sorted(maps.Keys(m.rows)) {
		if row := m.rows[id]; holds(&row) {
			out = append(out, row)
		}
	}
	return out
}

// question is what the checks ask with.
type question struct {
	shards []int
	after  string
	limit  int
}

func (q *question) in(r *journal.Row) bool {
	return q.shards == nil || slices.Contains(q.shards, r.Shard)
}

func (q *question) asleep(r *journal.Row) bool {
	return r.Dormant && !journal.Finished(r.Status) && q.in(r)
}

var checks = []func(*model, *rapid.T, *question){
	(*model).checkRuns, (*model).checkActive, (*model).checkDue, (*model).checkWoken, (*model).checkLines, (*model).checkBound, (*model).checkList,
}

func (m *model) check(t *rapid.T, which int) {
	q := &question{
		limit: rapid.IntRange(0, 9).Draw(t, "limit"),
		after: rapid.SampledFrom([]string{"", "b", "e"}).Draw(t, "after"),
	}
	if rapid.Bool().Draw(t, "some shards") {
		q.shards = rapid.SliceOfNDistinct(rapid.IntRange(0, 3), 0, 3, rapid.ID[int]).Draw(t, "shards")
	}
	checks[which](m, t, q)
}

func (m *model) checkRuns(t *rapid.T, _ *question) {
	for _, id := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		rec, err := m.store.Load(t.Context(), id)
		if row, there := m.rows[id]; !there {
			if messages.CodeOf(err) != messages.CodeUnknownRun {
				t.Fatalf("load %s: %v, want UNKNOWN_RUN", id, err)
			}
		} else if err != nil || !m.same(rec, 0, 100) {
			t.Fatalf("load %s: %v\n got %v\nwant %v %v", id, err, rec, row, m.entries[id])
		}
		m.checkEntries(t, id)
	}
}

// checkEntries reads a page of a run, and one of its entries.
func (m *model) checkEntries(t *rapid.T, id string) {
	after, limit := rapid.IntRange(0, 6).Draw(t, "entries after"), rapid.IntRange(0, 3).Draw(t, "entries")
	rec, err := m.store.Entries(t.Context(), id, uint64(after), limit)
	entry, errOne := m.store.Entry(t.Context(), id, uint64(after))
	if _, there := m.rows[id]; !there {
		if messages.CodeOf(err) != messages.CodeUnknownRun || messages.CodeOf(errOne) != messages.CodeUnknownRun {
			t.Fatalf("entries of %s: %v, %v, want UNKNOWN_RUN", id, err, errOne)
		}
		return
	}
	if rec.Row.RunID = id; err != nil || !m.same(rec, after, limit) {
		t.Fatalf("%d entries of %s after %d, %d cut, of %v: %v, %v", limit, id, after, m.cut[id], m.entries[id], rec, err)
	}
	want := ""
	if after > m.cut[id] && after <= len(m.entries[id]) || slices.Contains(m.aside[id], uint64(after)) {
		want = m.entries[id][after-1]
	}
	if errOne != nil || string(entry) != want {
		t.Fatalf("entry %d of %s: %q, %v, want %q", after, id, entry, errOne, want)
	}
}

// same says that a record is that of its run, with at most limit entries after a number.
func (m *model) same(rec journal.Record, after, limit int) bool {
	id := rec.Row.RunID
	from := min(max(after, m.cut[id]), len(m.entries[id]))
	want := m.entries[id][from:]
	want = want[:min(limit, len(want))]
	if len(want) == 0 {
		from = after
	}
	return rec.Row == m.rows[id] && rec.After == uint64(from) && slices.EqualFunc(rec.Entries, want, func(a []byte, b string) bool { return string(a) == b })
}

func firstIDs(rows []journal.Row, after string, limit int) []string {
	out := []string{}
	for _, r := range rows {
		if r.RunID > after && len(out) < limit {
			out = append(out, r.RunID)
		}
	}
	return out
}

func equalIDs(t *rapid.T, what string, got, want []string, err error) {
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("%s: %v %v, want %v", what, got, err, want)
	}
}

func (m *model) checkActive(t *rapid.T, q *question) {
	recs, err := m.store.Active(t.Context(), q.shards, q.after, q.limit)
	var got []string
	for _, rec := range recs {
		got = append(got, rec.Row.RunID)
		if !m.same(rec, 0, 100) {
			t.Fatalf("active: got %v, want %v", rec, m.rows[rec.Row.RunID])
		}
	}
	want := m.where(func(r *journal.Row) bool { return !journal.Finished(r.Status) && !r.Dormant && q.in(r) })
	equalIDs(t, fmt.Sprintf("active of %v after %q, limit %d", q.shards, q.after, q.limit), got, firstIDs(want, q.after, q.limit), err)
}

func (m *model) checkDue(t *rapid.T, q *question) {
	now := epoch.Add(time.Duration(rapid.IntRange(-4, 4).Draw(t, "now")) * time.Microsecond)
	timed := m.where(func(r *journal.Row) bool { return q.asleep(r) && !r.WakeAt.IsZero() })
	slices.SortStableFunc(timed, func(a, b journal.Row) int { return a.WakeAt.Compare(b.WakeAt) })
	n := 0
	for n < len(timed) && n < q.limit && !timed[n].WakeAt.After(now) {
		n++
	}
	var wantNext time.Time
	if n < len(timed) {
		wantNext = timed[n].WakeAt
	}
	due, next, err := m.store.Due(t.Context(), q.shards, now, q.limit)
	equalIDs(t, fmt.Sprintf("due of %v at %v, limit %d", q.shards, now, q.limit), due, firstIDs(timed[:n], "", n), err)
	if !next.Equal(wantNext) {
		t.Fatalf("next due: %v, want %v", next, wantNext)
	}
}

func (m *model) checkWoken(t *rapid.T, q *question) {
	watched := make(map[string]bool)
	for _, worker := range []string{"w1", "w2", "w3"} {
		up := m.where(func(r *journal.Row) bool { return q.asleep(r) && r.WakeOnUp == worker })
		got, err := m.store.WokenByUp(t.Context(), q.shards, worker, q.after, q.limit)
		equalIDs(t, "woken by "+worker+" up", recordIDs(got), firstIDs(up, q.after, q.limit), err)
		gone := m.where(func(r *journal.Row) bool { return q.asleep(r) && r.WakeOnGone == worker })
		got, err = m.store.WokenByGone(t.Context(), q.shards, worker, q.after, q.limit)
		equalIDs(t, "woken by "+worker+" gone", recordIDs(got), firstIDs(gone, q.after, q.limit), err)
		if len(gone) > 0 {
			watched[worker] = true
		}
	}
	names, err := m.store.WatchedWorkers(t.Context(), q.shards)
	equalIDs(t, "watched workers", names, slices.Sorted(maps.Keys(watched)), err)
}

func (m *model) checkLines(t *rapid.T, q *question) {
	after := journal.Place{Since: epoch.Add(time.Duration(rapid.IntRange(0, 2).Draw(t, "after since")) * time.Microsecond), RunID: q.after}
	var lines []int64
	for _, line := range []int64{-3, 5} {
		in := m.where(func(r *journal.Row) bool { return q.asleep(r) && r.Line == line })
		if len(in) > 0 {
			lines = append(lines, line)
		}
		n, err := m.store.CountInLine(t.Context(), q.shards, line, q.limit)
		if want := min(q.limit, len(in)); err != nil || n != want {
			t.Fatalf("%d in line %d of %v, limit %d: %v, want %d", n, line, q.shards, q.limit, err, want)
		}
		in = slices.DeleteFunc(in, func(r journal.Row) bool { return !after.Before(r.Place()) })
		slices.SortStableFunc(in, func(a, b journal.Row) int { return a.LineSince.Compare(b.LineSince) })
		got, err := m.store.InLine(t.Context(), q.shards, line, after, q.limit)
		equalIDs(t, fmt.Sprintf("in line %d of %v after %v, limit %d", line, q.shards, after, q.limit), recordIDs(got), firstIDs(in, "", q.limit), err)
	}
	got, err := m.store.Lines(t.Context(), q.shards)
	if err != nil || !slices.Equal(got, lines) {
		t.Fatalf("lines of %v: %v %v, want %v", q.shards, got, err, lines)
	}
}

func recordIDs(records []journal.Record) (ids []string) {
	for _, rec := range records {
		ids = append(ids, rec.Row.RunID)
	}
	return ids
}

func (m *model) checkBound(t *rapid.T, _ *question) {
	for _, pool := range []string{"default", "gpu"} {
		want := make(map[string]int)
		for _, row := range m.rows {
			if row.Pool == pool && row.BoundWorker != "" {
				want[row.BoundWorker]++
			}
		}
		got, err := m.store.BoundCounts(t.Context(), pool)
		if err != nil || !maps.Equal(got, want) {
			t.Fatalf("bound in %s: %v %v, want %v", pool, got, err, want)
		}
	}
}

func (m *model) checkList(t *rapid.T, _ *question) {
	f := journal.Filter{
		Workflow:    rapid.SampledFrom([]string{"", "x"}).Draw(t, "of workflow"),
		BoundWorker: drawWorker.Draw(t, "bound to"),
		ParentRun:   rapid.SampledFrom([]string{"", "", "p1"}).Draw(t, "of parent"),
		Metadata:    drawMetadata.Draw(t, "with metadata"),
	}
	f.Roots = f.ParentRun == "" && rapid.Bool().Draw(t, "roots")
	if rapid.Bool().Draw(t, "by status") {
		f.Statuses = []messages.RunStatus{running, failed}
	}
	if rapid.Bool().Draw(t, "by time") {
		f.CreatedAfter, f.CreatedBefore = epoch, epoch.Add(2*time.Microsecond)
	}
	want := m.where(func(r *journal.Row) bool { return f.Matches(r) && f.MatchesMetadata(m.metadata[r.RunID]) })
	slices.SortFunc(want, func(a, b journal.Row) int {
		return -cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.RunID, b.RunID))
	})
	var got []journal.Row
	limit := rapid.IntRange(1, 9).Draw(t, "page")
	for token := ""; ; {
		page, next, err := m.store.List(t.Context(), f, limit, token)
		if err != nil || len(page) > limit {
			t.Fatalf("list by %d: %d rows, %v", limit, len(page), err)
		}
		got = append(got, page...)
		if token = next; token == "" {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Fatalf("list %+v by %d:\n got %v\nwant %v", f, limit, got, want)
	}
	if f.Scans() {
		return // no more than a page is counted
	}
	var groups []journal.GroupCount
	for _, row := range want {
		groups = append(groups, journal.GroupCount{Workflow: row.Workflow, Status: row.Status, Rows: 1})
	}
	counts, err := m.store.CountRuns(t.Context(), f, limit)
	if expected := journal.CountsOf(groups, limit); err != nil || !slices.Equal(counts, expected) {
		t.Fatalf("count %+v up to %d: %v, got %v, want %v", f, limit, err, counts, expected)
	}
}
