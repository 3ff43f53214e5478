package worker

import (
	"context"
	"slices"
	"time"

	"github.com/limpetrun/limpet/actors/usercode"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/messages"
)

// boundTry bounds one question for a page of the runs that are bound here.
const boundTry = 10 * time.Second

// onStart calls Config.OnStart with the HARD runs that are bound to the worker. It
// is for between the admission and the moment at which others see the worker:
// nothing is sent to it, or bound to it, before they do. So what was bound at the
// admission is all that there is, and a run can only end meanwhile.
func (w *Worker) onStart(ctx context.Context) error {
	if w.cfg.OnStart == nil {
		return nil
	}
	bound, err := w.boundRuns(ctx)
	if err != nil {
		return err
	}
	call := usercode.Go("OnStart", func() error { return w.cfg.OnStart(ctx, bound) })
	select {
	case <-call.Done:
	case <-ctx.Done():
		return w.notAdmitted(ctx)
	}
	err, fault := call.Outcome()
	switch {
	case fault != nil:
		return fault.Coded(messages.CodeUserError)
	case err != nil:
		return messages.FromFailure(usercode.FailureOf(err))
	}
	return nil
}

// boundRuns asks placement, page by page, in the order of their ids.
func (w *Worker) boundRuns(ctx context.Context) ([]string, error) {
	runs := []string{}
	pauses := retryPauses
	for token := ""; ; {
		page, err := w.askBoundRuns(ctx, token)
		if err == nil {
			runs = append(runs, page.GetRuns()...)
			if token = page.GetNextPageToken(); token == "" {
				slices.Sort(runs)
				return runs, nil
			}
			continue
		}
		w.cfg.Logger.Warn("the worker cannot learn yet which runs are bound to it", "error", err)
		if backoff.Sleep(ctx, pauses.Next()) != nil {
			return nil, w.notAdmitted(ctx)
		}
	}
}

func (w *Worker) askBoundRuns(ctx context.Context, token string) (*messages.BoundRunsReply, error) {
	ctx, cancel := context.WithTimeout(ctx, boundTry)
	defer cancel()
	reply, err := w.node.Call(ctx, cluster.KindPlacement, w.info.Pool, &messages.BoundRunsOf{WorkerId: w.info.WorkerId, PageToken: token})
	if err != nil {
		return nil, err
	}
	page, ok := reply.(*messages.BoundRunsReply)
	if !ok {
		return nil, messages.Errorf(messages.CodeInternal, "placement of pool %q answered with %T", w.info.Pool, reply)
	}
	return page, messages.FromFailure(page.GetError())
}
