// Demo shows what sticky runs are for: a server, workers that index Go's library
// in their memory, and one of them killed on the way.
//
// Data flow: flags → demo.Run → what happens, a table and a verdict on stdout;
// errors on stderr. The server and the workers are processes of this same
// executable.
package main

import (
	"errors"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/limpetrun/limpet/cmd/demo/internal/demo"
	"github.com/limpetrun/limpet/cmd/internal/procs"
	"github.com/limpetrun/limpet/cmd/internal/program"
)

func main() {
	procs.Main(demo.Roles())
	program.Main(command())
}

func command() *cobra.Command {
	var config demo.Config
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show what sticky runs are for: index Go's library in workers' memory, and kill a worker",
		Long: `Start a server and worker processes on this machine. Each run reads its share of
the source of Go's standard library (of the installed toolchain), builds an index
in the memory of its worker and answers questions from there. Half-way one worker,
which holds the HARD run and some SOFT ones, is killed; later it is restarted
under the same id.

It says where the dashboard is. It ends with a table of the runs and a verdict: what the steps themselves recorded,
against what was promised.

` + program.ExitCodesHelp,
		Example: `  demo
  demo --runs 40 --pace 200ms
  demo --keep           # and look at the dashboard, the journal, the ledgers and the logs`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config.Out, config.Terminal = os.Stdout, program.IsTerminal(os.Stdout)
			err := demo.Run(cmd.Context(), config)
			if errors.Is(err, demo.ErrNoSource) {
				return program.WithHint(err, "install Go (https://go.dev/dl) and put it in the PATH")
			}
			return err
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&config.Runs, "runs", 20, "SOFT runs, beside one HARD and one with a sticky child")
	flags.IntVar(&config.Workers, "workers", 3, "worker processes")
	flags.IntVar(&config.Slots, "slots", 8, "slots of each worker")
	flags.DurationVar(&config.Pace, "pace", 500*time.Millisecond, "pause after the answers of a step")
	flags.BoolVar(&config.Keep, "keep", false, "leave the cluster up until it is interrupted, and the directory with the journal, the ledgers and the logs")
	return cmd
}
