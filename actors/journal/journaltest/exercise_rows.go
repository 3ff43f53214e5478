package journaltest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/messages"
)

// fullRow has a value in every field that an unfinished run can have.
func fullRow(id string) journal.Row {
	return journal.Row{
		RunID: id, Shard: 1023, Workflow: "index-and-ask", DefinitionHash: "h1", Pool: "gpu",
		Sticky: messages.Sticky_STICKY_HARD, Status: running, Priority: 3, ParentRun: "parent",
		Trigger: "event:corpus:new", BoundWorker: "w1", Epoch: 1<<63 + 7, Dormant: true,
		WakeAt: epoch.Add(time.Hour), WakeOnUp: "w2", WakeOnGone: "w3",
		Line: -1 << 62, LineSince: epoch.Add(time.Second),
		CreatedAt: epoch, FinishedAt: epoch.Add(time.Minute),
		FailureCode: "STEP_FAILED", FailureMessage: "step \"ask\": it said – no",
	}
}

func testRowIsKept(t *testing.T, s journal.Store) {
	want := fullRow("a")
	v := reflect.ValueOf(want)
	for i := range v.NumField() {
		if v.Field(i).IsZero() && v.Type().Field(i).Name != "LastWorker" {
			t.Fatalf("fullRow has no value for %s", v.Type().Field(i).Name)
		}
	}
	given := want
	zone := time.FixedZone("elsewhere", 3600)
	given.CreatedAt = given.CreatedAt.Add(499 * time.Nanosecond).In(zone)
	given.WakeAt = given.WakeAt.Add(999 * time.Nanosecond).In(zone)
	create(t, s, &given)
	check := func(what string, number uint64, row *journal.Row) {
		t.Helper()
		put(t, s, "a", number, row)
		rec := must[journal.Record](t)(s.Load(t.Context(), "a"))
		wantEqual(t, what+", loaded", rec.Row, want)
		rows, _, err := s.List(t.Context(), journal.Filter{}, 10, "")
		if err != nil {
			t.Fatal(err)
		}
		wantEqual(t, what+", listed", rows, []journal.Row{want})
	}
	check("without a row", 2, nil)
	check("with the same row", 3, &given)
	// Each field by itself goes to zero and comes back.
	number := uint64(4)
	full := want
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		switch name {
		case "RunID", "Shard", "Workflow", "ParentRun", "CreatedAt":
			continue
		}
		reflect.ValueOf(&want).Elem().Field(i).SetZero()
		given := want
		check("without "+name, number, &given)
		want = full
		check("with "+name, number+1, &full)
		number += 2
	}
	moved := full
	moved.Shard, moved.CreatedAt, moved.Workflow, moved.ParentRun = 5, epoch.Add(time.Hour), "other", ""
	check("shard, creation, workflow and parent never change", number, &moved)
}

func testRowOfFinishedRun(t *testing.T, s journal.Store) {
	row := fullRow("a")
	create(t, s, &row)
	for i, status := range []messages.RunStatus{succeeded, failed, canceled} {
		ended := fullRow("a")
		ended.Status, ended.LastWorker = status, fmt.Sprint("w", i+1)
		put(t, s, "a", uint64(2*i+2), &ended)
		want := ended
		want.BoundWorker, want.Dormant = "", false
		rec := must[journal.Record](t)(s.Load(t.Context(), "a"))
		wantEqual(t, "row of a finished run", rec.Row, want)
		wantEqual(t, "bound", must[map[string]int](t)(s.BoundCounts(t.Context(), "gpu")), map[string]int{})
		if due, _, err := s.Due(t.Context(), nil, epoch.Add(24*time.Hour), 10); err != nil || len(due) > 0 {
			t.Errorf("a finished run is due: %v %v", due, err)
		}
		put(t, s, "a", uint64(2*i+3), &row) // replayed
		rec = must[journal.Record](t)(s.Load(t.Context(), "a"))
		wantEqual(t, "row of a replayed run", rec.Row, row)
		wantEqual(t, "bound again", must[map[string]int](t)(s.BoundCounts(t.Context(), "gpu")), map[string]int{"w1": 1})
	}
}

func testSlices(t *testing.T, s journal.Store) {
	entry, row := entryOf("a", 1), newRow("a")
	for _, err := range s.Append(t.Context(), []journal.Append{{RunID: "a", Number: 1, Entry: entry, Row: row}}) {
		wantCode(t, "append", err, "")
	}
	clear(entry)
	row.Workflow = "scribbled"
	for range 2 {
		wantEntries(t, s, "a", 1)
		rec := must[journal.Record](t)(s.Load(t.Context(), "a"))
		wantEqual(t, "workflow", rec.Row.Workflow, "w")
		clear(rec.Entries[0])
		clear(must[journal.Record](t)(s.Entries(t.Context(), "a", 0, 1)).Entries[0])
		clear(must[[]byte](t)(s.Entry(t.Context(), "a", 1)))
		for _, rec := range must[[]journal.Record](t)(s.Active(t.Context(), nil, "", 10)) {
			clear(rec.Entries[0])
		}
	}
	data := []byte("definition")
	if err := s.PutDefinition(t.Context(), journal.Definition{Hash: "h", Name: "w", Data: data, RegisteredAt: epoch}); err != nil {
		t.Fatal(err)
	}
	clear(data)
	for range 2 {
		d := must[journal.Definition](t)(s.Definition(t.Context(), "h"))
		wantEqual(t, "definition", string(d.Data), "definition")
		clear(d.Data)
		clear(must[[]journal.Workflow](t)(s.Workflows(t.Context()))[0].Data)
	}
	counts := must[map[string]int](t)(s.BoundCounts(t.Context(), "default"))
	counts["w9"] = 9
	wantEqual(t, "bound", must[map[string]int](t)(s.BoundCounts(t.Context(), "default")), map[string]int{})
}

func testLargeEntries(t *testing.T, s journal.Store) {
	rng := rand.New(rand.NewPCG(1, 2))
	var batch []journal.Append
	for i, size := range []int{1, 1000, 4096, 65536, 1 << 20, 2 << 20} {
		entry := make([]byte, size)
		for k := range entry {
			entry[k] = byte(rng.Uint32())
		}
		a := journal.Append{RunID: "a", Number: uint64(i + 1), Entry: entry}
		if i == 0 {
			a.Row = newRow("a")
		}
		batch = append(batch, a)
	}
	for i, err := range s.Append(t.Context(), batch) {
		wantCode(t, fmt.Sprint("append ", i), err, "")
	}
	rec := must[journal.Record](t)(s.Load(t.Context(), "a"))
	for i := range batch {
		if !bytes.Equal(rec.Entries[i], batch[i].Entry) {
			t.Errorf("entry %d of %d bytes came back different", i+1, len(batch[i].Entry))
		}
	}
}

func testLongHistory(t *testing.T, s journal.Store) {
	const entries, batch = 3000, 500
	for from := 0; from < entries; from += batch {
		var appends []journal.Append
		for n := uint64(from + 1); n <= uint64(from+batch); n++ {
			a := journal.Append{RunID: "a", Number: n, Entry: entryOf("a", n)}
			if n == 1 {
				a.Row = newRow("a")
			}
			appends = append(appends, a)
		}
		for _, err := range s.Append(t.Context(), appends) {
			wantCode(t, "append", err, "")
		}
	}
	wantEntries(t, s, "a", entries)
	var after uint64
	for {
		page := must[journal.Record](t)(s.Entries(t.Context(), "a", after, 700)).Entries
		for i, e := range page {
			if want := entryOf("a", after+uint64(i)+1); !bytes.Equal(e, want) {
				t.Fatalf("entry %q, want %q", e, want)
			}
		}
		if after += uint64(len(page)); len(page) == 0 {
			break
		}
	}
	wantEqual(t, "entries read in pages", after, uint64(entries))
}
