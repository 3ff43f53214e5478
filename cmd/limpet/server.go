package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/limpetrun/limpet/cmd/limpet/internal/config"
	"github.com/limpetrun/limpet/messages"
)

// stopTimeout is how long a server has for an orderly stop.
const stopTimeout = 15 * time.Second

// runningServer is what the commands need of a server.
type runningServer interface {
	APIAddress() string
	GossipAddress() string
	// Done gives the error that ended the server, if Stop did not.
	Done() <-chan error
	// Stop stops the server and closes its store.
	Stop(ctx context.Context) error
}

func (c *cli) serverCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Run a server: it hosts runs, keeps the journal and serves the API",
		Long: `Run a server: it hosts runs, keeps the journal and serves the API. Workers and
other servers join it at its gossip address. Everything listens on loopback
unless told otherwise, and beyond loopback only with a secret.

Each flag may also be given by the environment or by a file; ` + "`limpet config`" + ` takes
the same ones, and prints what is in force and where it comes from.

The dashboard is at /ui/ of the API, the metrics at /metrics: for who may call the
API. A browser shows that by a pass, which it gets for a token or the secret.

Several servers share one PostgreSQL database. A server waits for a database that
does not answer, up to --store-wait; one that refuses ends it at once.

SIGINT and SIGTERM stop it in order; a second one at once, which loses nothing.`,
		Example: `  limpet server
  limpet server --store sqlite:/var/lib/limpet/journal.db --retention 720h
  limpet server --config /etc/limpet/server.yaml
  LIMPET_SECRET=… limpet server --listen 10.0.0.5:7080 --bind 10.0.0.5:7081 --gossip 10.0.0.5:7946
  limpet server --id server-2 --listen 127.0.0.1:0 --gossip 127.0.0.1:0 --join 127.0.0.1:7946`,
		Args: cobra.NoArgs,
		RunE: c.does(func(ctx context.Context, _ []string) error { return c.serve(ctx, c.settings, nil) }),
	}
	return c.takesServerSettings(cmd)
}

// logger writes to stderr.
func (c *cli) logger(f config.Values) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(f.LogLevel)); err != nil {
		return nil, messages.Errorf(messages.CodeInvalidArgument, "--log-level %q is not debug, info, warn or error", f.LogLevel)
	}
	options := &slog.HandlerOptions{Level: level}
	if f.LogJSON {
		return slog.New(slog.NewJSONHandler(c.err.raw(), options)), nil
	}
	return slog.New(slog.NewTextHandler(c.err.raw(), options)), nil
}

// serve runs a server until ctx ends or it fails. up, if not nil, prints more
// once it is up.
func (c *cli) serve(ctx context.Context, f config.Values, up func(runningServer)) error {
	log, err := c.logger(f)
	if err != nil {
		return err
	}
	if err := c.checkSettings(f); err != nil {
		return err
	}
	server, err := c.start(ctx, f, log)
	switch {
	case err != nil && ctx.Err() != nil:
		// It was told to stop while it looked for others, for example.
		return ctx.Err()
	case err != nil:
		return err
	}
	if err := c.printUp(server, f); err != nil {
		return err
	}
	if up != nil {
		up(server)
	}
	c.tellSystemd(ctx, log, notifyReady)
	select {
	case <-ctx.Done():
		log.Info("the server was told to stop", "by", context.Cause(ctx))
	case err = <-server.Done():
		log.Error("the server ended", "error", err)
	}
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	c.tellSystemd(stopCtx, log, notifyStopping)
	if stopErr := server.Stop(stopCtx); err == nil && stopErr != nil {
		err = messages.Errorf(messages.CodeDeadline, "the server did not stop in order within %s: %w", stopTimeout, stopErr)
	}
	return err
}

// tellSystemd does not fail the server: systemd ends one that it hears nothing of.
func (c *cli) tellSystemd(ctx context.Context, log *slog.Logger, state string) {
	if err := c.notify(ctx, state); err != nil {
		log.Warn("systemd was not told", "state", state, "error", err)
	}
}

// printUp says where the server is; programs that start one read the JSON.
func (c *cli) printUp(s runningServer, f config.Values) error {
	if c.json {
		return json.NewEncoder(c.out.raw()).Encode(map[string]string{"api": s.APIAddress(), "gossip": s.GossipAddress(), "store": config.Redact(f.Store)})
	}
	c.out.printf("limpet server is up\n  API     http://%s\n", s.APIAddress())
	if f.UI != "off" {
		c.out.printf("  pages   http://%s/ui/\n", s.APIAddress())
	}
	c.out.printf("  gossip  %s\n  store   %s\n", s.GossipAddress(), config.Redact(f.Store))
	return nil
}
