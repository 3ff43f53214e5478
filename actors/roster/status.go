package roster

import (
	"sort"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/limpetrun/limpet/actors/run"
	"github.com/limpetrun/limpet/messages"
)

// WorkerStatus is a worker as listings show it. It must not be changed.
type WorkerStatus struct {
	WorkerID, Incarnation string
	State                 run.WorkerState
	Reason                messages.Reason
	Info                  *messages.WorkerInfo
	// Load is the last report, if placement of the worker's pool is on this
	// server, or was; nil otherwise. LoadAge is how long ago it came.
	Load    *messages.LoadReport
	LoadAge time.Duration
}

// Worker returns the process that holds a worker id, or held it last; false if
// none has said who it is.
func (c *Core[W]) Worker(now time.Time, workerID string) (WorkerStatus, bool) {
	w := c.workers[workerID]
	if w == nil || w.last == nil {
		return WorkerStatus{}, false
	}
	return w.status(now), true
}

// Workers returns all workers that have said who they are, by id, those that have
// gone included.
func (c *Core[W]) Workers(now time.Time) []WorkerStatus {
	out := make([]WorkerStatus, 0, len(c.workers))
	for _, w := range c.workers {
		if w.last != nil {
			out = append(out, w.status(now))
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].WorkerID < out[j].WorkerID })
	return out
}

func (w *worker[W]) status(now time.Time) WorkerStatus {
	p := w.last
	s := WorkerStatus{WorkerID: w.id, Incarnation: p.ref.Incarnation, State: p.told, Reason: p.reason, Info: p.info}
	if w.load.GetIncarnation() == p.ref.Incarnation {
		s.Load, s.LoadAge = w.load, now.Sub(w.loadAt)
	}
	return s
}

// NoteLoad keeps the newest report of a process, for listings. How its local
// state fares is not in each of them.
func (c *Core[W]) NoteLoad(now time.Time, report *messages.LoadReport) {
	w := c.workers[report.GetWorkerId()]
	if w == nil {
		return
	}
	if w.load.GetIncarnation() == report.GetIncarnation() {
		if report.GetSerial() < w.load.GetSerial() {
			return
		}
		if len(report.GetLocals()) == 0 && len(w.load.GetLocals()) > 0 {
			report = proto.CloneOf(report)
			report.Locals = w.load.GetLocals()
		}
	}
	w.load, w.loadAt = report, now
}

// Loads are the last reports of the workers of a pool, by worker id.
func (c *Core[W]) Loads(now time.Time, pool string) []*messages.WorkerLoad {
	var out []*messages.WorkerLoad
	for _, w := range c.workers {
		if w.load != nil && messages.EffectivePool(w.load.GetPool()) == pool {
			out = append(out, &messages.WorkerLoad{Load: w.load, AgeMs: now.Sub(w.loadAt).Milliseconds()})
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Load.WorkerId < out[j].Load.WorkerId })
	return out
}
