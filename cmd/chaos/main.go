// Chaos breaks a cluster while runs go on, and says which promises did not hold:
// servers, workers and PostgreSQL on this machine, each in a network namespace
// of its own, are killed, frozen, restarted and cut off by a schedule that the
// seed gives.
//
// Data flow: flags → build the limpet command → a network namespace → ground →
// load and faults → evidence → verdict → table, JSON line, exit status.
package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/cmd/chaos/internal/schedule"
	"github.com/limpetrun/limpet/cmd/internal/program"
	"github.com/limpetrun/limpet/messages"
)

func main() { program.Main(rootCommand()) }

// options of a run.
type options struct {
	seed     uint64
	duration time.Duration
	faults   string
	servers  int
	workers  int
	slots    int
	rate     float64
	keep     bool
	race     bool
	json     bool
	dir      string
	plan     bool
	loopback bool
	preset   string
}

func rootCommand() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "chaos",
		Short: "Break a cluster while runs go on, and check every promise",
		Long: `Break a cluster of servers and workers on PostgreSQL while runs go on, and check
every promise from what the step functions themselves wrote down, the histories
and what clients were told.

The faults follow from the seed. The groups are ` + schedule.Names(schedule.Groups) + `.
As root, or where user namespaces are allowed, each node is in a network
namespace of its own; elsewhere all share loopback and there are no partitions.

The last line of the output is JSON.

` + program.ExitCodesHelp,
		Example: `  chaos --seed 7 --duration 2m
  chaos --seed 7 --duration 20m --faults kill,partition --keep
  chaos --seed 7 --plan`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	flags.Uint64Var(&o.seed, "seed", 1, "what the faults and the load follow from")
	flags.DurationVar(&o.duration, "duration", 2*time.Minute, "how long faults are done; start, healing and checks come on top")
	flags.StringVar(&o.faults, "faults", "", "groups of faults between commas: "+schedule.Names(schedule.Groups)+" (default all that are possible)")
	flags.IntVar(&o.servers, "servers", 3, "servers")
	flags.IntVar(&o.workers, "workers", 5, "workers")
	flags.IntVar(&o.slots, "slots", 20, "slots of each worker")
	flags.Float64Var(&o.rate, "rate", 0, "operations of clients a second; each starts one to three runs (default 30)")
	flags.BoolVar(&o.keep, "keep", false, "keep logs and ledgers also if all holds")
	flags.BoolVar(&o.race, "race", false, "build servers and workers with the race detector")
	flags.BoolVar(&o.json, "json", false, "print the JSON line only")
	flags.StringVar(&o.dir, "dir", "", "directory to make for logs, ledgers and the database (default a temporary one)")
	flags.StringVar(&o.preset, "preset", "local", "timing of the membership: local, lan or wan; faults are made for local")
	flags.BoolVar(&o.loopback, "loopback", false, "no network namespaces, also where they are possible: no partitions")
	flags.BoolVar(&o.plan, "plan", false, "print the schedule of faults and do nothing")
	cmd.AddCommand(workerCommand())
	return cmd
}

// validate reports every fault: INVALID_ARGUMENT.
func (o options) validate() ([]schedule.Group, error) {
	groups, err := schedule.ParseGroups(o.faults)
	var faults []string
	if err != nil {
		faults = append(faults, err.Error())
	}
	for what, n := range map[string]int{"--servers": o.servers, "--workers": o.workers, "--slots": o.slots} {
		if n < 1 || n > 60 {
			faults = append(faults, fmt.Sprintf("%s is %d: must be 1 to 60", what, n))
		}
	}
	if o.duration <= 0 {
		faults = append(faults, "--duration must be more than 0")
	}
	if _, err := cluster.PresetNamed(o.preset); err != nil {
		faults = append(faults, err.Error())
	}
	if o.rate < 0 {
		faults = append(faults, "--rate must not be negative")
	}
	if len(faults) > 0 {
		return nil, messages.Errorf(messages.CodeInvalidArgument, "%s", strings.Join(faults, "; "))
	}
	return groups, nil
}

func ids(prefix string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("%s%d", prefix, i+1)
	}
	return out
}

// schedule is the plan of the run.
func (o options) schedule(groups []schedule.Group, uncut bool) []schedule.Fault {
	return schedule.Plan(schedule.Config{
		Seed: o.seed, Duration: o.duration, Groups: groups, Servers: ids("s", o.servers), Workers: ids("w", o.workers), Uncut: uncut,
	})
}
