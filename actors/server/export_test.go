package server

import (
	"context"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/limpetrun/limpet/actors/activation"
	"github.com/limpetrun/limpet/actors/definitions"
	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
)

// For tests of a whole cluster, which are outside the package.
const (
	PageSize   = activation.PageSize
	SweepTurn  = activation.SweepTurn
	WokenLeast = activation.WokenLeast
	WokenMax   = activation.WokenMax
	KeysHedge  = keysHedge
	KeysPart   = keysPart
	KeysWithin = keysWithin
)

// Owns says that the run's shard is this server's.
func (h *Host) Owns(runID string) bool { return h.owns(runID) }

// Now is engine time, as the host has it.
func (h *Host) Now() time.Time { return h.clock.Now() }

// Awake are those of the runs that are in memory.
func (h *Host) Awake(ids []string) (n int) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, id := range ids {
		if h.core.Active(id) != nil {
			n++
		}
	}
	return n
}

// Lose forgets the activation of a run, which ends.
func (h *Host) Lose(runID string) {
	h.mu.RLock()
	a := h.core.Active(runID)
	h.mu.RUnlock()
	h.handle(activation.Retired{Activation: a})
	h.root.Send(a.Address.(*actor.PID), activation.Drop{Anew: true})
}

// Fill pretends that so many runs are in memory, which answer nothing, until empty
// is called.
func (h *Host) Fill(ids []string) (empty func()) {
	silent := h.root.Spawn(actor.PropsFromFunc(func(actor.Context) {}))
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, id := range ids {
		for _, action := range h.core.Handle(activation.Want{RunID: id}, h.clock.Now()) {
			action.(activation.Spawn).Activation.Address = silent
		}
	}
	return func() {
		for _, id := range ids {
			h.mu.RLock()
			a := h.core.Active(id)
			h.mu.RUnlock()
			if a != nil {
				h.handle(activation.Retired{Activation: a})
			}
		}
		h.root.Stop(silent)
	}
}

// ActivateStray activates a run that may be another server's.
func (h *Host) ActivateStray(runID string) { h.handle(activation.Want{RunID: runID}) }

// DeclaredGone is what the host hears of a verdict about its own server.
func (h *Host) DeclaredGone(by cluster.Member) { h.declaredGone(by) }

// Stored reads a run from the journal.
func (h *Host) Stored(ctx context.Context, runID string) (journal.Record, *run.Machine, error) {
	return h.engine.stored(ctx, runID)
}

// KeyCandidates are workers that may be asked for a workflow's keys, the first
// one first.
func (h *Host) KeyCandidates(def *messages.WorkflowDefinition, most int) []*messages.WorkerInfo {
	return h.engine.keys.of(h, &definitions.Definition{Hash: messages.HashDefinition(def), Def: def}).candidates(most)
}
