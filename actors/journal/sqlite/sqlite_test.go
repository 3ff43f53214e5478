package sqlite_test

import (
	"path/filepath"
	"sync"
	"testing"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/journal/journaltest"
	"github.com/limpetrun/limpet/actors/journal/sqlite"
)

func TestStore(t *testing.T) {
	t.Parallel()
	var paths sync.Map // of the stores
	journaltest.Exercise(t, func(t *testing.T) journal.Store {
		path := filepath.Join(t.TempDir(), "new", "journal.db")
		store := open(t, sqlite.Config{Path: path})
		paths.Store(store, path)
		return store
	}, &journaltest.Options{Reopen: func(t *testing.T, closed journal.Store) journal.Store {
		path, _ := paths.Load(closed)
		store := open(t, sqlite.Config{Path: path.(string)})
		paths.Store(store, path)
		return store
	}})
}
