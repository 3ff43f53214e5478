// Package journaltest checks a journal.Store against its contract, breaks one
// on purpose, and measures one.
//
// Exercise is the conformance suite: each store runs it in a few lines. Faulty
// is a store that fails as told or by chance. BenchmarkChain measures what a
// chain of three steps costs.
//
// Imports only journal, messages and cluster/backoff.
package journaltest

import (
	"bytes"
	"context"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/messages"
)

// Options of Exercise; nil means none.
type Options struct {
	// Reopen opens again what a closed store holds. Nil for a store that does
	// not outlive its process.
	Reopen func(t *testing.T, closed journal.Store) journal.Store
}

// Exercise checks every sentence of the contract of journal.Store. open
// returns an empty store, which the suite closes or leaves to t.Cleanup; it
// and Reopen are called from tests that run in parallel.
//
//tidy:long one line for each test
func Exercise(t *testing.T, open func(t *testing.T) journal.Store, opts *Options) {
	for _, test := range []struct {
		name string
		fn   func(*testing.T, journal.Store)
	}{
		{"Empty", testEmpty},
		{"Clock", testClock},
		{"AppendAndRead", testAppendAndRead},
		{"Conflict", testConflict},
		{"BatchOfOneRun", testBatchOfOneRun},
		{"Invalid", testInvalid},
		{"RowIsKept", testRowIsKept},
		{"RowOfFinishedRun", testRowOfFinishedRun},
		{"SlicesBelongToTheCaller", testSlices},
		{"LargeEntries", testLargeEntries},
		{"LongHistory", testLongHistory},
		{"Cut", testCut},
		{"CutOfOneThatLost", testCutLost},
		{"CutStreams", testCutStreams},
		{"Active", testActive},
		{"Heartbeats", testHeartbeats},
		{"Presence", testPresence},
		{"KeptTime", testKeptTime},
		{"Due", testDue},
		{"Woken", testWoken},
		{"InLine", testInLine},
		{"BoundCounts", testBoundCounts},
		{"ListPages", testListPages},
		{"ListFilters", testListFilters},
		{"ListMetadata", testListMetadata},
		{"ListTokens", testListTokens},
		{"Definitions", testDefinitions},
		{"ChosenVersions", testChosenVersions},
		{"RetiredWorkflows", testRetiredWorkflows},
		{"UnservedWorkflows", testUnservedWorkflows},
		{"Publish", testPublish},
		{"Events", testEvents},
		{"EventWaits", testEventWaits},
		{"EventWaitPages", testEventWaitPages},
		{"DeleteEvents", testDeleteEvents},
		{"EventsAndWaitsMeet", testEventsAndWaitsMeet},
		{"Logs", testLogs},
		{"LogsAreBounded", testLogsAreBounded},
		{"LogsAreDeleted", testLogsAreDeleted},
		{"Streams", testStreams},
		{"StreamsAndEntries", testStreamsAndEntries},
		{"StreamsAreDeleted", testStreamsAreDeleted},
		{"ConcurrentStreams", testConcurrentStreams},
		{"Tokens", testTokens},
		{"Audit", testAudit},
		{"DeleteFinished", testDeleteFinished},
		{"DeleteFamilies", testDeleteFamilies},
		{"DeleteLargeFamily", testDeleteLargeFamily},
		{"DeletedRunLeavesNothing", testDeletedRun},
		{"CanceledContext", testCanceledContext},
		{"ConcurrentAppends", testConcurrentAppends},
		{"ReadersSeeWholeTurns", testReaders},
		{"ThroughCommitter", testThroughCommitter},
		{"Model", testModel},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.fn(t, open(t))
		})
	}
	if opts != nil && opts.Reopen != nil {
		t.Run("Reopen", func(t *testing.T) {
			t.Parallel()
			testReopen(t, open(t), opts.Reopen)
		})
	}
}

// epoch is when runs are created, unless a test says otherwise.
var epoch = time.Date(2026, 1, 2, 3, 4, 5, 678_000, time.UTC)

const (
	running   = messages.RunStatus_RUN_STATUS_RUNNING
	succeeded = messages.RunStatus_RUN_STATUS_SUCCEEDED
	failed    = messages.RunStatus_RUN_STATUS_FAILED
	canceled  = messages.RunStatus_RUN_STATUS_CANCELED
	setAside  = messages.RunStatus_RUN_STATUS_SET_ASIDE
)

// newRow returns the row of a running run, changed by the functions.
func newRow(id string, change ...func(*journal.Row)) *journal.Row {
	row := &journal.Row{RunID: id, Workflow: "w", Pool: "default", Status: running, CreatedAt: epoch}
	for _, c := range change {
		c(row)
	}
	return row
}

func entryOf(id string, number uint64) []byte { return fmt.Appendf(nil, "%s#%d", id, number) }

// put appends one entry and fails the test if the store does not take it.
func put(t *testing.T, s journal.Store, id string, number uint64, row *journal.Row) {
	t.Helper()
	errs := s.Append(t.Context(), []journal.Append{{RunID: id, Number: number, Entry: entryOf(id, number), Row: row}})
	if len(errs) != 1 || errs[0] != nil {
		t.Fatalf("append %s#%d: %v", id, number, errs)
	}
}

// create appends the first entries of runs with these rows.
func create(t *testing.T, s journal.Store, rows ...*journal.Row) {
	t.Helper()
	for _, row := range rows {
		put(t, s, row.RunID, 1, row)
	}
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func wantCode(t *testing.T, what string, err error, want messages.Code) {
	t.Helper()
	if code := messages.CodeOf(err); code != want {
		t.Errorf("%s: %v, want code %q", what, err, want)
	}
}

func wantEqual(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s:\n got %v\nwant %v", what, got, want)
	}
}

// wantEntries checks that a run has exactly its first n entries.
func wantEntries(t *testing.T, s journal.Store, id string, n int) {
	t.Helper()
	rec := must[journal.Record](t)(s.Load(t.Context(), id))
	if len(rec.Entries) != n {
		t.Errorf("run %s has %d entries, want %d", id, len(rec.Entries), n)
	}
	for i, e := range rec.Entries {
		if want := entryOf(id, uint64(i+1)); !bytes.Equal(e, want) {
			t.Errorf("run %s, entry %d: %q, want %q", id, i+1, e, want)
		}
	}
}

func ids(rows []journal.Row) []string {
	out := make([]string, 0, len(rows))
	for _, r := range rows {
		out = append(out, r.RunID)
	}
	return out
}

func testEmpty(t *testing.T, s journal.Store) {
	ctx := t.Context()
	_, err := s.Load(ctx, "none")
	wantCode(t, "load", err, messages.CodeUnknownRun)
	_, err = s.Entries(ctx, "none", 0, 10)
	wantCode(t, "entries", err, messages.CodeUnknownRun)
	_, err = s.Definition(ctx, "none")
	wantCode(t, "definition", err, messages.CodeUnknownWorkflow)
	due, next, err := s.Due(ctx, nil, epoch, 10)
	if len(due) != 0 || !next.IsZero() || err != nil {
		t.Errorf("due: %v %v %v", due, next, err)
	}
	rows, token, err := s.List(ctx, journal.Filter{}, 10, "")
	if len(rows) != 0 || token != "" || err != nil {
		t.Errorf("list: %v %q %v", rows, token, err)
	}
	for what, n := range map[string]int{
		"active":                   len(must[[]journal.Record](t)(s.Active(ctx, nil, "", 10))),
		"heads":                    len(must[[]journal.Head](t)(s.Heads(ctx, nil, "", 10))),
		"woken by up":              len(must[[]journal.Record](t)(s.WokenByUp(ctx, nil, "w1", "", 10))),
		"woken by gone":            len(must[[]journal.Record](t)(s.WokenByGone(ctx, nil, "w1", "", 10))),
		"watched workers":          len(must[[]string](t)(s.WatchedWorkers(ctx, nil))),
		"bound counts":             len(must[map[string]int](t)(s.BoundCounts(ctx, "default"))),
		"definitions":              len(must[[]journal.Workflow](t)(s.Workflows(ctx))),
		"deleted":                  must[int](t)(s.DeleteFinished(ctx, epoch, 10)),
		"errors of an empty batch": len(s.Append(ctx, nil)),
	} {
		if n != 0 {
			t.Errorf("%s of an empty store: %d", what, n)
		}
	}
}

// testClock supposes that the clock of a store under test is that of this
// machine.
func testClock(t *testing.T, s journal.Store) {
	before := time.Now()
	first := must[time.Time](t)(s.Now(t.Context()))
	second := must[time.Time](t)(s.Now(t.Context()))
	const slack = time.Millisecond // clocks are read with different precision
	if first.Before(before.Add(-slack)) || second.Before(first) || second.After(time.Now().Add(slack)) {
		t.Errorf("from %v to %v the store's clock said %v and %v", before, time.Now(), first, second)
	}
}

func testKeptTime(t *testing.T, s journal.Store) {
	want := func(version uint64, data string) {
		t.Helper()
		before := time.Now()
		wall, kept, err := s.Time(t.Context())
		if err != nil || kept.Version != version || string(kept.Data) != data || wall.Sub(before).Abs() > time.Minute {
			t.Errorf("%v, version %d %q, %v, want version %d %q", wall, kept.Version, kept.Data, err, version, data)
		}
	}
	keep := func(version uint64, data string, does bool) {
		t.Helper()
		if did := must[bool](t)(s.KeepTime(t.Context(), journal.KeptTime{Version: version, Data: []byte(data)})); did != does {
			t.Errorf("version %d was kept: %v", version, did)
		}
	}
	want(0, "")
	keep(2, "x", false)
	keep(1, "one", true)
	keep(1, "again", false)
	want(1, "one")
	keep(3, "three", false)
	keep(2, "two", true)
	want(2, "two")
}

func testAppendAndRead(t *testing.T, s journal.Store) {
	ctx := t.Context()
	row := newRow("a")
	put(t, s, "a", 1, row)
	put(t, s, "a", 2, nil)
	put(t, s, "a", 3, nil)
	put(t, s, "b", 1, newRow("b"))
	rec := must[journal.Record](t)(s.Load(ctx, "a"))
	wantEqual(t, "row", rec.Row, *row)
	wantEntries(t, s, "a", 3)
	wantEntries(t, s, "b", 1)
	for _, c := range []struct {
		after uint64
		limit int
		want  []uint64
	}{
		{0, 10, []uint64{1, 2, 3}}, {0, 2, []uint64{1, 2}}, {1, 1, []uint64{2}}, {2, 10, []uint64{3}},
		{3, 10, nil}, {1 << 63, 10, nil}, {0, 0, nil}, {0, -1, nil},
	} {
		page := must[journal.Record](t)(s.Entries(ctx, "a", c.after, c.limit))
		entries := page.Entries
		wantEqual(t, "row with entries", page.Row, *row)
		wantEqual(t, "entries before", page.After, c.after)
		if len(entries) != len(c.want) {
			t.Errorf("entries after %d, limit %d: %q, want %v", c.after, c.limit, entries, c.want)
			continue
		}
		for i, n := range c.want {
			wantEqual(t, "entry", string(entries[i]), string(entryOf("a", n)))
		}
	}
}

func testConflict(t *testing.T, s journal.Store) {
	put(t, s, "a", 1, newRow("a"))
	put(t, s, "a", 2, nil)
	stray := func(id string, n uint64) journal.Append {
		return journal.Append{RunID: id, Number: n, Entry: []byte("stray"), Row: newRow(id, func(r *journal.Row) { r.Workflow = "stray" })}
	}
	good := func(id string, n uint64) journal.Append {
		return journal.Append{RunID: id, Number: n, Entry: entryOf(id, n), Row: newRow(id)}
	}
	batch := []journal.Append{
		stray("a", 1), good("b", 1), stray("a", 2), stray("a", 4), good("a", 3), stray("a", 3),
		stray("none", 2), good("c", 1), stray("none", 9), stray("c", 1),
	}
	for i, err := range s.Append(t.Context(), batch) {
		want := messages.CodeJournalConflict
		if string(batch[i].Entry) != "stray" {
			want = ""
		}
		wantCode(t, fmt.Sprintf("element %d, %s#%d", i, batch[i].RunID, batch[i].Number), err, want)
	}
	for id, n := range map[string]int{"a": 3, "b": 1, "c": 1} {
		wantEntries(t, s, id, n)
		rec := must[journal.Record](t)(s.Load(t.Context(), id))
		wantEqual(t, "row of "+id, rec.Row, *newRow(id))
	}
	_, err := s.Load(t.Context(), "none")
	wantCode(t, "load a run whose first entry never came", err, messages.CodeUnknownRun)
}

func testBatchOfOneRun(t *testing.T, s journal.Store) {
	var batch []journal.Append
	for n := uint64(1); n <= 40; n++ {
		a := journal.Append{RunID: "a", Number: n, Entry: entryOf("a", n)}
		if n%3 == 1 {
			a.Row = newRow("a", func(r *journal.Row) { r.Epoch = n; r.BoundWorker = fmt.Sprint("w", n) })
		}
		batch = append(batch, a)
		if n%5 == 0 {
			batch = append(batch, a) // the same again: refused
		}
	}
	refused := 0
	for i, err := range s.Append(t.Context(), batch) {
		if err != nil {
			wantCode(t, fmt.Sprint("element ", i), err, messages.CodeJournalConflict)
			refused++
		}
	}
	wantEqual(t, "refused", refused, 8)
	wantEntries(t, s, "a", 40)
	rec := must[journal.Record](t)(s.Load(t.Context(), "a"))
	wantEqual(t, "epoch", rec.Row.Epoch, uint64(40))
	wantEqual(t, "bound", must[map[string]int](t)(s.BoundCounts(t.Context(), "default")), map[string]int{"w40": 1})
}

func testInvalid(t *testing.T, s journal.Store) {
	good := journal.Append{RunID: "good", Number: 1, Entry: entryOf("good", 1), Row: newRow("good")}
	bad := []struct {
		change func(*journal.Append)
		want   messages.Code
	}{
		{func(a *journal.Append) { a.RunID = "" }, messages.CodeInvalidArgument},
		{func(a *journal.Append) { a.RunID = string(make([]byte, journal.RunIDBytesMax+1)) }, messages.CodeInvalidArgument},
		{func(a *journal.Append) { a.Number = 0 }, messages.CodeInvalidArgument},
		{func(a *journal.Append) { a.Number = journal.EntriesMax + 1 }, messages.CodeLimitExceeded},
		{func(a *journal.Append) { a.Entry = nil }, messages.CodeInvalidArgument},
		{func(a *journal.Append) { a.Row = nil }, messages.CodeInvalidArgument},
		{func(a *journal.Append) { a.Row = newRow("other") }, messages.CodeInvalidArgument},
		{func(a *journal.Append) { a.Row = newRow("bad", func(r *journal.Row) { r.Shard = -1 }) }, messages.CodeInvalidArgument},
		{func(a *journal.Append) { a.Row = newRow("bad", func(r *journal.Row) { r.Shard = messages.Shards }) }, messages.CodeInvalidArgument},
	}
	var batch []journal.Append
	for _, b := range bad {
		a := journal.Append{RunID: "bad", Number: 1, Entry: entryOf("bad", 1), Row: newRow("bad")}
		b.change(&a)
		batch = append(batch, a)
	}
	errs := s.Append(t.Context(), append(batch, good))
	for i, b := range bad {
		wantCode(t, fmt.Sprint("element ", i), errs[i], b.want)
	}
	wantCode(t, "the good one", errs[len(bad)], "")
	rows, _, err := s.List(t.Context(), journal.Filter{}, 10, "")
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "runs stored", ids(rows), []string{"good"})
}

func testCanceledContext(t *testing.T, s journal.Store) {
	create(t, s, newRow("a"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for i, err := range s.Append(ctx, []journal.Append{
		{RunID: "a", Number: 2, Entry: entryOf("a", 2)},
		{RunID: "b", Number: 1, Entry: entryOf("b", 1), Row: newRow("b")},
	}) {
		wantCode(t, fmt.Sprint("append ", i), err, messages.CodeJournalUnavailable)
	}
	_, err := s.Now(ctx)
	wantCode(t, "now", err, messages.CodeJournalUnavailable)
	_, err = s.Load(ctx, "a")
	wantCode(t, "load", err, messages.CodeJournalUnavailable)
	_, _, err = s.List(ctx, journal.Filter{}, 10, "")
	wantCode(t, "list", err, messages.CodeJournalUnavailable)
	_, err = s.CountRuns(ctx, journal.Filter{}, 10)
	wantCode(t, "count", err, messages.CodeJournalUnavailable)
	_, err = s.BoundCounts(ctx, "default")
	wantCode(t, "bound counts", err, messages.CodeJournalUnavailable)
	wantCode(t, "put definition", s.PutDefinition(ctx, journal.Definition{Hash: "h"}), messages.CodeJournalUnavailable)
	wantCode(t, "choose a version", s.ChooseVersion(ctx, "w", "h", epoch), messages.CodeJournalUnavailable)
	wantCode(t, "note unserved", s.NoteUnserved(ctx, []string{"w"}, epoch), messages.CodeJournalUnavailable)
	wantCode(t, "retire", s.RetireWorkflow(ctx, "w", epoch), messages.CodeJournalUnavailable)
	_, err = s.DeleteFinished(ctx, epoch, 10)
	wantCode(t, "delete", err, messages.CodeJournalUnavailable)
	wantEntries(t, s, "a", 1)
	put(t, s, "a", 2, nil)
}
