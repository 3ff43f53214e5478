package worker

import (
	"context"

	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
)

// For tests of a whole cluster, which are outside the package.

// SetHooks gives a worker that runs other hooks.
func (w *Worker) SetHooks(h *Hooks) { w.cfg.Hooks = h }

// LeaseChanged is what the worker hears of its lease.
func (w *Worker) LeaseChanged(c cluster.LeaseChange) { w.leaseChanged(c) }

// LastLoad is what the worker has reported.
func (w *Worker) LastLoad() *messages.LoadReport {
	w.reporter.mu.Lock()
	defer w.reporter.mu.Unlock()
	return w.reporter.last
}

// OutputsOf reads the outputs of a run as a step does of its child.
func (w *Worker) OutputsOf(ctx, life context.Context, end *messages.ChildEnd) (map[string][]byte, error) {
	return (&attemptCalls{worker: w, life: life}).Outputs(ctx, end)
}
