package main

import (
	"context"
	"errors"
	"log/slog"
	"strings"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/journal/postgres"
	"github.com/limpetrun/limpet/actors/journal/sqlite"
	"github.com/limpetrun/limpet/actors/node"
	"github.com/limpetrun/limpet/actors/placement"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/cmd/limpet/internal/config"
	"github.com/limpetrun/limpet/messages"
)

// storedServer is a server with the store that it was started on.
type storedServer struct {
	*node.Server
	store journal.Store
}

// Stop stops the server, then closes the store.
func (s *storedServer) Stop(ctx context.Context) error {
	return errors.Join(s.Server.Stop(ctx), s.store.Close())
}

// startServer opens the store and starts a server on it.
func startServer(ctx context.Context, f config.Values, log *slog.Logger) (runningServer, error) {
	preset, err := cluster.PresetNamed(f.Preset)
	if err != nil {
		return nil, err
	}
	store, err := waitForStore(ctx, f.StoreWait, log, func(ctx context.Context) (journal.Store, error) {
		return openStore(ctx, f.Store, log)
	})
	if err != nil {
		return nil, err
	}
	node.TuneProcess(log)
	server, err := node.Start(ctx, node.Config{
		ID: f.ID, Store: store, APIListen: f.Listen, Bind: f.Bind, Gossip: f.Gossip, AdvertiseHost: f.AdvertiseHost,
		Join: f.Join, Secret: f.Secret, Preset: preset, Retention: f.Retention, Logger: log,
		Placement: placement.Config{MovesPerSecond: f.MovesPerSecond, HeldLoadBound: f.HeldLoadBound, HeldLoadFree: f.HeldLoadFree},
	})
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return &storedServer{server, store}, nil
}

// openStore opens what --store names: memory, sqlite:PATH or a URL of
// PostgreSQL.
func openStore(ctx context.Context, name string, log *slog.Logger) (journal.Store, error) {
	if name == "memory" {
		return journal.NewMemory(), nil
	}
	if strings.HasPrefix(name, "postgres://") || strings.HasPrefix(name, "postgresql://") {
		return openPostgres(ctx, name, log)
	}
	path, ok := strings.CutPrefix(name, "sqlite:")
	if !ok || path == "" {
		return nil, messages.Errorf(messages.CodeInvalidArgument, "--store %q is neither memory nor sqlite:PATH nor postgres://USER:PASSWORD@HOST/DATABASE", config.Redact(name))
	}
	return sqlite.Open(ctx, sqlite.Config{Path: path, Hooks: sqlite.Hooks{
		CheckpointFailed: func(err error) {
			log.Warn("journal checkpoint failed; the write-ahead log grows until one succeeds", "error", err)
		},
		Lost:  func(err error) { log.Error("the journal is lost: nothing is served or recorded", "error", err) },
		Found: func() { log.Info("the files of the journal are back") },
	}})
}

// openPostgres never returns a store that is nil inside.
func openPostgres(ctx context.Context, url string, log *slog.Logger) (journal.Store, error) {
	store, err := postgres.Open(ctx, postgres.Config{URL: url, Hooks: postgres.Hooks{
		Unsafe: func(setting, value string) {
			log.Warn("a setting of the database lets a crash lose runs that were acknowledged", "setting", setting, "value", value)
		},
		Collided: func(err error) {
			log.Debug("another server wrote the same entry; the commit is done again", "error", err)
		},
	}})
	if err != nil {
		return nil, err
	}
	return store, nil
}
