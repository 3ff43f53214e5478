package load

import (
	"context"
	"errors"
	"time"

	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/sdk"
)

// endStep is the name of end steps.
const endStep = "end"

// endsFor is how long an end step takes.
const endsFor = 20 * time.Millisecond

// ender is the end step of a workflow as a process performs it.
type ender struct {
	process *process
	shape   *shape
	local   *sdk.Local[*localValue]
}

// perform writes its execution down, and uses the run's state, if that is there: the
// ledger shows when it was released.
func (e *ender) perform(ctx sdk.Context, _ Plan, _ sdk.End) error {
	l := e.process.ledger
	n := l.Begin(ctx.RunID(), ctx.Step(), ctx.Attempt(), ctx.Binding().Epoch)
	err := e.act(ctx, n)
	if ctx.Err() != nil {
		l.Canceled(n, context.Cause(ctx).Error())
	}
	note := "null"
	if err != nil {
		note = err.Error()
	}
	l.End(n, err != nil, note)
	return err
}

func (e *ender) act(ctx sdk.Context, n int64) error {
	if !e.shape.private {
		return backoff.Sleep(ctx, endsFor)
	}
	local, err := e.local.Get(ctx)
	if errors.Is(err, sdk.ErrStateNotThere) {
		return nil // It went with its worker, or was never built.
	}
	if err != nil {
		return err
	}
	local.use(n)
	err = backoff.Sleep(ctx, endsFor)
	local.use(n)
	return err
}
