package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/actors/gateway"
	engine "github.com/limpetrun/limpet/actors/worker"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/codec"
	"github.com/limpetrun/limpet/sdk/internal/parts"
)

// Hooks is told what happens at a worker.
type Hooks = engine.Hooks

// LocalEvent names a value of local state in Hooks.
type LocalEvent = engine.LocalEvent

const (
	// NoGrace is a Config.Grace of none.
	NoGrace time.Duration = -1
	// NoIdle is a Config.SharedLocalsIdle of none.
	NoIdle time.Duration = -2
)

// Config of a worker. Join is required; the zero value of every other field
// has a default.
type Config struct {
	// ID names the worker for sticky runs and stays the same when the process
	// is restarted: a Hard run waits for this id. No two live processes may
	// have it. 1 to 128 of A-Z a-z 0-9 . _ : / - Defaults to the host's name, a
	// slash and Name.
	ID string
	// Name tells workers of one host apart. Defaults to the name of the
	// program; two workers of one program on one host need an ID or a Name.
	Name string
	// Join holds gossip addresses of members of the cluster, servers or
	// workers, host:port; one that answers is enough.
	Join []string
	// JoinTimeout is how long Run tries to reach a member of Join. Defaults to
	// 30 s; sdk.Never tries for ever.
	JoinTimeout time.Duration
	// Slots is how many attempts run at once. Defaults to GOMAXPROCS.
	Slots int
	// StickyRunsMax is how many live sticky runs may be bound to the worker at
	// once. It bounds what their state takes. 0 is no limit.
	StickyRunsMax int
	// KeptMax is how many steps that do nothing but wait stay on the worker, without a
	// slot, until the KeepFor of their workflows is over, and KeptBytesMax how many bytes
	// the local state of their runs declares. Beyond them those that have waited the
	// longest are suspended early. Default to 10,000, and no limit.
	KeptMax      int
	KeptBytesMax int64
	// SharedLocalsMax is how many shared values of local state the worker has at
	// once, including those that are being built or released. A value that
	// nobody uses makes room for another. If all are in use, a step that asks
	// for a further one fails with ErrLimitExceeded. Defaults to 1024; at most
	// 4096.
	SharedLocalsMax int
	// SharedLocalsBytesMax is the same for the bytes that the shared values
	// declare. 0 is no limit.
	SharedLocalsBytesMax int64
	// SharedLocalsIdle is how long a shared value stays that nobody uses.
	// Defaults to 5 min. NoIdle releases it at once; sdk.Never keeps it until
	// its room is needed.
	SharedLocalsIdle time.Duration
	// Labels that steps may require or prefer.
	Labels map[string]string
	// Pool that the worker serves; its workflows must name the same. Defaults
	// to "default".
	Pool string

	// BindAddress of the actors' remoting and GossipAddress of the membership,
	// host:port. Default to 127.0.0.1:0, ports that the system chooses.
	BindAddress   string
	GossipAddress string
	// AdvertiseHost is the host by which others reach both; required when they
	// are bound to no specific one.
	AdvertiseHost string
	// Secret of the cluster. Required beyond loopback; at least 16 bytes.
	Secret string
	// Identity are the files by which the worker proves who it is, where the cluster has
	// an authority (see limpet ca --help): all but Revoked, or none. They are read again
	// when they change. Empty: whoever has the secret is believed.
	Identity cluster.IdentityFiles
	// Preset of the membership's timing, the same as the servers'. Defaults to
	// cluster.LocalConfig.
	Preset cluster.Preset

	// MetricsListen is the host:port at which the worker serves its metrics,
	// GET /metrics, for Prometheus; beyond loopback the secret is wanted as a bearer
	// token. Empty: nowhere, and nothing is counted. Two workers of one process need
	// two addresses.
	MetricsListen string

	// TracerProvider makes the spans of steps, in the traces of their runs; the program
	// stops it. Defaults to one of the worker's own, if the variables of OpenTelemetry
	// ask for traces, OTEL_EXPORTER_OTLP_ENDPOINT for example. Context carries the span
	// of the step: what the function makes itself nests below it, whoever makes it.
	TracerProvider trace.TracerProvider

	// Codec decodes the payloads that steps, queries and local state are given, and
	// encodes those that they make; nil for none. Give it to clients as well, and to
	// all workers of a workflow.
	Codec codec.Codec

	// Grace is how long running attempts may go on after Run's context ended;
	// then their contexts end. Defaults to 30 s; NoGrace is none.
	Grace time.Duration
	// EndIfHeldFor ends a worker that a function has made useless. One that has
	// not returned 5 s after the end of its context holds its slot from then on, for
	// nothing but the end of the process ends a function. The log and `limpet worker
	// list` say so, and SOFT runs go elsewhere once all slots are held. After
	// EndIfHeldFor Run drains, as at the end of its context, and returns SLOT_HELD:
	// the program is to end, and its supervisor to start it again. 0 is never.
	EndIfHeldFor time.Duration
	// Logger defaults to slog.Default().
	Logger *slog.Logger
	// Hooks may be nil.
	Hooks *Hooks
	// OnStart, if not nil, is called once, after the worker is admitted and before
	// any step can come. bound holds the ids of all Hard runs that have not ended
	// and are bound to this worker's id, in order: what an earlier process of the
	// worker left on disk for any other run is of no use any more, for that run
	// ended, or was replayed, while the worker was away. A run may end between
	// the question and the call, and is in bound all the same. An error, or a
	// panic, ends Run. The context ends when the worker is told to stop.
	OnStart func(ctx context.Context, bound []string) error
	// Cluster changes the configuration of the membership before it starts;
	// nil does not. It is for tests that bring their own network.
	Cluster func(*cluster.Config)

	// renamed are the variables that ConfigFromEnv found by their old names.
	renamed []Variable
}

func (c Config) withDefaults() Config {
	if c.ID == "" {
		c.ID = defaultID(c.Name)
	}
	if c.Slots == 0 {
		c.Slots = runtime.GOMAXPROCS(0)
	}
	if c.Pool == "" {
		c.Pool = messages.DefaultPool
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// defaultID is host/name. It is empty if either is not known: no other id would
// stay the same.
func defaultID(name string) string {
	host, err := os.Hostname()
	if err != nil || host == "" {
		return ""
	}
	if name == "" && len(os.Args) > 0 {
		name = strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe")
	}
	if name == "" {
		return ""
	}
	return host + "/" + name
}

// validate returns everything that is wrong, the workflows included.
func (c Config) validate(workflows []sdk.AnyWorkflow) error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if c.ID == "" {
		fault("the worker has no id: give an ID that stays the same over restarts")
	} else if err := messages.CheckName("worker id", c.ID); err != nil {
		faults = append(faults, err)
	}
	if len(c.Join) == 0 {
		fault("join is empty: give the gossip address of a server")
	}
	c.limitFaults(fault)
	for _, err := range []error{messages.CheckName("pool", c.Pool), messages.ValidateLabels(c.Labels)} {
		if err != nil {
			faults = append(faults, err)
		}
	}
	if c.MetricsListen != "" {
		if err := gateway.CheckMetrics(c.MetricsListen, c.Secret); err != nil {
			faults = append(faults, err)
		}
	}
	if len(workflows) == 0 {
		fault("no workflows: a worker serves at least one")
	}
	if len(faults) > 0 {
		return messages.Errorf(messages.CodeInvalidArgument, "worker %q: %w", c.ID, errors.Join(faults...))
	}
	return nil
}

// limitFaults reports numbers that are out of their bounds.
func (c Config) limitFaults(fault func(format string, args ...any)) {
	if c.Slots < 1 || c.Slots > messages.SlotsMax {
		fault("%d slots: must be 1 to %d (SlotsMax)", c.Slots, messages.SlotsMax)
	}
	if c.StickyRunsMax < 0 || c.StickyRunsMax > math.MaxInt32 {
		fault("sticky runs max is %d: must be 0 (no limit) to %d", c.StickyRunsMax, math.MaxInt32)
	}
	if c.KeptMax < 0 || c.KeptMax > math.MaxInt32 {
		fault("kept max is %d: must be 0 (default) to %d", c.KeptMax, math.MaxInt32)
	}
	if c.KeptBytesMax < 0 {
		fault("kept bytes max is %d: must be 0 (no limit) or more", c.KeptBytesMax)
	}
	if c.SharedLocalsMax < 0 || c.SharedLocalsMax > messages.HeldKeysMax {
		fault("shared locals max is %d: must be 0 (default) to %d (HeldKeysMax)", c.SharedLocalsMax, messages.HeldKeysMax)
	}
	if c.SharedLocalsBytesMax < 0 {
		fault("shared locals bytes max is %d: must be 0 (no limit) or more", c.SharedLocalsBytesMax)
	}
	if c.EndIfHeldFor < 0 {
		fault("end if held for is %v: must be 0 (never) or more", c.EndIfHeldFor)
	}
	if c.SharedLocalsIdle < 0 && c.SharedLocalsIdle != sdk.Never && c.SharedLocalsIdle != NoIdle {
		fault("shared locals idle is %v: must be 0 (default) or more, NoIdle or Never", c.SharedLocalsIdle)
	}
}

// served is what a worker serves.
type served struct {
	definitions []*messages.WorkflowDefinition
	functions   attempt.Functions
	locals      attempt.Locals
	queries     attempt.Queries
}

// register turns workflows into what the worker registers; an error names
// everything that is wrong with any of them.
func (c Config) register(workflows []sdk.AnyWorkflow) (served, error) {
	var faults []error
	s := served{functions: make(attempt.Functions, len(workflows)), locals: make(attempt.Locals, len(workflows)), queries: make(attempt.Queries, len(workflows))}
	for _, w := range workflows {
		if w == nil {
			faults = append(faults, messages.Errorf(messages.CodeInvalidDefinition, "a workflow is nil"))
			continue
		}
		d, err := w.Definition()
		if err != nil {
			faults = append(faults, err)
			continue
		}
		if s.functions[d.GetName()] != nil {
			faults = append(faults, messages.Errorf(messages.CodeInvalidDefinition, "workflow %q is given more than once", d.GetName()))
		}
		if pool := d.EffectivePool(); pool != c.Pool {
			faults = append(faults, messages.Errorf(messages.CodeInvalidDefinition, "workflow %q is of pool %q, the worker of pool %q", d.GetName(), pool, c.Pool))
		}
		s.definitions = append(s.definitions, d)
		s.functions[d.GetName()] = c.functions(parts.Functions(w))
		if kept := parts.Locals(w); len(kept) > 0 {
			s.locals[d.GetName()] = c.locals(kept)
		}
		s.queries[d.GetName()] = c.queries(parts.Queries(w))
	}
	if err := messages.CheckWorkflows(s.definitions); err != nil && len(s.definitions) > 0 {
		faults = append(faults, err)
	}
	faults = append(faults, sharedTwice(s.locals)...)
	return s, errors.Join(faults...)
}
