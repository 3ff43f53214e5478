package server

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/limpetrun/limpet/actors/projection"
	"github.com/limpetrun/limpet/actors/roster"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

const (
	// loadsTry bounds the question to a placement on another server for the
	// loads of its workers.
	loadsTry = 500 * time.Millisecond
	// drainSeen is how long a drain waits, once the worker has accepted it,
	// until this server sees it.
	drainSeen = 2 * time.Second
)

// Workers returns the workers that this server knows of, gone ones included,
// with the number of unfinished runs that the journal says are bound to each.
func (e *Engine) Workers(ctx context.Context) []*api.Worker {
	counts := map[string]map[string]int{}
	bound := func(pool string) map[string]int {
		if counts[pool] == nil {
			n, err := e.host.cfg.Store.BoundCounts(ctx, pool)
			if err != nil {
				e.host.log.Warn("count the runs bound to workers", "pool", pool, "error", err)
				n = map[string]int{}
			}
			counts[pool] = n
		}
		return counts[pool]
	}
	var out []*api.Worker
	bound(messages.DefaultPool)
	for _, w := range e.statuses(ctx) {
		v := projection.Worker(&w)
		v.BoundRuns = int32(bound(v.Pool)[v.WorkerId])
		delete(counts[v.Pool], v.WorkerId)
		out = append(out, v)
	}
	for pool, left := range counts {
		for id, n := range left {
			out = append(out, &api.Worker{WorkerId: id, Pool: pool, State: api.WorkerGone, BoundRuns: int32(n)})
		}
	}
	slices.SortFunc(out, func(a, b *api.Worker) int { return strings.Compare(a.WorkerId, b.WorkerId) })
	return out
}

// WorkerEvents returns what this server has seen become of a worker, in order.
func (e *Engine) WorkerEvents(workerID string) []*api.WorkerEvent {
	return e.host.roster.Events(workerID)
}

// statuses are the workers of the roster. Workers report their load to the
// placement of their pool: where that is on another server, it is asked.
func (e *Engine) statuses(ctx context.Context) []roster.WorkerStatus {
	all := e.host.roster.Workers()
	pools := map[string]bool{}
	for _, w := range all {
		if w.State != run.WorkerGone {
			pools[messages.EffectivePool(w.Info.GetPool())] = true
		}
	}
	ctx, cancel := context.WithTimeout(ctx, loadsTry)
	defer cancel()
	var mu sync.Mutex
	var asking sync.WaitGroup
	far := map[string]*messages.WorkerLoad{}
	for pool := range pools {
		if owner, ok := e.host.cfg.Node.View().OwnerOf(cluster.KindPlacement, pool); !ok || owner.Name == e.host.cfg.Node.Self().Name {
			continue
		}
		asking.Go(func() {
			reply, err := e.host.cfg.Node.Call(ctx, cluster.KindPlacement, pool, &messages.LoadsOf{Pool: pool})
			if err != nil {
				e.host.log.Debug("ask placement for the loads of workers", "pool", pool, "error", err)
				return
			}
			loads, _ := reply.(*messages.LoadsReply)
			mu.Lock()
			defer mu.Unlock()
			for _, l := range loads.GetLoads() {
				far[l.GetLoad().GetWorkerId()] = l
			}
		})
	}
	asking.Wait()
	for i, w := range all {
		// One that is kept here from before placement moved may be old.
		l := far[w.WorkerID]
		age := time.Duration(l.GetAgeMs()) * time.Millisecond
		if l.GetLoad().GetIncarnation() == w.Incarnation && (w.Load == nil || age < w.LoadAge) {
			all[i].Load, all[i].LoadAge = l.GetLoad(), age
		}
	}
	return all
}

// DrainWorker returns when the worker takes on nothing new, and the runs of this
// server know: SOFT ones leave it at their next step. Its process stays.
// A deadline of 0 is the worker's own grace. Errors: UNKNOWN_WORKER,
// WORKER_GONE, WORKER_ENDING, UNAVAILABLE when the worker does not answer.
func (e *Engine) DrainWorker(ctx context.Context, workerID string, deadline time.Duration) (*api.Worker, error) {
	return e.drain(ctx, run.WorkerDraining, &messages.DrainWorker{WorkerId: workerID, DeadlineMs: deadline.Milliseconds()})
}

// UndrainWorker returns when the worker takes on new runs again. Errors: as of
// DrainWorker.
func (e *Engine) UndrainWorker(ctx context.Context, workerID string) (*api.Worker, error) {
	return e.drain(ctx, run.WorkerUp, &messages.DrainWorker{WorkerId: workerID, Undrain: true})
}

// drain asks the worker's process, which knows best, until it answers.
func (e *Engine) drain(ctx context.Context, state run.WorkerState, m *messages.DrainWorker) (*api.Worker, error) {
	for {
		if err := e.cutOff(); err != nil {
			return nil, err
		}
		w, known := e.host.roster.Worker(m.WorkerId)
		switch {
		case !known:
			return nil, messages.Errorf(messages.CodeUnknownWorker, "this server has seen no worker %q", m.WorkerId)
		case w.State == run.WorkerGone:
			return nil, messages.Errorf(messages.CodeWorkerGone, "worker %q is gone: %s", m.WorkerId, w.Reason.Words())
		}
		ask := &messages.DrainWorker{WorkerId: m.WorkerId, Incarnation: w.Incarnation, Undrain: m.Undrain, DeadlineMs: m.DeadlineMs}
		try, cancel := context.WithTimeout(ctx, hostTry)
		reply, err := e.host.cfg.Node.Request(try, actor.NewPID(w.Info.GetAddress(), w.Info.GetActorId()), ask)
		cancel()
		if answer, ok := reply.(*messages.DrainWorkerReply); ok && err == nil {
			if err := messages.FromFailure(answer.Error); err != nil {
				return nil, err
			}
			return e.drained(ctx, w, state), nil
		}
		if !e.pause(ctx) {
			return nil, messages.Errorf(messages.CodeUnavailable, "worker %q does not answer; it is not known whether it was told: %w", m.WorkerId, ctx.Err())
		}
	}
}

// drained returns the worker as this server and its runs see it, which waits a
// moment for the news.
func (e *Engine) drained(ctx context.Context, told roster.WorkerStatus, state run.WorkerState) *api.Worker {
	for until := time.Now().Add(drainSeen); time.Now().Before(until); {
		w, _ := e.host.roster.Worker(told.WorkerID)
		if w.Incarnation != told.Incarnation || w.State == state || w.State == run.WorkerGone || !e.pause(ctx) {
			break
		}
	}
	select {
	case <-e.host.roster.Told():
	case <-ctx.Done():
	}
	all := e.Workers(ctx)
	if i := slices.IndexFunc(all, func(w *api.Worker) bool { return w.WorkerId == told.WorkerID }); i >= 0 {
		return all[i]
	}
	return projection.Worker(&told)
}
