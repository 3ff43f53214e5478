package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/limpetrun/limpet/cmd/internal/localcluster"
	"github.com/limpetrun/limpet/cmd/internal/procs"
	"github.com/limpetrun/limpet/cmd/limpet/internal/bench"
	"github.com/limpetrun/limpet/cmd/limpet/internal/demo"
	"github.com/limpetrun/limpet/messages"
)

// Processes that the demo and the bench start from this executable.
const (
	processServer      = "server"
	processDemoWorker  = "demo-worker"
	processBenchWorker = "bench-worker"
	processBenchPeer   = "bench-peer"
)

// processArgs are the arguments that make this executable such a process.
func processArgs(what string) []string { return []string{"process", what} }

// processCommand is what demo and bench start; nobody else has a use for it.
func (c *cli) processCommand() *cobra.Command {
	children := map[string]func() procs.Child{
		processServer:      localcluster.ServerChild,
		processDemoWorker:  func() procs.Child { return localcluster.WorkerChild(demo.Workflows) },
		processBenchWorker: bench.WorkerChild,
		processBenchPeer:   bench.PeerChild,
	}
	return &cobra.Command{
		Use:    "process",
		Hidden: true,
		Short:  "A process of limpet demo or limpet bench: takes orders on its standard input",
		Args:   oneArg("what to be"),
		RunE: c.does(func(ctx context.Context, args []string) error {
			child, ok := children[args[0]]
			if !ok {
				return messages.Errorf(messages.CodeInvalidArgument, "unknown process %q", args[0])
			}
			return procs.Serve(ctx, c.in, c.out, child())
		}),
	}
}
