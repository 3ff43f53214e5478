package localcluster

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"os"

	"github.com/limpetrun/limpet/actors/access"
	"github.com/limpetrun/limpet/actors/gateway/ui"
	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/journal/postgres"
	"github.com/limpetrun/limpet/actors/journal/sqlite"
	"github.com/limpetrun/limpet/actors/node"
	"github.com/limpetrun/limpet/actors/placement"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/cmd/internal/procs"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api/apiconnect"
)

// Stores that a server process can keep its journal in.
const (
	StoreSQLite = "sqlite"
	StoreMemory = "memory"
	// StorePostgres is a PostgreSQL database that several servers share.
	StorePostgres = "postgres"
)

// serverConfig goes to a server process.
type serverConfig struct {
	ID    string
	Store string
	// Journal is the file of a SQLite store.
	Journal string
	// PostgresURL of a PostgreSQL store.
	PostgresURL string
	// Addresses to listen at; those of an earlier process after its death.
	Addresses addresses
	// Join is gossip addresses of other servers.
	Join []string
	// Placement holds the rules of placement.
	Placement placement.Config
}

// addresses of a server process.
type addresses struct{ API, Gossip, Actors string }

// serverChild is a server process.
type serverChild struct {
	store  *meter
	server *node.Server
}

// ServerChild is the code of a server process.
func ServerChild() procs.Child { return &serverChild{} }

var _ procs.Child = (*serverChild)(nil)

func (s *serverChild) Start(ctx context.Context, config json.RawMessage) (any, error) {
	var c serverConfig
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, err
	}
	node.TuneProcess(processLogger())
	store, err := openStore(ctx, c)
	if err != nil {
		return nil, err
	}
	s.store = &meter{Store: store}
	s.server, err = node.Start(ctx, node.Config{
		ID: c.ID, Store: s.store, APIListen: c.Addresses.API, Bind: c.Addresses.Actors, Gossip: c.Addresses.Gossip,
		Join: c.Join, Preset: cluster.LocalConfig(), Placement: c.Placement, Logger: processLogger(),
		Pages: func(stopping context.Context, client apiconnect.LimpetServiceClient, doors access.Doors) http.Handler {
			return ui.New(stopping, ui.Config{Client: client, Doors: doors, Logger: processLogger()})
		},
	})
	if err != nil {
		return nil, errors.Join(err, s.store.Close())
	}
	return addresses{API: s.server.APIAddress(), Gossip: s.server.GossipAddress(), Actors: s.server.Node().Self().Address}, nil
}

func openStore(ctx context.Context, c serverConfig) (journal.Store, error) {
	switch c.Store {
	case StoreMemory:
		return journal.NewMemory(), nil
	case StoreSQLite:
		return sqlite.Open(ctx, sqlite.Config{Path: c.Journal})
	case StorePostgres:
		return postgres.Open(ctx, postgres.Config{URL: c.PostgresURL})
	}
	return nil, messages.Errorf(messages.CodeInvalidArgument, "store %q is not %s, %s or %s", c.Store, StoreSQLite, StorePostgres, StoreMemory)
}

// Orders that a server process knows.
const (
	// orderActive asks for the number of runs in memory.
	orderActive = "active"
	// orderJournaled asks for Journaled.
	orderJournaled = "journaled"
)

func (s *serverChild) Do(_ context.Context, order string, _ json.RawMessage) (any, error) {
	switch order {
	case orderActive:
		return s.server.ActiveRuns(), nil
	case orderJournaled:
		return s.store.read(), nil
	}
	return nil, messages.Errorf(messages.CodeInvalidArgument, "a server process knows no order %q", order)
}

func (s *serverChild) Done() <-chan error { return s.server.Done() }

func (s *serverChild) Stop(ctx context.Context) error {
	if s.server == nil {
		return nil
	}
	return errors.Join(s.server.Stop(ctx), s.store.Close())
}

// processLogger logs what the parent's log file of the process is to hold.
func processLogger() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
}
