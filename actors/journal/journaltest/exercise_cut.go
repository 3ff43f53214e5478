package journaltest

import (
	"fmt"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/messages"
)

func cutting(id string, number, cut uint64, kept ...uint64) journal.Append {
	return journal.Append{RunID: id, Number: number, Entry: entryOf(id, number), Row: newRow(id), Cut: cut, Kept: kept}
}

// testCut cuts a history again and again: what is left is bounded, and what was kept is
// found as long as it is kept.
func testCut(t *testing.T, s journal.Store) {
	ctx := t.Context()
	put(t, s, "other", 1, newRow("other"))
	put(t, s, "a", 1, newRow("a"))
	put(t, s, "a", 2, nil)
	for n := uint64(3); n <= 200; n++ {
		kept := []uint64{2}
		if n > 100 {
			kept = append([]uint64{}, 99)
		}
		if n-2 < kept[len(kept)-1] {
			kept = nil
		}
		for _, err := range s.Append(ctx, []journal.Append{cutting("a", n, n-2, kept...)}) {
			wantCode(t, "append", err, "")
		}
		rec := must[journal.Record](t)(s.Load(ctx, "a"))
		if rec.After != n-2 || len(rec.Entries) != 2 || rec.Last() != n || string(rec.Entries[0]) != string(entryOf("a", n-1)) {
			t.Fatalf("after a cut of entry %d: %d entries after %d", n, len(rec.Entries), rec.After)
		}
	}
	for number, want := range map[uint64]string{0: "", 1: "", 2: "", 99: "a#99", 100: "", 199: "a#199", 200: "a#200", 201: "", 1 << 40: ""} {
		wantEqual(t, "entry", string(must[[]byte](t)(s.Entry(ctx, "a", number))), want)
	}
	page := must[journal.Record](t)(s.Entries(ctx, "a", 5, 1))
	wantEqual(t, "the first of those that are left is after", page.After, uint64(198))
	wantEqual(t, "entries of the page", len(page.Entries), 1)
	heads := must[[]journal.Head](t)(s.Heads(ctx, nil, "", 10))
	wantEqual(t, "the head of a", heads[0], journal.Head{RunID: "a", Number: 200})
	active := must[[]journal.Record](t)(s.Active(ctx, nil, "", 10))
	wantEqual(t, "active after", active[0].After, uint64(198))
	wantEntries(t, s, "other", 1)
	for _, bad := range []journal.Append{cutting("a", 201, 200), cutting("a", 201, 10, 11), cutting("a", 201, 10, 5, 4)} {
		wantCode(t, "append", s.Append(ctx, []journal.Append{bad})[0], messages.CodeInvalidArgument)
	}
	// What is gone cannot be begun again.
	again := journal.Append{RunID: "a", Number: 1, Entry: []byte("again"), Row: newRow("a"), Metadata: map[string]string{"k": "v"}}
	wantCode(t, "append", s.Append(ctx, []journal.Append{again})[0], messages.CodeJournalConflict)
	wantDeleted(t, s)
}

// wantDeleted ends and deletes run a, and wants nothing left of it.
func wantDeleted(t *testing.T, s journal.Store) {
	t.Helper()
	put(t, s, "a", 201, newRow("a", finished(0)))
	if n := must[int](t)(s.DeleteFinished(t.Context(), epoch.Add(time.Hour), 10)); n != 1 {
		t.Fatalf("%d runs were deleted", n)
	}
	put(t, s, "a", 1, newRow("a"))
	wantEntries(t, s, "a", 1)
	if entry := must[[]byte](t)(s.Entry(t.Context(), "a", 99)); entry != nil {
		t.Errorf("a new run of the id has entry %q", entry)
	}
}

// testCutLost: an append that conflicts cuts nothing, and does not let go of what is kept.
func testCutLost(t *testing.T, s journal.Store) {
	ctx := t.Context()
	put(t, s, "a", 1, newRow("a"))
	put(t, s, "a", 2, nil)
	put(t, s, "a", 3, nil)
	wantCode(t, "append", s.Append(ctx, []journal.Append{cutting("a", 4, 1, 1)})[0], "")
	for i, err := range s.Append(ctx, []journal.Append{cutting("a", 4, 2), cutting("a", 5, 1, 1), cutting("a", 5, 3), cutting("a", 9, 3)}) {
		want := messages.CodeJournalConflict
		if i == 1 {
			want = ""
		}
		wantCode(t, "append", err, want)
	}
	rec := must[journal.Record](t)(s.Load(ctx, "a"))
	wantEqual(t, "entries before", rec.After, uint64(1))
	wantEqual(t, "entries", len(rec.Entries), 4)
	wantEqual(t, "what is kept", string(must[[]byte](t)(s.Entry(ctx, "a", 1))), "a#1")
}

// testCutStreams: what a run has streamed is cut with the entries that it began with, but for
// the newest section of each stream, and does not count any more. What is left is in order and
// to the byte.
func testCutStreams(t *testing.T, s journal.Store) {
	const links = 16
	sections(t, s, "r", 1, opens("a", 1), opens("first", 1))
	sections(t, s, "other", 1, opens("a", 1))
	wantWritten(t, "another run", s.WriteStreams(t.Context(), []journal.StreamWrite{pieces("other", "a", 1, 1, "1")})[0], "", 1, 1)
	wantWritten(t, "the first link", s.WriteStreams(t.Context(), []journal.StreamWrite{pieces("r", "first", 1, 1, "1")})[0], "", 1, 1)
	for link := int32(1); link <= links; link++ {
		write := pieces("r", "a", link, 1, "x", "y")
		write.BytesMax = 5 // of two links, and of the first stream
		wantWritten(t, "a link", s.WriteStreams(t.Context(), []journal.StreamWrite{write})[0], "", 2, int64(2*min(link, 2)+1))
		next := cutting("r", uint64(link)+1, 0)
		next.Streams = []journal.StreamChange{closes("a", link), opens("a", link+1)}
		if link == 1 {
			next.Streams = append(next.Streams, closes("first", 1))
		}
		if next.Cut = uint64(max(link-1, 0)); next.Cut > 0 {
			next.Waits = []journal.EventWaitChange{begins(fmt.Sprint(link), "k")}
		}
		wantCode(t, "append", s.Append(t.Context(), []journal.Append{next})[0], "")
	}
	wantEqual(t, "entries that were cut", must[journal.Record](t)(s.Load(t.Context(), "r")).After, uint64(links-1))
	wantEqual(t, "a stream of all links", stream(t, s, "r", "a", journal.StreamPlace{}, 1<<20), fmt.Sprintf("%d.1:x %d.2:y", links, links))
	for section := int32(1); section <= links+1; section++ {
		page := must[journal.StreamPage](t)(s.ReadStream(t.Context(), "r", "a", journal.StreamPlace{Section: section, Number: 1}, 1<<20))
		if page.Oldest != links || page.Newest != links+1 || (page.At.Section == 0) != (section < links) {
			t.Errorf("section %d of %d to %d: %+v", section, page.Oldest, page.Newest, page.At)
		}
	}
	wantEqual(t, "one of the first link", stream(t, s, "r", "first", journal.StreamPlace{}, 1<<20), "1.1:1")
	wantEqual(t, "one of another run", stream(t, s, "other", "a", journal.StreamPlace{}, 1<<20), "1.1:1")
	infos := must[[]journal.StreamInfo](t)(s.Streams(t.Context(), "r"))
	if len(infos) != 2 || infos[0].Pieces != 2 || infos[0].Bytes != 2 || infos[0].Newest.Section != links+1 {
		t.Errorf("the streams are %+v", infos)
	}
	for _, late := range []journal.StreamWrite{pieces("r", "a", 1, 3, "x"), pieces("r", "a", links, 3, "x"), pieces("r", "first", 1, 2, "x")} {
		wantWritten(t, "a section that is over", s.WriteStreams(t.Context(), []journal.StreamWrite{late})[0], messages.CodeStaleAttempt, 0, 0)
	}
	beyond := pieces("r", "a", links+1, 1, "x", "y", "z")
	beyond.BytesMax = 5
	wantWritten(t, "more than there may be", s.WriteStreams(t.Context(), []journal.StreamWrite{beyond})[0], messages.CodeLimitExceeded, 0, 0)
	wantEqual(t, "waits", len(must[[]journal.EventWait](t)(s.EventWaitsOf(t.Context(), "r"))), links-1)
}
