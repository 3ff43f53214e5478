package journaltest

import (
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
)

func testTokens(t *testing.T, s journal.Store) {
	ctx := t.Context()
	put := func(id, data string) {
		t.Helper()
		if err := s.PutToken(ctx, journal.Token{ID: id, Data: []byte(data)}); err != nil {
			t.Fatal(err)
		}
	}
	want := func(what string, tokens ...journal.Token) {
		t.Helper()
		if got := must[[]journal.Token](t)(s.Tokens(ctx)); len(got)+len(tokens) > 0 {
			wantEqual(t, what, got, tokens)
		}
	}
	want("none")
	put("b", "1")
	put("a", "\x00\xff")
	put("b", "2")
	want("replaced, by their ids", journal.Token{ID: "a", Data: []byte("\x00\xff")}, journal.Token{ID: "b", Data: []byte("2")})
	for id, there := range map[string]bool{"a": true, "c": false, "a\x00": false} {
		if got := must[bool](t)(s.DeleteToken(ctx, id)); got != there {
			t.Errorf("delete %q: there is %v", id, got)
		}
	}
	want("deleted", journal.Token{ID: "b", Data: []byte("2")})
	if must[bool](t)(s.DeleteToken(ctx, "a")) {
		t.Error("a deleted token is there")
	}
}

func testAudit(t *testing.T, s journal.Store) {
	ctx := t.Context()
	read := func(before int64, limit int) (out []string, last int64) {
		t.Helper()
		for _, c := range must[[]journal.AuditChunk](t)(s.ReadAudit(ctx, before, limit)) {
			if c.Seq <= 0 || last != 0 && c.Seq >= last || !c.At.Equal(epoch.Add(time.Duration(c.Data[0]-'a')*time.Hour)) || c.Records != int(c.Data[0]-'a'+1) {
				t.Errorf("chunk %+v after %d", c, last)
			}
			out, last = append(out, string(c.Data)), c.Seq
		}
		return out, last
	}
	want := func(what string, chunks ...string) {
		t.Helper()
		got, _ := read(0, 100)
		wantEqual(t, what, got, chunks)
	}
	want("none")
	for i, data := range []string{"a", "b", "c", "d"} {
		if err := s.WriteAudit(ctx, journal.AuditChunk{At: epoch.Add(time.Duration(i) * time.Hour), Records: i + 1, Data: []byte(data)}); err != nil {
			t.Fatal(err)
		}
	}
	want("all, the newest first", "d", "c", "b", "a")
	page, last := read(0, 2)
	wantEqual(t, "a page", page, []string{"d", "c"})
	page, _ = read(last, 2)
	wantEqual(t, "the next page", page, []string{"b", "a"})
	if none, _ := read(0, 0); none != nil {
		t.Errorf("a limit of 0: %v", none)
	}
	trim := func(older time.Duration, records int64, gone int) {
		t.Helper()
		wantEqual(t, "trimmed", must[int](t)(s.TrimAudit(ctx, epoch.Add(older), records)), gone)
	}
	trim(0, 10, 0)
	trim(time.Hour, 10, 1) // what is as old stays
	want("the oldest has gone", "d", "c", "b")
	trim(0, 8, 1) // d and c have 7 records
	want("there were too many", "d", "c")
	trim(0, 3, 2)
	want("none fits")
	if err := s.WriteAudit(ctx, journal.AuditChunk{At: epoch, Records: 1, Data: []byte("a")}); err != nil {
		t.Fatal(err)
	}
	if _, seq := read(0, 1); seq <= last {
		t.Errorf("seq %d came again after %d", seq, last)
	}
}
