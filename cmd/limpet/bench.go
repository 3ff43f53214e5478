package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/limpetrun/limpet/cmd/limpet/internal/bench"
)

func (c *cli) benchCommand() *cobra.Command {
	var config bench.Config
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure runs a second and latencies on this machine, beside its limits",
		Long: `Start a server process and worker processes on loopback, start runs whose steps do
nothing, and measure until the last one has ended. Whether runs stayed on one
worker, and whether steps ran twice, comes from what the steps recorded themselves.
In the same call it measures what the machine allows: fsyncs, the store alone,
messages between processes.

Workloads: noop1 is one step, chain3 three in a row, fan two and one that waits
for both.`,
		Example: `  limpet bench
  limpet bench --workload chain3 --sticky soft --store sqlite --runs 20000 --json
  limpet bench --runs 2000 --sequential
  limpet bench --runs 50000 --cpuprofile-server server.prof --cpuprofile-worker worker.prof`,
		Args: cobra.NoArgs,
		RunE: c.does(func(ctx context.Context, _ []string) error {
			config.Progress, config.Terminal = c.err, c.errTerminal
			config.ServerArgs, config.WorkerArgs, config.PeerArgs = processArgs(processServer), processArgs(processBenchWorker), processArgs(processBenchPeer)
			figures, err := bench.Run(ctx, config)
			if err != nil {
				return err
			}
			if c.json {
				return json.NewEncoder(c.out).Encode(figures)
			}
			_, err = fmt.Fprint(c.out, figures.Table())
			return err
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&config.Workload, "workload", bench.Chain3, "noop1, chain3 or fan")
	flags.StringVar(&config.Sticky, "sticky", "soft", "none, soft or hard")
	flags.StringVar(&config.Store, "store", "sqlite", "the journal: sqlite (in a file, every commit synced) or memory")
	flags.IntVar(&config.Runs, "runs", 20_000, "runs to measure")
	flags.IntVar(&config.Workers, "workers", 2, "worker processes")
	flags.IntVar(&config.Slots, "slots", 100, "slots of each worker")
	flags.BoolVar(&config.Sequential, "sequential", false, "start a run when the one before has ended, instead of all in bulk")
	flags.IntVar(&config.Warmup, "warmup", 200, "runs before those that are measured")
	flags.BoolVar(&config.Limits, "limits", true, "measure the limits of this machine too")
	flags.StringVar(&config.Dir, "dir", "", "where the journal goes, in a directory of its own (default the system's for temporary files)")
	flags.BoolVar(&config.Keep, "keep", false, "leave the directory with the journal, the ledgers and the logs")
	flags.StringVar(&config.ServerProfile, "cpuprofile-server", "", "write a CPU profile of the server to this file")
	flags.StringVar(&config.WorkerProfile, "cpuprofile-worker", "", "write a CPU profile of the first worker to this file")
	flags.StringVar(&config.ClientProfile, "cpuprofile-client", "", "write a CPU profile of this process, the client, to this file")
	flags.StringVar(&config.ServerAllocations, "memprofile-server", "", "write what the server allocated to this file")
	flags.StringVar(&config.WorkerAllocations, "memprofile-worker", "", "write what the first worker allocated to this file")
	return cmd
}
