package main

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"github.com/limpetrun/limpet/actors/access"
	"github.com/limpetrun/limpet/actors/gateway/ui"
	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/journal/postgres"
	"github.com/limpetrun/limpet/actors/journal/sqlite"
	"github.com/limpetrun/limpet/actors/node"
	"github.com/limpetrun/limpet/actors/placement"
	"github.com/limpetrun/limpet/actors/tracing"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/cmd/limpet/internal/config"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api/apiconnect"
)

// storedServer is a server with the store that it was started on.
type storedServer struct {
	*node.Server
	store  journal.Store
	traces *tracing.Provider
}

// Stop stops the server, then closes the store, and sends the last spans.
func (s *storedServer) Stop(ctx context.Context) error {
	defer s.traces.Stop()
	return errors.Join(s.Server.Stop(ctx), s.store.Close())
}

// startServer opens the store and starts a server on it.
func startServer(ctx context.Context, f config.Values, log *slog.Logger) (runningServer, error) {
	c, err := nodeConfig(f)
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
	c.Store, c.Logger = store, log
	if c.Traces, err = tracing.FromEnvironment(ctx, tracing.Process{Service: "limpet-server", Instance: f.ID, Logger: log}); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	server, err := node.Start(ctx, c)
	if err != nil {
		c.Traces.Stop()
		return nil, errors.Join(err, store.Close())
	}
	return &storedServer{server, store, c.Traces}, nil
}

// nodeConfig is what the settings say of a server. Its error is of what they alone
// decide: nothing has been opened, and nothing listens.
func nodeConfig(f config.Values) (node.Config, error) {
	preset, err := cluster.PresetNamed(f.Preset)
	if err != nil {
		return node.Config{}, err
	}
	if err := checkStore(f.Store); err != nil {
		return node.Config{}, err
	}
	c := node.Config{
		ID: f.ID, APIListen: f.Listen, Bind: f.Bind, Gossip: f.Gossip, AdvertiseHost: f.AdvertiseHost,
		Join: f.Join, Secret: f.Secret, Identity: identityFiles(f), Preset: preset, Retention: f.Retention, EventsKept: f.EventsKept, StreamBytesMax: int64(f.StreamBytesMax),
		Profiles: f.Pprof, UnservedAfter: cmp.Or(f.UnservedAfter, -1),
		Placement: placement.Config{MovesPerSecond: f.MovesPerSecond, HeldLoadBound: f.HeldLoadBound, HeldLoadFree: f.HeldLoadFree},
	}
	if err := ui.CheckPrefix(f.UIPrefix); err != nil {
		return c, err
	}
	if f.UI != "off" {
		c.Pages = func(stopping context.Context, client apiconnect.LimpetServiceClient, doors access.Doors) http.Handler {
			return ui.New(stopping, ui.Config{Client: client, Secret: f.Secret, Doors: doors, Prefix: f.UIPrefix, ReadOnly: f.UI == "read-only"})
		}
	}
	return c, c.Validate()
}

// identityFiles are those of the server as a member.
func identityFiles(f config.Values) cluster.IdentityFiles {
	return cluster.IdentityFiles{CA: f.MemberCAFile, Certificate: f.MemberCertFile, Key: f.MemberKeyFile, Revoked: f.MemberRevokedFile}
}

// checkSettings returns what nodeConfig refuses, with where each setting comes
// from that may be at fault and is not a default.
func (c *cli) checkSettings(f config.Values) error {
	_, err := nodeConfig(f)
	var refused *messages.Error
	if !errors.As(err, &refused) {
		return err
	}
	var given []string
	for _, name := range []string{"id", "store", "listen", "bind", "gossip", "advertise-host", "join", "secret", "member-ca-file", "member-cert-file", "member-key-file", "member-revoked-file", "pprof", "ui-prefix"} {
		if origin := c.origins[name]; origin.Source != config.Default {
			given = append(given, name+" by "+origin.String())
		}
	}
	if len(given) == 0 {
		return err
	}
	return messages.Errorf(refused.Code, "%s (given: %s)", refused.Message, strings.Join(given, "; "))
}

const sqliteScheme = "sqlite:"

func isPostgres(store string) bool {
	return strings.HasPrefix(store, "postgres://") || strings.HasPrefix(store, "postgresql://")
}

// checkStore returns INVALID_ARGUMENT for what openStore cannot read.
func checkStore(name string) error {
	path, isSQLite := strings.CutPrefix(name, sqliteScheme)
	switch {
	case isPostgres(name):
		return postgres.CheckURL(name)
	case name == "memory", isSQLite && path != "":
		return nil
	}
	return messages.Errorf(messages.CodeInvalidArgument, "store %q is neither memory nor sqlite:PATH nor postgres://USER:PASSWORD@HOST/DATABASE", config.Redact(name))
}

// openStore opens what --store names, and checkStore has read: memory,
// sqlite:PATH or a URL of PostgreSQL.
func openStore(ctx context.Context, name string, log *slog.Logger) (journal.Store, error) {
	if name == "memory" {
		return journal.NewMemory(), nil
	}
	if isPostgres(name) {
		return openPostgres(ctx, name, log)
	}
	return sqlite.Open(ctx, sqlite.Config{Path: strings.TrimPrefix(name, sqliteScheme), Hooks: sqlite.Hooks{
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
