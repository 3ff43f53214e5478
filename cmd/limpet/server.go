package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/limpetrun/limpet/messages"
)

// stopTimeout is how long a server has for an orderly stop.
const stopTimeout = 15 * time.Second

// serverFlags are the settings of a server as given on the command line.
type serverFlags struct {
	store         string
	listen        string
	bind          string
	gossip        string
	advertiseHost string
	join          []string
	id            string
	retention     time.Duration
	preset        string
	logLevel      string
	logJSON       bool
	// secret is the root's.
	secret string
}

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
	var f serverFlags
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Run a server: it hosts runs, keeps the journal and serves the API",
		Long: `Run a server: it hosts runs, keeps the journal and serves the API. Workers and
other servers join it at its gossip address. Everything listens on loopback
unless told otherwise, and beyond loopback only with a secret.

SIGINT and SIGTERM stop it in order; a second one at once, which loses nothing.`,
		Example: `  limpet server
  limpet server --store sqlite:/var/lib/limpet/journal.db --retention 720h
  LIMPET_SECRET=… limpet server --listen 10.0.0.5:7080 --bind 10.0.0.5:7081 --gossip 10.0.0.5:7946
  limpet server --id server-2 --listen 127.0.0.1:0 --gossip 127.0.0.1:0 --join 127.0.0.1:7946`,
		Args: cobra.NoArgs,
		RunE: c.does(func(ctx context.Context, _ []string) error { return c.serve(ctx, f, nil) }),
	}
	flags := cmd.Flags()
	flags.StringVar(&f.store, "store", "sqlite:limpet-data/journal.db", "the journal: sqlite:PATH or memory (lost at the end)")
	flags.StringVar(&f.listen, "listen", defaultAddress, "host:port of the API; port 0 takes any")
	flags.StringVar(&f.bind, "bind", "127.0.0.1:0", "host:port of the actors; port 0 takes any")
	flags.StringVar(&f.gossip, "gossip", "127.0.0.1:7946", "IP:port of the membership, which others join by")
	flags.StringVar(&f.advertiseHost, "advertise-host", "", "host that others reach --bind and --gossip by, if it is another one")
	flags.StringSliceVar(&f.join, "join", nil, "gossip address of any member of the cluster to join; may be repeated")
	flags.StringVar(&f.id, "id", "", "id of the server, the same at each start (default server/HOSTNAME)")
	flags.DurationVar(&f.retention, "retention", 7*24*time.Hour, "how long finished runs are kept; -1s means for ever")
	flags.StringVar(&f.preset, "preset", "local", "timing of the membership: local, lan or wan; the same for all members")
	flags.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error; logs go to stderr")
	flags.BoolVar(&f.logJSON, "log-json", false, "log JSON")
	return cmd
}

// logger writes to stderr.
func (c *cli) logger(f serverFlags) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(f.logLevel)); err != nil {
		return nil, messages.Errorf(messages.CodeInvalidArgument, "--log-level %q is not debug, info, warn or error", f.logLevel)
	}
	options := &slog.HandlerOptions{Level: level}
	if f.logJSON {
		return slog.New(slog.NewJSONHandler(c.err, options)), nil
	}
	return slog.New(slog.NewTextHandler(c.err, options)), nil
}

// serve runs a server until ctx ends or it fails. up, if not nil, prints more
// once it is up.
func (c *cli) serve(ctx context.Context, f serverFlags, up func(runningServer)) error {
	log, err := c.logger(f)
	if err != nil {
		return err
	}
	f.secret = c.secret
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
	select {
	case <-ctx.Done():
		log.Info("stopping")
	case err = <-server.Done():
		log.Error("the server ended", "error", err)
	}
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if stopErr := server.Stop(stopCtx); err == nil && stopErr != nil {
		err = messages.Errorf(messages.CodeDeadline, "the server did not stop in order within %s: %w", stopTimeout, stopErr)
	}
	return err
}

// printUp says where the server is; programs that start one read the JSON.
func (c *cli) printUp(s runningServer, f serverFlags) error {
	if c.json {
		return json.NewEncoder(c.out).Encode(map[string]string{"api": s.APIAddress(), "gossip": s.GossipAddress(), "store": f.store})
	}
	_, err := fmt.Fprintf(c.out, "limpet server is up\n  API     http://%s\n  gossip  %s\n  store   %s\n", s.APIAddress(), s.GossipAddress(), f.store)
	return err
}
