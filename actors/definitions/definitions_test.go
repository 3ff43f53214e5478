package definitions

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/cluster/clustertest/bubble"
	"github.com/limpetrun/limpet/messages"
	"google.golang.org/protobuf/proto"
)

// readsCounted counts the readings of all definitions, which take a while.
type readsCounted struct {
	journal.Store
	n atomic.Int32
}

func (s *readsCounted) Workflows(ctx context.Context) ([]journal.Workflow, error) {
	s.n.Add(1)
	all, err := s.Store.Workflows(ctx)
	time.Sleep(50 * time.Millisecond)
	return all, err
}

// Many ask for the current version while another server registers a newer one:
// one reading at a time, nobody waits for it but the first, and the newer one is
// seen within a second.
func TestDefinitionsAreReadByOne(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		store := &readsCounted{Store: journal.NewMemory()}
		d := New(store)
		put := func(def *messages.WorkflowDefinition) {
			data, err := proto.Marshal(def)
			if err != nil {
				t.Fatal(err)
			}
			err = store.PutDefinition(t.Context(), journal.Definition{Hash: messages.HashDefinition(def), Name: def.Name, Data: data, RegisteredAt: time.Now()})
			if err != nil {
				t.Fatal(err)
			}
		}
		put(build(1))
		var newer, seen atomic.Int64
		var slowest atomic.Int64
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				for i := range 1000 {
					begin := time.Now()
					def, err := d.Current(t.Context(), "build")
					if err != nil {
						t.Error(err)
						return
					}
					if took := time.Since(begin); i > 0 && int64(took) > slowest.Load() {
						slowest.Store(int64(took))
					}
					if def.Def.Steps[0].Retries == 2 {
						seen.CompareAndSwap(0, time.Now().UnixNano())
					}
					time.Sleep(10 * time.Millisecond)
				}
			})
		}
		time.Sleep(3 * time.Second)
		newer.Store(time.Now().UnixNano())
		put(build(2))
		all.Wait()
		if n := store.n.Load(); n < 10 || n > 25 {
			t.Errorf("the definitions were read %d times in 10 s", n)
		}
		if late := time.Duration(seen.Load() - newer.Load()); late <= 0 || late > time.Second {
			t.Errorf("the newer version was seen after %v", late)
		}
		if slow := time.Duration(slowest.Load()); slow > 0 {
			t.Errorf("a call took %v", slow)
		}
		// What is registered here is seen at once.
		put(build(3))
		d.Forget()
		if def, err := d.Current(t.Context(), "build"); err != nil || def.Def.Steps[0].Retries != 3 {
			t.Errorf("after its registration: %v, %v", def, err)
		}
	})
}

// What nobody asks for is forgotten beyond a number of bytes, the oldest first, and
// read again when somebody asks.
func TestKeptVersionsAreBounded(t *testing.T) {
	d := New(journal.NewMemory())
	const size = keptBytesMax / 4
	for i := range 6 {
		d.add(&Definition{Hash: string(rune('a' + i)), bytes: size})
		d.cached("a")
	}
	for hash, kept := range map[string]bool{"a": true, "b": false, "c": false, "d": true, "e": true, "f": true} {
		if (d.cached(hash) != nil) != kept {
			t.Errorf("version %s is kept: %v", hash, !kept)
		}
	}
	d.add(&Definition{Hash: "f", bytes: size})
	if d.keptBytes != 4*size {
		t.Errorf("%d bytes are counted, %d are kept", d.keptBytes, 4*size)
	}
	d.add(&Definition{Hash: "huge", bytes: 2 * keptBytesMax})
	if d.byHash.Len() != 1 || d.cached("huge") == nil {
		t.Errorf("beside one that is larger than the bound, %d are kept", d.byHash.Len()-1)
	}
}

func build(retries int32) *messages.WorkflowDefinition {
	return &messages.WorkflowDefinition{Name: "build", Steps: []*messages.StepDefinition{{Name: "work", Retries: retries}}}
}

// Whoever runs an old version is told that it is not the current one; it is that
// again when somebody chooses it, and no more when a new one comes.
func TestVersionsOfAWorkflow(t *testing.T) {
	ctx := t.Context()
	store := journal.NewMemory()
	here, there := New(store), New(store)
	began := time.Unix(1_700_000_000, 0)
	register := func(retries int32, after time.Duration, want ...string) {
		t.Helper()
		notices, err := there.Register(ctx, []*messages.WorkflowDefinition{build(retries)}, began.Add(after))
		if err != nil || len(notices) != len(want) {
			t.Fatalf("notices %q, %v, want %q", notices, err, want)
		}
		for i := range want {
			if !strings.Contains(notices[i], want[i]) {
				t.Errorf("notice %q does not say %q", notices[i], want[i])
			}
		}
	}
	current := func(retries int32) {
		t.Helper()
		here.Forget()
		if w, err := here.Current(ctx, "build"); err != nil || w.Def.Steps[0].Retries != retries {
			t.Errorf("current is %v, %v, want %d", w.Def, err, retries)
		}
	}
	hash := func(retries int32) string { return messages.HashDefinition(build(retries)) }

	register(1, 0)
	register(2, time.Minute)
	// The old process crashes and comes back.
	register(1, time.Hour, "which was registered after it, and not with this worker's, "+hash(1)+"; `limpet workflow use build "+hash(1)+"`")
	current(2)
	if w, err := here.Use(ctx, "build", strings.ToUpper(hash(1)[:8]), began.Add(2*time.Hour)); err != nil || w.Hash != hash(1) || w.ChosenAt.IsZero() {
		t.Fatalf("chosen %v, %v", w, err)
	}
	current(1)
	there.Forget()
	register(1, 3*time.Hour)
	register(2, 3*time.Hour, "which was chosen by hand")
	current(1)
	register(3, 4*time.Hour)
	current(3)

	versions, w, err := here.Versions(ctx, "build")
	if err != nil || len(versions) != 3 || versions[0].Hash != hash(3) || w.Hash != hash(3) || !w.ChosenAt.IsZero() {
		t.Errorf("versions %v, current %v, %v", versions, w, err)
	}
	for what, c := range map[string]struct {
		name, hash string
		code       messages.Code
		says       string
	}{
		"unknown name":    {"biuld", hash(1), messages.CodeUnknownWorkflow, `did you mean "build"?`},
		"unknown version": {"build", "xyz", messages.CodeUnknownWorkflow, "limpet workflow versions build"},
		"several":         {"build", "", messages.CodeInvalidArgument, "3 versions"},
	} {
		if _, err := here.Use(ctx, c.name, c.hash, began); messages.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", what, err)
		}
	}
	// The version of another workflow is none of this one.
	other := &messages.WorkflowDefinition{Name: "other", Steps: []*messages.StepDefinition{{Name: "work"}}}
	if _, err := there.Register(ctx, []*messages.WorkflowDefinition{other}, began); err != nil {
		t.Fatal(err)
	}
	if _, err := here.Use(ctx, "build", messages.HashDefinition(other), began); messages.CodeOf(err) != messages.CodeUnknownWorkflow {
		t.Errorf("the version of another workflow: %v", err)
	}
}

// What a worker is told is bounded.
func TestNoticesAreBounded(t *testing.T) {
	d := New(journal.NewMemory())
	var old, newer []*messages.WorkflowDefinition
	for i := range noticesMost + 5 {
		for retries, defs := range map[int32]*[]*messages.WorkflowDefinition{1: &old, 2: &newer} {
			def := build(retries)
			def.Name = fmt.Sprint("build-", i)
			*defs = append(*defs, def)
		}
	}
	_, err1 := d.Register(t.Context(), old, time.Unix(1, 0))
	_, err2 := d.Register(t.Context(), newer, time.Unix(2, 0))
	notices, err3 := d.Register(t.Context(), old, time.Unix(3, 0))
	if err := errors.Join(err1, err2, err3); err != nil || len(notices) != noticesMost+1 || !strings.HasPrefix(notices[noticesMost], "5 notices more") {
		t.Errorf("%d notices, %q, %v", len(notices), notices[len(notices)-1], err)
	}
}

// A version that cannot be stored is not known.
func TestRegisterFails(t *testing.T) {
	store := journal.NewMemory()
	d := New(store)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Register(ctx, []*messages.WorkflowDefinition{build(1)}, time.Now()); messages.CodeOf(err) != messages.CodeJournalUnavailable {
		t.Errorf("got %v", err)
	}
	if _, err := d.Current(t.Context(), "build"); messages.CodeOf(err) != messages.CodeUnknownWorkflow {
		t.Errorf("got %v", err)
	}
}

// A worker that brings a workflow which nobody served is noted before it is
// admitted; nothing is written for one that was served.
func TestRegisterNotesThatItIsServed(t *testing.T) {
	ctx := t.Context()
	store := &notesCounted{Store: journal.NewMemory()}
	d := New(store)
	register := func(when string, notes int32) {
		t.Helper()
		if _, err := d.Register(ctx, []*messages.WorkflowDefinition{build(1)}, time.Now()); err != nil {
			t.Fatal(err)
		}
		if w, err := d.Current(ctx, "build"); err != nil || !w.UnservedSince.IsZero() || store.n.Load() != notes {
			t.Errorf("%s: %v, %v, %d notes", when, w, err, store.n.Load())
		}
	}
	register("new", 0)
	register("served", 0)
	if err := d.NoteUnserved(ctx, []string{"build"}, time.Now()); err != nil {
		t.Fatal(err)
	}
	if w, err := d.Current(ctx, "build"); err != nil || w.UnservedSince.IsZero() || w.MayStart() != nil {
		t.Errorf("unserved: %v, %v", w, err)
	}
	register("unserved", 2)
	register("served again", 2)
}

// notesCounted counts what is noted of who serves what.
type notesCounted struct {
	journal.Store
	n atomic.Int32
}

func (s *notesCounted) NoteUnserved(ctx context.Context, names []string, since time.Time) error {
	s.n.Add(1)
	return s.Store.NoteUnserved(ctx, names, since)
}

// Whatever else, what is retired is so to events.
func TestMayStartByEvent(t *testing.T) {
	def, err := NewDefinition("h", build(1))
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now()
	for _, tc := range []struct {
		retired, unserved, leftOut time.Time
		start, event               messages.Code
	}{
		{},
		{unserved: at},
		{unserved: at, leftOut: at, event: messages.CodeWorkflowUnserved},
		{retired: at, start: messages.CodeWorkflowRetired, event: messages.CodeWorkflowRetired},
		{retired: at, unserved: at, leftOut: at, start: messages.CodeWorkflowRetired, event: messages.CodeWorkflowRetired},
	} {
		s := Served{Workflow: Workflow{Definition: def, RetiredAt: tc.retired, UnservedSince: tc.unserved}, LeftOutSince: tc.leftOut}
		if start, event := messages.CodeOf(s.MayStart()), messages.CodeOf(s.MayStartByEvent()); start != tc.start || event != tc.event {
			t.Errorf("%+v: start %s, by event %s", tc, start, event)
		}
	}
}

// What is retired here is retired there within a second, and a worker that brings
// it is told.
func TestRetired(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		ctx := t.Context()
		store := journal.NewMemory()
		here, there := New(store), New(store)
		def := []*messages.WorkflowDefinition{build(1)}
		if notices, err := here.Register(ctx, def, time.Now()); err != nil || notices != nil {
			t.Fatal(notices, err)
		}
		may := func(d *Cache) error {
			w, err := d.Current(ctx, "build")
			if err != nil {
				t.Fatal(err)
			}
			return w.MayStart()
		}
		if err := may(there); err != nil {
			t.Fatal(err)
		}
		at := time.Now()
		if w, err := here.Retire(ctx, "build", at); err != nil || !w.RetiredAt.Equal(at.Truncate(time.Microsecond)) {
			t.Fatal(w, err)
		}
		if err := may(here); messages.CodeOf(err) != messages.CodeWorkflowRetired {
			t.Errorf("here: %v", err)
		}
		time.Sleep(freshFor)
		if err := may(there); messages.CodeOf(err) != messages.CodeWorkflowRetired {
			t.Errorf("there: %v", err)
		}
		notices, err := there.Register(ctx, []*messages.WorkflowDefinition{build(2)}, time.Now())
		if err != nil || len(notices) != 1 || !strings.Contains(notices[0], "is retired") {
			t.Errorf("a new version: %q, %v", notices, err)
		}
		if _, err := there.Retire(ctx, "build", time.Time{}); err != nil || may(there) != nil {
			t.Errorf("restored: %v, %v", err, may(there))
		}
		if _, err := here.Retire(ctx, "biuld", at); messages.CodeOf(err) != messages.CodeUnknownWorkflow || !strings.Contains(err.Error(), `did you mean "build"`) {
			t.Errorf("an unknown one: %v", err)
		}
	})
}
