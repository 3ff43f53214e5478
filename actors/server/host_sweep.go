package server

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/cluster/backoff"
	"github.com/limpetrun/limpet/messages"
)

// The sweep compares what is in memory with the journal, for what is lost in
// races between servers: unfinished runs that nobody has activated, activations
// that are behind the journal because another one went on, and activations of
// shards that are not this server's.

const (
	// sweepTurn is how long it takes to look at all shards of a server, a part
	// at a time; sweepTurnAlone that of the only server of a cluster, which
	// loses nothing in such races.
	sweepTurn      = 20 * time.Second
	sweepTurnAlone = 2 * time.Minute
	sweepParts     = 8
	// sweepPage is how many heads are read at once.
	sweepPage = 2000
	// comparedMax bounds the activations that compare themselves with the
	// journal in a part.
	comparedMax = 100
)

func (h *Host) sweepLoop() {
	var suspects [sweepParts]map[string]string
	for part := 0; ; part = (part + 1) % sweepParts {
		turn := sweepTurn
		if len(h.cfg.Node.View().Servers()) < 2 {
			turn = sweepTurnAlone
		}
		pause := turn / sweepParts
		if backoff.Sleep(h.ctx, pause/2+rand.N(pause)) != nil {
			return
		}
		seen := map[string]bool{}
		if h.sweep(h.ctx, h.sweptShards(part), seen) == nil {
			suspects[part] = h.sweepStrays(part, seen, suspects[part])
		}
	}
}

// sweptShards returns the owned shards of a part.
func (h *Host) sweptShards(part int) []int {
	shards := []int{}
	h.mu.RLock()
	defer h.mu.RUnlock()
	for s := range h.owned {
		if s%sweepParts == part {
			shards = append(shards, s)
		}
	}
	return shards
}

// sweep activates the unfinished runs of shards that are not in memory, and
// tells those that are how far the journal is. Seen, if not nil, gets the runs
// that the journal has as active.
func (h *Host) sweep(ctx context.Context, shards []int, seen map[string]bool) error {
	if len(shards) == 0 {
		return nil
	}
	for after := ""; ; {
		heads, err := h.cfg.Store.Heads(ctx, shards, after, sweepPage)
		if err != nil {
			return err
		}
		for _, head := range heads {
			after = head.RunID
			if seen != nil {
				seen[head.RunID] = true
			}
			h.sweepHead(head)
		}
		if len(heads) < sweepPage {
			return nil
		}
	}
}

func (h *Host) sweepHead(head journal.Head) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch pid := h.active[head.RunID]; {
	case pid != nil:
		h.root.Send(pid, storedUpTo{head.Number})
	case h.owned[messages.Shard(head.RunID)] && !h.clock.Now().Before(h.aside[head.RunID]):
		h.activateLocked(&runActor{id: head.RunID})
	}
}

// sweepStrays stops the activations of shards that are not this server's. Those
// of a part that the sweep has not seen in the journal as active, now and a
// turn before, compare themselves with it. It returns those to compare the next
// time, by the ids of their actors: a PID would keep an actor that has ended in
// memory for that long.
func (h *Host) sweepStrays(part int, seen map[string]bool, before map[string]string) map[string]string {
	unseen := map[string]string{}
	compared := 0
	h.mu.RLock()
	defer h.mu.RUnlock()
	for id, pid := range h.active {
		switch shard := messages.Shard(id); {
		case !h.owned[shard]:
			h.root.Send(pid, dropRun{})
		case shard%sweepParts != part || seen[id]:
		case before[id] == pid.Id && compared < comparedMax:
			h.root.Send(pid, compareStored{})
			compared++
		default:
			unseen[id] = pid.Id
		}
	}
	return unseen
}
