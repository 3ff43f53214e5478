package journaltest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/messages"
)

func event(id, key string, after time.Duration, payload string) journal.Event {
	return journal.Event{ID: id, Key: key, At: epoch.Add(after), Payload: []byte(payload)}
}

// publish publishes events that the store has to take, and returns them.
func publish(t *testing.T, s journal.Store, events ...journal.Event) []journal.Event {
	t.Helper()
	for i, err := range s.Publish(t.Context(), events) {
		if err != nil {
			t.Fatalf("event %s: %v", events[i].ID, err)
		}
	}
	return events
}

// waits begins waits with the next entry of a run.
func waits(t *testing.T, s journal.Store, runID string, number uint64, changes ...journal.EventWaitChange) {
	t.Helper()
	if errs := s.Append(t.Context(), []journal.Append{{RunID: runID, Number: number, Entry: entryOf(runID, number), Waits: changes}}); errs[0] != nil {
		t.Fatal(errs[0])
	}
}

func begins(id, pattern string) journal.EventWaitChange {
	return journal.EventWaitChange{Wait: journal.EventWait{ID: id, Pattern: pattern}}
}

func isOver(id string) journal.EventWaitChange {
	return journal.EventWaitChange{Wait: journal.EventWait{ID: id}, Over: true}
}

func testPublish(t *testing.T, s journal.Store) {
	first := publish(t, s, event("e1", "k", 0, "1"), event("e2", "k", time.Second, ""))
	wantEqual(t, "seq of the first two", []uint64{first[0].Seq, first[1].Seq}, []uint64{1, 2})
	batch := []journal.Event{
		event("e1", "k", time.Hour, "1"), event("e3", "k", 0, "3"), event("e1", "k", 0, "other"), event("e1", "l", 0, "1"),
		event("", "k", 0, "x"), event("e4", "", 0, "x"), event("e3", "k", time.Hour, "3"), event("e3", "k", 0, "not 3"),
	}
	errs := s.Publish(t.Context(), batch)
	for i, code := range []messages.Code{"", "", messages.CodeIdempotencyMismatch, messages.CodeIdempotencyMismatch,
		messages.CodeInvalidArgument, messages.CodeInvalidArgument, "", messages.CodeIdempotencyMismatch} {
		wantCode(t, fmt.Sprint("event ", i), errs[i], code)
	}
	wantEqual(t, "the event that is there", batch[0], event1(event("e1", "k", 0, "1"), 1))
	wantEqual(t, "one that is not", batch[1], event1(event("e3", "k", 0, "3"), 3))
	wantEqual(t, "the same again in its batch", batch[6], event1(event("e3", "k", 0, "3"), 3))
	kept := must[[]journal.Event](t)(s.Events(t.Context(), journal.EventFilter{}, 0, 10))
	wantEqual(t, "kept", kept, []journal.Event{event1(event("e1", "k", 0, "1"), 1), event1(event("e2", "k", time.Second, ""), 2), event1(event("e3", "k", 0, "3"), 3)})
	wantEqual(t, "cursor", must[journal.EventCursor](t)(s.EventCursor(t.Context())), journal.EventCursor{Newest: 3})
	wantEqual(t, "an empty batch", len(s.Publish(t.Context(), nil)), 0)
}

func event1(e journal.Event, seq uint64) journal.Event {
	e.Seq = seq
	return e
}

func testEvents(t *testing.T, s journal.Store) {
	all := publish(t, s, event("a", "user:new", 0, "1"), event("b", "user:old", 3*time.Second, "2"), event("c", "user", time.Second, "3"),
		event("d", "zebra", 2*time.Second, "4"), event("e", "user:new", 4*time.Second, "5"), event("f", "user:new:x", 5*time.Second, "6"))
	for _, q := range []struct {
		name   string
		filter journal.EventFilter
		after  uint64
		limit  int
		want   string
	}{
		{"all", journal.EventFilter{}, 0, 10, "a b c d e f"},
		{"a page", journal.EventFilter{}, 2, 3, "c d e"},
		{"none", journal.EventFilter{}, 0, 0, ""},
		{"a key", journal.EventFilter{Pattern: "user:new"}, 0, 10, "a e"},
		{"a key, after", journal.EventFilter{Pattern: "user:new"}, 1, 10, "e"},
		{"a prefix", journal.EventFilter{Pattern: "user:*"}, 0, 10, "a b e f"},
		{"a prefix that is a key", journal.EventFilter{Pattern: "user:new*"}, 0, 10, "a e f"},
		{"every key", journal.EventFilter{Pattern: "*"}, 3, 10, "d e f"},
		{"from", journal.EventFilter{Pattern: "user:*", From: 2}, 0, 10, "e f"},
		{"from, or since", journal.EventFilter{Pattern: "user*", From: 5, Since: epoch.Add(time.Second)}, 0, 10, "b c e f"},
		{"since alone", journal.EventFilter{From: journal.ByTimeOnly, Since: epoch.Add(3 * time.Second)}, 0, 10, "b e f"},
		{"since of a key", journal.EventFilter{Pattern: "user:new", From: journal.ByTimeOnly, Since: epoch.Add(3 * time.Second)}, 1, 10, "e"},
		{"a key that is none", journal.EventFilter{Pattern: "user:"}, 0, 10, ""},
	} {
		events := must[[]journal.Event](t)(s.Events(t.Context(), q.filter, q.after, q.limit))
		var ids []string
		for _, e := range events {
			ids = append(ids, e.ID)
			wantEqual(t, q.name, e, all[slices.IndexFunc(all, func(o journal.Event) bool { return o.ID == e.ID })])
		}
		wantEqual(t, q.name, strings.Join(ids, " "), q.want)
	}
}

func testEventWaits(t *testing.T, s journal.Store) {
	create(t, s, newRow("a"), newRow("b"))
	publish(t, s, event("e1", "k", 0, "1"), event("e2", "k", 0, "2"))
	of := func(runID string) []journal.EventWait {
		t.Helper()
		return must[[]journal.EventWait](t)(s.EventWaitsOf(t.Context(), runID))
	}
	full := journal.EventWait{ID: "w1", Pattern: "k", If: "payload.x > 1", Since: epoch.Add(time.Minute)}
	waits(t, s, "a", 2, journal.EventWaitChange{Wait: full}, begins("w0", "k*"))
	full.RunID, full.From = "a", 2
	w0 := journal.EventWait{RunID: "a", ID: "w0", Pattern: "k*", From: 2}
	wantEqual(t, "waits", of("a"), []journal.EventWait{w0, full})
	wantEqual(t, "waits of another run", len(of("b")), 0)

	publish(t, s, event("e3", "k", 0, "3"))
	waits(t, s, "a", 3, begins("w1", "another"), begins("w2", "l"))
	w2 := journal.EventWait{RunID: "a", ID: "w2", Pattern: "l", From: 3}
	wantEqual(t, "one that is there stays", of("a"), []journal.EventWait{w0, full, w2})

	// A refused append changes none, whatever else is in the batch.
	errs := s.Append(t.Context(), []journal.Append{
		{RunID: "a", Number: 3, Entry: []byte("x"), Waits: []journal.EventWaitChange{isOver("w0"), begins("w3", "k")}},
		{RunID: "b", Number: 2, Entry: []byte("x"), Waits: []journal.EventWaitChange{begins("w", "k")}},
		{RunID: "c", Number: 1, Entry: []byte("x"), Row: newRow("c"), Metadata: map[string]string{"a": "b"}},
	})
	wantCode(t, "a stale append", errs[0], messages.CodeJournalConflict)
	wantEqual(t, "after a stale append", of("a"), []journal.EventWait{w0, full, w2})
	wantEqual(t, "beside one", len(of("b")), 1)

	waits(t, s, "a", 4, isOver("w1"), isOver("w0"), isOver("unknown"), begins("w4", "k"))
	wantEqual(t, "those that are left", of("a"), []journal.EventWait{w2, {RunID: "a", ID: "w4", Pattern: "k", From: 3}})

	create(t, s, newRow("gone"))
	waits(t, s, "gone", 2, begins("w", "k"))
	put(t, s, "gone", 3, newRow("gone", finished(0)))
	wantEqual(t, "deleted", must[int](t)(s.DeleteFinished(t.Context(), epoch.Add(time.Hour), 10)), 1)
	wantEqual(t, "of a deleted run", len(of("gone")), 0)
}

func testEventWaitPages(t *testing.T, s journal.Store) {
	var want []journal.EventWaitPlace
	for i := range 30 {
		id := fmt.Sprintf("r%02d", i)
		create(t, s, newRow(id))
		pattern := []string{"k", "k*", "l", "*", "ka"}[i%5]
		waits(t, s, id, 2, begins("w1", pattern), begins("w2", "k"))
		if pattern != "l" && pattern != "ka" {
			want = append(want, journal.EventWaitPlace{Pattern: pattern, RunID: id, ID: "w1"})
		}
		want = append(want, journal.EventWaitPlace{Pattern: "k", RunID: id, ID: "w2"})
	}
	slices.SortFunc(want, func(a, b journal.EventWaitPlace) int {
		return cmp.Or(cmp.Compare(a.Pattern, b.Pattern), cmp.Compare(a.RunID, b.RunID), cmp.Compare(a.ID, b.ID))
	})
	for _, limit := range []int{1, 7, 100} {
		var got []journal.EventWaitPlace
		for after := (journal.EventWaitPlace{}); ; {
			page := must[[]journal.EventWait](t)(s.EventWaits(t.Context(), append(journal.EventPatterns("k"), "k"), after, limit))
			for i := range page {
				got = append(got, page[i].Place())
			}
			if len(page) < limit {
				break
			}
			after = page[len(page)-1].Place()
		}
		wantEqual(t, fmt.Sprint("pages of ", limit), got, want)
	}
	wantEqual(t, "no limit", len(must[[]journal.EventWait](t)(s.EventWaits(t.Context(), []string{"k"}, journal.EventWaitPlace{}, 0))), 0)
	wantEqual(t, "no patterns", len(must[[]journal.EventWait](t)(s.EventWaits(t.Context(), nil, journal.EventWaitPlace{}, 10))), 0)
}

func testDeleteEvents(t *testing.T, s journal.Store) {
	for i := range 10 {
		publish(t, s, event(fmt.Sprint("e", i), "k", time.Duration(i)*time.Second, "x"))
	}
	remove := func(before time.Duration, limit, want int) {
		t.Helper()
		wantEqual(t, "deleted", must[int](t)(s.DeleteEvents(t.Context(), epoch.Add(before), limit)), want)
	}
	remove(time.Hour, 100, 0) // nothing is delivered
	for _, to := range []uint64{7, 3} {
		if err := s.MoveEventCursor(t.Context(), to); err != nil {
			t.Fatal(err)
		}
	}
	wantEqual(t, "cursor", must[journal.EventCursor](t)(s.EventCursor(t.Context())), journal.EventCursor{Delivered: 7, Newest: 10})
	remove(5*time.Second, 3, 3)
	remove(5*time.Second, 100, 2)
	remove(5*time.Second, 100, 0)
	remove(time.Hour, 0, 0)
	remove(time.Hour, 100, 2)
	kept := must[[]journal.Event](t)(s.Events(t.Context(), journal.EventFilter{}, 0, 100))
	wantEqual(t, "kept", len(kept), 3)
	wantEqual(t, "the first of them", kept[0].Seq, uint64(8))
	wantEqual(t, "the id of a deleted event, again", publish(t, s, event("e0", "l", 0, "y"))[0].Seq, uint64(11))
	wantEqual(t, "the newest", must[journal.EventCursor](t)(s.EventCursor(t.Context())).Newest, uint64(11))
}

// testEventsAndWaitsMeet stores waits and events for them at the same time: of each
// pair one finds the other, and nobody sees an event before those with a lesser seq.
func testEventsAndWaitsMeet(t *testing.T, s journal.Store) {
	const pairs, writers = 200, 8
	for i := range pairs {
		create(t, s, newRow(fmt.Sprint("r", i)))
	}
	var group sync.WaitGroup
	var mu sync.Mutex
	met := map[int]bool{}
	meet := func(i int) {
		mu.Lock()
		defer mu.Unlock()
		met[i] = true
	}
	for w := range writers {
		group.Go(func() {
			for i := w; i < pairs; i += writers {
				key := fmt.Sprint("k", i)
				publish(t, s, event(key, key, 0, "x"))
				if found := must[[]journal.EventWait](t)(s.EventWaits(t.Context(), journal.EventPatterns(key), journal.EventWaitPlace{}, 10)); len(found) > 0 {
					meet(i)
				}
			}
		})
		group.Go(func() {
			for i := w; i < pairs; i += writers {
				id, key := fmt.Sprint("r", i), fmt.Sprint("k", i)
				// It looks back over all, as the event may be stored already.
				waits(t, s, id, 2, journal.EventWaitChange{Wait: journal.EventWait{ID: "w", Pattern: key, Since: epoch}})
				wait := must[[]journal.EventWait](t)(s.EventWaitsOf(t.Context(), id))[0]
				filter := journal.EventFilter{Pattern: key, From: wait.From, Since: wait.Since}
				if found := must[[]journal.Event](t)(s.Events(t.Context(), filter, 0, 10)); len(found) > 0 {
					meet(i)
				}
			}
		})
	}
	group.Go(func() {
		for seen := uint64(0); seen < pairs; {
			for _, e := range must[[]journal.Event](t)(s.Events(t.Context(), journal.EventFilter{}, seen, 100)) {
				if seen++; e.Seq != seen {
					t.Errorf("event %d became visible before %d", e.Seq, seen)
					return
				}
			}
			if t.Failed() {
				return
			}
		}
	})
	group.Wait()
	wantEqual(t, "pairs that met", len(met), pairs)
}
