package sqlite_test

import (
	"path/filepath"
	"testing"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/journal/journaltest"
	"github.com/limpetrun/limpet/actors/journal/sqlite"
)

func TestStore(t *testing.T) {
	paths := make(map[journal.Store]string)
	journaltest.Exercise(t, func(t *testing.T) journal.Store {
		path := filepath.Join(t.TempDir(), "new", "journal.db")
		store := open(t, sqlite.Config{Path: path})
		paths[store] = path
		return store
	}, &journaltest.Options{Reopen: func(t *testing.T, closed journal.Store) journal.Store {
		store := open(t, sqlite.Config{Path: paths[closed]})
		paths[store] = paths[closed]
		return store
	}})
}
