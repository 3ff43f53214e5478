package server

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/activation"
	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/projection"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/messages"
)

// do carries out an action of the core, without the lock.
func (h *Host) do(action activation.Action) {
	switch act := action.(type) {
	case activation.StartDone:
		act.Starting.Done.(func(*messages.StartRunReply))(act.Reply)
	case *activation.Read:
		h.background(func() { h.readPage(act) })
	case activation.AppendParked:
		h.appendParked(act)
	case activation.ReadRow:
		h.loader.Schedule(func() { h.readRow(act) })
	case activation.Later:
		wait := act.After
		if act.Spread > 0 {
			wait += rand.N(act.Spread)
		}
		time.AfterFunc(wait, func() { h.handle(act.Input) })
	case activation.Offer:
		h.background(func() { h.offer(act) })
	case activation.Taken:
		act.Asker.(func(proto.Message))(&messages.ShardsTaken{})
	case activation.SendOver:
		h.background(func() { h.sendOver(act) })
	case activation.Respond:
		h.root.Send(act.To.(*actor.PID), act.Message)
	case activation.Stir:
		h.moved.Set(struct{}{})
	default:
		h.report(action)
	}
}

// report logs what happened, and tells the hooks.
func (h *Host) report(action activation.Action) {
	switch act := action.(type) {
	case activation.LoadsAgain:
		level := slog.LevelWarn
		if messages.CodeOf(act.Err) == messages.CodeJournalConflict {
			level = slog.LevelInfo
		}
		h.log.Log(h.ctx, level, "run activation dropped, loading it again", "run", act.RunID, "in", act.In, "error", act.Err)
	case activation.SetAside:
		h.log.Error("run cannot be read and is set aside", "run", act.RunID, "error", act.Err)
	case activation.ReadsAgain:
		if h.ctx.Err() == nil {
			h.log.Warn("read runs that are to be in memory: trying again", "which", act.Of.Query.String(), "worker", act.Of.WorkerID, "error", act.Err)
		}
	case activation.Recovered:
		if act.Runs > 0 {
			h.log.Info("unfinished runs are back", "runs", act.Runs, "took", act.Took.Round(time.Millisecond))
		}
		if f := h.cfg.Hooks.Recovered; f != nil {
			f(act.Runs, act.Took)
		}
	case activation.Begun:
		h.log.Info("other servers had given this one up: it takes its runs up again", "runs", act.Runs)
		h.viewChanged(h.cfg.Node.View())
	}
}

// readPage answers a reading of the core.
func (h *Host) readPage(act *activation.Read) {
	page := activation.Page{Of: act}
	page.Err = h.guard.Do(func() error { return h.fillPage(act, &page) })
	if h.ctx.Err() == nil {
		h.handle(page)
	}
}

// fillPage reads it. What is found is handled one by one: the lock is not held for
// a page.
func (h *Host) fillPage(act *activation.Read, page *activation.Page) (err error) {
	store := h.cfg.Store
	var records []journal.Record
	switch act.Query {
	case activation.ReadActive:
		records, err = store.Active(h.ctx, act.Shards, act.After, act.Limit)
	case activation.ReadWokenByUp:
		records, err = store.WokenByUp(h.ctx, act.Shards, act.WorkerID, act.After, act.Limit)
	case activation.ReadWokenByGone:
		records, err = store.WokenByGone(h.ctx, act.Shards, act.WorkerID, act.After, act.Limit)
	case activation.ReadInLine:
		records, err = store.InLine(h.ctx, act.Shards, act.Line, act.Place, act.Limit)
	case activation.ReadLines:
		page.Lines, err = store.Lines(h.ctx, act.Shards)
	case activation.ReadWatched:
		page.Workers, err = store.WatchedWorkers(h.ctx, act.Shards)
	case activation.ReadHeads:
		var heads []journal.Head
		heads, err = store.Heads(h.ctx, act.Shards, act.After, act.Limit)
		for _, head := range heads {
			h.handle(activation.Head{Of: act, Head: head})
		}
		page.Count = len(heads)
	case activation.ReadDue:
		var due []string
		due, page.Next, err = store.Due(h.ctx, act.Shards, act.At, act.Limit)
		for _, id := range due {
			h.handle(activation.Found{Of: act, RunID: id})
		}
		page.Count = len(due)
	}
	for i := range records {
		h.handle(activation.Record{Of: act, Loaded: h.withDefinition(records[i])})
		page.Count++
	}
	return err
}

// appendParked makes the first entry of a run durable that has no actor.
func (h *Host) appendParked(act activation.AppendParked) {
	id := act.State.RunID
	data, err := messages.Marshal(act.Entry)
	if err != nil {
		h.handle(activation.Parked{Of: act, Err: messages.Errorf(messages.CodeInternal, "run %s, its first entry: %w", id, err)})
		return
	}
	h.committer.Append(journal.Append{RunID: id, Number: 1, Entry: data, Row: projection.Row(act.State, messages.Shard(id))},
		func(err error) {
			if err == nil {
				h.committed(act.State, act.Entry)
			}
			h.handle(activation.Parked{Of: act, Err: err})
		})
}

// committed tells the logs and the hook of an entry.
func (h *Host) committed(state *run.State, entry *messages.Entry) {
	h.logs.note(state, entry)
	h.noteRun(state, entry)
	if f := h.cfg.Hooks.Committed; f != nil {
		f(state, entry)
	}
}

func (h *Host) readRow(act activation.ReadRow) {
	ctx, cancel := context.WithTimeout(h.ctx, readWithin)
	defer cancel()
	read := activation.RowRead{Of: act}
	read.Err = h.guard.Do(func() error {
		rec, err := h.cfg.Store.Entries(ctx, act.RunID, 0, 0)
		read.Row = rec.Row
		return err
	})
	if read.Err != nil && messages.CodeOf(read.Err) != messages.CodeUnknownRun {
		h.log.Debug("whether a run is still bound is not known", "run", act.RunID, "error", read.Err)
	}
	h.handle(read)
}

// stillBound asks for a worker that has heard nothing of runs for a while.
func (h *Host) stillBound(m *messages.StillBound) {
	asker := &messages.WorkerRef{WorkerId: m.WorkerId, Incarnation: m.Incarnation}
	to := actor.NewPID(m.ReplyAddress, m.ReplyActorId)
	for _, b := range m.Runs {
		h.handle(activation.StillBound{RunID: b.RunId, Bound: activation.Bound{Worker: asker, Epoch: b.Epoch, To: to}})
	}
}

// deletePause is the time between two looks for runs past their retention.
const deletePause = time.Minute

// deleteLoop deletes finished runs after their retention, in batches.
func (h *Host) deleteLoop() {
	for {
		n, err := h.cfg.Store.DeleteFinished(h.ctx, h.clock.Now().Add(-h.cfg.Retention), deletePage)
		if err != nil && h.ctx.Err() == nil {
			h.log.Warn("delete finished runs", "error", err)
		}
		if n == deletePage && err == nil {
			continue
		}
		if backoff.Sleep(h.ctx, deletePause) != nil {
			return
		}
	}
}

// deletePage is how many runs are deleted at once.
const deletePage = 500
