package journaltest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/messages"
)

func shard(n int) func(*journal.Row) { return func(r *journal.Row) { r.Shard = n } }
func status(s messages.RunStatus) func(*journal.Row) {
	return func(r *journal.Row) { r.Status = s }
}
func created(after time.Duration) func(*journal.Row) {
	return func(r *journal.Row) { r.CreatedAt = epoch.Add(after) }
}
func finished(after time.Duration) func(*journal.Row) {
	return func(r *journal.Row) { r.Status, r.FinishedAt = succeeded, epoch.Add(after) }
}
func bound(worker string) func(*journal.Row) {
	return func(r *journal.Row) { r.BoundWorker = worker }
}
func dormant(wake func(*journal.Row)) func(*journal.Row) {
	return func(r *journal.Row) { r.Dormant = true; wake(r) }
}
func at(after time.Duration) func(*journal.Row) {
	return func(r *journal.Row) { r.WakeAt = epoch.Add(after) }
}
func onUp(worker string) func(*journal.Row)   { return func(r *journal.Row) { r.WakeOnUp = worker } }
func onGone(worker string) func(*journal.Row) { return func(r *journal.Row) { r.WakeOnGone = worker } }

func inLine(line int64, since time.Duration) func(*journal.Row) {
	return func(r *journal.Row) { r.Line, r.LineSince = line, epoch.Add(since) }
}

func testActive(t *testing.T, s journal.Store) {
	ctx := t.Context()
	create(t, s,
		newRow("e", shard(3)), newRow("a", shard(1)), newRow("d", shard(2)), newRow("c", shard(1), status(setAside)),
		newRow("b", shard(1), finished(0)), newRow("f", shard(1), dormant(at(0))), newRow("g", shard(1), status(failed)))
	put(t, s, "a", 2, nil)
	names := func(recs []journal.Record) (out []string) {
		for _, r := range recs {
			out = append(out, fmt.Sprintf("%s%d", r.Row.RunID, len(r.Entries)))
		}
		return out
	}
	for _, c := range []struct {
		shards []int
		after  string
		limit  int
		want   []string
	}{
		{nil, "", 10, []string{"a2", "c1", "d1", "e1"}},
		{nil, "", 2, []string{"a2", "c1"}},
		{nil, "c", 10, []string{"d1", "e1"}},
		{nil, "bb", 1, []string{"c1"}},
		{nil, "e", 10, nil},
		{nil, "", 0, nil},
		{[]int{1}, "", 10, []string{"a2", "c1"}},
		{[]int{3, 2}, "", 10, []string{"d1", "e1"}},
		{[]int{1, 3}, "a", 1, []string{"c1"}},
		{[]int{}, "", 10, nil},
		{[]int{7}, "", 10, nil},
	} {
		got := must[[]journal.Record](t)(s.Active(ctx, c.shards, c.after, c.limit))
		wantEqual(t, fmt.Sprintf("active of %v after %q, limit %d", c.shards, c.after, c.limit), names(got), c.want)
		heads := must[[]journal.Head](t)(s.Heads(ctx, c.shards, c.after, c.limit))
		wantEqual(t, fmt.Sprintf("heads of %v after %q, limit %d", c.shards, c.after, c.limit), headsOf(heads), c.want)
	}
	rec := must[[]journal.Record](t)(s.Active(ctx, nil, "", 1))[0]
	wantEqual(t, "record", rec, must[journal.Record](t)(s.Load(ctx, "a")))
	// A dormant run that wakes is active, one that falls asleep is not.
	put(t, s, "f", 2, newRow("f", shard(1)))
	put(t, s, "a", 3, newRow("a", shard(1), dormant(at(0))))
	wantEqual(t, "active", names(must[[]journal.Record](t)(s.Active(ctx, []int{1}, "", 10))), []string{"c1", "f2"})
}

func testDue(t *testing.T, s journal.Store) {
	create(t, s,
		newRow("late", shard(1), dormant(at(3*time.Second))), newRow("b", shard(1), dormant(at(time.Second))),
		newRow("first", shard(2), dormant(at(-time.Second))), newRow("a", shard(2), dormant(at(time.Second))),
		newRow("awake", shard(1), at(0)), newRow("worker", shard(1), dormant(onUp("w"))),
		newRow("done", shard(1), finished(0), at(0)))
	us := time.Microsecond
	for _, c := range []struct {
		shards []int
		now    time.Duration
		limit  int
		due    []string
		next   time.Duration
	}{
		{nil, time.Second, 10, []string{"first", "a", "b"}, 3 * time.Second},
		{nil, time.Second - us, 10, []string{"first"}, time.Second},
		{nil, time.Second + 999, 10, []string{"first", "a", "b"}, 3 * time.Second},
		{nil, time.Second, 2, []string{"first", "a"}, time.Second},
		{nil, time.Second, 3, []string{"first", "a", "b"}, 3 * time.Second},
		{nil, time.Hour, 4, []string{"first", "a", "b", "late"}, 0},
		{nil, time.Hour, 0, nil, -time.Second},
		{[]int{1}, time.Second, 10, []string{"b"}, 3 * time.Second},
		{[]int{2}, time.Second, 10, []string{"first", "a"}, 0},
		{[]int{2}, time.Second, 1, []string{"first"}, time.Second},
		{[]int{}, time.Hour, 10, nil, 0},
	} {
		due, next, err := s.Due(t.Context(), c.shards, epoch.Add(c.now), c.limit)
		if err != nil {
			t.Fatal(err)
		}
		var want time.Time
		if c.next != 0 {
			want = epoch.Add(c.next)
		}
		if !slices.Equal(due, c.due) || !next.Equal(want) {
			t.Errorf("due of %v at %v, limit %d: %v, next %v; want %v, next %v", c.shards, c.now, c.limit, due, next, c.due, want)
		}
	}
	put(t, s, "first", 2, newRow("first", shard(2)))
	put(t, s, "b", 2, newRow("b", shard(1), dormant(at(2*time.Second))))
	due, next, err := s.Due(t.Context(), nil, epoch.Add(time.Second), 10)
	if err != nil || !slices.Equal(due, []string{"a"}) || !next.Equal(epoch.Add(2*time.Second)) {
		t.Errorf("due after changes: %v, next %v, %v", due, next, err)
	}
}

func testWoken(t *testing.T, s journal.Store) {
	ctx := t.Context()
	create(t, s,
		newRow("c", shard(1), dormant(onUp("w1"))), newRow("a", shard(1), dormant(onUp("w1"))), newRow("b", shard(2), dormant(onUp("w1"))),
		newRow("d", shard(1), dormant(onUp("w2"))), newRow("awake", shard(1), onUp("w1"), onGone("w1")), newRow("done", shard(1), finished(0), onUp("w1")),
		newRow("g", shard(1), dormant(onGone("w1"))), newRow("f", shard(2), dormant(onGone("w3"))), newRow("e", shard(2), dormant(onGone("w1"))),
		newRow("both", shard(3), dormant(onUp("w4")), onGone("w2"), at(0)))
	testCountWokenByUp(t, s)
	up := func(shards []int, worker, after string, limit int) ([]string, error) {
		records, err := s.WokenByUp(ctx, shards, worker, after, limit)
		return wholeIDs(t, s, records), err
	}
	gone := func(shards []int, worker, after string, limit int) ([]string, error) {
		records, err := s.WokenByGone(ctx, shards, worker, after, limit)
		return wholeIDs(t, s, records), err
	}
	for _, c := range []struct {
		by            func(shards []int, worker, after string, limit int) ([]string, error)
		shards        []int
		worker, after string
		limit         int
		want          []string
	}{
		{up, nil, "w1", "", 10, []string{"a", "b", "c"}},
		{up, nil, "w1", "", 2, []string{"a", "b"}},
		{up, nil, "w1", "b", 10, []string{"c"}},
		{up, nil, "w1", "", 0, nil},
		{up, []int{1}, "w1", "", 10, []string{"a", "c"}},
		{up, []int{2, 3}, "w1", "", 10, []string{"b"}},
		{up, []int{}, "w1", "", 10, nil},
		{up, nil, "w2", "", 10, []string{"d"}},
		{up, nil, "w3", "", 10, nil},
		{up, nil, "", "", 10, nil},
		{up, nil, "w4", "", 10, []string{"both"}},
		{gone, nil, "w1", "", 10, []string{"e", "g"}},
		{gone, nil, "w1", "e", 1, []string{"g"}},
		{gone, []int{2}, "w1", "", 10, []string{"e"}},
		{gone, nil, "w2", "", 10, []string{"both"}},
		{gone, nil, "", "", 10, nil},
	} {
		got, err := c.by(c.shards, c.worker, c.after, c.limit)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("woken by %q of %v after %q, limit %d: %v %v, want %v", c.worker, c.shards, c.after, c.limit, got, err, c.want)
		}
	}
	watched := func(shards []int, want ...string) {
		t.Helper()
		if got := must[[]string](t)(s.WatchedWorkers(ctx, shards)); !slices.Equal(got, want) {
			t.Errorf("watched of %v: %v, want %v", shards, got, want)
		}
	}
	watched(nil, "w1", "w2", "w3")
	watched([]int{1}, "w1")
	watched([]int{3, 2}, "w1", "w2", "w3")
	watched([]int{})
	put(t, s, "g", 2, newRow("g", shard(1)))
	put(t, s, "e", 2, newRow("e", shard(2), finished(0)))
	watched(nil, "w2", "w3")
}

// testCountWokenByUp is of the runs of testWoken.
func testCountWokenByUp(t *testing.T, s journal.Store) {
	t.Helper()
	for _, c := range []struct {
		shards      []int
		limit, want int
	}{{nil, 10, 5}, {nil, 2, 2}, {nil, 0, 0}, {[]int{1}, 10, 3}, {[]int{}, 10, 0}} {
		if got := must[int](t)(s.CountWokenByUp(t.Context(), c.shards, c.limit)); got != c.want {
			t.Errorf("of %v, at most %d, wait for a worker: %d, want %d", c.shards, c.limit, got, c.want)
		}
	}
}

func testInLine(t *testing.T, s journal.Store) {
	ctx := t.Context()
	us := time.Microsecond
	create(t, s,
		newRow("z", shard(1), dormant(inLine(7, 0))), newRow("c", shard(1), dormant(inLine(7, 2*us))), newRow("b", shard(2), dormant(inLine(7, us))),
		newRow("d", shard(1), dormant(inLine(7, us))), newRow("low", shard(3), dormant(inLine(-8, 0))), newRow("asleep", shard(1), dormant(at(0))),
		newRow("awake", shard(1), inLine(7, 0)), newRow("done", shard(1), finished(0), inLine(7, 0)))
	place := func(since time.Duration, id string) journal.Place {
		return journal.Place{Since: epoch.Add(since), RunID: id}
	}
	for _, c := range []struct {
		shards []int
		line   int64
		after  journal.Place
		limit  int
		want   []string
	}{
		{nil, 7, journal.Place{}, 10, []string{"z", "b", "d", "c"}},
		{nil, 7, journal.Place{}, 2, []string{"z", "b"}},
		{nil, 7, place(0, "z"), 10, []string{"b", "d", "c"}},
		{nil, 7, place(us, ""), 1, []string{"b"}},
		{nil, 7, place(us, "b"), 10, []string{"d", "c"}},
		{nil, 7, place(2*us, "c"), 10, nil},
		{nil, 7, journal.Place{}, 0, nil},
		{[]int{1}, 7, journal.Place{}, 2, []string{"z", "d"}},
		{[]int{2, 3}, 7, journal.Place{}, 10, []string{"b"}},
		{[]int{}, 7, journal.Place{}, 10, nil},
		{nil, -8, journal.Place{}, 10, []string{"low"}},
		{nil, 0, journal.Place{}, 10, nil},
		{nil, 9, journal.Place{}, 10, nil},
	} {
		got, err := s.InLine(ctx, c.shards, c.line, c.after, c.limit)
		if ids := wholeIDs(t, s, got); err != nil || !slices.Equal(ids, c.want) {
			t.Errorf("in line %d of %v after %v, limit %d: %v %v, want %v", c.line, c.shards, c.after, c.limit, ids, err, c.want)
		}
	}
	lines := func(shards []int, want ...int64) {
		t.Helper()
		if got := must[[]int64](t)(s.Lines(ctx, shards)); !slices.Equal(got, want) {
			t.Errorf("lines of %v: %v, want %v", shards, got, want)
		}
	}
	counts := func(shards []int, line int64, limit, want int) {
		t.Helper()
		if got := must[int](t)(s.CountInLine(ctx, shards, line, limit)); got != want {
			t.Errorf("in line %d of %v, at most %d: %d, want %d", line, shards, limit, got, want)
		}
	}
	counts(nil, 7, 10, 4)
	counts(nil, 7, 3, 3)
	counts(nil, 7, 0, 0)
	counts([]int{1}, 7, 10, 3)
	counts(nil, -8, 10, 1)
	counts(nil, 9, 10, 0)
	counts([]int{}, 7, 10, 0)
	lines(nil, -8, 7)
	lines([]int{1}, 7)
	lines([]int{2, 3}, -8, 7)
	lines([]int{})
	put(t, s, "low", 2, newRow("low", shard(3)))
	put(t, s, "b", 2, newRow("b", shard(2), dormant(inLine(9, 0))))
	lines(nil, 7, 9)
	lines([]int{2, 3}, 9)
}

func testBoundCounts(t *testing.T, s journal.Store) {
	gpu := func(r *journal.Row) { r.Pool = "gpu" }
	want := func(pool string, counts map[string]int) {
		t.Helper()
		wantEqual(t, "bound in "+pool, must[map[string]int](t)(s.BoundCounts(t.Context(), pool)), counts)
	}
	create(t, s,
		newRow("a", bound("w1")), newRow("b", bound("w1")), newRow("c", bound("w2")), newRow("d"),
		newRow("e", bound("w1"), gpu), newRow("f", bound("w1"), dormant(onUp("w1"))), newRow("g", bound("w1"), finished(0)))
	want("default", map[string]int{"w1": 3, "w2": 1})
	want("gpu", map[string]int{"w1": 1})
	want("none", map[string]int{})
	put(t, s, "a", 2, newRow("a", bound("w2")))
	put(t, s, "b", 2, newRow("b", bound("w1"), finished(0)))
	put(t, s, "c", 2, newRow("c"))
	put(t, s, "d", 2, newRow("d", bound("w3")))
	put(t, s, "e", 2, newRow("e", bound("w1")))
	want("default", map[string]int{"w1": 2, "w2": 1, "w3": 1})
	want("gpu", map[string]int{})
	// A refused append counts for nothing.
	errs := s.Append(t.Context(), []journal.Append{{RunID: "d", Number: 2, Entry: []byte("x"), Row: newRow("d", bound("w9"))}})
	wantCode(t, "stale append", errs[0], messages.CodeJournalConflict)
	want("default", map[string]int{"w1": 2, "w2": 1, "w3": 1})
}

// wholeIDs are the ids of records, each of which has to be all that Load
// returns.
func wholeIDs(t *testing.T, s journal.Store, records []journal.Record) (ids []string) {
	t.Helper()
	for _, rec := range records {
		wantEqual(t, "record", rec, must[journal.Record](t)(s.Load(t.Context(), rec.Row.RunID)))
		ids = append(ids, rec.Row.RunID)
	}
	return ids
}

// headsOf names runs with the numbers of their newest entries.
func headsOf(heads []journal.Head) (names []string) {
	for _, h := range heads {
		names = append(names, fmt.Sprintf("%s%d", h.RunID, h.Number))
	}
	return names
}

func testHeartbeats(t *testing.T, s journal.Store) {
	beat := func(server, data string) []messages.StoredHeartbeat {
		t.Helper()
		return must[[]messages.StoredHeartbeat](t)(s.Heartbeat(t.Context(), server, []byte(data)))
	}
	want := func(got []messages.StoredHeartbeat, want ...string) {
		t.Helper()
		var have []string
		for _, beat := range got {
			have = append(have, beat.Server+"="+string(beat.Data))
			if beat.Age < 0 || beat.Age > time.Minute {
				t.Errorf("the heartbeat of %s is %v old", beat.Server, beat.Age)
			}
		}
		wantEqual(t, "heartbeats", have, want)
	}
	want(beat("b", "1"), "b=1")
	want(beat("a", ""), "a=", "b=1")
	want(beat("b", "2"), "a=", "b=2")
	first := beat("c", "x")
	again := beat("a", "y")
	want(again, "a=y", "b=2", "c=x")
	if again[0].Age > again[2].Age || first[1].Age > again[1].Age {
		t.Errorf("the later heartbeat is the older one: %v, then %v", first, again)
	}
}

func testPresence(t *testing.T, s journal.Store) {
	second := func(n int) time.Time { return epoch.Add(time.Duration(n) * time.Second) }
	note := func(at int, want ...string) {
		t.Helper()
		var have []string
		for _, p := range must[[]journal.Presence](t)(s.NotePresence(t.Context(), second(at), 6*time.Second)) {
			have = append(have, fmt.Sprintf("%v-%v", p.From.Sub(epoch), p.To.Sub(epoch)))
		}
		wantEqual(t, fmt.Sprintf("stretches after a note at %d s", at), have, want)
	}
	note(10, "10s-10s")
	note(13, "10s-13s")
	note(19, "10s-19s")
	note(26, "10s-19s", "26s-26s")
	// Another server's clock is behind.
	note(25, "10s-19s", "26s-26s")
	note(18, "10s-19s", "26s-26s")
	note(27, "10s-19s", "26s-27s")
	note(90, "10s-19s", "26s-27s", "1m30s-1m30s")
	var list []journal.Presence
	for i := range journal.PresencesKept + 2 {
		list = must[[]journal.Presence](t)(s.NotePresence(t.Context(), second(100+10*i), 6*time.Second))
	}
	if n := len(list); n != journal.PresencesKept || !list[0].From.Equal(second(120)) || !list[n-1].To.Equal(second(100+10*(n+1))) {
		t.Errorf("%d stretches are kept, of %v to %v", n, list[0].From.Sub(epoch), list[n-1].To.Sub(epoch))
	}
}
