package server

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/activation"
	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/projection"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// Engine is what the API does with runs, wherever in the cluster they are. It
// is safe for concurrent use; its methods try again by themselves until their
// context ends.
type Engine struct {
	host *Host
	keys keyAskers
}

// enginePause is the wait before something is asked again.
const enginePause = 50 * time.Millisecond

// pause waits; false if ctx ended or the server stops.
func (e *Engine) pause(ctx context.Context) bool {
	return backoff.SleepUntil(ctx, enginePause, e.host.ctx.Done()) == nil && e.host.ctx.Err() == nil
}

// StartRuns starts runs on their owners and returns when all are durable or
// refused: one reply each, in order. Of a start that got JOURNAL_UNAVAILABLE it
// is not known whether the run is there; to start it again under the same id is
// harmless. The error, for all: DEADLINE_EXCEEDED, or UNAVAILABLE from a server
// that does not reach the others.
func (e *Engine) StartRuns(ctx context.Context, runs []*messages.StartRun) ([]*messages.StartRunReply, error) {
	runs = e.withLocalKeys(ctx, runs)
	replies := make([]*messages.StartRunReply, len(runs))
	left := make([]int, len(runs))
	for i := range runs {
		left[i] = i
	}
	for {
		if err := e.cutOff(); err != nil {
			return nil, err
		}
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

const (
	// hostTry is how long one host is waited for beyond what it was asked to
	// wait, startTry how long it may take to start runs.
	hostTry  = time.Second
	startTry = 15 * time.Second
	// farWatch bounds one question to another server about a run that goes on:
	// the answer is lost in a split that is too short for anybody to be
	// declared gone.
	farWatch = 3 * time.Second
)

// onOwner has a question about a run answered by the server that owns it: by here on
// this server, by there on another one, which says whether there is an answer. It asks
// again at once if there is none yet, and after a pause if asking failed or nobody owns
// the run. The error is UNAVAILABLE, from a server that is cut off or once ctx ends.
func (e *Engine) onOwner(ctx context.Context, runID string, here func(), there func(cluster.Member) (answered bool, err error)) error {
	for {
		if err := e.cutOff(); err != nil {
			return err
		}
		owner, owned := e.host.cfg.Node.View().OwnerOfRun(runID)
		if owned && owner.Name == e.host.cfg.Node.Self().Name {
			here()
			return nil
		}
		answered, err := false, error(messages.Errorf(messages.CodeUnavailable, "no server owns it now"))
		if owned {
			answered, err = there(owner)
		}
		switch {
		case answered:
			return nil
		case err != nil && !e.pause(ctx):
			return messages.Errorf(messages.CodeUnavailable, "run %s: the server that owns it did not answer: %w", runID, cmp.Or(ctx.Err(), err))
		}
	}
}

// watchOnOwner asks the server that owns the run until there is something to tell, the
// wait is over or the context ends.
func (e *Engine) watchOnOwner(ctx context.Context, w *messages.WatchRun) (reply *messages.WatchRunReply, err error) {
	deadline := time.Now().Add(time.Duration(w.WaitMs) * time.Millisecond)
	err = e.onOwner(ctx, w.RunId, func() { reply = e.host.watch(ctx, w) }, func(owner cluster.Member) (answered bool, err error) {
		wait := farWait(deadline)
		far := proto.CloneOf(w)
		far.WaitMs = wait.Milliseconds()
		if reply, err = askHost[*messages.WatchRunReply](ctx, e, owner, far, hostTry+wait); err != nil {
			return false, err
		}
		return reply.Ended || reply.Error != nil || len(reply.Entries) > 0 || time.Until(deadline) < time.Millisecond, nil
	})
	return reply, err
}

// farWait is how long another server may wait for news before it is asked again.
func farWait(deadline time.Time) time.Duration { return max(0, min(time.Until(deadline), farWatch)) }

// askHost asks a server once; it gives up when that owns no shards any more. An answer of
// another kind is an error: UNAVAILABLE.
func askHost[T proto.Message](ctx context.Context, e *Engine, owner cluster.Member, msg proto.Message, d time.Duration) (answer T, err error) {
	node := e.host.cfg.Node
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	go func() {
		_, _ = node.Await(ctx, func(v *cluster.View) bool {
			m, ok := v.Member(owner.Name)
			return !ok || m.ID != owner.ID || m.State != cluster.StateReady
		})
		cancel()
	}()
	reply, err := node.Request(ctx, actor.NewPID(owner.Address, cluster.HostActor), msg)
	answer, ok := reply.(T)
	if err == nil && !ok {
		err = messages.Errorf(messages.CodeUnavailable, "server %s answers %T with %T", owner.Name, msg, reply)
	}
	return answer, err
}

// cutOff is the error of a server that does not reach the others, or not the
// journal, which they reach: another address of the cluster serves.
func (e *Engine) cutOff() error {
	if !e.host.cfg.Node.CutOff() {
		return nil
	}
	return messages.Errorf(messages.CodeUnavailable, "this server does not reach the others of its cluster, or its journal; ask another one")
}

// CancelRun returns when the request is durable. Errors: UNKNOWN_RUN,
// RUN_FINISHED, RUN_ENDING.
func (e *Engine) CancelRun(ctx context.Context, msg *messages.CancelRun) error {
	return e.command(ctx, msg.GetRunId(), msg)
}

// SignalRun returns when the message is durable; the same message again does
// nothing. Errors: UNKNOWN_RUN, RUN_FINISHED, LIMIT_EXCEEDED,
// IDEMPOTENCY_MISMATCH.
func (e *Engine) SignalRun(ctx context.Context, msg *messages.SignalRun) error {
	return e.command(ctx, msg.RunId, msg)
}

// ReplayRun returns when the request is durable; the same request id again does
// nothing. Errors: UNKNOWN_RUN,
// RUN_NOT_FINISHED, UNKNOWN_STEP, INVALID_ARGUMENT.
func (e *Engine) ReplayRun(ctx context.Context, runID string, steps []string, requestID string) error {
	return e.command(ctx, runID, &messages.ReplayRun{RunId: runID, Steps: steps, RequestId: requestID})
}

// commandTry is how long the run's activation is waited for before it is asked
// whether the journal is there.
const commandTry = 4 * time.Second

func (e *Engine) command(ctx context.Context, runID string, msg proto.Message) error {
	_, err := e.commandReply(ctx, runID, msg)
	return err
}

func (e *Engine) commandReply(ctx context.Context, runID string, msg proto.Message) (*messages.CommandReply, error) {
	for {
		if err := e.cutOff(); err != nil {
			return nil, err
		}
		try, cancel := context.WithTimeout(ctx, commandTry)
		reply, err := e.host.cfg.Node.Call(try, cluster.KindRun, runID, msg)
		cancel()
		answer, ok := reply.(*messages.CommandReply)
		if ok && err == nil {
			err = messages.FromFailure(answer.Error)
		} else if down := e.host.journalDown(ctx); err != nil && down != nil {
			return nil, messages.Errorf(messages.CodeJournalUnavailable, "run %s: it is not known whether the request is stored: %w", runID, down)
		}
		err = e.refused(ctx, runID, msg, err)
		switch messages.CodeOf(err) {
		case messages.CodeJournalConflict, messages.CodeUnavailable:
			// The run goes on in another activation, or on another server.
			if e.pause(ctx) {
				continue
			}
		}
		return answer, err
	}
}

// readWithin bounds what the API reads from the journal.
const readWithin = 5 * time.Second

// reading returns a context for reading from the journal.
func reading(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, readWithin)
}

// journalDown asks the journal whether it is there: nil if so.
func (h *Host) journalDown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, hostTry)
	defer cancel()
	_, err := h.cfg.Store.Now(ctx)
	return err
}

// WatchRun is a long poll for a run's entries. Errors: UNKNOWN_RUN.
func (e *Engine) WatchRun(ctx context.Context, w *messages.WatchRun) (*messages.WatchRunReply, error) {
	reply, err := e.watchOnOwner(ctx, w)
	if err != nil {
		return nil, err
	}
	if err := messages.FromFailure(reply.Error); err != nil {
		return nil, err
	}
	return reply, nil
}

// refused looks in the journal whether a command was refused rightly: the
// activation that did may be behind, on a server that has just lost the run, and
// the command may be recorded by an earlier try.
func (e *Engine) refused(ctx context.Context, runID string, msg proto.Message, err error) error {
	code := messages.CodeOf(err)
	if code != messages.CodeRunNotFinished && code != messages.CodeRunFinished {
		return err
	}
	record, m, failed := e.stored(ctx, runID)
	replay, ok := msg.(*messages.ReplayRun)
	switch {
	case failed != nil:
		return err
	case ok && m.State().HasReplay(replay.RequestId):
		return nil
	case journal.Finished(record.Row.Status) != (code == messages.CodeRunFinished):
		return messages.Errorf(messages.CodeJournalConflict, "run %s has gone on in another activation", runID)
	}
	return err
}

// LoadRun returns a run as it is stored, with what it waits for. Errors:
// UNKNOWN_RUN, RUN_SET_ASIDE.
func (e *Engine) LoadRun(ctx context.Context, runID string) (*api.GetRunResponse, error) {
	ctx, cancel := reading(ctx)
	defer cancel()
	record, m, err := e.stored(ctx, runID)
	if err != nil {
		return nil, err
	}
	e.wakeByWall(&record.Row)
	view := projection.Run(&record, m.State(), e.host.clock.ToEngine())
	if len(m.State().Streams) > 0 {
		stored, err := e.host.cfg.Store.Streams(ctx, runID)
		if err != nil {
			return nil, err
		}
		view.Streams = projection.Streams(stored)
	}
	e.addWait(ctx, view.Run, func() (*run.Machine, error) { return m, nil })
	if len(view.GetChildren()) > 0 {
		if err := e.addStatuses(ctx, runID, view.GetChildren()); err != nil {
			return nil, err
		}
	}
	view.Run.Sentence = projection.Sentence(view)
	return view, nil
}

// addStatuses gives children of a run the statuses that are stored.
func (e *Engine) addStatuses(ctx context.Context, parent string, children []*api.Child) error {
	statuses := make(map[string]messages.RunStatus, len(children))
	for token := ""; ; {
		rows, next, err := e.host.cfg.Store.List(ctx, journal.Filter{ParentRun: parent}, messages.PageSizeMax, token)
		if err != nil {
			return err
		}
		for i := range rows {
			statuses[rows[i].RunID] = rows[i].Status
		}
		if token = next; token == "" {
			break
		}
	}
	for _, c := range children {
		c.Status = statuses[c.GetRunId()]
	}
	return nil
}

func (e *Engine) stored(ctx context.Context, runID string) (record journal.Record, m *run.Machine, err error) {
	if record, err = e.host.cfg.Store.Load(ctx, runID); err != nil {
		return record, nil, err
	}
	def, err := e.host.definitions.ByHash(ctx, record.Row.DefinitionHash)
	if err != nil {
		return record, nil, err
	}
	m, err = run.Restore(runID, def.Def, record.Entries, &run.Config{})
	return record, m, err
}

// waitingHere asks the activation what a run waits for; false where there is none
// here: then its history says what is known.
func (h *Host) waitingHere(ctx context.Context, runID string) (words string, here bool) {
	h.mu.RLock()
	a := h.core.Active(runID)
	h.mu.RUnlock()
	if a == nil {
		return "", false
	}
	asked := h.root.RequestFuture(a.Address.(*actor.PID), activation.AskWaitingFor{}, hostTry)
	// An answer of nothing ends the waiting when nobody wants to know any more.
	stop := context.AfterFunc(ctx, func() { h.root.Send(asked.PID(), activation.WaitingFor("")) })
	defer stop()
	answer, _ := asked.Result()
	w, _ := answer.(activation.WaitingFor)
	return string(w), true
}

// waitingStored is what the history of a run that is not in memory here says.
func (h *Host) waitingStored(m *run.Machine) string {
	if w := m.State().Binding.Worker; w != nil {
		h.see(m, w.WorkerId)
	}
	return m.WaitingFor()
}

// see tells a machine what the roster knows of the worker of its run.
func (h *Host) see(m *run.Machine, workerID string) {
	if w, ok := h.roster.Worker(workerID); ok {
		m.See(run.WorkerChanged{Worker: &messages.WorkerRef{WorkerId: w.WorkerID, Incarnation: w.Incarnation},
			State: w.State, Reason: w.Reason, Info: w.Info}, h.clock.Now())
	}
}

// ListRuns returns runs, newest first, and the token of the next page.
func (e *Engine) ListRuns(ctx context.Context, f journal.Filter, limit int, token string) ([]*api.Run, string, error) {
	ctx, cancel := reading(ctx)
	defer cancel()
	rows, next, err := e.host.cfg.Store.List(ctx, f, limit, token)
	if err != nil {
		return nil, "", err
	}
	runs := make([]*api.Run, len(rows))
	for i := range rows {
		e.wakeByWall(&rows[i])
		runs[i] = projection.Listed(&rows[i])
	}
	e.addWaits(ctx, runs)
	return runs, next, nil
}

// CountRuns counts runs by workflow and status, up to a limit of each.
func (e *Engine) CountRuns(ctx context.Context, f journal.Filter, limit int) ([]journal.GroupCount, error) {
	ctx, cancel := reading(ctx)
	defer cancel()
	return e.host.cfg.Store.CountRuns(ctx, f, limit)
}

// wakeByWall has the time at which a run is woken in that of the wall clock: it
// becomes a text.
func (e *Engine) wakeByWall(row *journal.Row) {
	if toWall := e.host.clock.ToWall(); toWall != nil {
		row.WakeAt = toWall(row.WakeAt)
	}
}

const (
	// waitsListed is of how many runs of a page it is found out what they wait for,
	// beyond what their rows say; waitsAtOnce bounds how many are asked at once, and
	// waitsWithin the time of all.
	waitsListed = 100
	waitsAtOnce = 8
	waitsWithin = time.Second
)

// addWaits says what the runs of a page wait for, as addWait does for one.
func (e *Engine) addWaits(ctx context.Context, runs []*api.Run) {
	ctx, cancel := context.WithTimeout(ctx, waitsWithin)
	defer cancel()
	var asking sync.WaitGroup
	room, asked := make(chan struct{}, waitsAtOnce), 0
	for _, r := range runs {
		if journal.Finished(r.GetStatus()) {
			continue
		}
		if asked++; asked > waitsListed {
			break
		}
		room <- struct{}{}
		asking.Go(func() {
			defer func() { <-room }()
			e.addWait(ctx, r, func() (*run.Machine, error) {
				_, m, err := e.stored(ctx, r.GetRunId())
				return m, err
			})
		})
	}
	asking.Wait()
}

// addWait says what an unfinished run waits for: as its activation knows it; by
// its history, if it has none here; by its row, if these say nothing.
func (e *Engine) addWait(ctx context.Context, r *api.Run, stored func() (*run.Machine, error)) {
	if journal.Finished(r.GetStatus()) {
		return
	}
	words, here := e.host.waitingHere(ctx, r.GetRunId())
	if !here {
		if m, err := stored(); err == nil {
			words = e.host.waitingStored(m)
		}
	}
	if words != "" {
		r.WaitingFor = words
	}
}

var (
	memberRoles = map[cluster.Role]string{
		cluster.RoleServer: api.RoleServer,
		cluster.RoleWorker: api.RoleWorker,
	}
	memberStates = map[cluster.State]string{
		cluster.StateJoining:  api.MemberJoining,
		cluster.StateReady:    api.MemberReady,
		cluster.StateDraining: api.MemberDraining,
		cluster.StateLeaving:  api.MemberLeaving,
	}
)

// Members returns the members of the cluster as this server sees them.
func (e *Engine) Members(context.Context) []*api.Member {
	view, self := e.host.cfg.Node.View(), e.host.cfg.Node.Self()
	shards := map[string]int32{}
	for s := range messages.Shards {
		if m, ok := view.OwnerOfShard(s); ok {
			shards[m.Name]++
		}
	}
	out := make([]*api.Member, len(view.Members))
	for i, m := range view.Members {
		out[i] = &api.Member{Name: m.Name, Role: memberRoles[m.Role], Address: m.Address, GossipAddress: m.GossipAddress,
			State: memberStates[m.State], Shards: shards[m.Name], ThisServer: m.Name == self.Name}
	}
	return out
}
