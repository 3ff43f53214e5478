package bench

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/limpetrun/limpet/cmd/internal/localcluster"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk"
)

// Workloads: steps that do nothing but record their execution.
const (
	// Noop1 is one step.
	Noop1 = "noop1"
	// Chain3 is three steps, each the parent of the next.
	Chain3 = "chain3"
	// Fan is two roots and a step that both are parents of.
	Fan = "fan"
)

var workloads = []string{Noop1, Chain3, Fan}

// steps of a run of the workload.
func steps(workload string) int {
	if workload == Noop1 {
		return 1
	}
	return 3
}

var stickies = map[string]sdk.Sticky{"none": sdk.None, "soft": sdk.Soft, "hard": sdk.Hard}

// Limits of the flags.
const (
	runsMax    = 10_000_000
	workersMax = 64
	warmupMax  = 10_000
)

// Config of a measurement.
type Config struct {
	// Workload is one of Noop1, Chain3 and Fan; Sticky none, soft or hard;
	// Store sqlite or memory.
	Workload, Sticky, Store string
	Runs                    int
	// Workers and Slots of each.
	Workers, Slots int
	// Sequential starts a run when the one before has ended.
	Sequential bool
	// Warmup is how many runs come before the ones that are measured.
	Warmup int
	// Limits measures those of the machine too.
	Limits bool
	// Dir is where the journal and the ledgers go, in a directory of their
	// own; empty is the system's for temporary files.
	Dir string
	// Keep leaves that directory.
	Keep bool
	// Files to write CPU profiles of the measured time to; empty for none. The
	// worker is the first one.
	ServerProfile, WorkerProfile, ClientProfile string
	// Files to write to what server and worker had allocated by the end.
	ServerAllocations, WorkerAllocations string
	// Progress gets lines about where the measurement stands; nil for none.
	// Terminal says that one line may replace the other.
	Progress io.Writer
	Terminal bool
	// ServerArgs, WorkerArgs and PeerArgs start the processes; see
	// localcluster.Config and PeerChild.
	ServerArgs, WorkerArgs, PeerArgs []string
}

// Validate reports every fault: INVALID_ARGUMENT.
func (c Config) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if !slices.Contains(workloads, c.Workload) {
		fault("--workload %q is not %s", c.Workload, strings.Join(workloads, ", "))
	}
	if _, ok := stickies[c.Sticky]; !ok {
		fault("--sticky %q is not none, soft or hard", c.Sticky)
	}
	if c.Store != localcluster.StoreSQLite && c.Store != localcluster.StoreMemory {
		fault("--store %q is not %s or %s", c.Store, localcluster.StoreSQLite, localcluster.StoreMemory)
	}
	between := func(flag string, n, least, most int) {
		if n < least || n > most {
			fault("--%s is %d, must be %d to %d", flag, n, least, most)
		}
	}
	between("runs", c.Runs, 1, runsMax)
	between("workers", c.Workers, 1, workersMax)
	between("slots", c.Slots, 1, messages.SlotsMax)
	between("warmup", c.Warmup, 0, warmupMax)
	if c.Dir != "" {
		if info, err := os.Stat(c.Dir); err != nil {
			fault("--dir: %w", err)
		} else if !info.IsDir() {
			fault("--dir %s is not a directory", c.Dir)
		}
	}
	if len(faults) > 0 {
		return messages.Errorf(messages.CodeInvalidArgument, "%w", errors.Join(faults...))
	}
	return nil
}
