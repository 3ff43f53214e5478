package server

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/limpetrun/limpet/actors/activation"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// clockMoved has everything look at the time that sleeps until some time.
func (h *Host) clockMoved() {
	h.handle(activation.Moved{})
	h.timers.moved()
}

// askRest asks an activation for its run.Rest.
type askRest struct{}

// Rest says of the runs of this server together what run.Rest says of one. It is
// for tests that move the clock.
func (h *Host) Rest() (run.Rest, error) {
	h.mu.RLock()
	searches, all := h.core.Searches(h.clock.Now()), h.core.All()
	h.mu.RUnlock()
	if searches {
		return run.Rest{Busy: "runs are woken whose time has come"}, nil
	}
	asked := make([]*actor.Future, len(all))
	for i, a := range all {
		asked[i] = h.root.RequestFuture(a.Address.(*actor.PID), askRest{}, hostTry)
	}
	var rest run.Rest
	for i, future := range asked {
		answer, err := future.Result()
		of, ok := answer.(run.Rest)
		if err != nil || !ok {
			of.Busy = "it leaves memory"
		}
		if of.Busy != "" && rest.Busy == "" {
			rest.Busy = "run " + all[i].RunID + ": " + of.Busy
		}
		rest.Queued = rest.Queued || of.Queued
		rest.Next = earlierOf(rest.Next, of.Next)
	}
	return rest, h.restStored(&rest)
}

// restStored adds what is not in memory: what is dormant, and what is on its way
// into memory.
func (h *Host) restStored(rest *run.Rest) error {
	due, next, err := h.cfg.Store.Due(h.ctx, allShards(), h.clock.Now(), 1)
	if err != nil {
		return err
	}
	rest.Next = earlierOf(rest.Next, next)
	for after := ""; len(due) == 0; {
		heads, err := h.cfg.Store.Heads(h.ctx, allShards(), after, activation.PageSize)
		if err != nil || len(heads) == 0 {
			return err
		}
		h.mu.RLock()
		for _, head := range heads {
			if after = head.RunID; h.core.Active(head.RunID) == nil {
				due = append(due, head.RunID)
			}
		}
		h.mu.RUnlock()
	}
	if rest.Busy == "" {
		rest.Busy = "run " + due[0] + " is brought into memory"
	}
	return nil
}

// earlierOf is the earlier of two times of which the zero one is never.
func earlierOf(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func allShards() []int {
	shards := make([]int, messages.Shards)
	for i := range shards {
		shards[i] = i
	}
	return shards
}
