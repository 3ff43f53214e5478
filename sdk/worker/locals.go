package worker

import (
	"context"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/limpetrun/limpet/actors/attempt"
	"github.com/limpetrun/limpet/actors/local"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/internal/coded"
)

// localsWithLogger are the locals of a workflow by name; the loggers of their
// contexts derive from the worker's.
func (c Config) locals(kept []*attempt.Local) map[string]*attempt.Local {
	wrapped := make(map[string]*attempt.Local, len(kept))
	for _, l := range kept {
		logged := *l
		logged.Bind = func(ctx context.Context, b *attempt.Build) (any, error) {
			return l.Bind(sdk.WithLogger(ctx, c.Logger), b)
		}
		wrapped[l.Name] = &logged
		if c.Codec != nil {
			wrapped[l.Name] = coded.Local(c.Codec, &logged)
		}
	}
	return wrapped
}

// sharedTwice returns a fault for each shared local whose name another local of
// the worker has: their values would be told apart by nothing.
func sharedTwice(locals attempt.Locals) []error {
	type owner struct {
		local    *attempt.Local
		workflow string
	}
	var faults []error
	owners := map[string]owner{}
	for _, workflow := range slices.Sorted(maps.Keys(locals)) {
		for _, name := range slices.Sorted(maps.Keys(locals[workflow])) {
			l := locals[workflow][name]
			other, ok := owners[name]
			if !ok {
				owners[name] = owner{l, workflow}
				continue
			}
			if other.local.Origin != l.Origin && (l.Shared() || other.local.Shared()) {
				faults = append(faults, messages.Errorf(messages.CodeInvalidDefinition,
					"local %q of workflow %q and that of workflow %q are not the same: the name of a shared local is unique in a worker; use sdk.ShareLocal for one that both share",
					name, other.workflow, workflow))
			}
		}
	}
	return faults
}

// localLimits as the worker actor counts them.
func (c Config) localLimits() local.Config {
	limits := local.Config{SharedMax: c.SharedLocalsMax, SharedBytesMax: c.SharedLocalsBytesMax, IdleFor: c.SharedLocalsIdle}
	switch c.SharedLocalsIdle {
	case NoIdle:
		limits.IdleFor = -1
	case sdk.Never:
		limits.IdleFor = time.Duration(math.MaxInt64)
	}
	return limits
}
