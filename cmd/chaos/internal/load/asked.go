package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/cmd/chaos/internal/verdict"
	"github.com/limpetrun/limpet/sdk"
)

// tellsProgress tells how far an execution is, at its beginning and at its end, and notes
// that, and what it was given, in the ledger.
func (r *role) tellsProgress(ctx sdk.Context, n int64, act func() error) error {
	l := r.process.ledger
	given, known, err := sdk.LastProgress[string](ctx)
	if err != nil {
		return err
	}
	if known {
		l.Did(n, verdict.Given, given)
	}
	tell := func(serial int) {
		progress := fmt.Sprintf("%d.%d", ctx.Attempt(), serial)
		l.Did(n, verdict.Tells, progress)
		if ctx.Progress(progress) == nil && ctx.Err() == nil {
			l.Did(n, verdict.Told, progress)
		}
	}
	tell(1)
	if err = act(); !errors.Is(err, sdk.ErrSuspended) {
		tell(2)
	}
	return err
}

// whereQuery is the query of all sticky workflows.
const whereQuery = "where"

// addQuery has runs of a workflow say where they are, and what their private state is.
func addQuery(w *sdk.Workflow[Plan], s *shape, local *sdk.Local[*localValue]) {
	sdk.AddQuery(w, whereQuery, func(ctx sdk.QueryContext, _ struct{}) (verdict.Answer, error) {
		a := verdict.Answer{Run: ctx.RunID(), Worker: ctx.WorkerID(), Epoch: ctx.Epoch()}
		if !s.private {
			return a, nil
		}
		value, err := local.Peek(ctx)
		if err == nil {
			a.Of = value.run()
		}
		return a, err
	})
}

// run is the run that a private value is for.
func (v *localValue) run() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.state.Run
}

// askPercent of the operations that may ask do.
const askPercent = 40

// asks asks a run where it is, some times.
func (o *operation) asks(run *sdk.Run) {
	dice := rand.New(rand.NewPCG(o.number, o.load.config.Seed))
	if run == nil || o.shape.sticky == sdk.None || dice.IntN(100) >= askPercent {
		return
	}
	for range 1 + dice.IntN(4) {
		if backoff.Sleep(o.load.ctx, time.Duration(dice.Int64N(int64(gapMost/2)))) != nil {
			return
		}
		o.call(verdict.Call{Act: verdict.ActAsk, Runs: []string{run.ID()}}, false, func(ctx context.Context, c *verdict.Call) error {
			return o.other.Run(run.ID()).Ask(ctx, whereQuery, struct{}{}, &c.Answer)
		})
	}
}
