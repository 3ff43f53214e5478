package journaltest

import (
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/messages"
)

func definition(hash, name, data string, at time.Duration) journal.Definition {
	return journal.Definition{Hash: hash, Name: name, Data: []byte(data), RegisteredAt: epoch.Add(at)}
}

func register(t *testing.T, s journal.Store, all ...journal.Definition) {
	t.Helper()
	for _, d := range all {
		if err := s.PutDefinition(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
}

func testDefinitions(t *testing.T, s journal.Store) {
	ctx := t.Context()
	first, second, index := definition("h1", "ask", "1", 0), definition("h2", "ask", "2", time.Second), definition("h3", "index", "3", 0)
	register(t, s, first, second, index)
	wantEqual(t, "by hash", must[journal.Definition](t)(s.Definition(ctx, "h2")), second)
	current := func() []journal.Workflow {
		t.Helper()
		return must[[]journal.Workflow](t)(s.Workflows(ctx))
	}
	wantEqual(t, "current", current(), []journal.Workflow{{Definition: second}, {Definition: index}})
	// Registered again, the first version does not come back, and nothing of it is
	// changed.
	register(t, s, definition("h1", "other", "9", time.Minute), definition("h2", "ask", "2", time.Hour))
	wantEqual(t, "current", current(), []journal.Workflow{{Definition: second}, {Definition: index}})
	wantEqual(t, "by hash", must[journal.Definition](t)(s.Definition(ctx, "h1")), first)
	// At the same microsecond the greater hash wins.
	register(t, s, definition("h0", "ask", "0", time.Second))
	wantEqual(t, "current", current()[0], journal.Workflow{Definition: second})
	register(t, s, definition("h9", "ask", "9", time.Second))
	wantEqual(t, "current", current()[0], journal.Workflow{Definition: definition("h9", "ask", "9", time.Second)})
	_, err := s.Definition(ctx, "h8")
	wantCode(t, "unknown hash", err, messages.CodeUnknownWorkflow)

	var hashes []string
	for _, d := range must[[]journal.Definition](t)(s.Versions(ctx, "ask", 10)) {
		if d.Name != "ask" || d.Data != nil {
			t.Errorf("version %+v", d)
		}
		hashes = append(hashes, d.Hash)
	}
	wantEqual(t, "versions", hashes, []string{"h9", "h2", "h0", "h1"})
	wantEqual(t, "registered at", must[[]journal.Definition](t)(s.Versions(ctx, "ask", 2))[1].RegisteredAt, second.RegisteredAt)
	for what, n := range map[string]int{
		"two":  len(must[[]journal.Definition](t)(s.Versions(ctx, "ask", 2))) - 2,
		"none": len(must[[]journal.Definition](t)(s.Versions(ctx, "ask", 0))),
		"less": len(must[[]journal.Definition](t)(s.Versions(ctx, "ask", -1))),
		"of nothing": len(must[[]journal.Definition](t)(s.Versions(ctx, "as", 10))) +
			len(must[[]journal.Definition](t)(s.Versions(ctx, "a\x00", 10))),
	} {
		wantEqual(t, "versions, "+what, n, 0)
	}
}

func testChosenVersions(t *testing.T, s journal.Store) {
	ctx := t.Context()
	versions := map[string]journal.Definition{}
	for i, hash := range []string{"h1", "h2", "h3"} {
		versions[hash] = definition(hash, "ask", hash, time.Duration(i)*time.Second)
		register(t, s, versions[hash])
	}
	register(t, s, definition("i1", "index", "1", 0))
	choose := func(hash string, at time.Duration) {
		t.Helper()
		if err := s.ChooseVersion(ctx, "ask", hash, epoch.Add(at)); err != nil {
			t.Fatal(err)
		}
	}
	want := func(what, hash string, chosen time.Time) {
		t.Helper()
		wantEqual(t, what, must[[]journal.Workflow](t)(s.Workflows(ctx)), []journal.Workflow{
			{Definition: versions[hash], ChosenAt: chosen}, {Definition: definition("i1", "index", "1", 0)}})
	}
	choose("h1", time.Minute)
	want("chosen", "h1", epoch.Add(time.Minute))
	choose("h1", time.Hour)
	want("chosen again", "h1", epoch.Add(time.Minute))
	choose("h2", 2*time.Minute)
	want("another one", "h2", epoch.Add(2*time.Minute))
	for _, unknown := range []string{"h9", "i1", "h\x00"} {
		choose(unknown, time.Hour)
		want("a hash that the name does not have", "h2", epoch.Add(2*time.Minute))
	}
	// A version that is there already does not take over, a new one does.
	register(t, s, definition("h3", "ask", "h3", time.Hour))
	want("registered again", "h2", epoch.Add(2*time.Minute))
	versions["h4"] = definition("h4", "ask", "h4", time.Hour)
	register(t, s, versions["h4"])
	want("a new version", "h4", time.Time{})
	// What is chosen is current, whatever time the clock shows; so is the newest.
	choose("h2", 0)
	want("chosen by a clock that is behind", "h2", epoch.Add(time.Hour+time.Microsecond))
	choose("h4", 2*time.Hour)
	want("the newest", "h4", epoch.Add(2*time.Hour))
}

func testRetiredWorkflows(t *testing.T, s journal.Store) {
	ctx := t.Context()
	ask, index := definition("h1", "ask", "1", 0), definition("i1", "index", "1", 0)
	register(t, s, ask, index)
	retire := func(what, name string, at time.Time, want time.Time) {
		t.Helper()
		if err := s.RetireWorkflow(ctx, name, at); err != nil {
			t.Fatal(err)
		}
		wantEqual(t, what, must[[]journal.Workflow](t)(s.Workflows(ctx)),
			[]journal.Workflow{{Definition: ask, RetiredAt: want}, {Definition: index}})
	}
	retire("not retired", "ask", time.Time{}, time.Time{})
	retire("retired", "ask", epoch, epoch)
	retire("again", "ask", epoch.Add(time.Hour), epoch)
	register(t, s, definition("h1", "ask", "1", time.Minute))
	retire("registered again", "ask", epoch.Add(time.Hour), epoch)
	ask = definition("h2", "ask", "2", time.Minute)
	register(t, s, ask)
	retire("a new version", "ask", epoch.Add(time.Hour), epoch)
	if err := s.ChooseVersion(ctx, "ask", "h1", epoch.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	w := must[[]journal.Workflow](t)(s.Workflows(ctx))[0]
	wantEqual(t, "chosen", w, journal.Workflow{Definition: definition("h1", "ask", "1", 0), ChosenAt: epoch.Add(time.Hour), RetiredAt: epoch})
	register(t, s, definition("h3", "ask", "3", 2*time.Hour))
	ask = definition("h3", "ask", "3", 2*time.Hour)
	retire("restored", "ask", time.Time{}, time.Time{})
	retire("restored again", "ask", time.Time{}, time.Time{})
	for _, name := range []string{"none", "", "a\x00"} {
		retire("a name without versions", name, epoch, time.Time{})
	}
	// Nothing is kept of it.
	later := definition("n1", "none", "1", time.Hour)
	register(t, s, later)
	wantEqual(t, "registered later", must[[]journal.Workflow](t)(s.Workflows(ctx))[2], journal.Workflow{Definition: later})
}

func testUnservedWorkflows(t *testing.T, s journal.Store) {
	ctx := t.Context()
	register(t, s, definition("a1", "a", "1", 0), definition("b1", "b", "1", 0), definition("c1", "c", "1", 0))
	note := func(what string, names []string, since time.Time, want ...time.Time) {
		t.Helper()
		if err := s.NoteUnserved(ctx, names, since); err != nil {
			t.Fatal(err)
		}
		var got []time.Time
		for _, w := range must[[]journal.Workflow](t)(s.Workflows(ctx)) {
			got = append(got, w.UnservedSince)
			wantEqual(t, what, w.RetiredAt, time.Time{})
		}
		wantEqual(t, what, got, want)
	}
	var served time.Time
	later := epoch.Add(time.Hour)
	note("none", nil, epoch, served, served, served)
	note("two", []string{"a", "c"}, epoch, epoch, served, epoch)
	note("all", []string{"a", "b", "c", "none", "x\x00"}, later, epoch, later, epoch)
	register(t, s, definition("a2", "a", "2", time.Minute))
	note("a new version", nil, later, epoch, later, epoch)
	note("served", []string{"c", "a", "none"}, served, served, later, served)
	note("served again", []string{"c"}, served, served, later, served)
	note("unserved again", []string{"c"}, later, served, later, later)
	if err := s.RetireWorkflow(ctx, "b", epoch); err != nil {
		t.Fatal(err)
	}
	if w := must[[]journal.Workflow](t)(s.Workflows(ctx))[1]; !w.RetiredAt.Equal(epoch) || !w.UnservedSince.Equal(later) {
		t.Errorf("retired and unserved: %+v", w)
	}
}
