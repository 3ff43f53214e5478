package server

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/messages"
)

// pageSize is how many runs are read from the journal at once.
const pageSize = 500

// owns says that the run's shard is this server's.
func (h *Host) owns(runID string) bool {
	m, ok := h.cfg.Node.View().OwnerOfRun(runID)
	return ok && m.Name == h.cfg.Node.Self().Name
}

// viewChanged takes up shards that became this server's and drops the
// activations of those that went elsewhere.
func (h *Host) viewChanged(v *cluster.View) {
	self := h.cfg.Node.Self().Name
	var gained []int
	lost := map[int]cluster.Member{}
	h.mu.Lock()
	if v.Version < h.version {
		h.mu.Unlock()
		return
	}
	h.version = v.Version
	for shard := range messages.Shards {
		m, ok := v.OwnerOfShard(shard)
		mine := ok && m.Name == self
		switch {
		case mine && !h.owned[shard]:
			h.owned[shard] = true
			gained = append(gained, shard)
		case !mine && h.owned[shard]:
			delete(h.owned, shard)
			lost[shard] = m
		}
	}
	if len(lost) > 0 {
		h.letGo(lost)
	}
	if len(gained) > 0 {
		h.taking++
	}
	h.mu.Unlock()
	if h.placements.viewChanged() {
		h.broadcast(placementReset{})
	}
	if len(gained) > 0 {
		h.background(func() { h.recover(gained) })
	}
}

// ownedShards returns the shards for queries; nil means all of them.
func (h *Host) ownedShards() []int {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if len(h.owned) == messages.Shards {
		return nil
	}
	shards := make([]int, 0, len(h.owned))
	for s := range h.owned {
		shards = append(shards, s)
	}
	return shards
}

// recoverParallel is how many pages of unfinished runs are read at one time
// when some of the shards are taken up.
const recoverParallel = 4

// recover brings back the unfinished runs of shards; those that wait for
// something stay where they are until it comes. Shards that move away meanwhile
// are left out.
func (h *Host) recover(shards []int) {
	start := time.Now()
	parts := [][]int{nil}
	if len(shards) < messages.Shards {
		parts = slices.Collect(slices.Chunk(shards, (len(shards)+recoverParallel-1)/recoverParallel))
	} else {
		shards = nil
	}
	counts := make([]int, len(parts))
	var reading sync.WaitGroup
	for i, part := range parts {
		reading.Go(func() { counts[i] = h.recoverActive(part) })
	}
	reading.Wait()
	h.mu.Lock()
	h.taking--
	h.mu.Unlock()
	h.wakeWatchers(shards)
	h.wakeWaiting(shards)
	h.waker.kick(h.clock.Now())
	n := 0
	for _, c := range counts {
		n += c
	}
	if n > 0 {
		h.log.Info("unfinished runs are back", "runs", n, "took", time.Since(start).Round(time.Millisecond))
	}
	if f := h.cfg.Hooks.Recovered; f != nil {
		f(n, time.Since(start))
	}
}

func (h *Host) recoverActive(shards []int) (n int) {
	h.pages("recover runs", func(ctx context.Context, after string) (string, bool, error) {
		mark := h.cfg.Node.LeaseMark()
		records, err := h.cfg.Store.Active(ctx, shards, after, pageSize)
		for i := range records {
			h.takeUp(&records[i], mark)
			after = records[i].Row.RunID
		}
		n += len(records)
		return after, len(records) == pageSize, err
	})
	return n
}

// takeUp activates a run that was just read, if it is still this server's. An
// activation that is there, and behind what was read, begins again: another
// server went on with the run. The mark is of before the reading.
func (h *Host) takeUp(record *journal.Record, mark uint64) {
	id := record.Row.RunID
	def, err := h.definitions.ByHash(h.ctx, record.Row.DefinitionHash)
	h.mu.Lock()
	defer h.mu.Unlock()
	switch pid := h.active[id]; {
	case pid != nil:
		h.root.Send(pid, storedUpTo{uint64(len(record.Entries))})
	case h.owned[messages.Shard(id)]:
		h.activateLocked(&runActor{id: id, read: &loaded{record: *record, def: def, err: err}, mark: mark})
	}
}

// pages calls next with the last id of the page before as long as there are more,
// trying again while the journal is out of reach.
func (h *Host) pages(what string, next func(ctx context.Context, after string) (last string, more bool, err error)) {
	after := ""
	for h.ctx.Err() == nil {
		last, more, err := next(h.ctx, after)
		if err != nil {
			h.log.Warn(what+": trying again", "error", err)
			_ = backoff.Sleep(h.ctx, againAfter)
			continue
		}
		if !more {
			return
		}
		after = last
	}
}

// deletePause is the time between two looks for runs past their retention.
const deletePause = time.Minute

// deleteLoop deletes finished runs after their retention, in batches.
func (h *Host) deleteLoop() {
	for {
		n, err := h.cfg.Store.DeleteFinished(h.ctx, h.clock.Now().Add(-h.cfg.Retention), pageSize)
		if err != nil && h.ctx.Err() == nil {
			h.log.Warn("delete finished runs", "error", err)
		}
		if n == pageSize && err == nil {
			continue
		}
		if backoff.Sleep(h.ctx, deletePause) != nil {
			return
		}
	}
}
