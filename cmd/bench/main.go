// Bench measures throughput, latencies, recovery and waiting on this machine,
// beside the machine's own limits.
//
// Data flow: flags → bench.Run, or compare.Run of two builds → a table for eyes
// or JSON for programs on stdout; progress and errors on stderr. The servers and
// workers are processes of this same executable.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/limpetrun/limpet/cmd/bench/internal/bench"
	"github.com/limpetrun/limpet/cmd/bench/internal/compare"
	"github.com/limpetrun/limpet/cmd/internal/procs"
	"github.com/limpetrun/limpet/cmd/internal/program"
)

// postgresVariable names the PostgreSQL to measure on.
const postgresVariable = "LIMPET_POSTGRES_URL"

const description = `Start server processes and worker processes on loopback, start runs whose steps do
nothing, and measure until the last run has ended. Whether a run stayed on one
worker, and whether a step ran twice, is taken from what the steps recorded
themselves. The limits of the machine are measured in the same call: fsyncs, the
store alone, messages between processes.

Workloads:
  noop1    one step
  chain3   three steps in a row
  fan      two steps, and one that waits for both
  calls    a step that makes ten calls, each on record before the next
  signals  runs that wait for a message each, are sent it and go on: the memory of a
           waiting run, and how soon it goes on
  suspended  a hundred thousand runs whose steps are suspended until one moment: the
           memory of such a run, how soon all go on after it, and how long a small
           run takes that is started meanwhile
  waiting  a million HARD runs that wait for their workers: the memory that takes,
           and the time to wake them all. Each worker binds its share of the runs
           by a first step and is killed with the second steps under way. Then all
           workers come back at once.
  queued   a hundred thousand runs that wait to be placed, while there is no worker:
           the memory that takes, and what is left of it when all have ended
  keyed    SOFT runs that share values by skewed keys: how many values are built
           when runs are placed where their key is held, by the least load, and by
           chance
  handoff  half of the workers drain under load: how soon their runs go on
           elsewhere with state that is built anew, and with state that is handed
           off
  workers  300 workers that start at once in three processes, beside a busy loop on
           each core: how long until all are up, and the CPU time and memory of one
           that has nothing to do

Failovers, each measured in several trials:
  worker-kill   from SIGKILL of a worker until the last of its lost SOFT steps
                begins elsewhere
  worker-stop   the same from SIGSTOP
  hard-restart  from the launch of a killed worker's new process until the last of
                its lost HARD steps begins there
  server-kill   from SIGKILL of a server until the last of the runs in motion has
                gone on

--store postgres starts a private PostgreSQL, with fsync and synchronous_commit
on, and deletes it afterwards. With LIMPET_POSTGRES_URL set it makes a database
there instead, and drops it afterwards.

--against measures another build in turns with this one, and compares.

`

func main() {
	procs.Main(bench.Roles())
	program.Main(command())
}

func command() *cobra.Command {
	var config bench.Config
	var other string
	rounds, asJSON := 0, false
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure throughput, latencies, recovery and waiting on this machine, beside its limits",
		Long:  description + program.ExitCodesHelp,
		Example: `  bench
  bench --workload chain3 --sticky soft --store sqlite --runs 20000 --json
  bench --store postgres --servers 3 --runs 20000
  bench --runs 2000 --sequential
  bench --failover worker-kill --json
  bench --failover server-kill --store postgres --servers 3 --trials 10
  bench --workload waiting --runs 1000000
  bench --workload calls --json
  bench --workload signals --runs 100000
  bench --workload ask --json
  bench --workload stream --json
  bench --workload suspended --json
  bench --workload queued --store postgres
  bench --workload keyed --json
  bench --workload handoff --json
  bench --workload workers --workers 300
  bench --runs 50000 --cpuprofile-server server.prof --cpuprofile-worker worker.prof
  bench --against .bin/bench-before --rounds 5 --runs 20000`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config.Progress, config.Terminal = os.Stderr, program.IsTerminal(os.Stderr)
			config.PostgresURL = os.Getenv(postgresVariable)
			var result bench.Result
			err := config.Validate()
			switch {
			case err != nil:
			case cmd.Flags().Changed("against"):
				result, err = against(cmd, other, rounds)
			default:
				result, err = bench.Run(cmd.Context(), config)
			}
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(result)
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), result.Table())
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON for programs")
	cmd.Flags().StringVar(&other, "against", "", "bench of another build: measure both in turns, with the same flags, and compare their figures")
	cmd.Flags().IntVar(&rounds, "rounds", 3, "how often each build is measured by --against")
	measureFlags(cmd.Flags(), &config)
	return cmd
}

// against compares this build with another one, by the flags of the measurement.
func against(cmd *cobra.Command, other string, rounds int) (bench.Result, error) {
	this, err := os.Executable()
	if err != nil {
		return nil, err
	}
	var args []string
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if !slices.Contains([]string{"against", "rounds", "json"}, f.Name) {
			args = append(args, "--"+f.Name+"="+f.Value.String())
		}
	})
	return compare.Run(cmd.Context(), compare.Config{
		This: []string{this}, Other: strings.Fields(other), Args: args, Rounds: rounds,
		Progress: func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) },
	})
}

func measureFlags(flags *pflag.FlagSet, config *bench.Config) {
	flags.StringVar(&config.Workload, "workload", bench.Chain3, "noop1, chain3, fan, calls, signals, ask, stream, suspended, waiting, queued, keyed, handoff or workers")
	flags.StringVar(&config.Failover, "failover", "", "measure a recovery instead: worker-kill, worker-stop, server-kill or hard-restart")
	flags.IntVar(&config.Trials, "trials", 0, "trials of --failover (default 5)")
	flags.StringVar(&config.Sticky, "sticky", "soft", "none, soft or hard")
	flags.StringVar(&config.Store, "store", "sqlite", "the journal: sqlite (in a file, every commit synced), postgres or memory")
	flags.IntVar(&config.Runs, "runs", 0, "runs to measure (default 20,000; in each trial of --failover 200, of server-kill 1,000; 1,000,000 for waiting, 100,000 for queued and suspended, 4,000 for keyed, 1,000 for ask, 100 for stream, 200 for handoff)")
	flags.IntVar(&config.Servers, "servers", 1, "server processes; several share --store postgres")
	flags.IntVar(&config.Workers, "workers", 0, "worker processes (default 2; for waiting one for each 50,000 runs; 4 for keyed and handoff; 300 for workers, all in three processes)")
	flags.IntVar(&config.Slots, "slots", 0, "slots of each worker (default 100; for --failover, waiting and handoff enough for all runs; 10 for keyed)")
	flags.BoolVar(&config.Sequential, "sequential", false, "start a run when the one before has ended, instead of all in bulk")
	flags.IntVar(&config.Warmup, "warmup", 200, "runs before those that are measured")
	flags.BoolVar(&config.Limits, "limits", true, "measure the limits of this machine too")
	flags.StringVar(&config.Dir, "dir", "", "where the journal goes, in a directory of its own (default the system's for temporary files)")
	flags.BoolVar(&config.Keep, "keep", false, "leave the directory with the journal, the ledgers and the logs")
	flags.StringVar(&config.ServerProfile, "cpuprofile-server", "", "write a CPU profile of the first server to this file")
	flags.StringVar(&config.WorkerProfile, "cpuprofile-worker", "", "write a CPU profile of the first worker to this file")
	flags.StringVar(&config.ClientProfile, "cpuprofile-client", "", "write a CPU profile of this process, the client, to this file")
	flags.StringVar(&config.ServerAllocations, "memprofile-server", "", "write what the first server allocated to this file")
	flags.StringVar(&config.WorkerAllocations, "memprofile-worker", "", "write what the first worker allocated to this file")
	flags.StringVar(&config.ServerHeap, "heapprofile-server", "", "write what lives in the first server's heap while the runs of signals, suspended, waiting or queued wait to this file")
}
