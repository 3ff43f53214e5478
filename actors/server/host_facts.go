package server

import (
	"time"

	"github.com/limpetrun/limpet/actors/activation"
	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/cluster"
	"github.com/limpetrun/limpet/messages"
)

// facts is what the core may know of the server.
type facts struct{ h *Host }

// owns says that the run's shard is this server's.
func (h *Host) owns(runID string) bool {
	m, ok := h.cfg.Node.View().OwnerOfRun(runID)
	return ok && m.Name == h.cfg.Node.Self().Name
}

func (f facts) Owns(runID string) bool { return f.h.owns(runID) }

func (f facts) OwnerOf(shard int) string {
	node := f.h.cfg.Node
	if m, ok := node.View().OwnerOfShard(shard); ok && m.Name != node.Self().Name {
		return m.Name
	}
	return ""
}

func (f facts) Alone() bool { return len(f.h.cfg.Node.View().Servers()) < 2 }

func (f facts) LeaseMark() uint64 { return f.h.cfg.Node.LeaseMark() }

func (f facts) LeaseTerm(w *messages.WorkerRef, mark uint64) (uint64, bool) {
	return f.h.cfg.Node.LeaseTermOf(w.WorkerId, w.Incarnation, mark)
}

func (f facts) InfoOf(ref *messages.WorkerRef) *messages.WorkerInfo {
	w, ok := f.h.roster.Worker(ref.WorkerId)
	if !ok || w.Info.GetIncarnation() != ref.Incarnation {
		return nil
	}
	return w.Info
}

func (f facts) UpWorkers() []string {
	var ids []string
	for _, w := range f.h.roster.Workers() {
		if w.State == run.WorkerUp {
			ids = append(ids, w.WorkerID)
		}
	}
	return ids
}

func (f facts) Absences() []run.Absence {
	if list := f.h.absences.Load(); list != nil {
		return *list
	}
	return activation.Unread(f.h.clock.Now())
}

func (f facts) Backlog() int { return f.h.committer.Waiting() + f.h.dispatcher.Backlog() }

func (f facts) ToEngine(wall time.Time) time.Time {
	if toEngine := f.h.clock.ToEngine(); toEngine != nil {
		return toEngine(wall)
	}
	return wall
}

func (f facts) Waits(change int) int { return int(f.h.waits.Add(int64(change))) }

// viewChanged shows the core which shards are this server's.
func (h *Host) viewChanged(v *cluster.View) {
	self := h.cfg.Node.Self().Name
	owned := make([]bool, messages.Shards)
	for shard := range owned {
		m, ok := v.OwnerOfShard(shard)
		owned[shard] = ok && m.Name == self
	}
	h.handle(activation.ViewChanged{Version: v.Version, Owned: owned})
	if h.placements.viewChanged() {
		h.handle(activation.PlacementReset{})
	}
}
