package journaltest

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/messages"
)

// logged is a chunk of a run's log.
func logged(runID, step string, attempt int32, first int64, data string) journal.LogWrite {
	return journal.LogWrite{RunID: runID, Step: step, Attempt: attempt, First: first, Data: []byte(data)}
}

// logOf is all of a run's log, read in pages.
func logOf(t *testing.T, s journal.Store, runID string, after int64, bytesMax int) string {
	t.Helper()
	var out []string
	for {
		page := must[[]journal.StoredLog](t)(s.ReadLog(t.Context(), runID, after, bytesMax))
		if len(page) == 0 {
			return strings.Join(out, " ")
		}
		for _, c := range page {
			if c.Place <= after {
				t.Fatalf("place %d comes after %d", c.Place, after)
			}
			after = c.Place
			out = append(out, string(c.Data))
		}
	}
}

func writeLogs(t *testing.T, s journal.Store, batch ...journal.LogWrite) {
	t.Helper()
	if err := s.WriteLogs(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
}

func testLogs(t *testing.T, s journal.Store) {
	for _, run := range []string{"r", "q"} {
		if errs := s.Append(t.Context(), []journal.Append{{RunID: run, Number: 1, Entry: []byte("e"), Row: newRow(run)}}); errs[0] != nil {
			t.Fatal(errs[0])
		}
	}
	wantEqual(t, "a log of nothing", logOf(t, s, "r", 0, 100), "")
	wantEqual(t, "a log of no run", logOf(t, s, "none", 0, 100), "")
	writeLogs(t, s)
	writeLogs(t, s, logged("r", "a", 1, 1, "a1"), logged("none", "a", 1, 1, "lost"), logged("r", "b", 1, 1, "b1"), logged("q", "a", 1, 1, "other"))
	writeLogs(t, s, logged("r", "a", 1, 2, "a2"), logged("r", "a", 1, 1, "again"), logged("r", "a", 2, 1, "a#2"), logged("r", "a", 1, -7, "\x00\xff"))
	const all = "a1 b1 a2 a#2 \x00\xff"
	for _, bytesMax := range []int{0, 1, 5, 1 << 20} {
		wantEqual(t, "the log", logOf(t, s, "r", 0, bytesMax), all)
	}
	first := must[[]journal.StoredLog](t)(s.ReadLog(t.Context(), "r", 0, 1))
	wantEqual(t, "a page of one", len(first), 1)
	wantEqual(t, "what comes after it", logOf(t, s, "r", first[0].Place, 100), strings.TrimPrefix(all, "a1 "))
	wantEqual(t, "the log of another run", logOf(t, s, "q", 0, 100), "other")
}

// testLogsAreBounded: what was stored first goes first, when another attempt begins.
func testLogsAreBounded(t *testing.T, s journal.Store) {
	for _, run := range []string{"r", "q"} {
		if errs := s.Append(t.Context(), []journal.Append{{RunID: run, Number: 1, Entry: []byte("e"), Row: newRow(run)}}); errs[0] != nil {
			t.Fatal(errs[0])
		}
	}
	large := string(bytes.Repeat([]byte("x"), messages.LogRunBytesMax/4))
	writeLogs(t, s, logged("q", "a", 1, 1, "other"))
	for first := int64(1); first <= 6; first++ {
		writeLogs(t, s, logged("r", "a", 1, first, fmt.Sprint(first)+large[1:]))
	}
	kept := func() (firsts string) {
		for _, c := range strings.Fields(logOf(t, s, "r", 0, 1<<20)) {
			firsts += c[:1]
		}
		return firsts
	}
	wantEqual(t, "what one attempt has logged", kept(), "123456")
	writeLogs(t, s, logged("r", "b", 1, 1, "b"))
	wantEqual(t, "what is kept when another begins", kept(), "456b")
	wantEqual(t, "the log of another run", logOf(t, s, "q", 0, 100), "other")
}

func testLogsAreDeleted(t *testing.T, s journal.Store) {
	for _, run := range []string{"r", "stays"} {
		if errs := s.Append(t.Context(), []journal.Append{{RunID: run, Number: 1, Entry: []byte("e"), Row: newRow(run)}}); errs[0] != nil {
			t.Fatal(errs[0])
		}
		writeLogs(t, s, logged(run, "a", 1, 1, "x"), logged(run, "a", 1, 2, "y"))
	}
	row := newRow("r", func(r *journal.Row) { r.Status, r.FinishedAt = succeeded, epoch })
	if errs := s.Append(t.Context(), []journal.Append{{RunID: "r", Number: 2, Entry: []byte("end"), Row: row}}); errs[0] != nil {
		t.Fatal(errs[0])
	}
	if n := must[int](t)(s.DeleteFinished(t.Context(), epoch.Add(time.Hour), 10)); n != 1 {
		t.Errorf("%d runs were deleted", n)
	}
	if errs := s.Append(t.Context(), []journal.Append{{RunID: "r", Number: 1, Entry: []byte("e"), Row: newRow("r")}}); errs[0] != nil {
		t.Fatal(errs[0])
	}
	wantEqual(t, "a run of the same id", logOf(t, s, "r", 0, 100), "")
	wantEqual(t, "the log of another run", logOf(t, s, "stays", 0, 100), "x y")
}
