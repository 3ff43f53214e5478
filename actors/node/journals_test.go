package node_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/journal/postgres"
	"github.com/limpetrun/limpet/actors/journal/postgres/postgrestest"
	"github.com/limpetrun/limpet/actors/journal/sqlite"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// Journals of earlier versions, one directory each: a SQLite file, a dump of a
// PostgreSQL database, and for both what the API says of the runs that had
// ended. Every version opens them all and goes on with their runs. They are never
// changed; a version whose formats are others adds a directory:
//
//	make journals NAME=2
const journalsDir = "testdata/journals"

var write = flag.String("write", "", "write the journals of this version to testdata/journals/NAME")

// endsWithin is how long the runs of an old journal have to end.
const endsWithin = 90 * time.Second

// kept is a kind of store, and how it is kept as a file.
type kept struct {
	file string
	// open opens what the file holds; a new store if data is nil. Its URL or path
	// is for save, once the store is closed.
	open func(t *testing.T, data []byte) (store journal.Store, where string)
	save func(t *testing.T, where string) []byte
}

func keptStores() []kept {
	var server *postgrestest.Server // is started when it is needed
	return []kept{{
		file: "sqlite.journal",
		open: func(t *testing.T, data []byte) (journal.Store, string) {
			path := filepath.Join(t.TempDir(), "journal.db")
			if data != nil {
				must(t, os.WriteFile(path, data, 0o600))
			}
			store, err := sqlite.Open(t.Context(), sqlite.Config{Path: path})
			must(t, err)
			return store, path
		},
		save: func(t *testing.T, path string) []byte {
			data, err := os.ReadFile(path)
			must(t, err)
			return data
		},
	}, {
		file: "postgres.sql",
		open: func(t *testing.T, data []byte) (journal.Store, string) {
			ctx := t.Context()
			var err error
			server, err = postgrestest.Start(ctx, postgrestest.Config{})
			must(t, err)
			t.Cleanup(func() { must(t, server.Close()) })
			url, err := server.Load(ctx, data)
			must(t, err)
			store, err := postgres.Open(ctx, postgres.Config{URL: url})
			must(t, err)
			return store, url
		},
		save: func(t *testing.T, url string) []byte {
			sql, err := server.Dump(t.Context(), url)
			must(t, err)
			return sql
		},
	}}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// workflowsFile is what the name of a file ends with that holds what the API says of
// the workflows that were changed by hand.
const workflowsFile = ".workflows.json"

// changed is that, by their names.
func (s *stage) changed() map[string]any {
	changed := map[string]any{}
	all, err := s.client.ListWorkflows(s.Context())
	must(s.T, err)
	for _, w := range all {
		if w.GetChosenAt() != nil || w.GetRetiredAt() != nil {
			changed[w.GetDefinition().GetName()] = s.asJSON(w)
		}
	}
	return changed
}

// asJSON is a message as JSON has it.
func (s *stage) asJSON(m proto.Message) (value any) {
	text, err := protojson.Marshal(m)
	must(s.T, err)
	must(s.T, json.Unmarshal(text, &value))
	return value
}

// ended is what the API says of the runs that have ended, by their ids.
func (s *stage) ended() map[string]any {
	ended := map[string]any{}
	for _, run := range s.list(messages.RunStatus_RUN_STATUS_SUCCEEDED, messages.RunStatus_RUN_STATUS_FAILED, messages.RunStatus_RUN_STATUS_CANCELED) {
		view, err := s.client.Run(run.GetRunId()).Get(s.Context())
		must(s.T, err)
		ended[run.GetRunId()] = s.asJSON(view)
	}
	return ended
}

func (s *stage) list(statuses ...messages.RunStatus) []*api.Run {
	page, err := s.client.ListRuns(s.Context(), &api.ListRunsRequest{PageSize: 1000, Statuses: statuses})
	must(s.T, err)
	return page.GetRuns()
}

// TestOldJournals: what was written by an earlier version is read as it was, and
// its runs go on and end.
func TestOldJournals(t *testing.T) {
	t.Parallel()
	versions, err := os.ReadDir(journalsDir)
	must(t, err)
	if len(versions) == 0 {
		t.Fatal("there is no journal in " + journalsDir)
	}
	found := &kinds{of: map[string]bool{}}
	t.Cleanup(func() {
		if missing := found.missing(); len(missing) > 0 {
			t.Errorf("no journal holds an event of kind %v: make journals NAME=…", missing)
		}
	})
	for _, v := range versions {
		for _, k := range keptStores() {
			t.Run(v.Name()+"/"+k.file, func(t *testing.T) {
				t.Parallel()
				data, err := os.ReadFile(filepath.Join(journalsDir, v.Name(), k.file))
				if errors.Is(err, os.ErrNotExist) {
					return // that version's is kept for the other store alone
				}
				must(t, err)
				ended, err := os.ReadFile(filepath.Join(journalsDir, v.Name(), k.file+".json"))
				must(t, err)
				workflows, err := os.ReadFile(filepath.Join(journalsDir, v.Name(), k.file+workflowsFile))
				if errors.Is(err, os.ErrNotExist) {
					workflows, err = []byte("{}"), nil // that version's could not be changed
				}
				must(t, err)
				goesOn(t, k, data, ended, workflows, found)
			})
		}
	}
}

func goesOn(t *testing.T, k kept, data, ended, workflows []byte, found *kinds) {
	store, _ := k.open(t, data)
	t.Cleanup(func() { must(t, store.Close()) })
	s := raise(t, store, new(story))
	s.find(found, store)
	var want map[string]any
	must(t, json.Unmarshal(ended, &want))
	have := s.ended()
	for id, view := range want {
		if err := differs("run "+id, have[id], view); err != nil {
			t.Error(err)
		}
	}
	if len(have) != len(want) {
		t.Errorf("%d runs have ended, not %d", len(have), len(want))
	}
	want = nil
	must(t, json.Unmarshal(workflows, &want))
	if err := differs("workflows", s.changed(), want); err != nil {
		t.Error(err)
	}
	unfinished := s.list(messages.RunStatus_RUN_STATUS_RUNNING)
	if len(unfinished) != len(results) {
		t.Errorf("%d runs are unfinished, not %d", len(unfinished), len(results))
	}
	s.workersAfter()
	ctx, cancel := context.WithTimeout(t.Context(), endsWithin)
	defer cancel()
	for _, run := range unfinished {
		var got any
		if err := s.client.Run(run.GetRunId()).Result(ctx, &got); err != nil {
			t.Errorf("a run of %s: %v", run.GetWorkflow(), err)
		} else if want := results[run.GetWorkflow()]; got != want {
			t.Errorf("a run of %s returned %v, not %v", run.GetWorkflow(), got, want)
		}
	}
}

// differs tells the first difference between a value that was encoded as JSON
// and what it was; a later version may say more of a run.
func differs(where string, have, want any) error {
	switch want := want.(type) {
	case map[string]any:
		fields, _ := have.(map[string]any)
		for name, value := range want {
			if err := differs(where+"."+name, fields[name], value); err != nil {
				return err
			}
		}
		return nil
	case []any:
		items, _ := have.([]any)
		if len(items) != len(want) {
			return fmt.Errorf("%s has %d items, it had %d", where, len(items), len(want))
		}
		for i := range want {
			if err := differs(fmt.Sprintf("%s[%d]", where, i), items[i], want[i]); err != nil {
				return err
			}
		}
		return nil
	}
	if !reflect.DeepEqual(have, want) {
		return fmt.Errorf("%s is %v, it was %v", where, have, want)
	}
	return nil
}

// kinds of events that were found, by name.
type kinds struct {
	mu sync.Mutex
	of map[string]bool
}

// find notes the kinds of the events of all runs of the store.
func (s *stage) find(found *kinds, store journal.Store) {
	found.mu.Lock()
	defer found.mu.Unlock()
	for _, run := range s.list() {
		record, err := store.Load(s.Context(), run.GetRunId())
		must(s.T, err)
		for _, data := range record.Entries {
			e := new(messages.Entry)
			must(s.T, messages.Unmarshal(data, e))
			for _, ev := range e.GetEvents() {
				m := ev.ProtoReflect()
				if f := m.WhichOneof(m.Descriptor().Oneofs().ByName("kind")); f != nil {
					found.of[string(f.Name())] = true
				}
			}
		}
	}
}

func (k *kinds) missing() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var missing []string
	all := new(messages.Event).ProtoReflect().Descriptor().Oneofs().ByName("kind").Fields()
	for i := range all.Len() {
		if name := string(all.Get(i).Name()); !k.of[name] {
			missing = append(missing, name)
		}
	}
	return missing
}

// TestWriteJournals writes what TestOldJournals reads.
func TestWriteJournals(t *testing.T) {
	if *write == "" {
		t.Skip("-write is not given")
	}
	dir := filepath.Join(journalsDir, *write)
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("%s is there: journals that a version has written are not changed", dir)
	}
	must(t, os.MkdirAll(dir, 0o755))
	for _, k := range keptStores() {
		t.Run(k.file, func(t *testing.T) {
			store, where := k.open(t, nil)
			s := raise(t, store, &story{writing: true, waits: make(chan string, 100)})
			s.tellEvery(store)
			s.tell()
			s.tellWorkflows(store)
			found := &kinds{of: map[string]bool{}}
			if s.find(found, store); len(found.missing()) > 0 {
				t.Errorf("the journal holds no event of kind %v", found.missing())
			}
			text, err := json.MarshalIndent(s.ended(), "", "  ")
			must(t, err)
			workflows, err := json.MarshalIndent(s.changed(), "", "  ")
			must(t, err)
			s.fall()
			must(t, store.Close())
			must(t, os.WriteFile(filepath.Join(dir, k.file), k.save(t, where), 0o644))
			must(t, os.WriteFile(filepath.Join(dir, k.file+".json"), append(text, '\n'), 0o644))
			must(t, os.WriteFile(filepath.Join(dir, k.file+workflowsFile), append(workflows, '\n'), 0o644))
		})
	}
}

// sorted keys of a map, for messages.
func sorted[V any](m map[string]V) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
