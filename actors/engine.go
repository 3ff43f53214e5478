package actors

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// Engine is what the API does with runs, wherever in the cluster they are. It
// is safe for concurrent use; its methods try again by themselves until their
// context ends.
type Engine struct{ host *Host }

// bulkPart is how many starts travel in one message between servers.
const bulkPart = 100

// enginePause is the wait before something is asked again.
const enginePause = 50 * time.Millisecond

// pause waits; false if ctx ended or the server stops.
func (e *Engine) pause(ctx context.Context) bool {
	select {
	case <-ctx.Done():
	case <-e.host.ctx.Done():
	case <-time.After(enginePause):
		return true
	}
	return false
}

// StartRuns starts runs on their owners and returns when all are durable or
// refused: one reply each, in order. The error is DEADLINE_EXCEEDED for all.
func (e *Engine) StartRuns(ctx context.Context, runs []*messages.StartRun) ([]*messages.StartRunReply, error) {
	replies := make([]*messages.StartRunReply, len(runs))
	left := make([]int, len(runs))
	for i := range runs {
		left[i] = i
	}
	for {
		e.startOnOwners(ctx, runs, left, replies)
		// Who is asked by an older view, or stops, refuses.
		left = slices.DeleteFunc(left, func(i int) bool {
			return replies[i] != nil && replies[i].Error.GetCode() != string(messages.CodeUnavailable)
		})
		if len(left) == 0 || !e.pause(ctx) {
			break
		}
	}
	if err := ctx.Err(); err != nil && len(left) > 0 {
		return nil, messages.Errorf(messages.CodeDeadline, "start %d runs: %w", len(runs), err)
	}
	return replies, nil
}

func (e *Engine) startOnOwners(ctx context.Context, runs []*messages.StartRun, indexes []int, replies []*messages.StartRunReply) {
	byOwner := map[string][]int{}
	view := e.host.cfg.Node.View()
	for _, i := range indexes {
		m, ok := view.OwnerOfRun(runs[i].RunId)
		if !ok {
			replies[i] = &messages.StartRunReply{Error: messages.ToFailure(
				messages.Errorf(messages.CodeUnavailable, "no server owns run %s now", runs[i].RunId))}
			continue
		}
		byOwner[m.Name] = append(byOwner[m.Name], i)
	}
	var wait sync.WaitGroup
	for owner, indexes := range byOwner {
		if owner == e.host.cfg.Node.Self().Name {
			wait.Go(func() { e.startHere(ctx, runs, indexes, replies) })
			continue
		}
		for len(indexes) > 0 {
			part := indexes[:min(bulkPart, len(indexes))]
			indexes = indexes[len(part):]
			wait.Go(func() { e.startThere(ctx, runs, part, replies) })
		}
	}
	wait.Wait()
}

func (e *Engine) startHere(ctx context.Context, runs []*messages.StartRun, indexes []int, replies []*messages.StartRunReply) {
	part := make([]*messages.StartRun, len(indexes))
	for k, i := range indexes {
		part[k] = runs[i]
	}
	for k, r := range e.host.startRuns(ctx, part) {
		replies[indexes[k]] = r
	}
}

// startThere asks the host of another server, and whoever owns the runs by
// then if it does not answer: starting twice is harmless.
func (e *Engine) startThere(ctx context.Context, runs []*messages.StartRun, indexes []int, replies []*messages.StartRunReply) {
	for _, i := range indexes {
		reply, err := e.hostCall(ctx, runs[i].RunId, &messages.StartRuns{Runs: []*messages.StartRun{runs[i]}})
		if err != nil {
			replies[i] = &messages.StartRunReply{Error: messages.ToFailure(err)}
			continue
		}
		replies[i] = reply.(*messages.StartRunsReply).Runs[0]
	}
}

// hostTry is how long one host is waited for beyond what it was asked to wait.
const hostTry = time.Second

// hostCall asks the host of the server that owns the run, again and again
// until the context ends.
func (e *Engine) hostCall(ctx context.Context, runID string, msg proto.Message) (proto.Message, error) {
	for {
		try := hostTry
		if w, ok := msg.(*messages.WatchRun); ok {
			try += time.Duration(w.WaitMs) * time.Millisecond
		}
		if reply, err := e.askHost(ctx, runID, msg, try); err == nil {
			return reply, nil
		}
		if !e.pause(ctx) {
			return nil, messages.Errorf(messages.CodeUnavailable, "run %s: the server that owns it did not answer: %w", runID, cmp.Or(ctx.Err(), context.Canceled))
		}
	}
}

// askHost asks once; it gives up when another server owns the run.
func (e *Engine) askHost(ctx context.Context, runID string, msg proto.Message, d time.Duration) (proto.Message, error) {
	node := e.host.cfg.Node
	owner, ok := node.View().OwnerOfRun(runID)
	if !ok {
		return nil, messages.Errorf(messages.CodeUnavailable, "no server owns run %s now", runID)
	}
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	go func() {
		_, _ = node.Await(ctx, func(v *cluster.View) bool {
			now, ok := v.OwnerOfRun(runID)
			return !ok || now.ID != owner.ID
		})
		cancel()
	}()
	return node.Request(ctx, actor.NewPID(owner.Address, cluster.HostActor), msg)
}

// CancelRun returns when the request is durable. Errors: UNKNOWN_RUN,
// RUN_FINISHED.
func (e *Engine) CancelRun(ctx context.Context, runID, reason string) error {
	return e.command(ctx, runID, &messages.CancelRun{RunId: runID, Reason: reason})
}

// ReplayRun returns when the request is durable. Errors: UNKNOWN_RUN,
// RUN_NOT_FINISHED, UNKNOWN_STEP, INVALID_ARGUMENT.
func (e *Engine) ReplayRun(ctx context.Context, runID string, steps []string) error {
	return e.command(ctx, runID, &messages.ReplayRun{RunId: runID, Steps: steps})
}

func (e *Engine) command(ctx context.Context, runID string, msg proto.Message) error {
	for {
		reply, err := e.host.cfg.Node.Call(ctx, cluster.KindRun, runID, msg)
		if err != nil {
			return err
		}
		err = messages.FromFailure(reply.(*messages.CommandReply).Error)
		switch messages.CodeOf(err) {
		case messages.CodeJournalConflict, messages.CodeUnavailable:
			// The run goes on in another activation, or on another server.
			if e.pause(ctx) {
				continue
			}
		}
		return err
	}
}

// WatchRun is a long poll for a run's entries. Errors: UNKNOWN_RUN.
func (e *Engine) WatchRun(ctx context.Context, w *messages.WatchRun) (*messages.WatchRunReply, error) {
	var reply *messages.WatchRunReply
	if e.host.owns(w.RunId) {
		reply = e.host.watch(ctx, w)
	} else {
		m, err := e.hostCall(ctx, w.RunId, w)
		if err != nil {
			return nil, err
		}
		reply = m.(*messages.WatchRunReply)
	}
	if err := messages.FromFailure(reply.Error); err != nil {
		return nil, err
	}
	return reply, nil
}

// LoadRun returns a run as it is stored, with what it waits for. Errors:
// UNKNOWN_RUN, RUN_SET_ASIDE.
func (e *Engine) LoadRun(ctx context.Context, runID string) (*api.GetRunResponse, error) {
	record, err := e.host.cfg.Store.Load(ctx, runID)
	if err != nil {
		return nil, err
	}
	def, err := e.host.definitions.ByHash(ctx, record.Row.DefinitionHash)
	if err != nil {
		return nil, err
	}
	m, err := run.Restore(runID, def.Def, record.Entries, run.Config{})
	if err != nil {
		return nil, err
	}
	view := viewOf(&record, m.State())
	if !journal.Finished(record.Row.Status) {
		view.Run.WaitingFor = e.host.waitingFor(ctx, runID, m)
	}
	return view, nil
}

// waitingFor asks the activation, or, where there is none here, the history.
func (h *Host) waitingFor(ctx context.Context, runID string, m *run.Machine) string {
	h.mu.RLock()
	pid := h.active[runID]
	h.mu.RUnlock()
	if pid == nil {
		return m.WaitingFor()
	}
	ctx, cancel := context.WithTimeout(ctx, hostTry)
	defer cancel()
	answer, err := h.root.RequestFuture(pid, askWaitingFor{}, hostTry).Result()
	if err != nil || ctx.Err() != nil {
		return ""
	}
	w, _ := answer.(waitingFor)
	return string(w)
}

// ListRuns returns rows, newest first.
func (e *Engine) ListRuns(ctx context.Context, f journal.Filter, limit int, token string) ([]journal.Row, string, error) {
	return e.host.cfg.Store.List(ctx, f, limit, token)
}

// Workflow returns the current version of a workflow and its hash. Errors:
// UNKNOWN_WORKFLOW.
func (e *Engine) Workflow(ctx context.Context, name string) (*messages.WorkflowDefinition, string, error) {
	d, err := e.host.definitions.Current(ctx, name)
	if err != nil {
		return nil, "", err
	}
	return d.Def, d.Hash, nil
}

// Workflows returns the current version of every workflow.
func (e *Engine) Workflows(ctx context.Context) ([]*api.Workflow, error) {
	all, err := e.host.definitions.All(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]*api.Workflow, len(all))
	for i, d := range all {
		out[i] = &api.Workflow{Definition: d.Def, Hash: d.Hash}
	}
	return out, nil
}

// Members returns the members of the cluster as this server sees them.
func (e *Engine) Members(context.Context) []*api.Member {
	view, self := e.host.cfg.Node.View(), e.host.cfg.Node.Self()
	shards := map[string]int32{}
	for s := range cluster.Shards {
		if m, ok := view.OwnerOfShard(s); ok {
			shards[m.Name]++
		}
	}
	out := make([]*api.Member, len(view.Members))
	for i, m := range view.Members {
		out[i] = &api.Member{Name: m.Name, Role: string(m.Role), Address: m.Address, GossipAddress: m.GossipAddress,
			State: string(m.State), Shards: shards[m.Name], ThisServer: m.Name == self.Name}
	}
	return out
}

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
	for _, w := range e.host.roster.Workers() {
		v := workerView(&w)
		v.BoundRuns = int32(bound(v.Pool)[v.WorkerId])
		delete(counts[v.Pool], v.WorkerId)
		out = append(out, v)
	}
	for pool, left := range counts {
		for id, n := range left {
			out = append(out, &api.Worker{WorkerId: id, Pool: pool, State: WorkerGone.String(), BoundRuns: int32(n)})
		}
	}
	slices.SortFunc(out, func(a, b *api.Worker) int { return strings.Compare(a.WorkerId, b.WorkerId) })
	return out
}
