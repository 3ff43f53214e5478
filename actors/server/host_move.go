package server

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/messages"
)

// What happens to runs when their shards move.
//
// The server that loses a shard stops its activations: at once, or when the
// append that is in flight is stored. The one that gains it takes the runs up
// from the journal as soon as its view says so, without waiting for the other:
// that one may be dead. So it may read a run just before the other's last
// append. When the loser is done it therefore says so (ShardsReleased), and the
// gainer compares what it took up with the journal and begins again with what
// is behind. Should that message be lost, the next append of such an
// activation conflicts, or the sweep finds it.

const (
	// releaseWithin bounds how long a server that loses shards waits for the
	// last appends, and then for the new owner.
	releaseWithin = 5 * time.Second
	// movePause is the pause between two looks at what is still on its way.
	movePause = 5 * time.Millisecond
	// offerPause is the wait before shards are offered again to whoever owns
	// them then.
	offerPause = 20 * time.Millisecond
	// anewAfter gathers the news that others had declared this server gone.
	anewAfter = 50 * time.Millisecond
	// forwardsMax bounds the results that are being passed on to new owners;
	// workers send what is dropped again.
	forwardsMax = 64
	// forwardTry bounds the search for a new owner.
	forwardTry = 3 * time.Second
)

// stir has those who wait for runs look into the journal: another server may
// have written there. Called with mu held.
func (h *Host) stir() {
	close(h.moved)
	h.moved = make(chan struct{})
}

// letGo stops the activations of shards that another server owns now. Called
// with mu held.
func (h *Host) letGo(lost map[int]cluster.Member) {
	h.stir()
	dropped := map[string]*actor.PID{}
	for id, pid := range h.active {
		if _, gone := lost[messages.Shard(id)]; gone {
			dropped[id] = pid
			h.root.Send(pid, dropRun{})
		}
	}
	if h.closed {
		return
	}
	h.leaving++
	h.work.Go(func() {
		h.release(slices.Collect(maps.Keys(lost)), dropped)
		h.mu.Lock()
		h.leaving--
		h.mu.Unlock()
	})
}

// release tells the new owners when the last appends to runs of shards are
// done, and returns when they have taken up the shards.
func (h *Host) release(lost []int, dropped map[string]*actor.PID) {
	ctx, cancel := context.WithTimeout(h.ctx, releaseWithin)
	defer cancel()
	h.until(ctx, func() bool {
		for id, pid := range dropped {
			if h.active[id] == pid {
				return false
			}
			delete(dropped, id)
		}
		return true
	})
	h.handOver(ctx, lost)
}

// handOver returns when the owners of shards have taken them up, or ctx ends.
// The owners are those of the newest view: one that leaves itself never takes
// anything up, and when all leave there is nobody to wait for.
func (h *Host) handOver(ctx context.Context, shards []int) {
	for {
		byOwner := map[cluster.Member][]int{}
		view := h.cfg.Node.View()
		for _, shard := range shards {
			if owner, ok := view.OwnerOfShard(shard); ok && owner.Name != h.cfg.Node.Self().Name {
				byOwner[owner] = append(byOwner[owner], shard)
			}
		}
		if shards = h.offer(ctx, byOwner); len(shards) == 0 {
			return
		}
		if backoff.Sleep(ctx, offerPause) != nil {
			return
		}
	}
}

// offer asks the owners once to take shards up. It returns the shards of those
// that did not answer.
func (h *Host) offer(ctx context.Context, byOwner map[cluster.Member][]int) (left []int) {
	var (
		mu     sync.Mutex
		asking sync.WaitGroup
	)
	for owner, shards := range byOwner {
		asking.Go(func() {
			msg := &messages.ShardsReleased{Shards: make([]int32, len(shards))}
			for i, shard := range shards {
				msg.Shards[i] = int32(shard)
			}
			if _, err := h.engine.askHost(ctx, owner, msg, hostTry); err != nil {
				mu.Lock()
				left = append(left, shards...)
				mu.Unlock()
			}
		})
	}
	asking.Wait()
	return left
}

// until waits for a condition, which is looked at with mu held for reading.
func (h *Host) until(ctx context.Context, condition func() bool) bool {
	t := time.NewTicker(movePause)
	defer t.Stop()
	for {
		h.mu.RLock()
		ok := condition()
		h.mu.RUnlock()
		if ok {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-t.C:
		}
	}
}

// released waits until this server has taken shards up, and makes sure that
// its activations have all that their former owner stored; false if it does not
// own the shards.
func (h *Host) released(shards []int32) bool {
	ctx, cancel := context.WithTimeout(h.ctx, releaseWithin)
	defer cancel()
	list := make([]int, len(shards))
	for i, s := range shards {
		list[i] = int(s)
	}
	mine := func() bool {
		return h.taking == 0 && !slices.ContainsFunc(list, func(s int) bool { return !h.owned[s] })
	}
	return h.until(ctx, mine) && h.sweep(ctx, list, nil) == nil
}

// Leave hands the runs of this server over, while it goes on to answer: it
// tells all members that it is about to leave, and returns when the other
// servers have taken the runs up, or ctx ends. The server owns nothing
// afterwards. The only server of a cluster has nobody to hand over to.
func (h *Host) Leave(ctx context.Context) {
	node := h.cfg.Node
	self := node.Self().Name
	if !slices.ContainsFunc(node.View().Servers(), func(m cluster.Member) bool { return m.Name != self }) {
		return
	}
	begin := time.Now()
	_ = node.SetState(cluster.StateDraining)
	over := h.until(ctx, func() bool { return len(h.owned) == 0 && h.leaving == 0 })
	h.log.Info("runs are handed over", "complete", over, "took", time.Since(begin).Round(time.Millisecond))
}

// declaredGone: another server had given this one up, and taken its runs.
func (h *Host) declaredGone(by cluster.Member) {
	if by.Role == cluster.RoleWorker {
		return
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	if !h.closed {
		h.anew.Reset(anewAfter)
	}
}

// beginAnew drops all activations and reads what is unfinished from the
// journal: what is in memory may be old.
func (h *Host) beginAnew() {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return
	}
	h.stir()
	dropped := h.active
	h.active = map[string]*actor.PID{}
	h.owned = map[int]bool{}
	for _, pid := range dropped {
		h.root.Send(pid, dropRun{anew: true})
	}
	h.mu.Unlock()
	h.log.Info("other servers had given this one up: it takes its runs up again", "runs", len(dropped))
	h.viewChanged(h.cfg.Node.View())
}

// forward sends what a worker said to the new owner of a run.
func (h *Host) forward(runID string, result *messages.Result, sender *actor.PID) {
	if h.forwards.Add(1) > forwardsMax {
		h.forwards.Add(-1)
		return
	}
	h.background(func() {
		defer h.forwards.Add(-1)
		ctx, cancel := context.WithTimeout(h.ctx, forwardTry)
		defer cancel()
		h.cfg.Node.Forget(cluster.KindRun, runID)
		pid, err := h.cfg.Node.Resolve(ctx, cluster.KindRun, runID)
		if err == nil {
			h.root.RequestWithCustomSender(pid, result, sender)
		}
	})
}
