package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/limpetrun/limpet/actors/node"
	"github.com/limpetrun/limpet/actors/server"
	"github.com/limpetrun/limpet/cmd/limpet/internal/config"
)

func (c *cli) devCommand() *cobra.Command {
	f := config.Values{Store: "memory", Bind: "127.0.0.1:0", ID: "dev", Retention: 24 * time.Hour, UnservedAfter: node.DefaultUnservedAfter, EventsKept: server.DefaultEventsKept, Preset: "local", UI: "on"}
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a server with a throw-away store, and say what to do next",
		Long: `Run a server on loopback with a store in memory: when it stops, all runs are gone.
It says what to do next.`,
		Example: `  limpet dev
  limpet dev --listen 127.0.0.1:0 --gossip 127.0.0.1:0     # beside another one`,
		Args: cobra.NoArgs,
		RunE: c.does(func(ctx context.Context, _ []string) error {
			f.Secret = c.secret
			return c.serve(ctx, f, func(s runningServer) {
				if !c.json {
					c.printNextSteps(s)
				}
			})
		}),
	}
	cmd.Flags().StringVar(&f.Listen, "listen", defaultAddress, "host:port of the API; port 0 takes any")
	cmd.Flags().StringVar(&f.Gossip, "gossip", "127.0.0.1:7946", "IP:port of the membership, which workers join by; port 0 takes any")
	cmd.Flags().StringVar(&f.LogLevel, "log-level", "warn", "debug, info, warn or error; logs go to stderr")
	return cmd
}

func (c *cli) printNextSteps(s runningServer) {
	address := ""
	if s.APIAddress() != defaultAddress {
		address = " --address " + s.APIAddress()
	}
	c.out.printf(`
A worker joins it from Go:

  w, err := worker.New(worker.Config{ID: "worker-1", Join: []string{%q}, Slots: 8}, myWorkflow)
  err = w.Run(ctx)

Then, from another terminal:

  limpet%[2]s worker list
  limpet%[2]s run start my-workflow --input '{}' --wait
  limpet%[2]s run list

Ctrl-C stops the server, and its runs are gone.
`, s.GossipAddress(), address)
}
