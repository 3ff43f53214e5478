package bench

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/cmd/internal/ledger"
	"github.com/limpetrun/limpet/sdk"
)

// Workloads of local state, with steps that take a while.
const (
	// KeyedRuns share values by skewed keys: see keyed.
	KeyedRuns = "keyed"
	// HandoffRuns leave workers that drain: see handoff.
	HandoffRuns = "handoff"
)

const (
	// keyedStep and keyedBuild are how long the step of a keyed run takes, and
	// the build of the value that it shares.
	keyedStep, keyedBuild = 100 * time.Millisecond, 50 * time.Millisecond
	// movedStep and movedBuild are the same of each step of a run that moves.
	movedStep, movedBuild = 100 * time.Millisecond, 200 * time.Millisecond
	// movedSteps follow each other in a run that moves.
	movedSteps = 20
)

// built is a value of local state, by its number in the ledger.
type built int64

// build is Bind of a value that takes a while to build, unless it is handed off.
func build(l *ledger.Writer, local string, takes time.Duration) func(sdk.BindContext, Input) (built, error) {
	return func(ctx sdk.BindContext, _ Input) (built, error) {
		received, ok := ctx.HandedOff()
		if !ok {
			if err := backoff.Sleep(ctx, takes); err != nil {
				return 0, err
			}
		}
		return built(l.Built(local, ctx.Key(), ctx.RunID(), ctx.Binding().Epoch, string(received))), nil
	}
}

// release is Release of it.
func release(l *ledger.Writer) func(built, sdk.Why) error {
	return func(v built, why sdk.Why) error {
		l.Released(int64(v), string(why))
		return nil
	}
}

// using is a step that asks for the value first.
func using(l *ledger.Writer, value *sdk.Local[built], takes time.Duration) func(sdk.Context, Input) (Output, error) {
	return recorded(l, func(ctx sdk.Context, _ Input) error {
		if _, err := value.Get(ctx); err != nil {
			return err
		}
		return backoff.Sleep(ctx, takes)
	})
}

// keyedWorkflow is one step that uses the value of its run's key.
func keyedWorkflow(l *ledger.Writer) *sdk.Workflow[Input] {
	w := newWorkflow(KeyedRuns, "soft")
	value := sdk.NewLocal(w, sdk.LocalConfig[built, Input]{
		Name: "bench-keyed", Bind: build(l, "keyed", keyedBuild), Release: release(l),
		Key: func(in Input) string { return fmt.Sprint(in.Key) },
	})
	sdk.AddStep(w, "use", using(l, value, keyedStep))
	return w
}

// movedWorkflow is steps in a row that use a value of the run's own, which can
// be handed off or not.
func movedWorkflow(handoff bool, l *ledger.Writer) *sdk.Workflow[Input] {
	name := "rebuilt"
	config := sdk.LocalConfig[built, Input]{Bind: build(l, "moved", movedBuild), Release: release(l)}
	if handoff {
		name = "handed-off"
		config.Handoff = func(_ context.Context, v built) ([]byte, error) {
			l.Gave(int64(v), "state")
			return []byte("state"), nil
		}
	}
	w := newWorkflow(name, "soft")
	value := sdk.NewLocal(w, config)
	var before []sdk.AnyStep
	for i := range movedSteps {
		step := sdk.AddStep(w, fmt.Sprintf("step-%02d", i+1), using(l, value, movedStep), sdk.StepConfig{Parents: before})
		before = sdk.Steps(step)
	}
	return w
}

// book reads all that the workers have recorded.
func (r *rig) book(ctx context.Context) (ledger.Book, error) {
	// This has the workers write what they have gathered.
	if _, err := r.cluster.Ledger(ctx); err != nil {
		return ledger.Book{}, err
	}
	return ledger.ReadBook(filepath.Join(r.dir, "ledger", "*.ledger"))
}
