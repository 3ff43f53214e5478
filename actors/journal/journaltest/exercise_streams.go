package journaltest

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/messages"
)

// sections changes sections with the next entry of a run.
func sections(t *testing.T, s journal.Store, runID string, number uint64, changes ...journal.StreamChange) {
	t.Helper()
	a := journal.Append{RunID: runID, Number: number, Entry: entryOf(runID, number), Streams: changes}
	if number == 1 {
		a.Row = newRow(runID)
	}
	if errs := s.Append(t.Context(), []journal.Append{a}); errs[0] != nil {
		t.Fatal(errs[0])
	}
}

func opens(stream string, section int32) journal.StreamChange {
	return journal.StreamChange{Stream: stream, Section: section, Step: "step", Attempt: section}
}

func closes(stream string, section int32) journal.StreamChange {
	return journal.StreamChange{Stream: stream, Section: section, Over: true}
}

// pieces is a write to a section of its attempt.
func pieces(runID, stream string, section int32, first uint64, texts ...string) journal.StreamWrite {
	w := journal.StreamWrite{RunID: runID, Stream: stream, Section: section, Step: "step", Attempt: section, First: first, BytesMax: 1 << 20}
	for _, text := range texts {
		w.Pieces = append(w.Pieces, []byte(text))
	}
	return w
}

// stream is all of a stream from a place on, as "1.1:text 1.2:…".
func stream(t *testing.T, s journal.Store, runID, name string, from journal.StreamPlace, bytesMax int) string {
	t.Helper()
	var out []string
	for {
		page := must[journal.StreamPage](t)(s.ReadStream(t.Context(), runID, name, from, bytesMax))
		if len(page.Pieces) == 0 {
			return strings.Join(out, " ")
		}
		for _, p := range page.Pieces {
			if p.Step != "step" || p.Attempt != p.Section {
				t.Errorf("section %d is of %s#%d", p.Section, p.Step, p.Attempt)
			}
			for i, piece := range p.Pieces {
				out = append(out, fmt.Sprintf("%d.%d:%s", p.Section, p.First+uint64(i), piece))
			}
			from = journal.StreamPlace{Section: p.Section, Number: p.First + uint64(len(p.Pieces))}
		}
	}
}

func wantWritten(t *testing.T, what string, got journal.StreamWritten, code messages.Code, stored uint64, bytes int64) {
	t.Helper()
	if messages.CodeOf(got.Err) != code || code == "" && (got.Stored != stored || got.Bytes != bytes) {
		t.Errorf("%s: %+v, want %q, %d pieces and %d bytes", what, got, code, stored, bytes)
	}
}

func testStreams(t *testing.T, s journal.Store) {
	ctx := t.Context()
	write := func(w ...journal.StreamWrite) []journal.StreamWritten { return s.WriteStreams(ctx, w) }
	if _, err := s.ReadStream(ctx, "none", "a", journal.StreamPlace{}, 100); messages.CodeOf(err) != messages.CodeUnknownRun {
		t.Errorf("a stream of no run: %v", err)
	}
	wantWritten(t, "a run that is not there", write(pieces("none", "a", 1, 1, "x"))[0], messages.CodeStaleAttempt, 0, 0)
	sections(t, s, "r", 1)
	wantWritten(t, "a section that has not begun", write(pieces("r", "a", 1, 1, "x"))[0], messages.CodeStaleAttempt, 0, 0)
	page := must[journal.StreamPage](t)(s.ReadStream(ctx, "r", "a", journal.StreamPlace{}, 100))
	wantEqual(t, "a stream that has not begun", page, journal.StreamPage{})
	sections(t, s, "r", 2, opens("a", 1), opens("b", 1))
	got := write(pieces("r", "a", 1, 1, "one", ""), pieces("r", "b", 1, 1, "\x00\xff"), pieces("r", "a", 1, 4, "gap"), pieces("r", "a", 1, 3, "two"))
	wantWritten(t, "the first pieces", got[0], "", 2, 3)
	wantWritten(t, "another stream", got[1], "", 1, 5)
	wantWritten(t, "a gap", got[2], messages.CodeInvalidArgument, 0, 0)
	wantWritten(t, "the next", got[3], "", 3, 8)
	wantWritten(t, "the same again", write(pieces("r", "a", 1, 1, "one", ""))[0], "", 3, 8)
	wantWritten(t, "the same, and more", write(pieces("r", "a", 1, 3, "two", "three"))[0], "", 4, 13)
	wantWritten(t, "number 0", write(pieces("r", "a", 1, 0, "x"))[0], messages.CodeInvalidArgument, 0, 0)
	other := pieces("r", "a", 1, 5, "x")
	other.Attempt = 2
	wantWritten(t, "another attempt", write(other)[0], messages.CodeStaleAttempt, 0, 0)
	large := pieces("r", "a", 1, 5, "12345")
	large.BytesMax = 17
	wantWritten(t, "more than there may be", write(large)[0], messages.CodeLimitExceeded, 0, 0)
	large.BytesMax = 18
	wantWritten(t, "as much as there may be", write(large)[0], "", 5, 18)
	sections(t, s, "r", 3, closes("a", 1), opens("a", 2))
	wantWritten(t, "a section that is over", write(pieces("r", "a", 1, 6, "x"))[0], messages.CodeStaleAttempt, 0, 0)
	wantWritten(t, "what a section that is over has", write(pieces("r", "a", 1, 3, "two", "three"))[0], "", 5, 18)
	wantWritten(t, "the next section", write(pieces("r", "a", 2, 1, "again"))[0], "", 1, 23)
	const all = "1.1:one 1.2: 1.3:two 1.4:three 1.5:12345 2.1:again"
	for _, bytesMax := range []int{1, 8, 100, 1 << 20} {
		wantEqual(t, "all of a", stream(t, s, "r", "a", journal.StreamPlace{}, bytesMax), all)
	}
	wantEqual(t, "a from a place", stream(t, s, "r", "a", journal.StreamPlace{Section: 1, Number: 4}, 100), "1.4:three 1.5:12345 2.1:again")
	wantEqual(t, "a from the end of a section", stream(t, s, "r", "a", journal.StreamPlace{Section: 1, Number: 6}, 100), "2.1:again")
	wantEqual(t, "a from a later section", stream(t, s, "r", "a", journal.StreamPlace{Section: 2}, 100), "2.1:again")
	wantEqual(t, "all of b", stream(t, s, "r", "b", journal.StreamPlace{}, 100), "1.1:\x00\xff")
	page = must[journal.StreamPage](t)(s.ReadStream(ctx, "r", "a", journal.StreamPlace{Section: 1, Number: 6}, 100))
	first := journal.StreamSection{Stream: "a", Section: 1, Step: "step", Attempt: 1, Pieces: 5, Bytes: 16, Over: true}
	wantEqual(t, "the section of a place", page.At, first)
	wantEqual(t, "the newest section", page.Newest, int32(2))
	wantEqual(t, "the streams", must[[]journal.StreamInfo](t)(s.Streams(ctx, "r")), []journal.StreamInfo{
		{Name: "a", Pieces: 6, Bytes: 21, Newest: journal.StreamSection{Stream: "a", Section: 2, Step: "step", Attempt: 2, Pieces: 1, Bytes: 5}},
		{Name: "b", Pieces: 1, Bytes: 2, Newest: journal.StreamSection{Stream: "b", Section: 1, Step: "step", Attempt: 1, Pieces: 1, Bytes: 2}},
	})
	wantEqual(t, "the streams of no run", len(must[[]journal.StreamInfo](t)(s.Streams(ctx, "none"))), 0)
	for _, out := range write() {
		t.Errorf("of nothing comes %v", out)
	}
}

// testStreamsAndEntries: what changes sections is as durable as the entry, and nothing
// changes with one that is refused.
func testStreamsAndEntries(t *testing.T, s journal.Store) {
	sections(t, s, "r", 1, opens("a", 1))
	errs := s.Append(t.Context(), []journal.Append{
		{RunID: "r", Number: 1, Entry: []byte("late"), Row: newRow("r"), Streams: []journal.StreamChange{closes("a", 1), opens("a", 2)}},
		{RunID: "q", Number: 1, Entry: []byte("q"), Row: newRow("q"), Streams: []journal.StreamChange{opens("a", 1)}},
		{RunID: "q", Number: 2, Entry: []byte("q2"), Streams: []journal.StreamChange{closes("a", 1), opens("a", 2), opens("c", 1)}},
	})
	wantCode(t, "an entry that is late", errs[0], messages.CodeJournalConflict)
	if errs[1] != nil || errs[2] != nil {
		t.Fatal(errs)
	}
	got := s.WriteStreams(t.Context(), []journal.StreamWrite{
		pieces("r", "a", 1, 1, "x"), pieces("r", "a", 2, 1, "x"), pieces("q", "a", 1, 1, "x"), pieces("q", "a", 2, 1, "x"), pieces("q", "c", 1, 1, "x")})
	for i, code := range []messages.Code{"", messages.CodeStaleAttempt, messages.CodeStaleAttempt, "", ""} {
		wantCode(t, fmt.Sprintf("write %d", i), got[i].Err, code)
	}
	sections(t, s, "r", 2, journal.StreamChange{Stream: "b", Section: 1, Step: "step", Attempt: 1, Over: true}, opens("a", 1), closes("x", 9))
	got = s.WriteStreams(t.Context(), []journal.StreamWrite{pieces("r", "b", 1, 1, "x"), pieces("r", "a", 1, 2, "y"), pieces("r", "x", 9, 1, "x")})
	for i, code := range []messages.Code{messages.CodeStaleAttempt, "", messages.CodeStaleAttempt} {
		wantCode(t, fmt.Sprintf("write %d", i), got[i].Err, code)
	}
	wantEqual(t, "the stream", stream(t, s, "r", "a", journal.StreamPlace{}, 100), "1.1:x 1.2:y")
}

// testStreamsAreDeleted with their run, large ones too, and those of others are not.
func testStreamsAreDeleted(t *testing.T, s journal.Store) {
	for _, run := range []string{"r", "stays"} {
		sections(t, s, run, 1, opens("a", 1))
		var batch []journal.StreamWrite
		for first := uint64(1); first <= 300; first++ {
			batch = append(batch, pieces(run, "a", 1, first, "x"))
		}
		for _, out := range s.WriteStreams(t.Context(), batch) {
			if out.Err != nil {
				t.Fatal(out.Err)
			}
		}
	}
	row := newRow("r", func(r *journal.Row) { r.Status, r.FinishedAt = succeeded, epoch })
	if errs := s.Append(t.Context(), []journal.Append{{RunID: "r", Number: 2, Entry: []byte("end"), Row: row, Streams: []journal.StreamChange{closes("a", 1)}}}); errs[0] != nil {
		t.Fatal(errs[0])
	}
	if n := must[int](t)(s.DeleteFinished(t.Context(), epoch.Add(time.Hour), 10)); n != 1 {
		t.Errorf("%d runs were deleted", n)
	}
	wantEqual(t, "streams of a deleted run", len(must[[]journal.StreamInfo](t)(s.Streams(t.Context(), "r"))), 0)
	sections(t, s, "r", 1, opens("a", 1))
	wantEqual(t, "a run of the same id", stream(t, s, "r", "a", journal.StreamPlace{}, 100), "")
	wantEqual(t, "pieces of another run", len(strings.Fields(stream(t, s, "stays", "a", journal.StreamPlace{}, 1<<20))), 300)
}

// testConcurrentStreams: however many write the same to a section, while others end it,
// it has no gap and nothing twice.
func testConcurrentStreams(t *testing.T, s journal.Store) {
	sections(t, s, "r", 1, opens("a", 1), opens("b", 1))
	var writers sync.WaitGroup
	for range 4 {
		writers.Go(func() {
			for first := uint64(1); first <= 40; first++ {
				batch := []journal.StreamWrite{pieces("r", "a", 1, first, fmt.Sprint(first)), pieces("r", "b", 1, first, fmt.Sprint(first))}
				for _, out := range s.WriteStreams(t.Context(), batch) {
					if code := messages.CodeOf(out.Err); code != "" && code != messages.CodeStaleAttempt {
						t.Errorf("piece %d: %v", first, out.Err)
					}
				}
			}
		})
	}
	sections(t, s, "r", 2, closes("b", 1))
	had := stream(t, s, "r", "b", journal.StreamPlace{}, 1000)
	writers.Wait()
	wantEqual(t, "a section that is over", stream(t, s, "r", "b", journal.StreamPlace{}, 1000), had)
	var want bytes.Buffer
	for n := 1; n <= 40; n++ {
		fmt.Fprintf(&want, " 1.%d:%d", n, n)
	}
	wantEqual(t, "the stream", " "+stream(t, s, "r", "a", journal.StreamPlace{}, 1000), want.String())
}
