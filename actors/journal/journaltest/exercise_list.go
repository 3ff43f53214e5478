package journaltest

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/messages"
)

// pages reads a listing to its end.
func pages(t *testing.T, s journal.Store, f journal.Filter, limit int) (rows []journal.Row, sizes []int) {
	t.Helper()
	for token := ""; ; {
		page, next, err := s.List(t.Context(), f, limit, token)
		if err != nil {
			t.Fatal(err)
		}
		rows, sizes = append(rows, page...), append(sizes, len(page))
		if next == "" {
			return rows, sizes
		}
		token = next
	}
}

func testListPages(t *testing.T, s journal.Store) {
	// Five runs in each of three microseconds, created in no order.
	var want []string
	for i := range 15 {
		id := fmt.Sprintf("r%02d", i*7%15)
		create(t, s, newRow(id, created(time.Duration(i*7%15/5)*time.Microsecond)))
		want = append(want, fmt.Sprintf("r%02d", 14-i))
	}
	for _, c := range []struct {
		limit int
		sizes []int
	}{
		{1, slices.Repeat([]int{1}, 15)}, {4, []int{4, 4, 4, 3}}, {5, []int{5, 5, 5}}, {14, []int{14, 1}}, {15, []int{15}}, {100, []int{15}},
	} {
		rows, sizes := pages(t, s, journal.Filter{}, c.limit)
		wantEqual(t, fmt.Sprint("listed by ", c.limit), ids(rows), want)
		wantEqual(t, fmt.Sprint("pages of ", c.limit), sizes, c.sizes)
	}
	rows, token, err := s.List(t.Context(), journal.Filter{}, 0, "")
	if len(rows) != 0 || token != "" || err != nil {
		t.Errorf("limit 0: %v %q %v", rows, token, err)
	}
	// What is added or deleted between two pages does not shift the second.
	page, token, err := s.List(t.Context(), journal.Filter{}, 7, "")
	if err != nil {
		t.Fatal(err)
	}
	create(t, s, newRow("r99", created(time.Second)), newRow("r00a", created(0)))
	put(t, s, page[6].RunID, 2, newRow(page[6].RunID, created(page[6].CreatedAt.Sub(epoch)), finished(0)))
	wantEqual(t, "deleted", must[int](t)(s.DeleteFinished(t.Context(), epoch.Add(time.Second), 10)), 1)
	rest, _, err := s.List(t.Context(), journal.Filter{}, 100, token)
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "second page", ids(rest), append(want[7:14:14], "r00a", "r00"))
}

func testListFilters(t *testing.T, s journal.Store) {
	workflow := func(w string) func(*journal.Row) { return func(r *journal.Row) { r.Workflow = w } }
	parent := func(p string) func(*journal.Row) { return func(r *journal.Row) { r.ParentRun = p } }
	second := func(n int) func(*journal.Row) { return created(time.Duration(n) * time.Second) }
	create(t, s,
		newRow("a", second(1), workflow("x"), bound("w1")),
		newRow("b", second(2), workflow("x"), finished(0)),
		newRow("c", second(3), workflow("y"), bound("w1"), dormant(onUp("w1"))),
		newRow("d", second(4), workflow("y"), status(failed), parent("a")),
		newRow("e", second(5), workflow("x"), bound("w2"), parent("a")),
		newRow("f", second(6), workflow("x"), status(canceled), parent("c")))
	after := func(n int) time.Time { return epoch.Add(time.Duration(n) * time.Second) }
	statuses := func(s ...messages.RunStatus) []messages.RunStatus { return s }
	wantListed(t, s, []listing{
		{journal.Filter{}, "fedcba"},
		{journal.Filter{Workflow: "x"}, "feba"},
		{journal.Filter{Workflow: "none"}, ""},
		{journal.Filter{Statuses: statuses(running)}, "eca"},
		{journal.Filter{Statuses: statuses(failed, canceled, succeeded)}, "fdb"},
		{journal.Filter{BoundWorker: "w1"}, "ca"},
		{journal.Filter{BoundWorker: "w9"}, ""},
		{journal.Filter{ParentRun: "a"}, "ed"},
		{journal.Filter{ParentRun: "b"}, ""},
		{journal.Filter{CreatedAfter: after(3)}, "fed"},
		{journal.Filter{CreatedBefore: after(3)}, "ba"},
		{journal.Filter{CreatedAfter: after(1), CreatedBefore: after(4)}, "cb"},
		{journal.Filter{CreatedAfter: after(3).Add(-time.Microsecond)}, "fedc"},
		{journal.Filter{Workflow: "x", Statuses: statuses(running), BoundWorker: "w2", ParentRun: "a", CreatedAfter: after(4), CreatedBefore: after(6)}, "e"},
		{journal.Filter{BoundWorker: "w1", ParentRun: "a"}, ""},
		{journal.Filter{Workflow: "y", Statuses: statuses(failed, running)}, "dc"},
	})
}

// listing is a filter and the ids of the runs that it selects.
type listing struct {
	filter journal.Filter
	want   string
}

func wantListed(t *testing.T, s journal.Store, listings []listing) {
	t.Helper()
	for _, c := range listings {
		for limit := 1; limit <= 7; limit += 2 {
			rows, _ := pages(t, s, c.filter, limit)
			got := ""
			for _, r := range rows {
				got += r.RunID
			}
			if got != c.want {
				t.Errorf("%+v by %d: %q, want %q", c.filter, limit, got, c.want)
			}
		}
	}
}

func testListMetadata(t *testing.T, s journal.Store) {
	workflow := func(w string) func(*journal.Row) { return func(r *journal.Row) { r.Workflow = w } }
	parent := func(p string) func(*journal.Row) { return func(r *journal.Row) { r.ParentRun = p } }
	second := func(n int) func(*journal.Row) { return created(time.Duration(n) * time.Second) }
	create(t, s, newRow("a", second(1), workflow("x")), newRow("b", second(2), workflow("x"), parent("a")))
	labelled := func(id string, n int, metadata map[string]string, change ...func(*journal.Row)) {
		t.Helper()
		errs := s.Append(t.Context(), []journal.Append{{RunID: id, Number: 1, Entry: entryOf(id, 1), Metadata: metadata,
			Row: newRow(id, append(change, second(n))...)}})
		wantCode(t, "append", errs[0], "")
	}
	type meta = map[string]string
	labelled("g", 7, meta{"tenant": "a", "kind": "\x00 \xe2\x82\xac"}, workflow("z"), bound("w3"))
	labelled("h", 8, meta{"tenant": "a"}, workflow("z"), parent("g"))
	labelled("i", 9, meta{"tenant": "b", "empty": ""}, workflow("z"))
	labelled("j", 10, meta{"tenant": "a", "kind": strings.Repeat("long", 4000)}, workflow("u"))
	// The status of a run changes, and where it is found does.
	for _, id := range []string{"h", "j"} {
		row := newRow(id, finished(0), status(failed))
		errs := s.Append(t.Context(), []journal.Append{{RunID: id, Number: 2, Entry: entryOf(id, 2), Row: row, Metadata: meta{"tenant": "a"}}})
		wantCode(t, "append", errs[0], "")
	}
	statuses := func(s ...messages.RunStatus) []messages.RunStatus { return s }
	wantListed(t, s, []listing{
		{journal.Filter{}, "jihgba"},
		{journal.Filter{Roots: true}, "jiga"},
		{journal.Filter{Roots: true, Workflow: "x"}, "a"},
		{journal.Filter{Roots: true, Statuses: statuses(failed)}, "j"},
		{journal.Filter{Roots: true, Workflow: "z", Statuses: statuses(running)}, "ig"},
		{journal.Filter{Metadata: meta{"tenant": "a"}}, "jhg"},
		{journal.Filter{Metadata: meta{"tenant": ""}}, ""},
		{journal.Filter{Metadata: meta{"empty": ""}}, "i"},
		{journal.Filter{Metadata: meta{"kind": strings.Repeat("long", 4000)}}, "j"},
		{journal.Filter{Metadata: meta{"tenant": "a", "kind": "\x00 \xe2\x82\xac"}}, "g"},
		{journal.Filter{Metadata: meta{"tenant": "b", "kind": "\x00 \xe2\x82\xac"}}, ""},
		{journal.Filter{Metadata: meta{"tenant": "a"}, Statuses: statuses(failed)}, "jh"},
		{journal.Filter{Metadata: meta{"tenant": "a"}, Statuses: statuses(running)}, "g"},
		{journal.Filter{Metadata: meta{"tenant": "a"}, Roots: true}, "jg"},
		{journal.Filter{Metadata: meta{"tenant": "a"}, Workflow: "z", CreatedAfter: epoch.Add(7 * time.Second)}, "h"},
		{journal.Filter{Metadata: meta{"tenant": "a"}, ParentRun: "g"}, "h"},
		{journal.Filter{Metadata: meta{"tenant": "b"}, ParentRun: "g"}, ""},
		{journal.Filter{Metadata: meta{"tenant": "a"}, BoundWorker: "w3"}, "g"},
	})
}

func testListTokens(t *testing.T, s journal.Store) {
	create(t, s, newRow("a"))
	for _, token := range []string{
		"x", "!!!", "AQ", "AAAAAAAAAAAAAAAA", "rubbish that is long enough to be one",
		base64.RawURLEncoding.EncodeToString([]byte("\x02" + "12345678" + "run")),
		base64.RawURLEncoding.EncodeToString([]byte("\x01" + "12345678")),
		base64.RawURLEncoding.EncodeToString(append([]byte("\x0112345678"), make([]byte, journal.RunIDBytesMax+1)...)),
	} {
		_, _, err := s.List(t.Context(), journal.Filter{}, 10, token)
		wantCode(t, fmt.Sprintf("token %.50q", token), err, messages.CodeInvalidArgument)
	}
}

func testDeleteFinished(t *testing.T, s journal.Store) {
	ctx := t.Context()
	create(t, s,
		newRow("c", finished(3*time.Second)), newRow("a", finished(time.Second)), newRow("b", finished(2*time.Second)),
		newRow("failed", finished(0), status(failed)), newRow("canceled", finished(0), status(canceled)),
		newRow("live", func(r *journal.Row) { r.FinishedAt = epoch }), newRow("aside", status(setAside), func(r *journal.Row) { r.FinishedAt = epoch }),
		newRow("sleeping", dormant(at(-time.Hour))), newRow("undated", status(succeeded)))
	left := func(want ...string) {
		t.Helper()
		rows, _ := pages(t, s, journal.Filter{}, 100)
		got := ids(rows)
		slices.Sort(got)
		slices.Sort(want)
		wantEqual(t, "left", got, want)
	}
	del := func(before time.Duration, limit, want int) {
		t.Helper()
		wantEqual(t, "deleted", must[int](t)(s.DeleteFinished(ctx, epoch.Add(before), limit)), want)
	}
	del(time.Second, 10, 2) // not those that finished at that time
	left("a", "b", "c", "live", "aside", "sleeping", "undated")
	del(time.Second+999, 10, 0) // nor within its microsecond
	del(time.Hour, 0, 0)
	del(time.Hour, -1, 0)
	del(time.Hour, 2, 2) // the earliest first
	left("c", "live", "aside", "sleeping", "undated")
	del(time.Hour, 10, 1)
	del(time.Hour, 10, 0)
	left("live", "aside", "sleeping", "undated")

	var batch []journal.Append
	for i := range 350 {
		id := fmt.Sprintf("many%03d", i)
		batch = append(batch,
			journal.Append{RunID: id, Number: 1, Entry: entryOf(id, 1), Row: newRow(id)},
			journal.Append{RunID: id, Number: 2, Entry: entryOf(id, 2), Row: newRow(id, finished(time.Duration(i)*time.Second))})
	}
	for _, err := range s.Append(ctx, batch) {
		wantCode(t, "append", err, "")
	}
	del(300*time.Second, 250, 250)
	del(300*time.Second, 250, 50)
	wantEntries(t, s, "many300", 2)
	del(time.Hour, 1000, 50)
	left("live", "aside", "sleeping", "undated")
}

func childOf(parent string) func(*journal.Row) {
	return func(r *journal.Row) { r.ParentRun = parent }
}

// testDeleteFamilies: what a run above may still ask for stays as long as that one.
func testDeleteFamilies(t *testing.T, s journal.Store) {
	ctx := t.Context()
	left := func(want ...string) {
		t.Helper()
		rows, _ := pages(t, s, journal.Filter{}, 100)
		got := ids(rows)
		slices.Sort(got)
		slices.Sort(want)
		wantEqual(t, "left", got, want)
	}
	del := func(before time.Duration, want int) {
		t.Helper()
		wantEqual(t, "deleted", must[int](t)(s.DeleteFinished(ctx, epoch.Add(before), 100)), want)
	}
	// A root that goes on, one that sleeps, one that ended later than its child,
	// one that is not there, and one whose child goes on.
	create(t, s,
		newRow("root"), newRow("root.c", childOf("root"), finished(2*time.Second)), newRow("root.c.g", childOf("root.c"), finished(time.Second)),
		newRow("sleeper", dormant(at(time.Hour))), newRow("sleeper.c", childOf("sleeper"), finished(0), status(failed)),
		newRow("later", finished(time.Minute)), newRow("later.c", childOf("later"), finished(3*time.Second)),
		newRow("orphan", childOf("gone"), finished(0)),
		newRow("ended", finished(0)), newRow("ended.c", childOf("ended")))
	del(30*time.Second, 2)
	left("root", "root.c", "root.c.g", "sleeper", "sleeper.c", "later", "later.c", "ended.c")
	del(30*time.Second, 0)
	del(time.Hour, 2) // later and its child
	left("root", "root.c", "root.c.g", "sleeper", "sleeper.c", "ended.c")

	// A child that is kept can be replayed, and is kept again when it has ended.
	put(t, s, "root.c", 2, newRow("root.c", childOf("root")))
	wantEqual(t, "active", len(must[[]journal.Record](t)(s.Active(ctx, nil, "root.b", 1))), 1)
	put(t, s, "root.c", 3, newRow("root.c", childOf("root"), finished(4*time.Second)))
	del(time.Hour, 0)
	left("root", "root.c", "root.c.g", "sleeper", "sleeper.c", "ended.c")
	wantEntries(t, s, "root.c", 3)

	// The root ends, and keeps them for its own time. It is replayed within that.
	put(t, s, "root", 2, newRow("root", finished(2*time.Hour)))
	del(time.Hour, 0)
	put(t, s, "root", 3, newRow("root"))
	del(3*time.Hour, 0)
	put(t, s, "root", 4, newRow("root", finished(2*time.Hour)))
	put(t, s, "ended.c", 2, newRow("ended.c", childOf("ended"), finished(time.Hour)))
	del(3*time.Hour, 4)
	left("sleeper", "sleeper.c")
}

// testDeleteLargeFamily: more children than one transaction handles, some of which
// have not ended, and a run that says that it is its own child.
func testDeleteLargeFamily(t *testing.T, s journal.Store) {
	ctx := t.Context()
	const children = 2500
	var batch []journal.Append
	for i := range children {
		id := fmt.Sprintf("root.%04d", i)
		batch = append(batch, journal.Append{RunID: id, Number: 1, Entry: entryOf(id, 1), Row: newRow(id, childOf("root"), finished(time.Duration(i)*time.Millisecond))})
	}
	for _, err := range s.Append(ctx, batch) {
		wantCode(t, "append", err, "")
	}
	create(t, s, newRow("root"), newRow("root.live", childOf("root")), newRow("circle", childOf("circle"), finished(0)))
	wantEqual(t, "deleted, of a root that goes on", must[int](t)(s.DeleteFinished(ctx, epoch.Add(time.Hour), 100)), 1)
	put(t, s, "root", 2, newRow("root", finished(time.Minute)))
	wantEqual(t, "deleted, of a root that has ended", must[int](t)(s.DeleteFinished(ctx, epoch.Add(time.Hour), 10_000)), children+1)
	rows, _ := pages(t, s, journal.Filter{}, 100)
	wantEqual(t, "left, the newest", ids(rows[:1]), []string{"root.live"})
	wantEqual(t, "left", len(rows), 1)
}

func testDeletedRun(t *testing.T, s journal.Store) {
	ctx := t.Context()
	create(t, s, newRow("a"), newRow("b"))
	put(t, s, "a", 2, newRow("a", finished(0)))
	put(t, s, "b", 2, newRow("b", finished(0)))
	wantEqual(t, "deleted", must[int](t)(s.DeleteFinished(ctx, epoch.Add(time.Second), 10)), 2)
	_, err := s.Load(ctx, "a")
	wantCode(t, "load a deleted run", err, messages.CodeUnknownRun)
	// An activation that still has it must not leave an entry without a run.
	errs := s.Append(ctx, []journal.Append{{RunID: "a", Number: 3, Entry: entryOf("a", 3), Row: newRow("a")}})
	wantCode(t, "append to a deleted run", errs[0], messages.CodeJournalConflict)
	_, err = s.Load(ctx, "a")
	wantCode(t, "load after that", err, messages.CodeUnknownRun)
	put(t, s, "b", 1, newRow("b", func(r *journal.Row) { r.Workflow = "again" }))
	wantEntries(t, s, "b", 1)
	wantEqual(t, "workflow", must[journal.Record](t)(s.Load(ctx, "b")).Row.Workflow, "again")
	rows, _ := pages(t, s, journal.Filter{}, 10)
	wantEqual(t, "listed", ids(rows), []string{"b"})
}
