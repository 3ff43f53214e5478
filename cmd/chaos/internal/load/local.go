package load

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/cmd/chaos/internal/verdict"
	"github.com/limpetrun/limpet/sdk"
)

// Names of local state.
const (
	privateLocal = "state"
	sharedLocal  = "shared"
)

// bindFor is how long it takes to build a value, and to tidy it up.
const bindFor = 20 * time.Millisecond

// localValue is a value of local state: it counts its uses, and writes its life down.
type localValue struct {
	process *process
	// number in the ledger.
	number int64
	// stays is why it cannot be handed off, nor be released well, unless nil.
	stays error

	mu    sync.Mutex
	state verdict.State
}

// locals declares the local state of a shape; nil for none. Shared state is
// that of the first workflow that has it.
func (p *process) locals(w *sdk.Workflow[Plan], s *shape) *sdk.Local[*localValue] {
	if s.shared {
		if p.shared == nil {
			p.shared = sdk.NewLocal(w, sdk.LocalConfig[*localValue, Plan]{
				Name: sharedLocal, Bind: p.bind, Release: release, Key: func(plan Plan) string { return plan.Key },
				Size: func(*localValue) int64 { return 1 << 20 },
			})
		} else {
			sdk.ShareLocal(w, p.shared)
		}
		return p.shared
	}
	if !s.private {
		return nil
	}
	config := sdk.LocalConfig[*localValue, Plan]{Name: privateLocal, Bind: p.bind, Release: release}
	if s.handoff {
		config.Handoff = handOff
	}
	return sdk.NewLocal(w, config)
}

// bind builds a value, from what was handed off if there is such.
func (p *process) bind(ctx sdk.BindContext, plan Plan) (*localValue, error) {
	if err := backoff.Sleep(ctx, bindFor); err != nil {
		return nil, err
	}
	run := ctx.RunID()
	if _, failed := p.failed.LoadOrStore(run, true); plan.BindFails && !failed {
		return nil, leave(plan.onPurpose(0, "the state is not built"))
	}
	v := &localValue{process: p, state: verdict.State{Run: run}}
	if plan.Stays {
		v.stays = plan.onPurpose(1, "it stays")
	}
	received, handedOff := ctx.HandedOff()
	if handedOff {
		if err := json.Unmarshal(received, &v.state); err != nil {
			return nil, fmt.Errorf("what was handed off: %w", err)
		}
	}
	if ctx.Key() != "" {
		v.number = p.ledger.Built(sharedLocal, ctx.Key(), "", 0, "")
	} else {
		v.number = p.ledger.Built(privateLocal, "", run, ctx.Binding().Epoch, string(received))
	}
	return v, nil
}

// use counts and writes down one use by an execution.
func (v *localValue) use(execution int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.state.Version++
	v.process.ledger.Used(v.number, execution, v.state.Version)
}

func handOff(_ context.Context, v *localValue) ([]byte, error) {
	if v.stays != nil {
		return nil, leave(v.stays)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	data, err := json.Marshal(v.state)
	v.process.ledger.Gave(v.number, string(data))
	return data, err
}

func release(v *localValue, why sdk.Why) error {
	v.process.ledger.Released(v.number, string(why))
	if err := backoff.Sleep(context.Background(), bindFor); err != nil {
		return err
	}
	return leave(v.stays)
}
