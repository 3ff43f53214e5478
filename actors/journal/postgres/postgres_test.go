package postgres_test

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/journal/journaltest"
	"github.com/limpetrun/limpet/actors/journal/postgres"
	"github.com/limpetrun/limpet/actors/journal/postgres/postgrestest"
)

// patience is how long anything may take on a busy machine.
const patience = 120 * time.Second

// server is shared by the tests that do it no harm.
var server *postgrestest.Server

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var err error
	if server, err = postgrestest.Start(ctx, postgrestest.Config{}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := server.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}()
	return m.Run()
}

// database returns the URL of a new database of the server.
func database(tb testing.TB, server *postgrestest.Server) string {
	tb.Helper()
	url, err := server.NewDatabase(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	return url
}

func open(tb testing.TB, cfg postgres.Config) *postgres.Store {
	tb.Helper()
	store, err := postgres.Open(tb.Context(), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := store.Close(); err != nil {
			tb.Error(err)
		}
	})
	return store
}

func TestStore(t *testing.T) {
	t.Parallel()
	var urls sync.Map // of the stores
	openAt := func(t *testing.T, url string) journal.Store {
		store := open(t, postgres.Config{URL: url, Readers: 2, Commits: 2})
		urls.Store(store, url)
		return store
	}
	journaltest.Exercise(t, func(t *testing.T) journal.Store {
		return openAt(t, database(t, server))
	}, &journaltest.Options{Reopen: func(t *testing.T, closed journal.Store) journal.Store {
		url, _ := urls.Load(closed)
		return openAt(t, url.(string))
	}})
}
